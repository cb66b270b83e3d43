"""Which batches have ended and have no report of how they ended, because whoever ran them died. The report itself is flows/reports.py's.

Both ends are events of the batch: `run`, by whoever is going to write its report, and `reported`, with the moment that it tells of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text, cast, func, select

from db import tables as t
from db.operations import OPEN
from db.session import Database
from db.workers import is_dead, me

NEWEST = 50  # batches that are looked at
QUIET = 180.0  # seconds after its end that a batch's report is left to a sender of whom nothing is known
LOCK = 7_215_134  # with a batch's number: who writes its report


def begun(database: Database, batch_id: int) -> None:
    """Keep that this process runs a batch and is going to write its report."""
    _tell(database, batch_id, "run", {"worker": me()})


def now(database: Database) -> str:
    """The database's time, for `written`: taken before the rows that a report shows."""
    with database.begin() as session:
        return session.execute(select(cast(func.clock_timestamp(), Text))).scalar_one()


def written(database: Database, batch_id: int, place: str, as_of: str) -> None:
    """Keep where a batch's report lies, and of what moment it tells."""
    _tell(database, batch_id, "reported", {"report": place, "as_of": as_of, "worker": me()})


def _tell(database: Database, batch_id: int, kind: str, detail: dict[str, Any]) -> None:
    with database.begin() as session:
        session.add(t.Event(batch_id=batch_id, kind=kind, detail=detail))


def missing(database: Database, batch_id: int | None = None) -> list[int]:
    """Batches that have ended since their last report, and whoever was to write it is dead, or silent for some minutes.

    Of all batches the newest 50 are looked at; those that no `run` event tells of are left alone: they ended under older versions.
    """
    own = t.Event.job_id.is_(None)  # few events are the batch's own, and an index finds them
    run = select(t.Event.batch_id, func.max(t.Event.id).label("id")).where(own, t.Event.kind == "run").group_by(t.Event.batch_id).subquery()
    told = cast(t.Event.detail["as_of"].astext, DateTime(timezone=True))
    reported = select(t.Event.batch_id, func.max(told).label("at")).where(own, t.Event.kind == "reported").group_by(t.Event.batch_id).subquery()
    ended = func.max(t.Job.updated_at)
    newest = select(t.Batch.id).order_by(t.Batch.id.desc()).limit(NEWEST)
    query = (
        select(t.Job.batch_id, t.Event.detail["worker"].astext, t.Event.at, ended, func.extract("epoch", func.now() - func.greatest(ended, t.Event.at)), reported.c.at)
        .join(run, run.c.batch_id == t.Job.batch_id)
        .join(t.Event, t.Event.id == run.c.id)
        .outerjoin(reported, reported.c.batch_id == t.Job.batch_id)
        .where(t.Job.batch_id.in_(newest) if batch_id is None else t.Job.batch_id == batch_id)
        .group_by(t.Job.batch_id, t.Event.id, reported.c.at)
        .having(func.count().filter(t.Job.state.in_(OPEN)) == 0)
        .order_by(t.Job.batch_id)
    )
    with database.begin() as session:
        rows = session.execute(query).all()
    return [number for number, worker, began, end, age, at in rows if not _covers(at, began, end) and (is_dead(worker) or float(age) > QUIET)]


def _covers(reported: datetime | None, began: datetime, ended: datetime) -> bool:
    return reported is not None and reported >= max(began, ended)


@contextmanager
def alone(database: Database, batch_id: int) -> Iterator[bool]:
    """Whether this process is the one that writes a batch's report while the block runs; the lock ends with its connection."""
    with database.engine.connect() as connection:
        mine = bool(connection.execute(select(func.pg_try_advisory_lock(LOCK, batch_id % 2**31))).scalar_one())
        connection.commit()
        try:
            yield mine
        finally:
            if mine:
                connection.execute(select(func.pg_advisory_unlock(LOCK, batch_id % 2**31)))
                connection.commit()
