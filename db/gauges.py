"""How the whole service stands, in a few short queries, each for one group of metrics (tasks/service_metrics.py). They only read.

Over jobs that have not ended, the queries use the index of these; over the others they count, which a statement timeout bounds.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import tables as t
from db import workers
from db.operations import OPEN

Rows = list[dict[str, Any]]
NEWEST = 20  # batches whose costs and failures are told


def _epoch(moment: Any) -> Any:
    return func.extract("epoch", func.now() - moment)


def states(session: Session) -> Rows:
    """`state` and `count` of all jobs."""
    found = dict(session.execute(select(t.Job.state, func.count()).group_by(t.Job.state)).tuples().all())
    return [{"state": state, "count": found.get(state, 0)} for state in t.JOB_STATES]


def queue(session: Session) -> Rows:
    """One row: jobs that could be leased now (`ready`) and the seconds since the oldest of them came to wait; jobs that wait out a fault (`deferred`); jobs of paused or draining batches (`held`)."""
    ready, waits, since = workers.free(), (t.Job.state == "queued") & (t.Job.not_before > func.now()), func.greatest(t.Job.updated_at, t.Job.not_before)
    query = select(func.count().filter(ready), func.coalesce(_epoch(func.min(since).filter(ready)), 0.0), func.count().filter(waits), func.count())
    free, age, deferred, every = session.execute(query.where(t.Job.state == "queued")).one()
    return [{"ready": free, "age": float(age), "deferred": deferred, "held": every - free - deferred}]


def leases(session: Session) -> Rows:
    """One row: leases that hold (`running`), that ran out and nobody took (`expired`), and the age of the oldest."""
    lapsed = t.Job.lease_expires <= func.now()
    query = select(func.count().filter(~lapsed), func.count().filter(lapsed), func.coalesce(_epoch(func.min(t.Job.updated_at)), 0.0))
    running, expired, oldest = session.execute(query.where(t.Job.state == "running")).one()
    return [{"running": running, "expired": expired, "oldest": float(oldest)}]


def reviews(session: Session) -> Rows:
    """One row: flagged jobs (`waiting`), and the seconds since the oldest was flagged."""
    query = select(func.count(), func.coalesce(_epoch(func.min(t.Job.updated_at)), 0.0)).where(t.Job.state == "flagged")
    waiting, oldest = session.execute(query).one()
    return [{"waiting": waiting, "oldest": float(oldest)}]


def batches(session: Session, hours: float) -> Rows:
    """One row: batches that have not ended (`open`), and of these the ones that nobody paused and that have been under way for more than `hours` (`late`)."""
    newest = select(func.max(t.Event.at)).where(t.Event.batch_id == t.Batch.id, t.Event.kind == "queued again").scalar_subquery()
    begun = func.greatest(t.Batch.created_at, newest)
    unended = select(t.Job.batch_id).where(t.Job.state.in_(OPEN))
    late = (_epoch(begun) > hours * 3600) & (t.Batch.control == "open")
    found, overdue = session.execute(select(func.count(), func.count().filter(late)).where(t.Batch.id.in_(unended))).one()
    return [{"open": found, "late": overdue}]


def deliveries(session: Session) -> Rows:
    """One row: `count` of all deliveries, and seconds since the newest; none is no age."""
    count, newest = session.execute(select(func.count(), _epoch(func.max(t.Delivery.created_at)))).one()
    return [{"count": count, "newest": None if newest is None else float(newest)}]


def failures(session: Session) -> Rows:
    """`code` and `count` of failed jobs of the newest batches."""
    code = func.coalesce(t.Job.error["code"].astext, "unknown")
    query = select(code, func.count()).where(t.Job.state == "failed", t.Job.batch_id.in_(newest(session))).group_by(code)
    return [{"code": name, "count": count} for name, count in session.execute(query)]


def newest(session: Session) -> list[int]:
    """Numbers of the newest batches."""
    return list(session.execute(select(t.Batch.id).order_by(t.Batch.id.desc()).limit(NEWEST)).scalars())


def size(session: Session) -> Rows:
    """One row: `bytes` that the ledger takes in Postgres."""
    return [{"bytes": session.execute(select(func.pg_database_size(func.current_database()))).scalar_one()}]


GROUPS: dict[str, Callable[[Session], Rows]] = {
    "states": states, "queue": queue, "leases": leases, "reviews": reviews, "deliveries": deliveries, "failures": failures, "size": size,
}  # fmt: skip
