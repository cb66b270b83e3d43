"""Who works on a job, and jobs whose worker on this machine is known to be dead.

A lease runs out by itself; a worker that died on this very machine need not be waited for. Fencing tokens guard either way.
"""

import functools
import os
import socket
from pathlib import Path

from sqlalchemy import func, select, update

from db import tables as t
from db.session import Database


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


def waiting(database: Database, batch_id: int) -> list[int]:
    """Jobs of a batch that wait for a worker, in order: queued, or with a lease that has run out."""
    with database.begin() as session:
        free = (t.Job.state == "queued") | ((t.Job.state == "running") & (t.Job.lease_expires <= func.now()))
        return list(session.execute(select(t.Job.id).where(t.Job.batch_id == batch_id, free).order_by(t.Job.position)).scalars())


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
