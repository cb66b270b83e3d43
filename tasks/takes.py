"""A job's takes: those that the ledger holds, the next one, and one that a person approved. The policy is tasks/ladder.py's."""

from datetime import datetime
from typing import Any

from db import ledger, queries, reviews
from infra.errors import ObjectMissing
from infra.version import source_hash
from models.types import SyncScore
from tasks import engines, ladder
from tasks.gate import Thresholds, Verdict
from tasks.judge import doubts
from tasks.ladder import Limits, Rung, Tried
from tasks.licences import sold
from tasks.marking import PICTURES
from tasks.stages import WORDS, Made, Take, Work, key_of
from tasks.values import load_speech, score_from

SEED_STEP = 1_000_003  # between the seeds of a job's takes
ADDED = {"seed", "locale", "voice", "text", "consent", "notes", "gate", "cues", "rung", "why", "made_with", "cue_texts"}  # to a recorded take's parameters


def next_take(work: Work) -> Take | None:
    """The job's next take, or None once its ladder is spent; `work.spent` says why."""
    found = ladder.climb(
        work.kind, order_of(work), [tried_of(take) for take in work.takes], limits_of(work), spent=_spent(work), granted=work.granted,
        fixed="; ".join(doubts(work)),
    )  # fmt: skip
    if len(work.takes) < work.granted:
        there = engines.usable(work.lease.preset, video=work.kind == "video", commercial=sold(work.spec))
        found = ladder.wished(work.kind, found, {name: value for name, value in work.wish.items() if name != "engine" or value in there}, work.numbered)
    work.spent = "" if found.rung else found.why
    if found.rung is None:
        return None
    number = max([work.numbered, *(take.number for take in work.takes)]) + 1
    return Take(number, found.rung, work.spec["seed"] + found.rung.draw * SEED_STEP, found.why, maker(work, found.rung.engine))


def order_of(work: Work) -> tuple[str, ...]:
    """The engines that may render the job, in the order they are tried: the one that was asked for, or for `auto` those that can.

    `auto` is decided once a job, by what they won before (db/queries.py); the ledger keeps it, so that a resumed job climbs the same ladder.
    """
    if not work.engines:
        work.engines = _auto(work) if work.lease.engine == "auto" else (work.lease.engine,)
    return work.engines


def _auto(work: Work) -> tuple[str, ...]:
    video = work.kind == "video"
    there = engines.usable(work.lease.preset, video=video, commercial=sold(work.spec))
    record = queries.engine_record(work.database, video=video, preset=work.lease.preset, locale=work.lease.locale)
    order = ladder.ordered(work.kind, there, record)
    kept = ledger.settle(work.database, work.lease, "engines", {"order": list(order), "record": record, "kind": work.kind})
    return tuple(name for name in kept["order"] if name in there) or order or ladder.DEFAULT_ORDER[work.kind][:1]  # whose weights are told missing


def limits_of(work: Work) -> Limits:
    """How far the job may climb: what its manifest says, else the settings."""
    said, known = queries.ladder_of(work.database, work.lease.batch_id), work.settings
    return Limits(
        said.get("takes") or known.max_takes,
        known.ladder_job_seconds if said.get("job_seconds") is None else said["job_seconds"],
        known.ladder_batch_seconds if said.get("batch_seconds") is None else said["batch_seconds"],
    )


def _spent(work: Work) -> float:
    return queries.seconds_again(work.database, work.lease.batch_id) if limits_of(work).batch_seconds else 0.0


def maker(work: Work, engine: str) -> str:
    """Hash of the code and weights that an engine renders the job's kind of input with: a take by others is no try of these."""
    code = source_hash("models/avct", f"models/{engine}", "models/faces", "kernels", "infra/media.py", "infra/video", *PICTURES, "tasks/motion.py", "tasks/render.py", "tasks/dubbing")
    return key_of("maker", {"code": code, "weights": list(engines.weights_of(engine, work.lease.preset, video=work.kind == "video"))})[:16]


def tried_of(take: Take) -> Tried:
    """A take as the policy sees it."""
    score = take.score
    known = score is not None and score.scorable
    return Tried(
        take.number, take.rung, take.verdict.verdict, int(score.offset) if score and known else None, score.extra.get("prominence") if score and known else None,
        float(score.confidence) if score and known else None, take.alone or sum(made.seconds for made in take.made.values()),
    )  # fmt: skip


def recorded(work: Work) -> list[Take]:
    """The takes of this job that the ledger holds, made by the code and weights in use: none of them is rendered again.

    Fills what the next take hangs on: how many there are, and what reviewers allow.
    """
    rows, opinions = queries.takes_of(work.database, work.lease.job_id), reviews.of_job(work.database, work.lease.job_id)
    work.numbered = max((row["number"] for row in rows), default=0)
    newest = {row["take"]: row for row in opinions}
    there = engines.usable(work.lease.preset, video=work.kind == "video", commercial=sold(work.spec))
    found: list[tuple[dict[str, Any], Take]] = []
    for row in rows:
        told = row["parameters"]
        if work.reworded and row["speech"] != work.made["speech"].sha256:
            continue
        if "rung" not in told or "verdict" not in row or row["engine"] not in there or told["made_with"] != maker(work, row["engine"]):
            continue
        try:
            take = _recorded(work, row)
        except ObjectMissing:
            continue  # somebody removed its video: it was tried, and cannot be delivered
        said = newest.get(row["take"])
        if said and said["decision"] != "approve":
            take.opinion = _said(said)
        found.append((row, take))
    asked = [datetime.fromisoformat(row["at"]) for row in opinions if row["decision"] == "again"]
    work.granted = sum(datetime.fromisoformat(row["at"]) <= max(asked) for row, _ in found) + 1 if asked else 0
    return [take for _, take in found]


def _said(row: dict[str, Any]) -> str:
    wanted = "rejected it" if row["decision"] == "reject" else "asked for another take"
    return f"{row['actor']} {wanted}" + "".join(f": {part}" for part in (reviews.REASONS.get(row["reason"], ""), row["note"]) if part)


def _recorded(work: Work, row: dict[str, Any]) -> Take:
    """A take as the ledger holds it. Raises ObjectMissing where its video is gone."""
    assert work.speech is not None
    told = row["parameters"]
    score: SyncScore = score_from(row["curve"])
    take = Take(
        row["number"], Rung(**(told.get("rung") or {"engine": row["engine"]})), told["seed"], told.get("why", ""), told.get("made_with", ""),
        notes=tuple(told["notes"][len(work.speech.speech.notes) :]), weights=tuple(row["weights"]), code=row["code_version"], parameters={name: value for name, value in told.items() if name not in ADDED},
        alone=sum(value for name, value in row["seconds"].items() if name not in queries.SHARED), take_id=row["take"], score=score,
        verdict=Verdict(row["verdict"], tuple(row["reasons"]), Thresholds.from_dict(row["thresholds"])),
    )  # fmt: skip
    take.made["render"] = Made(row["video"], work.artifacts.path(row["video"]), row["seconds"].get("render", 0.0), False)
    return take


def approved(work: Work) -> Take | None:
    """The take of the job that a person approved, ready for delivery with the speech that it was made from; None where there is none."""
    newest = {row["take"]: row for row in reviews.of_job(work.database, work.lease.job_id)}
    rows = {row["take"]: row for row in queries.takes_of(work.database, work.lease.job_id)}
    wanted = [said for said in newest.values() if said["decision"] == "approve" and rows[said["take"]]["video"] == said["video"]]
    if not wanted:
        return None
    said = max(wanted, key=lambda row: row["review"])
    row = rows[said["take"]]
    work.wish = {name: row["parameters"][name] for name in WORDS if name in row["parameters"]}  # as this take was made
    work.made["speech"] = Made(row["speech"], work.artifacts.path(row["speech"]), 0.0, False)
    work.speech = load_speech(work.made["speech"].path)
    take = _recorded(work, row)
    take.review = {name: said[name] for name in ("actor", "decision", "reason", "note", "at")}
    return take
