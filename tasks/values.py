"""Values that stages hand on, as files: NumPy archives without pickle, and JSON. Writing the same value gives the same bytes."""

import json
import math
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from infra.samples import BLOCK, LONG, Samples, Wave, blocks_of
from models.types import Cue, Motion, Phone, Speech, SyncScore
from tasks.speech import SpeechTrack


def save_speech(path: Path, track: SpeechTrack) -> None:
    """A speech track; its sound as 16-bit samples, as it is delivered."""
    speech = track.speech
    told = {"phones": [asdict(p) for p in speech.phones], "cues": [asdict(c) for c in speech.cues], "notes": list(speech.notes), "rate": track.rate}
    told |= {"wanted": [asdict(c) for c in track.wanted], "lost": track.lost, "fits": list(track.fits), "apart": speech.apart}
    _save(path, told, wave=speech.wave, activity=speech.activity.astype(np.float32), sound=track.sound)


def load_speech(path: Path) -> SpeechTrack:
    """The track of `save_speech`."""
    told, arrays = _load(path)
    phones, cues = tuple(Phone(**p) for p in told["phones"]), tuple(Cue(**c) for c in told["cues"])
    speech = Speech(arrays["wave"], phones, arrays["activity"], cues, tuple(told["notes"]), told["apart"])
    return SpeechTrack(speech, arrays["sound"], int(told["rate"]), tuple(Cue(**c) for c in told["wanted"]), told["lost"], tuple(told["fits"]))


def save_landmarks(path: Path, landmarks: np.ndarray) -> None:
    """Landmarks float32 [478, 3] in pixels."""
    _save(path, {}, landmarks=landmarks.astype(np.float32))


def load_landmarks(path: Path) -> np.ndarray:
    """The landmarks of `save_landmarks`."""
    return _load(path)[1]["landmarks"]


def save_motion(path: Path, motion: Motion) -> None:
    """Driving keypoints and Jacobians."""
    _save(path, {"anchor": int(motion.anchor)}, values=motion.values.astype(np.float32), jacobians=motion.jacobians.astype(np.float32))


def load_motion(path: Path) -> Motion:
    """The motion of `save_motion`."""
    told, arrays = _load(path)
    return Motion(arrays["values"], arrays["jacobians"], int(told["anchor"]))


def save_tree(path: Path, tree: dict[str, Any]) -> None:
    """Plain values as JSON."""
    path.write_text(json.dumps(tree, sort_keys=True))


def load_tree(path: Path) -> dict[str, Any]:
    """The values of `save_tree`."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def save_score(path: Path, score: SyncScore) -> None:
    """A score as JSON; what is not a number is null."""
    path.write_text(json.dumps(score_tree(score), sort_keys=True))


def load_score(path: Path) -> SyncScore:
    """The score of `save_score`."""
    return score_from(json.loads(path.read_text()))


def score_from(tree: dict[str, Any]) -> SyncScore:
    """The score of `score_tree`."""
    seconds = tuple((int(offset), _number(value)) for offset, value in tree["seconds"])
    return SyncScore(
        tree["offset"], _number(tree["distance"]), _number(tree["confidence"]), np.array([_number(v) for v in tree["distances"]], np.float32),
        np.array([_number(v) for v in tree["window_confidence"]], np.float32), seconds, tree["scorable"], tree["reason"], tree["scorer"],
        {name: _number(value) for name, value in tree["extra"].items()}, {name: _number(value) for name, value in tree["features"].items()},
        tuple((sound, at, gap) for sound, at, gap in tree.get("closures", ())),
    )  # fmt: skip


def score_tree(score: SyncScore) -> dict[str, Any]:
    """A score as plain values for JSON."""
    return {
        "offset": int(score.offset),
        "distance": _plain(score.distance),
        "confidence": _plain(score.confidence),
        "distances": [_plain(v) for v in score.distances],
        "window_confidence": [_plain(v) for v in score.window_confidence],
        "seconds": [[int(offset), _plain(value)] for offset, value in score.seconds],
        "scorable": bool(score.scorable),
        "reason": score.reason,
        "scorer": score.scorer,
        "extra": {name: _plain(value) for name, value in score.extra.items()},
        "features": {name: _plain(value) for name, value in score.features.items()},
        "closures": [[sound, round(at, 3), _plain(gap)] for sound, at, gap in score.closures],
    }


def _plain(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _save(path: Path, told: dict[str, Any], **arrays: Wave) -> None:
    """An archive of arrays, written a block at a time."""
    text = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, array in {"told": text, **arrays}.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            with out.open(info, "w", force_zip64=True) as file:
                header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for block in blocks_of(array):
                    file.write(np.ascontiguousarray(block).tobytes())


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `_save` wrote; arrays of a long sound stay in a file."""
    with zipfile.ZipFile(path) as archive:
        arrays = {Path(name).stem: _array(archive, name) for name in archive.namelist()}
    return json.loads(np.asarray(arrays.pop("told")).tobytes()), arrays


def _array(archive: zipfile.ZipFile, name: str) -> Wave:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        if kind.hasobject:
            raise ValueError(f"{name} holds Python objects")
        if len(shape) == 1 and shape[0] > LONG:
            return Samples(kind, (np.frombuffer(data, kind) for data in iter(lambda: file.read(BLOCK * kind.itemsize), b"")))
        return np.frombuffer(file.read(), kind).reshape(shape)
