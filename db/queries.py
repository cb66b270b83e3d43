"""Reading: where batches stand, and everything a report shows of one."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Float, Text, and_, bindparam, case, cast, func, or_, select

from db import reviews, workers
from db import tables as t
from db.session import Database


@dataclass(frozen=True)
class Estimated:
    """A job as shards are made of: estimated seconds of work, hash of the portrait or video that it may share with others, priority."""

    job: int
    seconds: float
    face: str
    priority: int = 0


SHARED = ("speech", "loudness", "sound", "faces", "tracks", "cast", "references")  # stages that a job's takes have in common


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


def state_counts(database: Database, batch_id: int) -> dict[str, int]:
    """How many jobs of a batch are in which state."""
    with database.begin() as session:
        return {row[0]: row[1] for row in session.execute(select(t.Job.state, func.count()).where(t.Job.batch_id == batch_id).group_by(t.Job.state))}


def estimates(database: Database, batch_id: int, most: int) -> list[Estimated]:
    """Jobs of a batch that may be leased now, so many at most and in that order, without what else their rows hold."""
    work, inputs = cast(t.Job.spec["estimate"].astext, Float), t.Job.spec["inputs"]
    face = func.coalesce(inputs["video"]["sha256"].astext, inputs["portrait"]["sha256"].astext, "")
    query = select(t.Job.id, func.coalesce(work, 0.0), face, t.Job.priority).where(workers.leasable())
    with database.begin() as session:
        return [Estimated(*row) for row in session.execute(workers.ordered(query, batch_id).limit(most))]


def next_inputs(database: Database, batch_id: int, jobs: list[int]) -> dict[str, Any]:
    """The inputs of that of the jobs which would be leased next; empty where none would be. Nobody's lease."""
    with database.begin() as session:
        query = workers.ordered(select(t.Job.spec["inputs"]).where(workers.free(), t.Job.id.in_(jobs)), batch_id).limit(1)
        return dict(session.execute(query).scalar_one_or_none() or {})


def engines_asked(database: Database, batch_id: int) -> list[tuple[str, str, bool]]:
    """Engine, preset, and whether it is for a video, of the jobs of a batch that can work."""
    video = t.Job.spec["inputs"].has_key("video")
    query = select(t.Job.engine, t.Job.preset, video).where(t.Job.batch_id == batch_id, t.Job.spec["fault"].astext.is_(None)).distinct()
    with database.begin() as session:
        return [(engine, preset, bool(dubbed)) for engine, preset, dubbed in session.execute(query)]


def take_count(database: Database, batch_id: int) -> int:
    """How many takes a batch's jobs have."""
    with database.begin() as session:
        return session.execute(select(func.count(t.Take.id)).join(t.Job, t.Job.id == t.Take.job_id).where(t.Job.batch_id == batch_id)).scalar_one()


def delivered(database: Database, keys: list[str]) -> dict[str, dict[str, Any]]:
    """For job content keys: the delivery that has been made of them, with its verdict's numbers."""
    with database.begin() as session:
        query = (
            select(t.Job.key, t.Delivery.url, t.Delivery.sha256, t.Job.batch_id, t.Job.id)
            .join(t.Delivery, t.Delivery.job_id == t.Job.id)
            .where(t.Job.key == func.any(bindparam("keys", keys, ARRAY(Text))))  # one parameter: a statement takes 65,535 at most
            .order_by(t.Job.id)
        )
        return {key: {"url": url, "sha256": sha, "batch": batch, "job": job} for key, url, sha, batch, job in session.execute(query)}


@dataclass(frozen=True)
class Worked:
    """A job that was worked on: its first take's engine and preset, whether it is for a video, the processor or GPU, seconds of work and of video."""

    engine: str
    preset: str
    video: bool
    machine: str
    work: float
    seconds: float


def worked(database: Database, takes: int = 500) -> list[Worked]:
    """The jobs of the newest takes, the newest first, each with the seconds of all its takes: what estimates are made from."""
    columns = (t.Take.job_id, t.Take.number, t.Take.engine, t.Take.preset, t.Take.seconds, t.Take.parameters, t.Take.machine, t.Job.spec["inputs"].has_key("video"))
    with database.begin() as session:
        rows = session.execute(select(*columns).join(t.Job, t.Job.id == t.Take.job_id).order_by(t.Take.id.desc()).limit(takes)).all()
    jobs: dict[int, list[Any]] = {}
    for row in rows:
        jobs.setdefault(row[0], []).append(row)
    found = []
    for job in jobs.values():
        _, number, engine, preset, _, told, machine, video = min(job, key=lambda row: row[1])
        if number == 1 and told.get("frames"):
            work = sum(seconds for row in job for name, seconds in row[4].items() if row[1] == 1 or name not in SHARED)
            found.append(Worked(engine, preset, bool(video), machine.get("gpu") or machine.get("processor") or "", work, told["frames"] / (told.get("fps") or 25)))
    return found


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
        if not rows:
            return []
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


def traces(database: Database, batch_id: int) -> dict[int, str]:
    """The trace of each of a batch's jobs that has one (flows/observed.py)."""
    query = select(t.Event.job_id, t.Event.detail["trace_id"].astext).where(t.Event.batch_id == batch_id, t.Event.kind == t.TRACED)
    with database.begin() as session:
        return {job: trace for job, trace in session.execute(query.order_by(t.Event.id.desc())).tuples() if job is not None}


def report(database: Database, batch_id: int) -> dict[str, Any]:
    """A batch with its jobs, takes, verdicts and deliveries, as a report shows them."""
    with database.begin() as session:
        batch = session.execute(select(t.Batch).where(t.Batch.id == batch_id)).scalar_one()
        jobs = session.execute(select(t.Job).where(t.Job.batch_id == batch_id).order_by(t.Job.position)).scalars().all()
        of_batch = select(t.Job.id).where(t.Job.batch_id == batch_id)
        takes: dict[int, list[t.Take]] = {}
        for take in session.execute(select(t.Take).where(t.Take.job_id.in_(of_batch)).order_by(t.Take.job_id, t.Take.number)).scalars():
            takes.setdefault(take.job_id, []).append(take)
        of_takes = select(t.Take.id).where(t.Take.job_id.in_(of_batch))
        verdicts = {v.take_id: v for v in session.execute(select(t.Verdict).where(t.Verdict.take_id.in_(of_takes))).scalars()}
        deliveries = {d.job_id: d for d in session.execute(select(t.Delivery).where(t.Delivery.job_id.in_(of_batch))).scalars()}
        calibrations = {c.id: c for c in session.execute(select(t.Calibration)).scalars()}
        decided: dict[int, list[dict[str, Any]]] = {}
        for row in session.execute(select(t.Review).where(t.Review.take_id.in_(of_takes)).order_by(t.Review.id)).scalars():
            decided.setdefault(row.take_id, []).append(reviews.row_of(row))
        told: dict[str, Any] = {
            "batch": batch.id,
            "name": batch.name,
            "output": batch.output,
            "created_at": batch.created_at.isoformat(),
            "jobs": [_job(j, takes.get(j.id, []), verdicts, deliveries.get(j.id), calibrations) for j in jobs],
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
