"""The ledger: submit, lease, record, finish. Every write by a worker carries its lease, and a stale one is refused.

A write locks the job's row, compares fencing tokens and does its work in one transaction, so two executors of one job can both
run, but only the one that holds the job now can record anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, load_only

from db import consents, retention, workers
from db import tables as t
from db.session import Database
from infra.errors import StaleToken

LEAN = load_only(t.Job.batch_id, t.Job.state, t.Job.token, t.Job.attempts, t.Job.outages)  # what writes look at; the spec is long
RIGHTS = ("consent", "use", "territory")  # what a job says of consent names no job: it may be corrected


@dataclass(frozen=True)
class JobSpec:
    """One job of a submission: its content key, name, engine, and everything its stages need; a higher priority is leased first."""

    key: str
    title: str
    locale: str
    engine: str
    preset: str
    spec: dict[str, Any]
    priority: int = 0


@dataclass(frozen=True)
class Submitted:
    """The batch a submission stands for, and whether this call made it."""

    batch_id: int
    created: bool


@dataclass(frozen=True)
class Lease:
    """The right to work on a job for a while."""

    job_id: int
    batch_id: int
    token: int
    attempts: int
    title: str
    locale: str
    engine: str
    preset: str
    key: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class ArtifactRow:
    """What the ledger keeps of an artifact, and what it was made from: (source hash, role) pairs."""

    sha256: str
    kind: str
    size: int
    key: str
    made_from: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TakeRecord:
    """A finished take. seconds: of its stages when they were really run; spent: of those that ran now, for this take."""

    number: int
    engine: str
    preset: str
    parameters: dict[str, Any]
    code_version: str
    machine: dict[str, Any]
    seconds: dict[str, float]
    video: ArtifactRow
    weights: tuple[dict[str, str], ...]
    windows: tuple[tuple[int, int, float], ...] = ()
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class VerdictRecord:
    """The gate's decision on a take."""

    verdict: str
    reasons: tuple[str, ...]
    scorer: str
    thresholds: dict[str, Any]
    offset: int | None
    distance: float | None
    confidence: float | None
    curve: dict[str, Any] = field(default_factory=dict)


def submit(database: Database, key: str, name: str, output: str, jobs: list[JobSpec], ladder: dict[str, Any] | None = None) -> Submitted:
    """Enter a batch, once: the same key from any number of clients at once gives one batch.

    ladder: how far its jobs may climb; of a batch that is there, the newest submission's holds, and so do its jobs' priorities and what
    they say of consent.
    """
    limits = ladder or {}
    with database.begin() as session:
        row = session.execute(
            insert(t.Batch).values(key=key, name=name, output=output, ladder=limits).on_conflict_do_nothing(index_elements=["key"]).returning(t.Batch.id),
        ).scalar_one_or_none()
        if row is None:
            batch = session.execute(select(t.Batch).where(t.Batch.key == key).with_for_update()).scalar_one()
            if batch.ladder != limits:
                batch.ladder = limits
                _event(session, batch.id, None, "ladder", limits)
            _priorities(session, batch.id, {(job.title, job.locale): job.priority for job in jobs})
            _rights(session, batch.id, {(job.title, job.locale): {name: job.spec[name] for name in RIGHTS if name in job.spec} for job in jobs})
            return Submitted(batch.id, False)
        rows = [
            {"batch_id": row, "position": i, **{name: getattr(j, name) for name in ("key", "title", "locale", "engine", "preset", "spec", "priority")}}
            for i, j in enumerate(jobs)
        ]
        if rows:
            session.execute(insert(t.Job), rows)
        _event(session, row, None, "submitted", {"jobs": len(rows), "ladder": limits})
        return Submitted(row, True)


def _priorities(session: Session, batch_id: int, wanted: dict[tuple[str, str], int]) -> None:
    for job_id, title, locale, priority in session.execute(select(t.Job.id, t.Job.title, t.Job.locale, t.Job.priority).where(t.Job.batch_id == batch_id)).all():
        if wanted.get((title, locale), priority) != priority:
            session.execute(update(t.Job).where(t.Job.id == job_id).values(priority=wanted[title, locale]))
            _event(session, batch_id, job_id, "priority", {"priority": wanted[title, locale]})


def _rights(session: Session, batch_id: int, wanted: dict[tuple[str, str], dict[str, Any]]) -> None:
    for job in session.execute(select(t.Job).where(t.Job.batch_id == batch_id, t.Job.state != "delivered")).scalars():
        said = wanted.get((job.title, job.locale), {})
        if any(job.spec.get(name, "") != value for name, value in said.items()):
            job.spec = {**job.spec, **said}


def retry(database: Database, batch_id: int, states: tuple[str, ...] = ("failed", "flagged")) -> int:
    """Queue again the jobs of a batch that ended in `states`; returns how many."""
    with database.begin() as session:
        found = session.execute(
            update(t.Job)
            .where(t.Job.batch_id == batch_id, t.Job.state.in_(states))
            .values(state="queued", attempts=0, outages=0, error=None, updated_at=func.now())
            .returning(t.Job.id),
        ).scalars().all()
        for job_id in found:
            _event(session, batch_id, job_id, "queued again", {})
        return len(found)


def lease(
    database: Database, batch_id: int | None, worker: str, seconds: int, max_attempts: int = 3, only: list[int] | None = None, backoff: float = 0.0
) -> Lease | None:
    """Take the next job that may be worked on, of a batch or of all; None when there is none.

    The order is priority, then age. A job whose lease ran out is queued again and, from its second dead worker on, waits
    (db/workers.py); one whose workers died `max_attempts` times is set aside as failed. Paused and draining batches give none.
    """
    with database.begin() as session:
        workers.expire(session, batch_id, max_attempts, backoff)
        query = workers.ordered(select(t.Job).where(workers.free()), batch_id).limit(1).with_for_update(skip_locked=True, of=t.Job)
        if only is not None:
            query = query.where(t.Job.id.in_(only))
        while (job := session.execute(query).scalar_one_or_none()) is not None:
            if job.attempts >= max_attempts:
                _set_aside(session, job)
                continue
            reclaimed = job.attempts > 0
            job.state, job.worker, job.not_before = "running", worker, None
            job.token += 1
            job.attempts += 1
            job.lease_expires, job.updated_at = workers.later(seconds), func.now()
            _event(session, job.batch_id, job.id, "leased", {"worker": worker, "token": job.token, "reclaimed": reclaimed})
            return Lease(job.id, job.batch_id, job.token, job.attempts, job.title, job.locale, job.engine, job.preset, job.key, job.spec)
        return None


def _set_aside(session: Session, job: t.Job) -> None:
    job.error = {
        "code": "job.poison",
        "message": f"its worker died {job.attempts} times",
        "next_step": "Look at the worker's log; `dubwright run --retry` tries the job again.",
    }
    job.state, job.not_before = "failed", None
    _event(session, job.batch_id, job.id, "set aside", {"attempts": job.attempts})
    session.flush()


@contextmanager
def _holding(database: Database, held: Lease) -> Iterator[tuple[Session, t.Job]]:
    with database.begin() as session:
        job = session.execute(select(t.Job).options(LEAN).where(t.Job.id == held.job_id).with_for_update()).scalar_one()
        if job.token != held.token or job.state != "running":
            raise _stale(held, job.token, job.state)
        yield session, job


def _stale(held: Lease, token: int, state: str) -> StaleToken:
    return StaleToken(f"job {held.title}/{held.locale} is held under token {token}, not {held.token} ({state})")


def renew(database: Database, held: Lease, seconds: int) -> None:
    """Hold on for longer. Raises StaleToken. One statement: it comes before every stage of every job."""
    mine = (t.Job.id == held.job_id) & (t.Job.token == held.token) & (t.Job.state == "running")
    with database.begin() as session:
        if session.execute(update(t.Job).where(mine).values(lease_expires=workers.later(seconds)).returning(t.Job.id)).first() is None:
            raise _stale(held, *session.execute(select(t.Job.token, t.Job.state).where(t.Job.id == held.job_id)).one())


def record_artifacts(database: Database, held: Lease, rows: list[ArtifactRow]) -> None:
    """Enter artifacts and what they were made from. Raises StaleToken; an unknown source is refused by the database."""
    with _holding(database, held) as (session, _):
        _artifacts(session, rows)


def _artifacts(session: Session, rows: list[ArtifactRow]) -> bool:
    """Whether one of them had been marked for removal (db/retention.py): it stays from now on, and its object may be gone."""
    if not rows:
        return False
    known = {row.sha256: {"sha256": row.sha256, "kind": row.kind, "size": row.size, "key": row.key} for row in rows}
    session.execute(insert(t.Artifact).values(sorted(known.values(), key=lambda row: row["sha256"])).on_conflict_do_nothing())
    back = update(t.Artifact).where(t.Artifact.sha256.in_(known), t.Artifact.marked_at.is_not(None)).values(marked_at=None, gone_at=None, erasure_id=None)
    revived = session.execute(back.returning(t.Artifact.sha256)).first() is not None
    edges = sorted({(row.sha256, source, role) for row in rows for source, role in row.made_from})
    if edges:
        session.execute(insert(t.Edge).values([dict(zip(("sha256", "source", "role"), edge, strict=True)) for edge in edges]).on_conflict_do_nothing())
    return revived


def find_stage(database: Database, key: str) -> tuple[str, float] | None:
    """What a stage made under a key: hash of the artifact and the seconds it took; None when it has not run."""
    with database.begin() as session:
        row = session.execute(select(t.StageResult.sha256, t.StageResult.seconds).where(t.StageResult.key == key)).one_or_none()
        return None if row is None else (row[0], row[1])


def record_stage(database: Database, held: Lease, key: str, stage: str, row: ArtifactRow, seconds: float, spent: Sequence[str] = (), also: Mapping[str, float] | None = None) -> bool:
    """Remember what a stage made; whether its object may have been removed before and must be put again. Raises StaleToken.

    spent: artifacts that served to make it alone; they are marked for removal with it (db/retention.py). also: keys of parts of it, with the
    seconds that each took, under which it is found from now on.
    """
    with _holding(database, held) as (session, _):
        revived = _artifacts(session, [row])
        session.execute(insert(t.StageResult).values(key=key, stage=stage, sha256=row.sha256, seconds=seconds).on_conflict_do_nothing())
        retention.spend(session, spent)
        if also:
            parts = insert(t.StageResult).values([{"key": part, "stage": "cut", "sha256": row.sha256, "seconds": took} for part, took in sorted(also.items())])
            new = {name: parts.excluded[name] for name in ("sha256", "seconds")}
            session.execute(parts.on_conflict_do_update(index_elements=["key"], set_={**new, "created_at": func.now()}))
        return revived


def claim(database: Database, held: Lease, key: str) -> bool:
    """Whether this job is the one that makes what is under a stage's key: no other job whose lease holds has said so. Raises StaleToken."""
    working = select(t.Job.id).where(t.Job.id == t.StageClaim.job_id, t.Job.token == t.StageClaim.token, t.Job.state == "running", t.Job.lease_expires > func.now()).exists()
    with _holding(database, held) as (session, job):
        mine = {"job_id": job.id, "token": job.token}
        said = insert(t.StageClaim).values(key=key, **mine).on_conflict_do_update(index_elements=["key"], set_=mine, where=(t.StageClaim.job_id == job.id) | ~working)
        return session.execute(said.returning(t.StageClaim.key)).first() is not None


def record_take(database: Database, held: Lease, take: TakeRecord, verdict: VerdictRecord) -> int:
    """Enter a take with its windows, weights and verdict, in one piece. Returns its id. Raises StaleToken."""
    with _holding(database, held) as (session, job):
        _artifacts(session, [take.video])
        values = {
            "engine": take.engine, "preset": take.preset, "parameters": take.parameters, "code_version": take.code_version,
            "machine": take.machine, "seconds": take.seconds, "video": take.video.sha256,
        }  # fmt: skip
        take_id = session.execute(
            insert(t.Take)
            .values(job_id=job.id, number=take.number, **values)
            .on_conflict_do_update(index_elements=["job_id", "number"], set_=values)
            .returning(t.Take.id),
        ).scalar_one()
        if take.weights:
            used = sorted(take.weights, key=lambda row: row["sha256"])  # one order for all: two that enter the same ones wait for each other, not crosswise
            session.execute(insert(t.Weights).values(used).on_conflict_do_nothing())
            session.execute(insert(t.TakeWeights).values([{"take_id": take_id, "sha256": row["sha256"]} for row in used]).on_conflict_do_nothing())
        names = ("first_frame", "last_frame", "seconds")
        windows = [{"take_id": take_id, "number": number, **dict(zip(names, window, strict=True))} for number, window in enumerate(take.windows)]
        if windows:
            session.execute(insert(t.Window).on_conflict_do_nothing(), windows)
        _judge(session, take_id, verdict)
        _event(session, job.batch_id, job.id, "take", {"number": take.number, "verdict": verdict.verdict, "spent": take.spent})
        return take_id


def rejudge(database: Database, held: Lease, take_id: int, verdict: VerdictRecord) -> None:
    """Replace the verdict on a take of the job that was recorded before. Raises StaleToken."""
    with _holding(database, held) as (session, job):
        found = session.execute(select(t.Take.number).where(t.Take.id == take_id, t.Take.job_id == job.id)).scalar_one()
        _judge(session, take_id, verdict)
        _event(session, job.batch_id, job.id, "judged anew", {"number": found, "verdict": verdict.verdict})


def _judge(session: Session, take_id: int, verdict: VerdictRecord) -> None:
    decided = {
        "calibration_id": _calibration(session, verdict.scorer, verdict.thresholds), "verdict": verdict.verdict, "reasons": list(verdict.reasons),
        "offset_frames": verdict.offset, "distance": verdict.distance, "confidence": verdict.confidence, "curve": verdict.curve,
    }  # fmt: skip
    session.execute(insert(t.Verdict).values(take_id=take_id, **decided).on_conflict_do_update(index_elements=["take_id"], set_=decided))


def settle(database: Database, held: Lease, kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    """What was decided once for a job: the detail of its first event of a kind, which is `detail` where there is none yet. Raises StaleToken."""
    with _holding(database, held) as (session, job):
        query = select(t.Event.detail).where(t.Event.job_id == job.id, t.Event.kind == kind).order_by(t.Event.id).limit(1)
        found = session.execute(query).scalar_one_or_none()
        if found is None:
            _event(session, job.batch_id, job.id, kind, detail)
        return detail if found is None else found


def _calibration(session: Session, scorer: str, thresholds: dict[str, Any]) -> int:
    query = select(t.Calibration.id).where(t.Calibration.scorer == scorer, t.Calibration.thresholds == thresholds)
    found = session.execute(query).scalar_one_or_none()
    if found is None:
        session.execute(insert(t.Calibration).values(scorer=scorer, thresholds=thresholds).on_conflict_do_nothing())
        found = session.execute(query).scalar_one()
    return found


def store_calibration(database: Database, scorer: str, thresholds: dict[str, Any]) -> int:
    """Keep a calibration of a scorer version as its newest; the same one twice is one row."""
    with database.begin() as session:
        found = _calibration(session, scorer, thresholds)
        session.execute(update(t.Calibration).where(t.Calibration.id == found).values(created_at=func.now()))
        return found


def latest_calibration(database: Database, scorer: str) -> dict[str, Any] | None:
    """The newest thresholds of a scorer version, or None."""
    with database.begin() as session:
        query = select(t.Calibration.thresholds).where(t.Calibration.scorer == scorer).order_by(t.Calibration.created_at.desc(), t.Calibration.id.desc()).limit(1)
        return session.execute(query).scalar_one_or_none()


def deliver(
    database: Database, held: Lease, take_id: int, sha256: str, url: str, files: dict[str, str], redrawn: Mapping[int, Sequence[str]] | None = None,
) -> None:  # fmt: skip
    """Record the job's one delivery, with the consent records that it rests on, and end the job.

    redrawn: the faces that each redrawn track of its video is, where that is known (db/consents.py). Raises StaleToken; ConsentError where nobody allows it; the database refuses a second one, an unsigned or an untraceable one.
    """
    with _holding(database, held) as (session, job):
        session.add(t.Delivery(job_id=job.id, take_id=take_id, sha256=sha256, url=url, files=files))
        session.flush()
        consents.enter_delivery(session, job, sha256, redrawn)
        _end(session, job, "delivered", None)


def finish(database: Database, held: Lease, state: str, error: dict[str, Any] | None = None) -> None:
    """End a job as `flagged` or `failed`. Raises StaleToken, and ValueError for other states."""
    if state not in ("flagged", "failed"):
        raise ValueError(f"a job ends as flagged or failed, not {state!r}")
    with _holding(database, held) as (session, job):
        _end(session, job, state, error)


def release(database: Database, held: Lease) -> None:
    """Give a job back unfinished, as when a run is interrupted. Raises StaleToken."""
    with _holding(database, held) as (session, job):
        job.state, job.lease_expires, job.worker = "queued", None, None
        job.attempts -= 1
        _event(session, job.batch_id, job.id, "released", {})


def defer(database: Database, held: Lease, error: dict[str, Any], most: int, backoff: float) -> str:
    """Queue a job again that an outage cut off, after a wait that doubles; the `most`-th such end is `failed`. Returns its state. Raises StaleToken."""
    with _holding(database, held) as (session, job):
        job.outages += 1
        if job.outages >= most:
            _end(session, job, "failed", error)
            return "failed"
        job.attempts -= 1  # its worker lives
        wait = workers.wait(job.outages, backoff)
        job.state, job.lease_expires, job.worker, job.error = "queued", None, None, error
        job.not_before = workers.later(wait)
        _event(session, job.batch_id, job.id, "deferred", {"outages": job.outages, "seconds": wait, "code": error.get("code", "")})
        return "queued"


def _end(session: Session, job: t.Job, state: str, error: dict[str, Any] | None) -> None:
    job.state, job.error, job.lease_expires, job.worker = state, error, None, None
    job.updated_at = func.now()
    _event(session, job.batch_id, job.id, state, error or {})


def _event(session: Session, batch_id: int, job_id: int | None, kind: str, detail: dict[str, Any]) -> None:
    session.add(t.Event(batch_id=batch_id, job_id=job_id, kind=kind, detail=detail))
