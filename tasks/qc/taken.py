"""The QC report of what a job delivers: all that the pipeline knows of it, once; kept, so that a delivery that is resumed puts the same bytes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.errors import DubwrightError
from infra.version import source_hash
from models.types import FRAME_RATE
from tasks.deliver import Extra, base_name
from tasks.deliverables.asked import QcRow
from tasks.marking import watermark_of
from tasks.qc.checks import Known
from tasks.qc.container import look
from tasks.qc.picture import Pictures, watch
from tasks.qc.report import TYPES, examine, written
from tasks.stages import Made, Take, Work, keep, key_of
from tasks.values import load_tree, save_tree, score_tree

LOST = 0.05  # seconds of a cue that may be cut off


def report_of(work: Work, take: Take, delivered: Made, limits: QcRow, hls: list[str] | None) -> list[Extra]:
    """The report as JSON, CSV and HTML. hls: what is wrong with the job's HLS package; None where it has none.

    Raises DubwrightError (qc.failed) where the manifest requires that it passes and it does not, MediaError where the file cannot be read.
    """
    assert take.score is not None
    asks = {
        "code": source_hash("tasks/qc", "infra/marking/detect.py", "infra/packaging"), "video": delivered.sha256, "score": key_of("score", score_tree(take.score)), "verdict": take.verdict.verdict,
        "speech": work.made["speech"].sha256, "review": bool(take.review), "limits": limits.model_dump(mode="json"), "hls": hls,
        "source": work.spec["inputs"].get("video", {}).get("sha256"),
    }  # fmt: skip

    def measure(path: Path) -> None:
        name = f"{base_name(work.lease.title, work.lease.locale)}.mp4"
        about = {"title": work.lease.title, "locale": work.lease.locale, "take": take.number, "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
        save_tree(path, examine(delivered.path, known_of(work, take, hls), limits, name=name, about=about))

    kept = keep(work, "qc", "qc.json", asks, ((delivered.sha256, "render"),), measure)
    report = load_tree(kept.path)
    if limits.required and report["verdict"] != "pass":
        raise refused(report, work.name)
    return [Extra(f"qc_{kind}", f".qc.{kind}", media, written(report, kind)) for kind, media in TYPES.items()]


def refused(report: dict[str, Any], job: str) -> DubwrightError:
    """Why a file that fails its report is not delivered."""
    failed = [f"{check['name']}: {check['value']} (limit: {check['limit']})" for check in report["checks"] if check["state"] == "fail"]
    step = "Mend what is named, or its limits under deliver.qc in the manifest; without `required` it is delivered with its report."
    return DubwrightError(f"quality control failed: {'; '.join(failed)}", code="qc.failed", job=job, next_step=step)


def known_of(work: Work, take: Take, hls: list[str] | None) -> Known:
    """What a job knows of its film."""
    assert work.speech is not None and take.score is not None
    speech, payload = work.speech, f"{watermark_of(work, take):016x}"
    lost = tuple(f"cue {n} loses {fit['lost']:.2f} s" for n, fit in enumerate(speech.fits, 1) if fit.get("lost", 0) > LOST)
    score = score_tree(take.score) | {"verdict": take.verdict.verdict, "reasons": list(take.verdict.reasons), "approved": bool(take.review)}
    marks = {"manifest": "valid, by this installation's signer", "manifest_fault": "", "watermark": payload, "watermark_fault": ""}  # nothing else comes here (P21)
    source = watch(work.inputs["video"]) if "video" in work.inputs else None
    times = _of_source(work, source) if source else {"frames": speech.speech.frames, "fps": float(FRAME_RATE), "seconds": speech.speech.frames / FRAME_RATE}
    wanted = len(speech.wanted) or len(speech.speech.cues)
    return Known(
        **times, cues=tuple(speech.speech.cues), wanted=wanted, lost=lost, black=source.black if source else [], still=source.still if source else [],
        score=score, marks=marks, hls=hls,
    )  # fmt: skip


def _of_source(work: Work, source: Pictures) -> dict[str, Any]:
    """What a re-dub's times must be: its source's, or longer where the last picture is held."""
    seconds = source.last - source.first + source.step
    rate = float(look(work.inputs["video"]).fps) or 1 / source.step
    if work.spec["dubbing"]["length"] == "hold":
        return {"fps": rate, "held": source.last - source.first}
    return {"frames": source.count, "fps": rate if source.steps[1] - source.steps[0] < 0.002 else None, "seconds": seconds}
