"""Features of a take: each reacts to its own fault, made on a real face and seen by the real tracker, and keeps still at the others'."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.corpus import read_clip
from models.faces.mesh import FaceMesh
from models.quality.catalogue import FEATURES
from models.quality.coherence import opinion
from models.quality.features import compared, features_of, likeness
from models.quality.view import MOUTH, SIZE, upright
from models.quality.watch import COLUMNS, Watcher
from models.types import Portrait, SyncScore
from scene_cases import portrait
from tasks.gate import Level, Thresholds, decide, faults_of, load_thresholds
from tasks.gating.source import Source, with_features
from tasks.gating.spoilt import blurred, chattering, edged, flickering, frozen

FRAMES, SPEECH = 80, slice(26, 54)  # silence, speech, silence
SPOKEN = np.zeros(FRAMES, bool)
SPOKEN[SPEECH] = True


def opened(frame: np.ndarray, marks: np.ndarray, gap: float) -> np.ndarray:
    """A face whose lower lip and chin come down by so many mouth widths; what opens is dark."""
    left, right, lip = marks[78, :2], marks[308, :2], marks[13, 1]
    middle, half = (left + right) / 2, float(np.linalg.norm(right - left)) / 2
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    drop = 2 * half * gap * np.clip(1 - ((columns - middle[0]) / (1.3 * half)) ** 2, 0, 1)
    under = np.clip((rows - lip) / np.maximum(drop, 1e-3), 0, 1)  # 0 to 1 across what opens
    fade = np.clip(1 - (rows - lip - drop) / (2.6 * half), 0, 1)
    made = cv2.remap(frame, columns, (rows - np.where(rows > lip, drop * fade, 0)).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    dark = (rows > lip) & (under < 1)
    made[dark] = (60, 25, 30)
    return made


@dataclasses.dataclass(frozen=True)
class Scene:
    """Frames of a head that speaks in the middle, their landmarks, and its portrait."""

    frames: np.ndarray
    marks: list[np.ndarray]
    still: Portrait


@pytest.fixture(scope="module")
def scene() -> Scene:
    picture = portrait("astronaut_collins.png", 320, 320)
    with FaceMesh() as mesh:
        face = mesh(picture)[0]
    gaps = [0.13 * (1 + np.sin(i * 1.3)) if SPOKEN[i] else 0.0 for i in range(FRAMES)]
    frames = _acted(picture, face, gaps)
    return Scene(frames, _tracked(frames), Portrait(picture, face))


def _acted(picture: np.ndarray, face: np.ndarray, gaps: list[float]) -> np.ndarray:
    moves = [np.array([[1, 0, 3 * np.sin(i / 9)], [0, 1, 2 * np.cos(i / 11)]]) for i in range(len(gaps))]
    noise = np.random.default_rng(0)
    made = [cv2.warpAffine(opened(picture, face, gap), move, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE) for gap, move in zip(gaps, moves, strict=True)]
    return np.stack([np.clip(frame + noise.normal(0, 1.0, frame.shape), 0, 255).astype(np.uint8) for frame in made])


def _tracked(frames: np.ndarray) -> list[np.ndarray]:
    with FaceMesh(video=True) as mesh:
        return [mesh(frame)[0] for frame in frames]


def watch(frames: Iterator[np.ndarray] | np.ndarray) -> Watcher:
    """Frames seen by the tracker, as they are when they are scored."""
    watcher = Watcher(second_opinion=False)
    with FaceMesh(video=True) as mesh:
        for frame in frames:
            watcher.add(frame, mesh(frame)[0])
    return watcher


@pytest.fixture(scope="module")
def found(scene: Scene) -> dict[str, dict[str, float]]:
    """Features of the scene as it is and with each fault, against the scene as its source."""
    takes = {
        "good": iter(scene.frames),
        "frozen mouth": frozen(scene.frames, scene.marks),
        "chattering in silence": chattering(scene.frames, scene.marks, SPOKEN),
        "blurred mouth": blurred(scene.frames, scene.marks),
        "flickering": flickering(scene.frames, scene.marks, 20.0),  # the scene has grain
        "hard edge": edged(scene.frames, scene.marks),
    }
    seen = {fault: watch(frames) for fault, frames in takes.items()}
    source = features_of(seen["good"].rows, None)
    told = {fault: features_of(watcher.rows, SPOKEN) for fault, watcher in seen.items()}
    return {fault: row | compared(row, source) | likeness(seen[fault].likeness, seen["good"].likeness) for fault, row in told.items()}


FAULTS = {
    "good": set(),
    "frozen mouth": {"spoken_motion"},
    "chattering in silence": {"silent_motion"},
    "blurred mouth": {"sharpness", "sharpness_kept"},
    "flickering": {"flicker", "flicker_added"},
    "hard edge": {"seam_added"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_feature_reacts_to_its_own_fault_and_to_no_other(fault: str, found: dict[str, dict[str, float]]) -> None:
    still = {"spoken_motion": found["good"]["spoken_motion"] / 2}  # the scene's grain lets landmarks tremble more than the shipped limit
    limits = load_thresholds().limits | still
    beyond = {name for name in limits if faults_of(found[fault], {name: limits[name]})}
    assert beyond == FAULTS[fault], {name: (found[fault].get(name), limits[name]) for name in beyond ^ FAULTS[fault]}
    assert FEATURES.keys() - {"confidence_kept", "coherence"} == found[fault].keys()


def test_a_face_that_is_another_is_told_from_the_portrait(scene: Scene) -> None:
    other = portrait("grace_hopper.jpg", 300, 360)
    with FaceMesh() as mesh:
        stranger = Source.still(Portrait(other, mesh(other)[0]))
    own, limit = Source.still(scene.still), load_thresholds().limits["likeness"]
    watcher = watch(scene.frames[:14])
    assert likeness(watcher.likeness, own.look)["likeness"] > limit > likeness(watcher.likeness, stranger.look)["likeness"]


def test_a_face_means_the_same_at_any_size_and_tilt(scene: Scene) -> None:
    picture, marks = scene.still.picture, scene.still.landmarks
    turn = cv2.getRotationMatrix2D((160, 160), 12, 1.7)
    moved = marks.copy()
    moved[:, :2] = marks[:, :2] @ turn[:, :2].T + turn[:, 2]
    one, other = upright(picture, marks), upright(cv2.warpAffine(picture, turn, (320, 320), flags=cv2.INTER_CUBIC), moved)
    assert one.grey.shape == (SIZE, SIZE) and np.abs(one.landmarks - other.landmarks).max() < 0.5
    assert np.abs(one.grey - other.grey)[MOUTH].mean() < 3


def test_pictures_without_a_face_say_nothing(scene: Scene) -> None:
    watcher = Watcher(second_opinion=False)
    assert features_of(watcher.rows, np.zeros(0, bool)) == {} and watcher.likeness is None
    for at in range(12):
        watcher.add(scene.frames[at], None if at in (4, 5) else scene.marks[at])
    rows = watcher.rows
    assert rows.shape == (12, len(COLUMNS)) and np.isnan(rows[4:6]).all()
    changes = rows[:, COLUMNS.index("lower_change")]
    assert np.isnan(changes[[0, 1, 4, 5, 6, 7]]).all() and np.isfinite(changes[[2, 3, 8]]).all()  # none across the gap
    assert {"sharpness", "flicker", "seam"} == features_of(rows, np.zeros(12, bool)).keys()  # twelve frames: no stretch of anything
    outside = scene.marks[0] + np.array([900, 0, 0], np.float32)
    watcher.add(scene.frames[0], outside)  # a face beyond the picture
    assert np.isfinite(watcher.rows[-1, 0])


def test_a_take_is_told_its_share_of_its_sources_confidence(scene: Scene) -> None:
    wave, watcher = np.zeros(16_000, np.float32), watch(scene.frames[:3])
    score = SyncScore(0, 0.7, 0.3, np.zeros(31, np.float32), np.zeros(0, np.float32), scorer="s", extra={"in_sync": 0.9, "seconds": 3.0, "prominence": 9.0})
    source = Source.of(dataclasses.replace(score, confidence=0.6), watcher)
    told = with_features(score, watcher, wave, None, source)
    assert told.features["confidence_kept"] == pytest.approx(0.5) and told.features["likeness"] == pytest.approx(1)
    thresholds = Thresholds("s", (Level(1, 5.0, 3.0),), 0.05, limits={"confidence_kept": 0.8})
    verdict = decide(told, thresholds)
    assert verdict.verdict == "flag" and "is 0.5 ratio, less than 0.8" in verdict.reasons[1]
    unsure = Source.of(dataclasses.replace(score, extra={"in_sync": 0.1}), watcher)
    assert "confidence_kept" not in with_features(score, watcher, wave, None, unsure).features


def test_the_second_opinion_hears_whose_lips_they_are(shared_data: Path) -> None:
    frames, sound = read_clip(shared_data / "grid" / "s2" / "bbws7n.mpg")
    wave = sound.astype(np.float32) / 32768
    marks = _tracked(frames)
    seen = opinion()
    assert seen is not None
    for number, (frame, here) in enumerate(zip(frames, marks, strict=True)):
        seen.add(frame, None if 20 <= number < 23 else here)
    nats = seen.nats(wave)
    assert len(nats) == len(frames) - 4
    assert np.isnan(nats[16:23]).all() and np.isfinite(nats[:16]).all() and np.isfinite(nats[23:64]).all()  # five pictures a window
    assert np.nanmean(nats) > np.nanmean(seen.nats(np.roll(wave, 6_400))) + 1
    assert np.array_equal(copy.deepcopy(seen).nats(wave), nats, equal_nan=True)
