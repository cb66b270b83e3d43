"""Who works on a job, which jobs may be worked on and in what order, and jobs whose worker is dead.

A lease runs out by itself; a worker that died on this very machine need not be waited for. Fencing tokens guard either way.
"""

import functools
import os
import socket
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.orm import Session

from db import tables as t
from db.session import Database

LONGEST_WAIT = 900.0  # seconds
OWNER = ".worker"  # file in a scratch folder that names who works in it


def wait(times: int, backoff: float) -> float:
    """Seconds until a job is tried again that was cut off so many times: `backoff`, doubled each time, a quarter of an hour at most."""
    return min(backoff * 2 ** max(0, times - 1), LONGEST_WAIT) if times > 0 else 0.0


def later(seconds: float) -> Any:
    """The database's time in so many seconds; its clock alone counts, whatever a worker's says."""
    return func.now() + text(f"interval '{float(seconds):.3f} seconds'")


def free() -> Any:
    """Whether a job may be leased: it is queued, its wait is over, and nobody paused its batch or all."""
    stopped = select(t.Service.id).where(t.Service.control != "open").exists()
    held = select(t.Batch.id).where(t.Batch.control != "open")
    due = t.Job.not_before.is_(None) | (t.Job.not_before <= func.now())
    return (t.Job.state == "queued") & due & t.Job.batch_id.not_in(held) & ~stopped


def ordered(query: Select[Any], batch_id: int | None) -> Select[Any]:
    """Jobs of a batch, or of all, in the order that they are leased in: batch's priority, job's priority, age."""
    if batch_id is not None:
        return query.where(t.Job.batch_id == batch_id).order_by(t.Job.priority.desc(), t.Job.position)
    return query.join(t.Batch, t.Batch.id == t.Job.batch_id).order_by(t.Batch.priority.desc(), t.Job.priority.desc(), t.Job.batch_id, t.Job.position)


def expire(session: Session, batch_id: int | None, max_attempts: int, backoff: float) -> int:
    """Queue jobs again whose lease has run out; returns how many. From the second dead worker on a job waits, unless it is to be set aside."""
    query = select(t.Job).where(t.Job.state == "running", t.Job.lease_expires <= func.now()).with_for_update(skip_locked=True)
    found = session.execute(query if batch_id is None else query.where(t.Job.batch_id == batch_id)).scalars().all()
    for job in found:
        seconds = 0.0 if job.attempts >= max_attempts else wait(job.attempts - 1, backoff)
        told = {"token": job.token, "worker": job.worker, "attempts": job.attempts, "seconds": seconds}
        job.state, job.lease_expires, job.worker = "queued", None, None
        job.not_before = session.execute(select(later(seconds))).scalar_one() if seconds else None
        session.add(t.Event(batch_id=job.batch_id, job_id=job.id, kind="lease ran out", detail=told))
    session.flush()
    return len(found)


@functools.cache
def here() -> str:
    """This machine since its last start, and the space that its process numbers count in."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/sys/kernel/random/boot_id').read_text()[:8]}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def me() -> str:
    """This process as a worker's name: machine, process number, and when the process began."""
    return f"{here()}:{os.getpid()}:{_began(os.getpid())}"


def _began(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(worker: str) -> bool:
    """Whether a worker's name is that of a process of this machine which is no more; False where that cannot be known."""
    place, _, rest = worker.partition(":")
    pid, _, began = rest.partition(":")
    if ":[" in worker:  # the name of the process space holds a colon of its own
        place, _, rest = worker.partition("]")
        place, (pid, _, began) = place + "]", rest.lstrip(":").partition(":")
    return place == here() and pid.isdigit() and bool(began) and _began(int(pid)) != began


def reclaim(database: Database, batch_id: int) -> int:
    """End the leases of a batch that dead workers of this machine hold; returns how many."""
    with database.begin() as session:
        held = session.execute(select(t.Job.id, t.Job.worker, t.Job.token).where(t.Job.batch_id == batch_id, t.Job.state == "running")).all()
        dead = [(job, token) for job, worker, token in held if worker and is_dead(worker)]
        for job, token in dead:
            session.execute(update(t.Job).where(t.Job.id == job, t.Job.token == token, t.Job.state == "running").values(lease_expires=func.now()))
            session.add(t.Event(batch_id=batch_id, job_id=job, kind="worker died", detail={"token": token}))
        return len(dead)


def lapsed(database: Database) -> dict[int, list[str]]:
    """Jobs, by batch, whose lease ran out or whose worker is a dead process of this machine, and that nobody took up."""
    query = select(t.Job.batch_id, t.Job.title, t.Job.locale, t.Job.worker, t.Job.lease_expires <= func.now()).where(t.Job.state == "running").order_by(t.Job.id)
    found: dict[int, list[str]] = {}
    with database.begin() as session:
        for batch, title, locale, worker, over in session.execute(query):
            if over or is_dead(worker or ""):
                found.setdefault(batch, []).append(f"{title}/{locale}")
    return found


def leasable() -> Any:
    """Whether a job is free or its lease ran out, which whoever looks for work next ends (`expire`)."""
    return free() | ((t.Job.state == "running") & (t.Job.lease_expires <= func.now()))


def waiting(database: Database, batch_id: int, most: int | None = None) -> list[int]:
    """Jobs of a batch that a worker could lease now, in order, so many at most."""
    with database.begin() as session:
        return list(session.execute(ordered(select(t.Job.id).where(leasable()), batch_id).limit(most)).scalars())


def others(database: Database, batch_id: int) -> int:
    """How many other processes hold jobs of a batch now."""
    with database.begin() as session:
        held = select(func.count(t.Job.worker.distinct())).where(t.Job.batch_id == batch_id, t.Job.state == "running", t.Job.lease_expires > func.now())
        return session.execute(held.where(t.Job.worker != me())).scalar_one()


def sent_to(database: Database, batch_id: int, pool: str) -> None:
    """Keep that a batch's work goes to a work pool, for those who look after it when its sender has died."""
    with database.begin() as session:
        session.add(t.Event(batch_id=batch_id, kind="sent to pool", detail={"pool": pool}))


def unended(database: Database) -> dict[int, str]:
    """Batches with jobs that have not come to an end, of those that were sent to a work pool; each with the pool that it was sent to last."""
    with database.begin() as session:
        open_jobs = select(t.Job.batch_id).where(t.Job.state.in_(("queued", "running")))
        found = select(t.Event.batch_id, t.Event.detail).where(t.Event.kind == "sent to pool", t.Event.batch_id.in_(open_jobs)).order_by(t.Event.id)
        return {batch: detail["pool"] for batch, detail in session.execute(found)}


def working(database: Database, batch_id: int) -> int:
    """How many jobs of a batch somebody holds a lease of now."""
    with database.begin() as session:
        held = select(func.count()).where(t.Job.batch_id == batch_id, t.Job.state == "running", t.Job.lease_expires > func.now())
        return session.execute(held).scalar_one()
