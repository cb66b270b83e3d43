"""Marks of what a job delivers: which watermark its pictures carry, the signed file, and the check without which nothing leaves.

A file is signed once: signatures differ from one signing to the next, so the signed file is kept under its stage's key, and whoever resumes
a delivery delivers the same bytes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from db import ledger
from db.consents import kind_of
from infra.errors import MarkingError
from infra.marking import Label, Watermark, detect, manifest
from infra.marking.signer import Signer, open_signer
from infra.version import source_hash
from infra.video import Picture
from tasks.stages import Made, Take, Work, keep, key_of

PICTURES = ("infra/marking/code.py", "infra/marking/watermark.py", "infra/marking/label.py")  # what decides how marked pictures look
Sources = tuple[tuple[str, str], ...]
AGAIN = "Render it anew: `dubwright run` of its manifest, or `dubwright review TAKE --again`."


@dataclass(frozen=True)
class Marked:
    """A file whose marks were found to hold; `checked` alone makes one. signer: who signed it; payload: of its watermark."""

    path: Path
    payload: str
    signer: str

    def told(self, label: str = "") -> dict[str, Any]:
        """The marks as a sidecar tells them."""
        return {"manifest": "C2PA", "signer": self.signer, "watermark": self.payload, "watermark_algorithm": manifest.WATERMARK, "visible_label": label or None}


def asks_of(work: Work) -> dict[str, Any]:
    """What a render's key holds of its marks."""
    return {"code": source_hash(*PICTURES), "label": work.spec.get("label", "")}


def payload_of(work: Work, take: Take) -> int:
    """The watermark of a take's pictures: the same for all versions of a title's script, so that a window that no change touches stays as it is.

    It leads to the takes of that picture or video, title and locale that were tried in the same way; which of them a file is, its manifest tells.
    """
    shown = {role: facts["sha256"] for role, facts in work.spec["inputs"].items() if role in ("portrait", "video")}
    asks = {"title": work.lease.title, "locale": work.lease.locale, "shown": shown, "rung": asdict(take.rung), "seed": take.seed, "preset": work.lease.preset}
    return int(key_of("watermark", asks)[:16], 16)


def on_frames(payload: int, label: str, height: int, width: int) -> Callable[[np.ndarray, Fraction], np.ndarray]:
    """What marks frames uint8 RGB [H, W, 3] by their times in seconds."""
    mark, words = Watermark(payload, height, width), Label(label, height, width) if label else None

    def marked(frame: np.ndarray, time: Fraction) -> np.ndarray:
        return mark.on_rgb(words.on_rgb(frame) if words else frame, float(time))

    return marked


def on_pictures(payload: int, label: str, height: int, width: int) -> Callable[[Picture], Picture]:
    """What marks pictures: in luma alone, but for the label."""
    from dataclasses import replace

    mark, words = Watermark(payload, height, width), Label(label, height, width) if label else None

    def marked(picture: Picture) -> Picture:
        shown = picture.with_region(words.made, words.mask, words.top, words.left) if words else picture
        return replace(shown, y=mark.on_luma(shown.y, float(shown.time)))

    return marked


def signed(work: Work, take: Take, film: Made | None = None, kind: str = "delivered.mp4", media: str = "video/mp4", sources: Sources = ()) -> Made:
    """The take's video with its manifest, signed at most once for a take and a signer. Raises MarkingError, SetupError.

    film: another file that was made of the take, of that kind (its role and suffix) and media type; sound alone names no watermark.
    sources: what else it leads back to, as (hash, role).
    """
    video, signer = take.made["render"], open_signer(work.settings)
    film = film or video
    told = lineage_of(work, take)
    inputs: dict[str, Path] = {role: place for role, place in work.inputs.items() if kind_of(role)}
    payload = watermark_of(work, take) if media.startswith("video/") else None
    origin = manifest.Origin(f"{work.lease.title}.{work.lease.locale}.{kind.rpartition('.')[2]}", inputs, payload, told)
    asks = {
        "code": source_hash("infra/marking/manifest.py"), "video": film.sha256, "told": told, "inputs": {role: work.spec["inputs"][role]["sha256"] for role in inputs},
        "signer": hashlib.sha256(signer.certificates.encode()).hexdigest(), **({} if kind == "delivered.mp4" else {"kind": kind, "payload": payload}),
    }  # fmt: skip
    others = ((film.sha256, "film"), *sources) if film is not video else sources
    made = keep(
        work, "sign", kind, asks, ((video.sha256, "render"), *others),
        lambda path: manifest.sign(film.path, origin, signer, path, work.settings.timestamp_url, media),
    )  # fmt: skip
    kept = ledger.find_stage(work.database, key_of("sign", asks))
    if kept and kept[0] != made.sha256:  # another batch's job of the same key was signed meanwhile: the first one counts
        made = Made(kept[0], work.artifacts.path(kept[0]), kept[1], False)
    return made


def lineage_of(work: Work, take: Take) -> dict[str, Any]:
    """What a manifest says of where a file comes from: job, take, and the artifact that lineage begins at."""
    return {"job": work.name, "job_key": work.lease.key, "take": take.number, "engine": take.rung.engine, "artifact": take.made["render"].sha256}


def watermark_of(work: Work, take: Take) -> int:
    """The payload that a take was rendered with. Raises MarkingError for one of a version that drew none."""
    found = take.parameters.get("watermark")
    if not found:
        raise MarkingError(f"take {take.number} of {work.name} was rendered without a watermark", code="marking.no_watermark", job=work.name, next_step=AGAIN)
    return int(str(found), 16)


def checked(path: Path, *, payload: int | None, artifact: str, signer: Signer, job: str = "") -> Marked:
    """A file that is to leave, its marks found to hold: manifest valid and by our signer, of this artifact, and the watermark read from the
    picture the one that the manifest names. payload: None for sound alone. Raises MarkingError.
    """
    told, wanted = manifest.read(path, signer.anchor), "" if payload is None else f"{payload:016x}"
    if told.state != "trusted":
        words = {"absent": "carries no C2PA manifest", "invalid": f"has a C2PA manifest that does not hold ({', '.join(told.faults)})", "valid": f"is signed by somebody else ({told.signer})"}
        raise MarkingError(f"{path.name} {words[told.state]}", code={"absent": "marking.no_manifest", "valid": "marking.foreign"}.get(told.state, "marking.invalid"), job=job or None)
    if told.lineage.get("artifact") != artifact or told.payload != wanted or told.source_type not in manifest.KINDS.values():
        raise MarkingError(f"the manifest of {path.name} is another file's", code="marking.foreign", job=job or None)
    if payload is None:
        return Marked(path, wanted, told.signer)
    found = detect.read(path)
    if found.payload is None:
        found = detect.carries(path, payload)  # short, small or restless pictures: known signs stand out where unknown ones cannot be read
    if found.payload != payload:
        seen = "no watermark can be read" if found.payload is None else f"the watermark {found.payload:016x} is read"
        raise MarkingError(f"{path.name} should carry the watermark {wanted}, and {seen} (strength {found.strength:.2f})", code="marking.no_watermark", job=job or None, next_step=f"{AGAIN} Shots that are copied (quiet_shots: copy) carry none.")
    return Marked(path, wanted, told.signer)
