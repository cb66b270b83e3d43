"""Reading: where batches stand, and everything a report shows of one."""

from typing import Any

from sqlalchemy import Float, and_, case, cast, func, or_, select

from db import reviews
from db import tables as t
from db.session import Database

SHARED = ("speech", "faces", "tracks", "cast", "references")  # stages that a job's takes have in common


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


def ladder_of(database: Database, batch_id: int) -> dict[str, Any]:
    """How far the manifest lets a batch's jobs climb; empty where it does not say."""
    with database.begin() as session:
        return session.execute(select(t.Batch.ladder).where(t.Batch.id == batch_id)).scalar_one()


def seconds_again(database: Database, batch_id: int) -> float:
    """Seconds of work of a batch's takes after each job's first, for their own stages alone."""
    stage = func.jsonb_each_text(t.Take.seconds).table_valued("key", "value").lateral()
    query = (
        select(func.coalesce(func.sum(cast(stage.c.value, Float)), 0.0))
        .select_from(t.Take)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .join(stage, stage.c.key.not_in(SHARED))
        .where(t.Job.batch_id == batch_id, t.Take.number > 1)
    )
    with database.begin() as session:
        return float(session.execute(query).scalar_one())


def engine_record(database: Database, *, video: bool, preset: str, locale: str) -> dict[str, dict[str, tuple[int, int]]]:
    """By engine, (takes, how many won) for portraits or for videos at a preset: `all`, and `locale` of one locale.

    A job's first take by an engine counts, since later ones are of what was hard already. Won is what passed the gate or a person
    approved, and nobody rejected.
    """
    newest = select(t.Review.take_id, t.Review.decision).distinct(t.Review.take_id).order_by(t.Review.take_id, t.Review.id.desc()).subquery()
    first = (
        select(t.Take.id, t.Take.engine, t.Job.locale)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .where(t.Take.preset == preset, t.Job.spec["inputs"].has_key("video") == video)
        .distinct(t.Take.job_id, t.Take.engine)
        .order_by(t.Take.job_id, t.Take.engine, t.Take.number)
        .subquery()
    )
    won = or_(newest.c.decision == "approve", and_(t.Verdict.verdict == "pass", newest.c.decision.is_(None)))
    here = first.c.locale == locale
    counts = (func.count(), func.count(case((won, 1))), func.count(case((here, 1))), func.count(case((and_(here, won), 1))))
    query = (
        select(first.c.engine, *counts)
        .join(t.Verdict, t.Verdict.take_id == first.c.id)
        .outerjoin(newest, newest.c.take_id == first.c.id)
        .group_by(first.c.engine)
    )
    with database.begin() as session:
        return {engine: {"all": (takes, wins), "locale": (near, near_wins)} for engine, takes, wins, near, near_wins in session.execute(query)}


def takes_of(database: Database, job_id: int) -> list[dict[str, Any]]:
    """A job's takes in order as a report shows them, each with the files that it was made of: weights, and its speech."""
    with database.begin() as session:
        rows = session.execute(select(t.Take).where(t.Take.job_id == job_id).order_by(t.Take.number)).scalars().all()
        ids = [row.id for row in rows]
        verdicts = {v.take_id: v for v in session.execute(select(t.Verdict).where(t.Verdict.take_id.in_(ids))).scalars()}
        calibrations = {c.id: c for c in session.execute(select(t.Calibration).where(t.Calibration.id.in_([v.calibration_id for v in verdicts.values()]))).scalars()}
        weights: dict[int, list[dict[str, str]]] = {}
        used = select(t.TakeWeights.take_id, t.Weights).join(t.Weights, t.Weights.sha256 == t.TakeWeights.sha256).where(t.TakeWeights.take_id.in_(ids))
        for take_id, file in session.execute(used.order_by(t.Weights.sha256)):
            weights.setdefault(take_id, []).append({name: getattr(file, name) for name in ("sha256", "engine", "name", "licence", "licence_class")})
        spoken = select(t.Edge.sha256, t.Edge.source).where(t.Edge.sha256.in_([row.video for row in rows]), t.Edge.role == "speech")
        speech = dict(session.execute(spoken).tuples().all())
        more = {row.id: {"weights": weights.get(row.id, []), "speech": speech.get(row.video), "at": row.created_at.isoformat()} for row in rows}
        return [_take(row, verdicts.get(row.id), calibrations) | more[row.id] for row in rows]


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
        decided: dict[int, list[dict[str, Any]]] = {}
        for row in session.execute(select(t.Review).where(t.Review.take_id.in_([x.id for x in takes])).order_by(t.Review.id)).scalars():
            decided.setdefault(row.take_id, []).append(reviews.row_of(row))
        told: dict[str, Any] = {
            "batch": batch.id,
            "name": batch.name,
            "output": batch.output,
            "created_at": batch.created_at.isoformat(),
            "jobs": [_job(j, [x for x in takes if x.job_id == j.id], verdicts, deliveries.get(j.id), calibrations) for j in jobs],
        }
    for job in told["jobs"]:
        for take in job["takes"]:
            take["reviews"] = decided.get(take["take"], [])
    return told | {"agreement": reviews.agreement(database, batch_id)}


def _job(job: t.Job, takes: list[t.Take], verdicts: dict[int, t.Verdict], delivery: t.Delivery | None, calibrations: dict[int, t.Calibration]) -> dict[str, Any]:
    return {
        "job": job.id,
        "title": job.title,
        "locale": job.locale,
        "engine": job.engine,
        "preset": job.preset,
        "state": job.state,
        "priority": job.priority,
        "attempts": job.attempts,
        "outages": job.outages,
        "not_before": job.not_before and job.not_before.isoformat(),
        "error": job.error,
        "spec": job.spec,
        "takes": [_take(x, verdicts.get(x.id), calibrations) for x in takes],
        "delivery": None if delivery is None else {"url": delivery.url, "sha256": delivery.sha256, "files": delivery.files, "take": delivery.take_id},
    }


def _take(take: t.Take, verdict: t.Verdict | None, calibrations: dict[int, t.Calibration]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "take": take.id,
        "number": take.number,
        "engine": take.engine,
        "preset": take.preset,
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


def deliveries_of(database: Database, sha256: str, watermarks: list[str]) -> list[dict[str, Any]]:
    """The takes that a file is, by the hash of its bytes as rendered or delivered, or by a watermark, with where each was delivered."""
    query = (
        select(t.Take, t.Job, t.Delivery)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .outerjoin(t.Delivery, t.Delivery.take_id == t.Take.id)
        .where(or_(t.Take.video == sha256, t.Delivery.sha256 == sha256, t.Take.parameters["watermark"].astext.in_(watermarks)))
        .order_by(t.Take.id)
    )
    with database.begin() as session:
        return [
            {
                "job": f"{job.title}/{job.locale}", "batch": job.batch_id, "state": job.state, "take": take.number, "video": take.video,
                "url": delivery.url if delivery else None, "sha256": delivery.sha256 if delivery else None,
            }
            for take, job, delivery in session.execute(query)
        ]  # fmt: skip
