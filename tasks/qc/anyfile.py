"""Quality control of any file: what lies beside it is read where it is there (sidecar, captions), and what the pipeline knew is measured anew."""

import json
from pathlib import Path
from typing import Any

from infra.errors import ObjectMissing
from infra.marking import detect, manifest
from infra.marking.signer import open_signer
from infra.packaging import spec
from infra.settings import Settings
from models.types import Cue
from tasks.deliverables.asked import QcRow
from tasks.qc.checks import Known
from tasks.qc.container import look
from tasks.qc.picture import watch
from tasks.qc.report import examine
from tasks.scripts import Reading, open_cues


def examine_file(
    path: Path, settings: Settings, limits: QcRow, *, source: Path | None = None, captions: Path | None = None, sync: bool = True
) -> dict[str, Any]:
    """The report of a file. source: the video that it is a dub of; captions: what lies beside it by default; sync: whether it is scored.

    Raises ObjectMissing, MediaError.
    """
    for place in (path, source, captions):
        if place is not None and not place.is_file():
            raise ObjectMissing(f"there is no file {place}", next_step="Give the path of a file.")
    told = _beside(path)
    words = captions or _captions(path)
    cues = None if words is None else tuple(open_cues(words, Reading()).cues)
    return examine(path, _known(path, settings, told, cues, source, sync), limits, about={name: told[name] for name in ("title", "locale", "take") if name in told})


def _beside(path: Path) -> dict[str, Any]:
    """The sidecar of a delivery, where one lies beside the file."""
    place = path.with_suffix(".json")
    try:
        tree = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) and str(tree.get("format", "")).startswith("dubwright.delivery/") else {}


def _captions(path: Path) -> Path | None:
    place = path.with_suffix(".vtt")
    return place if place.is_file() and place.read_text(encoding="utf-8", errors="replace").count("-->") else None


def _known(path: Path, settings: Settings, told: dict[str, Any], cues: tuple[Cue, ...] | None, source: Path | None, sync: bool) -> Known:
    original = watch(source) if source else None
    held = told.get("parameters", {}).get("length") == "hold"
    frames, fps = (told.get("parameters", {}).get(name) for name in ("frames", "fps"))
    if original and source:
        frames, fps = (None if held else original.count), float(look(source).fps)
    return Known(
        frames=frames, fps=fps, seconds=frames / fps if frames and fps else None, held=original.last - original.first if original and held else None, cues=cues,
        wanted=len(cues) if cues is not None else None, black=original.black if original else [], still=original.still if original else [],
        score=_score(path) if sync else None, marks=marks_of(path, settings),
    )  # fmt: skip


def _score(path: Path) -> dict[str, Any]:
    from tasks.gate import decide, load_thresholds
    from tasks.score import score_video
    from tasks.values import score_tree

    found = score_video(path)
    verdict = decide(found, load_thresholds())
    return score_tree(found) | {"verdict": verdict.verdict, "reasons": list(verdict.reasons)}


def marks_of(path: Path, settings: Settings) -> dict[str, Any]:
    """What a file's marks say, and what is wrong with them."""
    said, seen = manifest.read(path, open_signer(settings).anchor), detect.read(path)
    payload = None if seen.payload is None else f"{seen.payload:016x}"
    if payload is None and said.payload and detect.carries(path, int(said.payload, 16)).payload is not None:
        payload = said.payload
    faults = {"absent": "the file carries no manifest", "invalid": f"it does not hold: {', '.join(said.faults)}"}
    wrong = "none can be read" if payload is None else f"the manifest names {said.payload}" if said.payload and said.payload != payload else ""
    signer = f"valid, by {said.signer}" if said.state in ("trusted", "valid") else said.state
    return {"manifest": signer, "manifest_fault": faults.get(said.state, ""), "watermark": payload or "none", "watermark_fault": wrong}


def examine_package(master: Path, settings: Settings) -> dict[str, Any]:
    """An HLS package by its rules, and the marks of each file that it names. Raises ObjectMissing."""
    if not master.is_file():
        raise ObjectMissing(f"there is no file {master}", next_step="Give the path of a master playlist.")
    faults = spec.faults_of(master)
    files = sorted(master.parent.glob("*.mp4"))
    marks = {place.name: _package_marks(place, settings) for place in files}
    faults += [f"{name}: {fault}" for name, fault in marks.items() if fault]
    return {"file": master.name, "files": [place.name for place in files], "faults": faults, "verdict": "fail" if faults else "pass"}


def _package_marks(place: Path, settings: Settings) -> str:
    from infra.media import probe

    if not probe(place).width:
        said = manifest.read(place, open_signer(settings).anchor)
        return "" if said.state in ("trusted", "valid") else f"its manifest is {said.state}"
    told = marks_of(place, settings)
    return str(told["manifest_fault"] or (told["watermark_fault"] and f"watermark: {told['watermark_fault']}"))
