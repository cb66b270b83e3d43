"""A batch: jobs into shards of minutes, shards to this process or to a pool, until every job has come to an end."""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from db import queries
from db.operations import OPEN, control_of
from db.session import Database
from db.workers import reclaim, sent_to, waiting, working
from flows.conductor import away
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

    Jobs that others hold or that wait out a fault are waited for, and so are a paused batch and, for a while, a database or a Prefect server
    that does not answer; a draining batch ends it after its job. Raises DatabaseUnavailable and ConductorUnavailable.
    """
    from flows.shard import shard

    patience = Patience(settings.outage_seconds)
    while True:
        with patience:
            reclaim(database, batch_id)
            if free := waiting(database, batch_id):
                for number, group in enumerate(shards(free, estimates(database, batch_id), settings.shard_minutes), 1):
                    shard(batch_id, group, f"shard {number}")
            states = queries.job_states(database, batch_id)
            if ended(states) or control_of(database, batch_id) == "draining":
                return states
        time.sleep(PAUSE)  # other processes hold the rest, or it waits; leases run out if their holders died


class Patience:
    """Waits for a database or a Prefect server that does not answer: errors of a block that say so are held back, for so many seconds in a row."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since = 0.0  # when it fell silent

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None:
            self.since = 0.0
            return False
        known = error if isinstance(error, DatabaseUnavailable) else away(error)
        if known is None:
            return False
        self.since = self.since or time.monotonic()
        if time.monotonic() - self.since > self.seconds:
            raise known from error
        logging.getLogger(__name__).warning("%s; waiting for it", known)
        return True


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
    alive, patience = time.monotonic(), Patience(settings.outage_seconds)
    while True:
        with patience:
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
