"""A batch: jobs into shards of minutes, shards to this process or to a pool, until every job has come to an end."""

import time
from collections.abc import Callable
from typing import Protocol

from db import queries
from db.operations import OPEN, control_of
from db.session import Database
from db.workers import reclaim, sent_to, waiting, working
from infra.errors import DatabaseUnavailable
from infra.settings import Settings

Minutes = dict[int, float]  # estimated seconds by job
GRACE = 60  # seconds that a started shard may take until it leases a job
PAUSE = 1.0  # seconds between looks at jobs that others hold


def shards(jobs: list[int], seconds: Minutes, minutes: float) -> list[list[int]]:
    """Jobs in order, in groups of about so many minutes of estimated work; none is empty."""
    groups: list[list[int]] = []
    room = 0.0
    for job in jobs:
        cost = seconds.get(job, 60.0)
        if not groups or cost > room:
            groups.append([])
            room = minutes * 60
        groups[-1].append(job)
        room -= cost
    return groups


def run_here(database: Database, batch_id: int, settings: Settings) -> dict[int, str]:
    """Run a batch in this process, shard after shard; returns every job's state.

    Jobs that others hold or that wait out a fault are waited for, and so are a paused batch and, for a while, a database that does not
    answer; a draining batch ends it after its job. Raises DatabaseUnavailable.
    """
    from flows.shard import shard

    silent = 0.0  # since when the database does not answer
    while True:
        try:
            reclaim(database, batch_id)
            if free := waiting(database, batch_id):
                for number, group in enumerate(shards(free, estimates(database, batch_id), settings.shard_minutes), 1):
                    shard(batch_id, group, f"shard {number}")
            states = queries.job_states(database, batch_id)
            if ended(states) or control_of(database, batch_id) == "draining":
                return states
            silent = 0.0
        except DatabaseUnavailable:
            silent = silent or time.monotonic()
            if time.monotonic() - silent > settings.outage_seconds:
                raise
        time.sleep(PAUSE)  # other processes hold the rest, or it waits; leases run out if their holders died


def ended(states: dict[int, str]) -> bool:
    """Whether every job has come to an end."""
    return not any(state in OPEN for state in states.values())


class Target(Protocol):
    """What takes shards."""

    def send(self, batch_id: int, jobs: list[int], first: str) -> None:
        """Ask for a shard."""


def send(database: Database, batch_id: int, jobs: list[int], settings: Settings, target: Target) -> int:
    """Send jobs in shards; returns how many shards."""
    groups = shards(jobs, estimates(database, batch_id), settings.shard_minutes)
    for number, group in enumerate(groups, 1):
        target.send(batch_id, group, f"shard {number}")
    return len(groups)


def run_in_pool(database: Database, batch_id: int, settings: Settings, pool: str, tell: Callable[[dict[int, str]], None] = lambda states: None) -> dict[int, str]:
    """Send a batch's shards to a Prefect work pool and wait for every job's end. Raises SetupError when pool or server is missing."""
    from flows.pool import Pool

    target = Pool(pool, settings)
    target.connect()
    sent_to(database, batch_id, pool)
    alive = time.monotonic()
    while True:
        reclaim(database, batch_id)
        free = waiting(database, batch_id)
        if working(database, batch_id) or target.queued():
            alive = time.monotonic()
        elif time.monotonic() - alive > settings.lease_seconds + GRACE:
            target.forget()  # runs that Prefect still calls running, whose workers have died
        if free and not target.busy():
            alive = time.monotonic()
            send(database, batch_id, free, settings, target)
        states = queries.job_states(database, batch_id)
        tell(states)
        if ended(states) or (control_of(database, batch_id) == "draining" and not working(database, batch_id)):
            return states
        time.sleep(PAUSE)  # work happens elsewhere; the ledger is where it shows


def estimates(database: Database, batch_id: int) -> Minutes:
    """Estimated seconds of work of every job of a batch."""
    rows = queries.report(database, batch_id)["jobs"]
    return {row["job"]: float(row["spec"].get("estimate") or 0.0) for row in rows}
