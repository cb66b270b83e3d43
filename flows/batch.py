"""A batch: jobs into shards of minutes, shards to this process or to a pool, until every job has come to an end."""

import time
from collections.abc import Callable
from typing import Protocol

from db import queries
from db.session import Database
from db.workers import reclaim, sent_to, waiting, working
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
    """Run a batch in this process, shard after shard; returns every job's state. Jobs that others hold are waited for."""
    from flows.shard import shard

    while True:
        reclaim(database, batch_id)
        free = waiting(database, batch_id)
        if free:
            for number, group in enumerate(shards(free, estimates(database, batch_id), settings.shard_minutes), 1):
                shard(batch_id, group, f"shard {number}")
            continue
        states = queries.job_states(database, batch_id)
        if not any(state in ("queued", "running") for state in states.values()):
            return states
        time.sleep(PAUSE)  # other processes hold the rest; their leases run out if they died


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
        if not any(state in ("queued", "running") for state in states.values()):
            return states
        time.sleep(PAUSE)  # work happens elsewhere; the ledger is where it shows


def estimates(database: Database, batch_id: int) -> Minutes:
    """Estimated seconds of work of every job of a batch."""
    rows = queries.report(database, batch_id)["jobs"]
    return {row["job"]: float(row["spec"].get("estimate") or 0.0) for row in rows}
