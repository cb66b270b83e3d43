"""Reading in pages: batches, jobs and deliveries in an order that stays, from a number on. For those who ask over HTTP."""

from typing import Any

from sqlalchemy import Select, func, select

from db import queries, reviews
from db import tables as t
from db.operations import OPEN
from db.session import Database
from infra.errors import LedgerError

LARGEST_PAGE = 200
JOB = ("engine", "preset", "state", "priority", "attempts", "outages", "title", "locale", "error")


def batches(database: Database, before: int | None, limit: int, name: str = "") -> list[dict[str, Any]]:
    """Batches, the newest first, with their jobs counted by state; before: only those of lower numbers."""
    query = select(t.Batch).order_by(t.Batch.id.desc()).limit(limit)
    query = query if before is None else query.where(t.Batch.id < before)
    query = query if not name else query.where(t.Batch.name == name)
    with database.begin() as session:
        rows = session.execute(query).scalars().all()
        counted = select(t.Job.batch_id, t.Job.state, func.count()).where(t.Job.batch_id.in_([row.id for row in rows])).group_by(t.Job.batch_id, t.Job.state)
        counts: dict[int, dict[str, int]] = {}
        for batch_id, state, count in session.execute(counted):
            counts.setdefault(batch_id, {})[state] = count
        return [_batch(row, counts.get(row.id, {})) for row in rows]


def _batch(row: t.Batch, counts: dict[str, int]) -> dict[str, Any]:
    told = {"batch": row.id, "name": row.name, "output": row.output, "created_at": row.created_at, "control": row.control, "priority": row.priority}
    return {**told, "jobs": counts, "ended": not any(counts.get(state) for state in OPEN)}


def batch(database: Database, number: int) -> dict[str, Any]:
    """One batch. Raises LedgerError where it is not there."""
    found = batches(database, number + 1, 1)
    if not found or found[0]["batch"] != number:
        raise LedgerError(f"there is no batch {number}", code="batch.missing", next_step="The list of batches shows their numbers.")
    return found[0]


def jobs(database: Database, after: int | None, limit: int, **wanted: Any) -> list[dict[str, Any]]:
    """Jobs in the order that they were entered in, after a number; wanted: values of `batch_id`, `state`, `locale`, `engine`, `title`, where given."""
    query = select(t.Job, t.Delivery).outerjoin(t.Delivery, t.Delivery.job_id == t.Job.id).order_by(t.Job.id).limit(limit)
    query = query if after is None else query.where(t.Job.id > after)
    for name, value in wanted.items():
        query = query if value in (None, "") else query.where(getattr(t.Job, name) == value)
    with database.begin() as session:
        return [_job(row, delivery) for row, delivery in session.execute(query)]


def _job(row: t.Job, delivery: t.Delivery | None) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in JOB}
    return {"job": row.id, "batch": row.batch_id, **plain, "not_before": row.not_before, "updated_at": row.updated_at, "url": delivery and delivery.url}


def job_row(database: Database, number: int) -> dict[str, Any]:
    """One job as lists show it. Raises LedgerError where it is not there."""
    found = jobs(database, number - 1, 1)
    if not found or found[0]["job"] != number:
        raise LedgerError(f"there is no job {number}", code="job.unknown", next_step="The list of jobs shows their numbers.")
    return found[0]


def job(database: Database, number: int) -> dict[str, Any]:
    """One job with its inputs by hash, takes, reviews and delivery. Raises LedgerError where it is not there."""
    found = job_row(database, number)
    with database.begin() as session:
        spec = session.get_one(t.Job, number).spec
    inputs = {role: {"sha256": facts["sha256"], "size": facts["size"]} for role, facts in spec.get("inputs", {}).items()}
    decided = reviews.of_job(database, number)
    takes = [take | {"reviews": [row for row in decided if row["take"] == take["take"]]} for take in queries.takes_of(database, number)]
    delivery = deliveries(database, None, 1, job_id=number)
    return found | {"inputs": inputs, "takes": takes, "delivery": delivery[0] if delivery else None}


def deliveries(database: Database, after: int | None, limit: int, **wanted: Any) -> list[dict[str, Any]]:
    """Deliveries by their jobs' numbers, after one, with hash and size; wanted: `batch_id` or `job_id`, where given."""
    query: Select[Any] = (
        select(t.Delivery, t.Job, t.Artifact.size)
        .join(t.Job, t.Job.id == t.Delivery.job_id)
        .join(t.Artifact, t.Artifact.sha256 == t.Delivery.sha256)
        .order_by(t.Delivery.job_id)
        .limit(limit)
    )
    query = query if after is None else query.where(t.Delivery.job_id > after)
    columns = {"batch_id": t.Job.batch_id, "job_id": t.Delivery.job_id}
    for name, value in wanted.items():
        query = query if value is None else query.where(columns[name] == value)
    with database.begin() as session:
        return [
            {
                "job": job.id, "batch": job.batch_id, "title": job.title, "locale": job.locale, "take": row.take_id, "url": row.url,
                "sha256": row.sha256, "size": size, "files": row.files, "at": row.created_at,
            }
            for row, job, size in session.execute(query)
        ]  # fmt: skip


def running(database: Database) -> int:
    """How many jobs are worked on, of all batches."""
    with database.begin() as session:
        return session.execute(select(func.count()).select_from(t.Job).where(t.Job.state == "running")).scalar_one()
