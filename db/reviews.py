"""People's decisions on takes: recorded once and for good, what they do to jobs, and how far gate and people agree.

A decision locks the job's row like every write. A job that waits or is worked on takes none; a delivered one takes opinions, which
count for agreement and calibration and change nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db import tables as t
from db.session import Database
from infra.errors import LedgerError

REASONS = {  # of a rejection, or of a wish for another take
    "sync": "lips and speech do not agree",
    "mouth": "the mouth looks wrong: blurred, torn, or moving in silence",
    "identity": "the person does not look like themselves",
    "picture": "flicker, seams or other faults of the picture",
    "speech": "words, voice or pronunciation are wrong",
    "face": "the wrong person speaks",
    "other": "as the note says",
}
SAID = ("cues", "times", "lexicon", "voices")  # by their place in the script, from 0, texts and [start, end] in seconds; IPA by word; voices by speaker
CHANGES = ("engine", "start", "emphasis", "voice", "text", "rung", *SAID)  # of another take; rung: as an earlier take was rendered
OPEN = ("flagged", "rejected")  # states in which a decision moves the job
STEPS = {
    "queued": "It waits to be worked on: `dubwright run` its manifest, then look again.",
    "running": "It is being worked on; look again when it has ended.",
    "cancelled": "`dubwright run --retry` of its manifest queues it again.",
    "failed": "Mend what its error says and run its manifest again.",
    "delivered": "A delivered job takes --approve and --reject as opinions; for another video run another seed or title.",
}


@dataclass(frozen=True)
class Reviewed:
    """A decision that was recorded, and where its job stands now."""

    review: int
    take: int
    number: int
    job: int
    batch: int
    name: str
    state: str


def record(database: Database, take_id: int, decision: str, actor: str, reason: str = "", note: str = "") -> Reviewed:
    """`record_in` a transaction of its own."""
    with database.begin() as session:
        return record_in(session, take_id, decision, actor, reason, note)


def record_in(
    session: Session, take_id: int, decision: str, actor: str, reason: str = "", note: str = "", changes: dict[str, Any] | None = None, seconds: float | None = None
) -> Reviewed:
    """Record a decision on a take, and move its job: approve and again queue it, for delivery or for another rung; reject ends it.

    changes: what another take is to be rendered with (`CHANGES`). seconds: that the decision took. Raises LedgerError: review.unknown for a
    take that is not there, review.reason for a reason that is missing or unknown, review.actor without a name, review.closed where the job takes no such decision now; ValueError for a decision that does not exist.
    """
    if decision not in t.DECISIONS:
        raise ValueError(f"a review is one of {', '.join(t.DECISIONS)}, not {decision!r}")
    check(decision, actor, reason)
    take = session.get(t.Take, take_id)
    if take is None:
        raise LedgerError(f"there is no take {take_id}", code="review.unknown", next_step="`dubwright review BATCH` lists takes with their numbers.")
    job = session.execute(select(t.Job).where(t.Job.id == take.job_id).with_for_update()).scalar_one()
    if job.state not in (*OPEN, *(("delivered",) if decision != "again" else ())):
        raise LedgerError(f"take {take_id} belongs to a job that is {job.state}", code="review.closed", job=f"{job.title}/{job.locale}", next_step=STEPS[job.state])
    verdict = session.execute(select(t.Verdict.verdict).where(t.Verdict.take_id == take_id)).scalar_one()
    told: dict[str, Any] = {"actor": actor.strip(), "decision": decision, "reason": reason, "note": note, "video": take.video, "verdict": verdict}
    told |= {"changes": changes or {}, "seconds": seconds}
    row = t.Review(take_id=take_id, **told)
    session.add(row)
    session.add(t.Event(batch_id=job.batch_id, job_id=job.id, kind="review", detail={"take": take_id, **told}))
    if job.state in OPEN:
        _move(session, job, take, decision, told)
    session.flush()
    return Reviewed(row.id, take_id, take.number, job.id, job.batch_id, f"{job.title}/{job.locale}", job.state)


def check(decision: str, actor: str, reason: str) -> None:
    """Raise LedgerError, review.actor or review.reason, for a decision that is not complete."""
    known = ", ".join(REASONS)
    if not actor.strip():
        raise LedgerError("a review needs the name of who decides", code="review.actor", next_step="Give --by NAME.")
    if decision == "reject" and not reason:
        raise LedgerError("a rejection needs a reason", code="review.reason", next_step=f"Give --reject with one of {known}.")
    if reason and reason not in REASONS:
        raise LedgerError(f"{reason[:40]!r} is no reason of a review", code="review.reason", next_step=f"Known are {known}; --note holds your own words.")


def _move(session: Session, job: t.Job, take: t.Take, decision: str, told: dict[str, Any]) -> None:
    if decision == "reject":
        note = f": {told['note']}" if told["note"] else ""
        job.state = "rejected"
        job.error = {
            "code": "review.rejected", "message": f"{told['actor']} rejected take {take.number}, {REASONS[told['reason']]}{note}",
            "job": f"{job.title}/{job.locale}", "next_step": "Mend the script or the picture and run again under another title or seed.",
        }  # fmt: skip
        session.add(t.Event(batch_id=job.batch_id, job_id=job.id, kind="rejected", detail=job.error))
    else:
        job.state, job.attempts, job.outages, job.error = "queued", 0, 0, None
    job.updated_at = session.execute(select(func.now())).scalar_one()


def _newest() -> Select[Any]:
    """Every reviewed take's newest review."""
    return select(t.Review).distinct(t.Review.take_id).order_by(t.Review.take_id, t.Review.id.desc())


def of_job(database: Database, job_id: int) -> list[dict[str, Any]]:
    """The reviews of a job's takes in order."""
    with database.begin() as session:
        rows = session.execute(select(t.Review).join(t.Take, t.Take.id == t.Review.take_id).where(t.Take.job_id == job_id).order_by(t.Review.id)).scalars()
        return [row_of(row) for row in rows]


def row_of(row: t.Review) -> dict[str, Any]:
    """A review as plain values."""
    told = {name: getattr(row, name) for name in ("actor", "decision", "reason", "note", "video", "verdict", "changes", "seconds")}
    return {"review": row.id, "take": row.take_id, "at": row.at.isoformat(), **told}


def queued(database: Database) -> dict[int, dict[str, Any]]:
    """Jobs that wait since a person decided on them: `batch` and `name`, by job."""
    reviewed = select(t.Review.id).join(t.Take, t.Take.id == t.Review.take_id).where(t.Take.job_id == t.Job.id, t.Review.decision != "reject").exists()
    query = select(t.Job.id, t.Job.batch_id, t.Job.title, t.Job.locale).where(t.Job.state == "queued", reviewed).order_by(t.Job.batch_id, t.Job.position)
    with database.begin() as session:
        return {job: {"batch": batch, "name": f"{title}/{locale}"} for job, batch, title, locale in session.execute(query)}


def asked_of(database: Database, job_id: int) -> dict[str, Any]:
    """What the newest wish for another take of a job wants changed, with the review's number; what an earlier one changed in the words stays."""
    found: dict[str, Any] = {}
    for row in of_job(database, job_id):
        if row["decision"] == "again":
            spoken = {name: value for name, value in found.items() if name in ("voice", "text")}
            said = {name: {**found.get(name, {}), **row["changes"].get(name, {})} for name in SAID}
            found = {**spoken, **row["changes"], **{name: value for name, value in said.items() if value}, "review": row["review"]}
    return found


def base_calibration(database: Database, scorer: str) -> dict[str, Any] | None:
    """The newest thresholds of a scorer version that rest on no reviews, or None."""
    plain = ~t.Calibration.thresholds["made_from"].has_key("reviews")
    query = select(t.Calibration.thresholds).where(t.Calibration.scorer == scorer, plain).order_by(t.Calibration.created_at.desc(), t.Calibration.id.desc())
    with database.begin() as session:
        return session.execute(query.limit(1)).scalar_one_or_none()


def decisions(database: Database, scorer: str) -> list[dict[str, Any]]:
    """What people decided last of takes that a scorer version scored: decision, reason, verdict, offset and score as stored, engine, locale."""
    newest = _newest().subquery()
    columns = (newest.c.decision, newest.c.reason, t.Verdict.verdict, t.Verdict.offset_frames, t.Verdict.curve, t.Take.engine, t.Job.locale)
    query = (
        select(*columns)
        .join(t.Take, (t.Take.id == newest.c.take_id) & (t.Take.video == newest.c.video))
        .join(t.Verdict, t.Verdict.take_id == t.Take.id)
        .join(t.Calibration, t.Calibration.id == t.Verdict.calibration_id)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .where(t.Calibration.scorer == scorer)
        .order_by(t.Take.id)
    )
    names = ("decision", "reason", "verdict", "offset", "curve", "engine", "locale")
    with database.begin() as session:
        return [dict(zip(names, row, strict=True)) for row in session.execute(query)]


def agreement(database: Database, batch_id: int | None = None) -> dict[str, Any]:
    """How far gate and people agree on takes, of a batch or of all: counts, share agreed, Cohen's kappa; the same by engine and locale.

    The gate says yes to `pass` alone, a person by `approve` alone; of a take the newest review counts, against the verdict that its
    reviewer saw.
    """
    newest = _newest().subquery()
    query = (
        select(newest.c.verdict, newest.c.decision, t.Take.engine, t.Job.locale, func.count())
        .join(t.Take, t.Take.id == newest.c.take_id)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .group_by(newest.c.verdict, newest.c.decision, t.Take.engine, t.Job.locale)
    )
    if batch_id is not None:
        query = query.where(t.Job.batch_id == batch_id)
    with database.begin() as session:
        rows = [tuple(row) for row in session.execute(query)]
    parts = sorted({(engine, locale) for _, _, engine, locale, _ in rows})
    by = [{"engine": e, "locale": where, **agreed((v, d, n) for v, d, engine, at, n in rows if (engine, at) == (e, where))} for e, where in parts]
    return {**agreed((v, d, n) for v, d, _, _, n in rows), "by": by}


def agreed(rows: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """Agreement of (verdict, decision, count): `reviews`, `share`, `kappa` (None where either side said the same of all), `counts`."""
    counts: dict[str, dict[str, int]] = {}
    both = {(gate, person): 0 for gate in (True, False) for person in (True, False)}
    for verdict, decision, count in rows:
        counts.setdefault(verdict, {})[decision] = counts.get(verdict, {}).get(decision, 0) + count
        both[verdict == "pass", decision == "approve"] += count
    total = sum(both.values())
    if not total:
        return {"reviews": 0, "share": None, "kappa": None, "counts": {}}
    share = (both[True, True] + both[False, False]) / total
    gate, person = ((both[True, True] + both[side]) / total for side in ((True, False), (False, True)))
    chance = gate * person + (1 - gate) * (1 - person)
    kappa = round((share - chance) / (1 - chance), 4) if 0 < gate < 1 and 0 < person < 1 else None
    return {"reviews": total, "share": round(share, 4), "kappa": kappa, "counts": counts}


def agreed_words(told: dict[str, Any]) -> str:
    """How far gate and reviewers agree, in a line; nothing where nobody reviewed."""
    if not told.get("reviews"):
        return ""
    kappa = "Cohen's kappa not defined, one side said the same of all" if told["kappa"] is None else f"Cohen's kappa {told['kappa']:.2f}"
    return f"{told['reviews']} reviewed, gate and reviewers agree on {told['share']:.0%}, {kappa}"
