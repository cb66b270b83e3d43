"""The end of a job: a passed take is delivered once; takes that fell short are told of for a reviewer, and not delivered."""

from typing import Any

from db import ledger
from infra.marking.signer import open_signer
from infra.version import code_version
from models.types import SyncScore
from tasks import consent, licences
from tasks.deliver import Delivered
from tasks.deliver import deliver as put
from tasks.deliverables.made import extras, film_of
from tasks.judge import voices_of, weights_of
from tasks.ladder import of_tried
from tasks.marking import checked, signed, watermark_of
from tasks.stages import Take, Work
from tasks.takes import tried_of
from tasks.values import score_tree

NEXT = {
    "portrait": "Look at the take in the report. Change seed, voice or portrait and run again, or decide with `dubwright review`.",
    "video": "Look at the take in the report. Say which face speaks (face), change script or length and run again, or decide with `dubwright review`.",
}


def deliver(work: Work, take: Take) -> None:
    """Sign the take, put it at the manifest's output and end the job. Safe to repeat: what lies there already is recognised by its bytes.

    Before anything is put: raises ConsentError where no valid record covers a face or voice, LicenceError where what made the take may not
    be used commercially, MarkingError where the file's marks do not hold. A revocation waits until what is being delivered has been recorded.
    """
    assert work.speech is not None
    use = consent.use_of(work, take)
    consent.check(work, use)
    licences.check_take(work, take, weights_of(work, take))
    film, voices = film_of(work, take)
    video = signed(work, take, film, sources=voices)
    marked = checked(
        video.path, payload=watermark_of(work, take), artifact=take.made["render"].sha256, signer=open_signer(work.settings), job=work.name
    )
    more = extras(work, take, film, video)
    with consent.held(work, use) as records:
        made = put(
            marked, work.speech.speech.cues, title=work.lease.title, locale=work.lease.locale, output=work.spec["output"],
            facts={**facts(work, take), "consent": records}, settings=work.settings, captions=work.spec.get("captions", ()), more=more,
        )  # fmt: skip
        ledger.deliver(work.database, work.lease, take.take_id, made.sha256, made.url, _files(made), use.redrawn)


def _files(made: Delivered) -> dict[str, str]:
    return dict(made.files)


def facts(work: Work, take: Take) -> dict[str, Any]:
    """What the sidecar says of a take; nothing in it changes from one delivery of it to the next, nor when the take comes from the ledger."""
    assert take.score is not None and work.speech is not None
    thresholds = take.verdict.thresholds
    return {
        "engine": take.rung.engine,
        "preset": work.lease.preset,
        "take": take.number,
        "parameters": dict(sorted({"seed": take.seed, **take.parameters, **voices_of(work.spec)}.items())),
        "rung": take.rung.to_dict(),
        "notes": [*work.speech.speech.notes, *take.notes],
        **({"cues": list(work.speech.fits)} if work.speech.fits else {}),
        "verdict": take.verdict.verdict,
        "reasons": list(take.verdict.reasons),
        "score": _brief(take.score),
        "thresholds": {"scorer": thresholds.scorer, "false_pass_rate": thresholds.false_pass_rate, "levels": [vars(level) for level in thresholds.levels]},
        "inputs": {role: {"place": told["place"], "sha256": told["sha256"]} for role, told in work.spec["inputs"].items()},
        "weights": sorted(weights_of(work, take), key=lambda row: row["sha256"]),
        "code_version": take.code or code_version(),
        "label": work.spec.get("label", "") or None,
        **({"review": take.review} if take.review else {}),
    }


def _brief(score: SyncScore) -> dict[str, Any]:
    return {name: value for name, value in score_tree(score).items() if name in ("offset", "distance", "confidence", "seconds", "scorer")}


def flagged(work: Work) -> dict[str, Any]:
    """Why a job ends flagged, and why nothing more is tried, with the take that stands best (tasks/ladder.py)."""
    best = max(work.takes, key=lambda take: of_tried(tried_of(take)))
    reasons = "; ".join(best.verdict.reasons)
    return {
        "code": f"gate.{best.verdict.verdict}",
        "message": f"{len(work.takes)} take(s) fell short; the best is take {best.number} by {best.rung.engine}: {reasons}. {work.spent[:1].upper()}{work.spent[1:]}",
        "job": work.name,
        "next_step": NEXT["video" if "video" in work.inputs else "portrait"],
        "best_take": best.number,
    }

