"""Judge: score a take's video as it would be delivered, let the gate decide, and enter the take into the ledger."""

import dataclasses
from pathlib import Path
from typing import Any

from db import ledger
from infra.telemetry import machine
from infra.version import code_version, source_hash
from models.types import SyncScore
from tasks.dubbing.tracks import TrackFile
from tasks.gate import Kind, Thresholds, Verdict, decide, load_thresholds, weak_stretches
from tasks.prepare import said_of
from tasks.stages import Take, Work, keep
from tasks.values import load_score, save_score, score_tree

LOST = 0.05  # seconds of speech that may go unheard


def score(work: Work, take: Take) -> None:
    """Fill the take's score, from the encoded file, with its features against what it was made from. Raises MediaError."""
    from models import checkpoints
    from models.quality import coherence
    from models.quality.closures import on_screen
    from tasks.dubbing.score import score_dubbed, source_of
    from tasks.gating.source import Source
    from tasks.score import score_video

    video, dubbed = take.made["render"], "video" in work.inputs
    asks = {
        "code": source_hash("models/syncnet", "models/faces", "models/quality", "tasks/score.py", "tasks/gating/source.py", "tasks/dubbing/score.py", "tasks/values.py", "infra/media.py", "infra/video"),
        "scorer": checkpoints.sha256("syncnet", "compact"),
        "video": video.sha256,
        "second_opinion": coherence.version(),
        "faces": [work.made["tracks"].sha256, work.made["cast"].sha256] if dubbed else None,
        "source": work.spec["inputs"]["video" if dubbed else "portrait"]["sha256"],
        "speech": work.made["speech"].sha256,
    }
    assert work.speech is not None
    phones = on_screen(work.speech.speech.phones, work.speech.speech.cues)

    def scored(path: Path) -> None:
        if dubbed:
            save_score(path, score_dubbed(video.path, *_redrawn(work), source_of(work.inputs["video"], *_redrawn(work)), phones))
        else:
            save_score(path, score_video(video.path, Source.still(work.portrait) if work.portrait else None, phones))

    take.made["score"] = keep(work, "score", "score.json", asks, ((video.sha256, "render"),), scored)
    take.score = load_score(take.made["score"].path)


def gate(work: Work, take: Take) -> None:
    """Fill the take's verdict by the newest thresholds of its scorer, and record the take with all that it stands on."""
    assert take.score is not None
    stored = ledger.latest_calibration(work.database, take.score.scorer)
    thresholds = Thresholds.from_dict(stored) if stored else load_thresholds()
    take.verdict = strict(decide(take.score, thresholds), take.score) if work.spec["gate"] == "strict" else decide(take.score, thresholds)
    take.verdict = doubted(take.verdict, work, take.opinion)
    if take.take_id:
        ledger.rejudge(work.database, work.lease, take.take_id, _verdict(take))
    else:
        take.take_id = ledger.record_take(work.database, work.lease, _record(work, take), _verdict(take))


def _redrawn(work: Work) -> tuple[TrackFile, dict[tuple[int, int], int]]:
    """The job's tracks, and which track's face was redrawn in which pictures."""
    assert work.tracks is not None and work.cast is not None
    return work.tracks, {(span["first"], span["last"]): span["track"] for span in work.cast["spans"] if span["track"] is not None}


def doubts(work: Work) -> list[str]:
    """Why a person should look at every take of a re-dub, whatever its score: its speaker was guessed, or words of it are not heard."""
    reasons = []
    if work.cast and work.cast["ambiguous"]:
        reasons.append(f"who speaks is not certain: {work.cast['ambiguous']}")
    if work.speech and work.speech.lost > LOST:
        reasons.append(f"{work.speech.lost:.2f} s of the speech do not go into the video's length and are not heard")
    return reasons


def doubted(verdict: Verdict, work: Work, opinion: str = "") -> Verdict:
    """A verdict where a person should look all the same: for a job's doubts, or since a person did not want this take."""
    reasons = [*doubts(work), *([opinion] if opinion else [])]
    if not reasons:
        return verdict
    found: Kind = "flag" if verdict.verdict == "pass" else verdict.verdict
    return dataclasses.replace(verdict, verdict=found, reasons=(*verdict.reasons, *reasons))


def strict(verdict: Verdict, score: SyncScore) -> Verdict:
    """The strict gate: as the standard one, and every scored second must by itself be above what fails."""
    weak = weak_stretches(score, verdict.thresholds.level(1.0).fails, 1) if verdict.verdict == "pass" else []
    if not weak:
        return verdict
    spans = ", ".join(f"{first} to {last}" for first, last in weak)
    reason = f"strict gate: lips and speech do not stand out as in sync from second {spans}"
    return dataclasses.replace(verdict, verdict="flag", reasons=(*verdict.reasons, reason))


def weights_of(work: Work, take: Take) -> tuple[dict[str, str], ...]:
    """The weights files that a take's engine and its scorer use, as the ledger keeps them."""
    if take.weights:
        return take.weights
    from models import checkpoints
    from tasks import engines

    rendered = engines.weights_of(take.rung.engine, work.lease.preset, video="video" in work.inputs)
    used = set(rendered) | {checkpoints.sha256("syncnet", "compact")}
    return tuple(
        {"sha256": c.sha256, "engine": c.engine, "name": c.name, "licence": c.licence, "licence_class": c.licence_class}
        for c in checkpoints.cards()
        if c.sha256 in used
    )


def voices_of(spec: dict[str, Any]) -> dict[str, Any]:
    """The voices that a job asks for, as parameters."""
    return {"voice": spec["voice"], **({"voices": spec["voices"]} if spec.get("voices") else {})}


def _record(work: Work, take: Take) -> ledger.TakeRecord:
    assert work.speech is not None
    parameters = {
        "seed": take.seed, **take.parameters, "locale": work.lease.locale, **voices_of(work.spec), "text": work.spec["text"],
        "consent": work.spec["consent"], "notes": [*work.speech.speech.notes, *take.notes], "gate": work.spec["gate"],
        "cues": list(work.speech.fits), "rung": take.rung.to_dict(), "why": take.why, "made_with": take.made_with, "windows": [take.rendered, len(take.windows)],
        **({"cue_texts": said} if (said := said_of(work.wish)) else {}),
    }  # fmt: skip
    video = take.made["render"]
    row = ledger.ArtifactRow(video.sha256, "render.mp4", video.path.stat().st_size, f"sha256/{video.sha256[:2]}/{video.sha256}")
    return ledger.TakeRecord(
        take.number, take.rung.engine, work.lease.preset, parameters, code_version(), machine(), work.seconds(take), row, weights_of(work, take), take.windows, _spent(work, take),
    )  # fmt: skip


def _spent(work: Work, take: Take) -> dict[str, float]:
    """Seconds of the stages that ran for this take: its own, with the first one's those that all share."""
    first = not any(other.made["render"].fresh for other in work.takes)
    return {name: round(made.seconds, 4) for name, made in ((work.made if first else {}) | take.made).items() if made.fresh}


def _verdict(take: Take) -> ledger.VerdictRecord:
    assert take.score is not None
    found, tree = take.verdict, score_tree(take.score)
    return ledger.VerdictRecord(
        found.verdict, found.reasons, take.score.scorer, found.thresholds.to_dict(),
        take.score.offset if take.score.scorable else None, tree["distance"], tree["confidence"], tree,
    )  # fmt: skip
