"""A batch: jobs into shards of minutes, shards to this process or to a pool, until every job has come to an end."""

import logging
import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from db import queries
from db.operations import OPEN, control_of
from db.queries import Estimated
from db.session import Database
from db.workers import others, reclaim, sent_to, working
from flows.conductor import away
from infra.errors import DatabaseUnavailable
from infra.settings import Settings

States = dict[str, int]  # how many jobs are in which state
GRACE = 60  # seconds that a started shard may take until it leases a job
PAUSE, LONGEST_PAUSE, JOBS_A_SECOND = 1.0, 10.0, 1000  # seconds between looks at what others do, and open jobs that make a look a second rarer
UNKNOWN, LEAST = 60.0, 1.0  # seconds of work of a job without an estimate; that a job costs at least
ROUNDS, SHORTEST = 3, 60.0  # shards that each worker should get of what is left; seconds that a shard should hold even then
WINDOW = 20_000  # jobs that are looked at to make shards of
WORTH = 120.0  # seconds of work that is left to shards which run, from which on a worker without one is given a part of it
OPEN_GROUPS = 200  # groups that a piece is tried in: the newest, which are the emptiest
Tell = Callable[[States], None]


def shards(jobs: Iterable[Estimated], minutes: float, lanes: int = 1, rounds: int = ROUNDS) -> list[list[int]]:
    """Jobs in groups of about so many minutes of estimated work, of less where `lanes` workers would else not get `rounds` each; none is empty.

    Higher priorities come first, then the costliest group. Jobs that share a portrait or a video are beside each other, so that one worker makes
    what they share, once; they are cut apart only where they are more than a group.
    """
    found: list[list[int]] = []
    levels: dict[int, list[Estimated]] = {}
    for job in jobs:
        levels.setdefault(job.priority, []).append(job)
    total = sum(cost(job) for level in levels.values() for job in level)
    room = minutes * 60 if lanes < 2 else max(min(minutes * 60, total / (rounds * lanes)), min(SHORTEST, minutes * 60))
    for _, level in sorted(levels.items(), reverse=True):
        found += _packed(_pieces(level, room), room)
    return found


def cost(job: Estimated) -> float:
    """Seconds that a job is counted with."""
    return max(LEAST, job.seconds or UNKNOWN)


def _pieces(jobs: list[Estimated], room: float) -> list[tuple[float, list[int]]]:
    """Jobs by the face that they share, in order, cut where they cost more than there is room for; each with its cost."""
    faces: dict[str, list[Estimated]] = {}
    for job in jobs:
        faces.setdefault(job.face or f"job {job.job}", []).append(job)
    found: list[tuple[float, list[int]]] = []
    for members in faces.values():
        spent, part = 0.0, list[int]()
        for job in members:
            if part and spent + cost(job) > room:
                found.append((spent, part))
                spent, part = 0.0, []
            part.append(job.job)
            spent += cost(job)
        found.append((spent, part))
    return found


def _packed(pieces: list[tuple[float, list[int]]], room: float) -> list[list[int]]:
    """Pieces in groups that hold no more than there is room for, the costliest first: each goes where it leaves the least room."""
    groups: list[tuple[float, list[int]]] = []
    for spent, part in sorted(pieces, key=lambda piece: -piece[0]):
        fitting = [n for n, (taken, _) in enumerate(groups[-OPEN_GROUPS:], max(0, len(groups) - OPEN_GROUPS)) if taken + spent <= room]
        if fitting:
            best = max(fitting, key=lambda n: groups[n][0])
            groups[best] = (groups[best][0] + spent, groups[best][1] + part)
        else:
            groups.append((spent, part))
    return [group for _, group in sorted(groups, key=lambda group: -group[0])]


def run_here(database: Database, batch_id: int, settings: Settings, tell: Tell = lambda states: None) -> States:
    """Run a batch in this process, shard after shard; returns how many jobs are in which state.

    Jobs that others hold or that wait out a fault are waited for, and so are a paused batch and, for a while, a database or a Prefect server
    that does not answer; a draining batch ends it after its job. Raises DatabaseUnavailable and ConductorUnavailable.
    """
    from flows.shard import shard

    patience, number = Patience(settings.outage_seconds), 0  # shards begun
    while True:
        with patience:
            reclaim(database, batch_id)
            group = next_here(database, batch_id, settings)
            number += bool(group)
            if group and shard(batch_id, group, f"shard {number}"):
                continue
            states = queries.state_counts(database, batch_id)
            tell(states)
            if ended(states) or control_of(database, batch_id) == "draining":
                return states
        time.sleep(PAUSE)  # other processes hold the rest, or it waits; leases run out if their holders died


def next_here(database: Database, batch_id: int, settings: Settings) -> list[int]:
    """The shard that this process works on next: the first, or any of the most urgent where other processes work on the batch as well."""
    free = queries.estimates(database, batch_id, WINDOW)
    busy = others(database, batch_id) if free else 0
    groups = shards([job for job in free if job.priority == free[0].priority], settings.shard_minutes, busy + 1)
    return [] if not groups else random.choice(groups) if busy else groups[0]


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


def ended(states: States) -> bool:
    """Whether every job has come to an end."""
    return not any(states.get(state) for state in OPEN)


class Target(Protocol):
    """What takes shards."""

    def lanes(self) -> int:
        """How many shards it can work on at once."""

    def room(self) -> int:
        """How many shards more it should be given now."""

    def sent(self) -> list[list[int]]:
        """Jobs of each shard that it has and that has not ended."""

    def send(self, batch_id: int, groups: list[list[int]]) -> None:
        """Ask for shards."""


def send(database: Database, batch_id: int, settings: Settings, target: Target) -> int:
    """Send what waits and was not sent, in shards, as far as there is room; returns how many were asked for. The rest follows as shards end: what becomes urgent meanwhile comes first.

    Where everything was sent, workers that have no shard get a part of what others hold and have not begun.
    """
    held, room = target.sent(), target.room()
    if room < 1:
        return 0
    there = {job for jobs in held for job in jobs}
    free = queries.estimates(database, batch_id, WINDOW + len(there))
    new = [job for job in free if job.job not in there]
    lanes = target.lanes()
    groups = shards(new, settings.shard_minutes, lanes)[:room] if new else shared(held, free, settings.shard_minutes, lanes)[:room]
    if groups:
        target.send(batch_id, groups)
    return len(groups)


def shared(held: list[list[int]], free: list[Estimated], minutes: float, lanes: int) -> list[list[int]]:
    """Of shards that are held and their jobs that nobody has begun: shards for the lanes that have none, of the latter half of each; none where little is left.

    The jobs stay in the first shards, too: whoever leases one first makes it, and the other finds it taken.
    """
    idle, holder = lanes - len(held), {job: number for number, jobs in enumerate(held) for job in jobs}
    left: list[list[Estimated]] = [[] for _ in held]
    for job in free:  # in the order that they are leased in
        left[holder[job.job]].append(job)
    if idle < 1 or sum(cost(job) for jobs in left for job in jobs) < WORTH:
        return []
    return shards((job for jobs in left for job in jobs[(len(jobs) + 1) // 2 :]), minutes, idle, rounds=1)[:idle]


def run_in_pool(database: Database, batch_id: int, settings: Settings, pool: str, tell: Tell = lambda states: None) -> States:
    """Send a batch's shards to a Prefect work pool and wait for every job's end. Raises SetupError when pool or server is missing."""
    from flows.pool import Pool

    with Pool(pool, settings) as target:
        target.connect()
        sent_to(database, batch_id, pool)
        alive, patience = time.monotonic(), Patience(settings.outage_seconds)
        states: States = {}
        while True:
            with patience:
                reclaim(database, batch_id)
                states, busy = queries.state_counts(database, batch_id), working(database, batch_id)
                tell(states)
                if ended(states) or (control_of(database, batch_id) == "draining" and not busy):
                    return states
                if busy or target.queued():
                    alive = time.monotonic()
                elif time.monotonic() - alive > settings.lease_seconds + GRACE:
                    target.forget()  # runs that Prefect still calls running, whose workers have died
                if sum(states.get(state, 0) for state in OPEN) > busy and send(database, batch_id, settings, target):
                    alive = time.monotonic()
            time.sleep(pause(states))  # work happens elsewhere; the ledger is where it shows


def pause(states: States) -> float:
    """Seconds until the next look: the more jobs are open, the rarer."""
    return min(LONGEST_PAUSE, max(PAUSE, sum(states.get(state, 0) for state in OPEN) / JOBS_A_SECOND))
