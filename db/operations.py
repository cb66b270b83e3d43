"""What an operator does to batches under way: cancel, put first, pause, drain and resume; and how a batch stands right now.

Each is one transaction with its events. A worker is never asked: it finds out at its next write, renewal or look for a job.
"""

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import tables as t
from db.session import Database
from infra.errors import LedgerError

OPEN = ("queued", "running")  # states in which a job has not ended
HIGHEST = 1000


def cancel(database: Database, batch_id: int, by: str, job: str = "") -> dict[str, list[str]]:
    """End a batch's waiting and running jobs, or one of them (`TITLE/LOCALE`), as cancelled; returns their names by the state they were in.

    A running job's token is raised, so that whoever works on it can write, deliver and renew nothing any more. Raises LedgerError for a
    job that is not there or has ended.
    """
    with database.begin() as session:
        rows = session.execute(select(t.Job).where(t.Job.batch_id == batch_id, t.Job.state.in_(OPEN)).order_by(t.Job.position).with_for_update()).scalars().all()
        chosen = [row for row in rows if not job or _name(row) == job]
        if job and not chosen:
            raise _no_such(session, batch_id, job)
        ended: dict[str, list[str]] = {state: [_name(row) for row in chosen if row.state == state] for state in OPEN}
        for row in chosen:
            was, row.state, row.token = row.state, "cancelled", row.token + 1
            row.lease_expires, row.worker, row.not_before = None, None, None
            row.error = {
                "code": "job.cancelled", "message": f"{by} cancelled it while it was {was}", "job": _name(row),
                "next_step": "`dubwright run --retry` of its manifest queues it again.",
            }  # fmt: skip
            row.updated_at = session.execute(select(func.now())).scalar_one()
            _tell(session, batch_id, row.id, "cancelled", {"actor": by, "was": was, "token": row.token})
        return ended


def _name(row: t.Job) -> str:
    return f"{row.title}/{row.locale}"


def _no_such(session: Session, batch_id: int, job: str) -> LedgerError:
    title, _, locale = job.rpartition("/")
    state = session.execute(select(t.Job.state).where(t.Job.batch_id == batch_id, t.Job.title == title, t.Job.locale == locale)).scalar_one_or_none()
    if state is None:
        return LedgerError(f"batch {batch_id} has no job {job[:80]!r}", code="job.unknown", next_step=f"`dubwright status {batch_id}` lists its jobs as TITLE/LOCALE.")
    return LedgerError(f"the job {job} is {state} and has ended", code="job.ended", next_step="Nothing to cancel; a delivery stays as it is.")


def prioritise(database: Database, batch_id: int, priority: int, by: str) -> int:
    """Lease a batch's jobs before those of batches of less priority; returns what it was. Raises LedgerError beyond +-1000."""
    if abs(priority) > HIGHEST:
        raise LedgerError(f"a priority lies between -{HIGHEST} and {HIGHEST}, not at {priority}", code="job.priority", next_step="0 is what a batch begins with; more comes first.")
    with database.begin() as session:
        batch = session.execute(select(t.Batch).where(t.Batch.id == batch_id).with_for_update()).scalar_one()
        was, batch.priority = batch.priority, priority
        if was != priority:
            _tell(session, batch_id, None, "priority", {"actor": by, "was": was, "priority": priority})
        return was


def steer(database: Database, control: str, by: str, batch_id: int | None = None) -> int:
    """Open, pause or drain a batch, or all; returns how many jobs are running, which end as they would have. Raises ValueError for other words.

    Neither paused nor draining batches give leases. Workers of a paused one wait for it; those of a draining one end after their job.
    """
    if control not in t.CONTROLS:
        raise ValueError(f"a batch is one of {', '.join(t.CONTROLS)}, not {control!r}")
    with database.begin() as session:
        if batch_id is None:
            session.execute(update(t.Service).values(control=control, changed_at=func.now()))
            told = list(session.execute(select(t.Job.batch_id).where(t.Job.state.in_(OPEN)).distinct()).scalars())
        else:
            session.execute(update(t.Batch).where(t.Batch.id == batch_id).values(control=control))
            told = [batch_id]
        for number in told:
            _tell(session, number, None, control, {"actor": by, "all": batch_id is None})
        running = select(func.count()).select_from(t.Job).where(t.Job.state == "running")
        return session.execute(running if batch_id is None else running.where(t.Job.batch_id == batch_id)).scalar_one()


def control_of(database: Database, batch_id: int) -> str:
    """Whether a batch is open, paused or draining: what is said of all holds where it is more than what is said of the batch."""
    with database.begin() as session:
        own = session.execute(select(t.Batch.control).where(t.Batch.id == batch_id)).scalar_one()
        every = session.execute(select(t.Service.control)).scalar_one()
    return max((own, every), key=t.CONTROLS.index)


def live(database: Database, batch_id: int | None = None) -> dict[int, dict[str, Any]]:
    """How unfinished batches, or one batch, stand right now, by number: control, priority, jobs waiting out a fault, leases and their ages.

    `deferred`: jobs that may not be leased yet; `next_try`: when the first may. `leases`; `oldest_lease`: seconds since it was taken, and
    `lapsed`: leases that ran out and nobody took. One query over jobs that have not ended.
    """
    now = func.now()
    waits, held = (t.Job.state == "queued") & (t.Job.not_before > now), t.Job.state == "running"
    query = (
        select(
            t.Batch.id, t.Batch.control, t.Batch.priority, func.count(t.Job.id).filter(waits), func.min(t.Job.not_before).filter(waits),
            func.count(t.Job.id).filter(held), func.extract("epoch", now - func.min(t.Job.updated_at).filter(held)),
            func.count(t.Job.id).filter(held & (t.Job.lease_expires <= now)),
        )
        .outerjoin(t.Job, (t.Job.batch_id == t.Batch.id) & t.Job.state.in_(OPEN))
        .group_by(t.Batch.id)
    )  # fmt: skip
    query = query.where(t.Batch.id == batch_id) if batch_id is not None else query.where(t.Job.id.is_not(None) | (t.Batch.control != "open"))
    with database.begin() as session:
        every = session.execute(select(t.Service.control)).scalar_one()
        return {
            number: {
                "control": max((own, every), key=t.CONTROLS.index), "priority": priority, "deferred": deferred, "next_try": first and first.isoformat(),
                "leases": leases, "oldest_lease": None if age is None else round(float(age), 1), "lapsed": lapsed,
            }
            for number, own, priority, deferred, first, leases, age, lapsed in session.execute(query)
        }  # fmt: skip


def service_control(database: Database) -> str:
    """What is said of all batches: open, paused or draining."""
    with database.begin() as session:
        return session.execute(select(t.Service.control)).scalar_one()


def _tell(session: Session, batch_id: int, job_id: int | None, kind: str, detail: dict[str, Any]) -> None:
    session.add(t.Event(batch_id=batch_id, job_id=job_id, kind=kind, detail=detail))
