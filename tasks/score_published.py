"""LSE-D and LSE-C of any video by the published SyncNet, where its weights were imported (docs/scoring.md).

Two modes, as papers have them. Dataset mode: whole frames, which show a face and nothing else, are resized to 224 x 224.
Real-video mode: each face track is cropped as published and scored by itself. The tracks are this project's (tasks/tracks.py) where
the published pipeline has S3FD boxes joined by overlap; the crop's box is that of the face's landmarks. Frames go through ffmpeg's JPEG
as published; the MPEG-4 files that the published pipeline writes before that are left out.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infra.errors import MediaError
from infra.jpeg import JpegStep
from infra.samples import Wave
from infra.video import Picture, pictures
from models import checkpoints
from models.syncnet.published.network import SIDE
from models.syncnet.published.protocol import PublishedScore, smoothed, unscorable
from models.syncnet.published.scorer import ENGINE, NAME, Lane, PublishedScorer
from models.types import FRAME_RATE, SAMPLE_RATE
from tasks.dubbing.tracks import TrackFile
from tasks.score import on_clock, sound_of

SHORTEST, SMALLEST, GAP = 100, 100.0, 25  # frames of a track, pixels of a face, frames without it that are bridged
SMOOTH = 13  # pictures that a crop's place is median-filtered over
GROWN, GREY = 0.4, 110  # the crop's margin in half sides; what lies outside of the picture
NOTE = "LSE-D and LSE-C compare only with numbers that the same build of this program gave, not with those of papers"


def score_frames_published(path: Path) -> PublishedScore:
    """Dataset mode. Raises MediaError when the video cannot be read, WeightsError without weights; what cannot be scored says so."""
    wave = _sound(path)
    if wave is None:
        return unscorable("there is no sound")
    return PublishedScorer.load().score(_whole_frames(path), wave)


def _whole_frames(path: Path) -> Iterator[np.ndarray]:
    step = JpegStep()
    for picture in on_clock((picture.time, picture) for picture in pictures(path)):
        yield cv2.resize(step(picture.frame()), (SIDE, SIDE))


def score_tracks_published(path: Path, tracks: TrackFile) -> dict[int, PublishedScore]:
    """Real-video mode: the score of each face track by its number, in one pass through the video. Raises as the other mode."""
    wave = _sound(path)
    if wave is None:
        return {track.number: unscorable("there is no sound") for track in tracks.tracks}
    crops: dict[int, _Crops] = {}
    scores: dict[int, PublishedScore] = {}
    for track in tracks.tracks:
        places = places_of(tracks, track.number)
        if len(places) < SHORTEST or 2 * places[:, 2].mean() < SMALLEST:
            why = f"seen for less than {SHORTEST} pictures" if len(places) < SHORTEST else f"smaller than {SMALLEST:g} pixels"
            scores[track.number] = unscorable(why)
        else:
            crops[track.number] = _Crops(track.first, places)
    for tick, picture in enumerate(on_clock((picture.time, picture) for picture in pictures(path))):
        for number in [number for number, crop in crops.items() if crop.ended(picture.number)]:
            scores[number] = crops.pop(number).score()
        for crop in crops.values():
            if picture.number >= crop.first:
                crop.add(picture, wave, tick)
    return dict(sorted((scores | {number: crop.score() for number, crop in crops.items()}).items()))


def places_of(tracks: TrackFile, number: int) -> np.ndarray:
    """Where a track is in each picture from its first on: float64 [pictures, 3], centre x, y and half side, smoothed as published.

    Gaps of at most 25 pictures are bridged by straight lines; what follows a longer one is left out, as another track would be.
    """
    seen: list[int] = []
    boxes: list[list[float]] = []
    for face in tracks.of(number):
        if seen and face.frame - seen[-1] > GAP:
            break
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        seen.append(face.frame)
        boxes.append([*((low + high) / 2), (high - low).max() / 2])
    every = np.arange(seen[0], seen[-1] + 1)
    return np.stack([smoothed(np.interp(every, seen, values), SMOOTH) for values in np.array(boxes, np.float64).T], axis=1)


def cropped(picture: Picture, x: float, y: float, half: float) -> np.ndarray:
    """The published crop of a picture, uint8 [224, 224, 3], blue, green, red: 2.8 half sides square, most of it below the face's middle."""
    margin = int(half * (1 + 2 * GROWN))
    top, bottom = (int(v) - margin for v in (y + margin - half, y + margin + half * (1 + 2 * GROWN)))
    left, right = (int(v) - margin for v in (x + margin - half * (1 + GROWN), x + margin + half * (1 + GROWN)))
    high, wide = picture.y.shape
    made = np.full((bottom - top, right - left, 3), GREY, np.uint8)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, high), min(right, wide)
    if y0 < y1 and x0 < x1:
        made[y0 - top : y1 - top, x0 - left : x1 - left] = picture.crop(y0, x0, y1 - y0, x1 - x0)
    return cv2.resize(made[..., ::-1], (SIDE, SIDE))


class _Crops:
    """One track while it is scored; first: its first picture, places [pictures, 3]."""

    def __init__(self, first: int, places: np.ndarray) -> None:
        self.first, self.places, self.step = first, places, JpegStep()
        self.lane: Lane | None = None

    def ended(self, number: int) -> bool:
        return number >= self.first + len(self.places)

    def add(self, picture: Picture, wave: Wave, tick: int) -> None:
        """The next picture at 25 a second."""
        if self.lane is None:
            self.lane = Lane(PublishedScorer.load(), wave, tick * SAMPLE_RATE // FRAME_RATE)
        self.lane.add(self.step.array(cropped(picture, *self.places[picture.number - self.first])))

    def score(self) -> PublishedScore:
        return unscorable("no picture of it is shown at 25 a second") if self.lane is None else self.lane.score()


def tree_of(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """LSE-D and LSE-C of clips' or tracks' rows (of `row_of`): means over those that could be scored, None where there is none."""
    sure = [row for row in rows if not row["reason"]]
    means = {name: float(np.mean([row[name] for row in sure])) if sure else None for name in ("lse_d", "lse_c")}
    return {**means, "scored": len(sure), "weights": checkpoints.sha256(ENGINE, NAME), "note": NOTE}


def row_of(score: PublishedScore) -> dict[str, Any]:
    """One clip's or track's published score as plain values."""
    if not score.scorable:
        return {"offset": None, "lse_d": None, "lse_c": None, "reason": score.reason}
    return {"offset": score.offset, "lse_d": score.distance, "lse_c": score.confidence, "distances": [float(v) for v in score.distances], "reason": ""}


def _sound(path: Path) -> Wave | None:
    try:
        return sound_of(path)
    except MediaError as error:
        if error.code == "media.no_audio":
            return None
        raise
