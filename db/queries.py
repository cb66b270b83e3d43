"""Reading: where batches stand, and everything a report shows of one."""

from typing import Any

from sqlalchemy import func, select

from db import tables as t
from db.session import Database


def batches(database: Database, limit: int = 20) -> list[dict[str, Any]]:
    """The newest batches with their jobs counted by state."""
    with database.begin() as session:
        rows = session.execute(select(t.Batch).order_by(t.Batch.id.desc()).limit(limit)).scalars().all()
        counts = session.execute(
            select(t.Job.batch_id, t.Job.state, func.count()).where(t.Job.batch_id.in_([b.id for b in rows])).group_by(t.Job.batch_id, t.Job.state),
        ).all()
        by_batch: dict[int, dict[str, int]] = {}
        for batch_id, state, count in counts:
            by_batch.setdefault(batch_id, {})[state] = count
        return [
            {"batch": b.id, "name": b.name, "output": b.output, "created_at": b.created_at.isoformat(), "jobs": by_batch.get(b.id, {})} for b in rows
        ]


def find_batch(database: Database, name_or_id: str) -> int | None:
    """The id of a batch by its number, or of the newest one of a name; of the newest of all for an empty string."""
    with database.begin() as session:
        query = select(t.Batch.id).order_by(t.Batch.id.desc()).limit(1)
        if name_or_id.isdigit():
            query = query.where(t.Batch.id == int(name_or_id))
        elif name_or_id:
            query = query.where(t.Batch.name == name_or_id)
        return session.execute(query).scalar_one_or_none()


def job_states(database: Database, batch_id: int) -> dict[int, str]:
    """State of every job of a batch."""
    with database.begin() as session:
        return {row[0]: row[1] for row in session.execute(select(t.Job.id, t.Job.state).where(t.Job.batch_id == batch_id))}


def delivered(database: Database, keys: list[str]) -> dict[str, dict[str, Any]]:
    """For job content keys: the delivery that has been made of them, with its verdict's numbers."""
    with database.begin() as session:
        query = (
            select(t.Job.key, t.Delivery.url, t.Delivery.sha256, t.Job.batch_id, t.Job.id)
            .join(t.Delivery, t.Delivery.job_id == t.Job.id)
            .where(t.Job.key.in_(keys))
            .order_by(t.Job.id)
        )
        return {key: {"url": url, "sha256": sha, "batch": batch, "job": job} for key, url, sha, batch, job in session.execute(query)}


def stage_rates(database: Database) -> list[dict[str, Any]]:
    """Seconds by stage of the last hundred takes, with their frames: what estimates are made from."""
    with database.begin() as session:
        query = select(t.Take.seconds, t.Take.parameters).order_by(t.Take.id.desc()).limit(100)
        return [{"seconds": seconds, "frames": parameters.get("frames", 0)} for seconds, parameters in session.execute(query)]


def report(database: Database, batch_id: int) -> dict[str, Any]:
    """A batch with its jobs, takes, verdicts and deliveries, as a report shows them."""
    with database.begin() as session:
        batch = session.execute(select(t.Batch).where(t.Batch.id == batch_id)).scalar_one()
        jobs = session.execute(select(t.Job).where(t.Job.batch_id == batch_id).order_by(t.Job.position)).scalars().all()
        ids = [j.id for j in jobs]
        takes = session.execute(select(t.Take).where(t.Take.job_id.in_(ids)).order_by(t.Take.job_id, t.Take.number)).scalars().all()
        verdicts = {v.take_id: v for v in session.execute(select(t.Verdict).where(t.Verdict.take_id.in_([x.id for x in takes]))).scalars()}
        deliveries = {d.job_id: d for d in session.execute(select(t.Delivery).where(t.Delivery.job_id.in_(ids))).scalars()}
        calibrations = {c.id: c for c in session.execute(select(t.Calibration)).scalars()}
        return {
            "batch": batch.id,
            "name": batch.name,
            "output": batch.output,
            "created_at": batch.created_at.isoformat(),
            "jobs": [_job(j, [x for x in takes if x.job_id == j.id], verdicts, deliveries.get(j.id), calibrations) for j in jobs],
        }


def _job(job: t.Job, takes: list[t.Take], verdicts: dict[int, t.Verdict], delivery: t.Delivery | None, calibrations: dict[int, t.Calibration]) -> dict[str, Any]:
    return {
        "job": job.id,
        "title": job.title,
        "locale": job.locale,
        "engine": job.engine,
        "preset": job.preset,
        "state": job.state,
        "attempts": job.attempts,
        "error": job.error,
        "spec": job.spec,
        "takes": [_take(x, verdicts.get(x.id), calibrations) for x in takes],
        "delivery": None if delivery is None else {"url": delivery.url, "sha256": delivery.sha256, "files": delivery.files, "take": delivery.take_id},
    }


def _take(take: t.Take, verdict: t.Verdict | None, calibrations: dict[int, t.Calibration]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "take": take.id,
        "number": take.number,
        "parameters": take.parameters,
        "seconds": take.seconds,
        "video": take.video,
        "code_version": take.code_version,
        "machine": take.machine,
    }
    if verdict is not None:
        row |= {
            "verdict": verdict.verdict,
            "reasons": verdict.reasons,
            "offset": verdict.offset_frames,
            "distance": verdict.distance,
            "confidence": verdict.confidence,
            "curve": verdict.curve,
            "scorer": calibrations[verdict.calibration_id].scorer,
            "thresholds": calibrations[verdict.calibration_id].thresholds,
        }
    return row
