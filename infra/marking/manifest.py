"""C2PA manifests: who made a file of what, signed last, and read again by the standard's own library before anything leaves.

Nothing of a person is in them: inputs are named by role and hash. What an input says of its own origin stays, as its ingredient.
"""

import functools
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.errors import MarkingError
from infra.marking.signer import Signer
from infra.version import VERSION

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
KINDS = {"portrait": f"{SOURCE_TYPE}trainedAlgorithmicMedia", "video": f"{SOURCE_TYPE}compositeWithTrainedAlgorithmicMedia"}
WATERMARK = "com.dubwright.swing.1"  # how the soft binding is read: infra/marking/detect.py
LINEAGE = "com.dubwright.lineage"
OFFLINE: dict[str, dict[str, Any]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
    "builder": {"thumbnail": {"enabled": False}},
}
State = Literal["trusted", "valid", "invalid", "absent"]


@dataclass(frozen=True)
class Origin:
    """What a manifest says of a file: made from which inputs (by role), what it is called, the watermark's payload (None for sound alone), and its lineage."""

    title: str
    inputs: Mapping[str, Path]
    payload: int | None
    lineage: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """`video` for a re-dub, `portrait` for a picture that was made to speak."""
        return "video" if "video" in self.inputs else "portrait"


@dataclass(frozen=True)
class Manifest:
    """What a reader finds. trusted: signed under the certificate that was asked for; valid: signed by somebody; faults: why it is neither."""

    state: State
    signer: str = ""
    time: str = ""
    source_type: str = ""
    payload: str = ""
    lineage: dict[str, Any] = field(default_factory=dict)
    ingredients: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def sign(video: Path, origin: Origin, signer: Signer, path: Path, timestamp: str = "", kind: str = "video/mp4") -> None:
    """Write a signed copy of a file. timestamp: URL of an RFC 3161 server; kind: media type. Raises MarkingError."""
    import c2pa

    try:
        with (
            c2pa.Context(c2pa.Settings.from_dict(OFFLINE)) as context,
            c2pa.Builder(json.dumps(_claim(origin, kind)), context) as builder,
            c2pa.Signer.from_callback(signer.sign, c2pa.C2paSigningAlg[signer.algorithm], signer.certificates, timestamp or None) as by,
        ):
            for role, place in origin.inputs.items():
                _ingredient(builder, role, place)
            with video.open("rb") as source, path.open("w+b") as out:
                builder.sign(by, kind, source, out)
    except c2pa.C2paError as error:
        path.unlink(missing_ok=True)
        raise MarkingError(f"{origin.title} could not be signed ({error})", code="marking.unsigned", next_step="Check the signer's key, certificates and time stamp server; run again.") from error


def _claim(origin: Origin, media: str) -> dict[str, Any]:
    agent = {"name": "Dubwright", "version": VERSION}
    kind = KINDS[origin.kind]
    made: list[dict[str, Any]] = [{"action": "c2pa.created", "digitalSourceType": kind, "softwareAgent": agent, "description": "A still picture was made to speak."}]
    if origin.kind == "video":
        made = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": ["video"]}},
            {"action": "c2pa.edited", "digitalSourceType": kind, "softwareAgent": agent, "description": "The lips of a person were redrawn."},
            {"action": "c2pa.dubbed", "digitalSourceType": kind, "softwareAgent": agent, "description": "The speech was replaced."},
        ]
    placed = [role for role in origin.inputs if role != "video"]
    if placed:
        made.append({"action": "c2pa.placed", "parameters": {"ingredientIds": placed}})
    bound: list[dict[str, Any]] = []
    if origin.payload is not None:
        made.append({"action": "c2pa.watermarked.bound", "softwareAgent": agent})
        bound = [{"label": "c2pa.soft-binding", "data": {"alg": WATERMARK, "blocks": [{"scope": {}, "value": f"{origin.payload:016x}"}]}}]
    return {
        "claim_generator_info": [agent],
        "title": origin.title,
        "format": media,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": made}},
            *bound,
            {"label": LINEAGE, "data": dict(origin.lineage)},
        ],
    }


def _ingredient(builder: Any, role: str, place: Path) -> None:
    """An input, by its role alone: file names may name people. Formats that C2PA does not know stand without their bytes."""
    import c2pa

    told = {"title": role, "relationship": "parentOf" if role == "video" else "componentOf", "label": role}
    kind = mimetypes.guess_type(place.name)[0] or ""
    if kind not in known_formats():
        builder.add_ingredient(json.dumps(told), "application/octet-stream", place.open("rb"))
        return
    with place.open("rb") as file:
        try:
            builder.add_ingredient(json.dumps(told), kind, file)
        except c2pa.C2paError:
            file.seek(0)
            builder.add_ingredient(json.dumps(told), "application/octet-stream", file)


@functools.cache
def known_formats() -> frozenset[str]:
    """Media types that C2PA reads manifests from."""
    import c2pa

    return frozenset(c2pa.Reader.get_supported_mime_types())


def read(video: Path, anchor: str = "") -> Manifest:
    """What a file's manifest says, by the standard's own reader; anchor: PEM of the authority under which it is `trusted`."""
    import c2pa

    kind = _kind(video)
    if kind not in known_formats():
        return Manifest("absent")
    settings: dict[str, Any] = {"verify": OFFLINE["verify"] | {"verify_trust": bool(anchor)}} | ({"trust": {"user_anchors": anchor}} if anchor else {})
    try:
        with video.open("rb") as file, c2pa.Context(c2pa.Settings.from_dict(settings)) as context:
            with c2pa.Reader(kind, file, context=context) as reader:
                told, state = json.loads(reader.json()), reader.get_validation_state()
    except c2pa.C2paError as error:
        if "ManifestNotFound" in str(error) or "no JUMBF" in str(error):
            return Manifest("absent")
        return Manifest("invalid", faults=(str(error),))
    return _manifest(told, {"Trusted": "trusted", "Valid": "valid"}.get(str(state), "invalid"))


def _kind(video: Path) -> str:
    """The media type by what the file begins with, else by its name."""
    with video.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "audio/wav"
    return "audio/flac" if head[:4] == b"fLaC" else mimetypes.guess_type(video.name)[0] or ""


def _manifest(told: dict[str, Any], state: Any) -> Manifest:
    active = told["manifests"][told["active_manifest"]]
    parts = {part["label"]: part["data"] for part in active.get("assertions", [])}
    actions: list[dict[str, Any]] = next((data["actions"] for label, data in parts.items() if label.startswith("c2pa.actions")), [])
    blocks = parts.get("c2pa.soft-binding", {}).get("blocks") or [{}] if parts.get("c2pa.soft-binding", {}).get("alg") == WATERMARK else [{}]
    by = active.get("signature_info") or {}
    return Manifest(
        state, str(by.get("common_name") or by.get("issuer") or ""), str(by.get("time") or ""), next((a["digitalSourceType"] for a in actions if a.get("digitalSourceType")), ""),
        str(blocks[0].get("value", "")), dict(parts.get(LINEAGE, {})), tuple(i.get("title", "") for i in active.get("ingredients", [])),
        tuple(sorted({f"{s['code']}" for s in told.get("validation_status", [])})),
    )  # fmt: skip
