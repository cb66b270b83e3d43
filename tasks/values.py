"""Values that stages hand on, as files: NumPy archives without pickle, and JSON. Writing the same value gives the same bytes."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.types import Cue, Motion, Phone, Speech, SyncScore
from tasks.speech import SpeechTrack


def save_speech(path: Path, track: SpeechTrack) -> None:
    """A speech track; its sound as 16-bit samples, as it is delivered."""
    speech = track.speech
    told = {"phones": [asdict(p) for p in speech.phones], "cues": [asdict(c) for c in speech.cues], "notes": list(speech.notes), "rate": track.rate}
    told["wanted"] = [asdict(c) for c in track.wanted]
    _save(path, told, wave=speech.wave.astype(np.float32), activity=speech.activity.astype(np.float32), sound=track.sound.astype("<i2"))


def load_speech(path: Path) -> SpeechTrack:
    """The track of `save_speech`."""
    told, arrays = _load(path)
    phones, cues = tuple(Phone(**p) for p in told["phones"]), tuple(Cue(**c) for c in told["cues"])
    speech = Speech(arrays["wave"], phones, arrays["activity"], cues, tuple(told["notes"]))
    return SpeechTrack(speech, arrays["sound"], int(told["rate"]), tuple(Cue(**c) for c in told["wanted"]))


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
    tree = json.loads(path.read_text())
    seconds = tuple((int(offset), _number(value)) for offset, value in tree["seconds"])
    return SyncScore(
        tree["offset"], _number(tree["distance"]), _number(tree["confidence"]), np.array([_number(v) for v in tree["distances"]], np.float32),
        np.array([_number(v) for v in tree["window_confidence"]], np.float32), seconds, tree["scorable"], tree["reason"], tree["scorer"],
        {name: _number(value) for name, value in tree["extra"].items()},
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
    }


def _plain(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _save(path: Path, told: dict[str, Any], **arrays: np.ndarray) -> None:
    text = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
    with path.open("wb") as out:
        np.savez_compressed(out, told=text, **arrays)  # type: ignore[arg-type]


def _load(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    return json.loads(arrays.pop("told").tobytes()), arrays
