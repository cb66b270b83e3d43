"""Judge: score a take's video as it would be delivered, let the gate decide, and enter the take into the ledger."""

import dataclasses

from db import ledger
from infra.telemetry import machine
from infra.version import code_version, source_hash
from models.types import SyncScore
from tasks.gate import Thresholds, Verdict, decide, load_thresholds, weak_stretches
from tasks.stages import Take, Work, keep
from tasks.values import load_score, save_score, score_tree


def score(work: Work, take: Take) -> None:
    """Fill the take's score, from the encoded file. Raises MediaError."""
    from models import checkpoints
    from tasks.score import score_video

    video = take.made["render"]
    asks = {
        "code": source_hash("models/syncnet", "models/faces", "tasks/score.py", "tasks/values.py", "infra/media.py"),
        "scorer": checkpoints.sha256("syncnet", "compact"),
        "video": video.sha256,
    }
    take.made["score"] = keep(work, "score", "score.json", asks, ((video.sha256, "render"),), lambda path: save_score(path, score_video(video.path)))
    take.score = load_score(take.made["score"].path)


def gate(work: Work, take: Take) -> None:
    """Fill the take's verdict by the newest thresholds of its scorer, and record the take with all that it stands on."""
    assert take.score is not None
    stored = ledger.latest_calibration(work.database, take.score.scorer)
    thresholds = Thresholds.from_dict(stored) if stored else load_thresholds()
    take.verdict = strict(decide(take.score, thresholds), take.score) if work.spec["gate"] == "strict" else decide(take.score, thresholds)
    take.take_id = ledger.record_take(work.database, work.lease, _record(work, take), _verdict(take))


def strict(verdict: Verdict, score: SyncScore) -> Verdict:
    """The strict gate: as the standard one, and every scored second must by itself be above what fails."""
    weak = weak_stretches(score, verdict.thresholds.level(1.0).fails, 1) if verdict.verdict == "pass" else []
    if not weak:
        return verdict
    spans = ", ".join(f"{first} to {last}" for first, last in weak)
    reason = f"strict gate: lips and speech do not stand out as in sync from second {spans}"
    return dataclasses.replace(verdict, verdict="flag", reasons=(*verdict.reasons, reason))


def weights_of(work: Work) -> tuple[dict[str, str], ...]:
    """The weights files that engine and scorer use, as the ledger keeps them."""
    from models import checkpoints
    from tasks.motion import engine

    used = set(engine(work.lease.engine, work.lease.preset).weights) | {checkpoints.sha256("syncnet", "compact")}
    return tuple(
        {"sha256": c.sha256, "engine": c.engine, "name": c.name, "licence": c.licence, "licence_class": c.licence_class}
        for c in checkpoints.cards()
        if c.sha256 in used
    )


def _record(work: Work, take: Take) -> ledger.TakeRecord:
    assert take.motion is not None and work.speech is not None
    parameters = {
        "seed": take.seed, "anchor": take.motion.anchor, "frames": take.motion.frames, "fps": 25, "locale": work.lease.locale, "voice": work.spec["voice"],
        "text": work.spec["text"], "consent": work.spec["consent"], "notes": list(work.speech.speech.notes), "gate": work.spec["gate"],
    }  # fmt: skip
    video = take.made["render"]
    row = ledger.ArtifactRow(video.sha256, "render.mp4", video.path.stat().st_size, f"sha256/{video.sha256[:2]}/{video.sha256}")
    return ledger.TakeRecord(
        take.number, work.lease.engine, work.lease.preset, parameters, code_version(), machine(), work.seconds(take), row, weights_of(work), take.windows
    )


def _verdict(take: Take) -> ledger.VerdictRecord:
    assert take.score is not None
    found, tree = take.verdict, score_tree(take.score)
    return ledger.VerdictRecord(
        found.verdict, found.reasons, take.score.scorer, found.thresholds.to_dict(),
        take.score.offset if take.score.scorable else None, tree["distance"], tree["confidence"], tree,
    )  # fmt: skip
