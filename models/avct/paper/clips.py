"""Prepared clips as the published networks see them: 256 px squares, head poses, features, phones.

The cache is models/corpus.py's. The square is AVCT's published crop about the clip's median landmarks, cut from the cached face.
"""

import json
from pathlib import Path

import numpy as np

from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, phone_rows, pitch_method
from models.avct.paper.pose import reference_pose
from models.avct.paper.pose_picture import SIZE as CAMERA
from models.corpus import MARGIN, Corpus, smooth
from models.faces.crop import Square, cut, published_square
from models.types import Phone


class SquareClips:
    """One split. Clips are counted from 0; what is small (poses, features) is kept once computed, pictures are cut when asked for."""

    def __init__(self, cache: Path, split: str, size: int, *, spoken: bool = False, least: int = 1) -> None:
        """Only clips of at least so many frames; spoken: only those whose phones are known."""
        self.corpus, self.size = Corpus(cache, split), size
        known = cache / "phones.json"
        self.phones_of = json.loads(known.read_text()) if spoken and known.exists() else {}
        self.clips = [c for c in self.corpus.clips if c.frames >= least and (c.name in self.phones_of or not spoken)]
        self._poses: dict[int, np.ndarray] = {}
        self._rows: dict[int, np.ndarray] = {}
        self._squares: dict[int, Square] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def frames(self, clip: int) -> int:
        """How many frames a clip has."""
        return self.clips[clip].frames

    def pictures(self, clip: int, frames: np.ndarray) -> np.ndarray:
        """Frames of a clip as uint8 [N, size, size, 3]."""
        first, square = self.clips[clip].first_frame, self._square(clip)
        return np.stack([cut(np.asarray(self.corpus.face[first + int(t)]), square, self.size) for t in frames])

    def poses(self, clip: int) -> np.ndarray:
        """Head pose float32 [T, 6] in OpenFace's units by perspective-n-point, smoothed over a fifth of a second.

        Raises ValueError where no frame has one.
        """
        if clip not in self._poses:
            square = self._square(clip)
            points = (square.to_unit(self._landmarks(clip)) + 1) * (CAMERA / 2)
            self._poses[clip] = smooth(_bridged([_pose(frame) for frame in points]), 2).astype(np.float32)
        return self._poses[clip]

    def rows(self, clip: int) -> np.ndarray:
        """Feature rows float32 [T, 4, 41], with the F0 that rendering will use."""
        if clip not in self._rows:
            wave = self.corpus.wave_of(self.clips[clip]).astype(np.float32) / 32768.0
            rows = audio_rows(wave, self.frames(clip), exact_pitch=pitch_method() == "harvest")
            self._rows[clip] = rows.reshape(-1, ROWS_PER_FRAME, WIDTH)
        return self._rows[clip]

    def phones(self, clip: int) -> np.ndarray:
        """Phone index int64 [T] of each frame."""
        told = [Phone(*row) for row in self.phones_of[self.clips[clip].name]]
        return phone_rows(told, self.frames(clip))[::ROWS_PER_FRAME]

    def _landmarks(self, clip: int) -> np.ndarray:
        """In pixels of the cached face [T, 478, 2]."""
        unit = np.asarray(self.corpus.landmarks[self.corpus.frames_of(self.clips[clip])])[..., :2]
        return (unit / MARGIN + 1) * (self.corpus.face_size / 2)

    def _square(self, clip: int) -> Square:
        if clip not in self._squares:
            side = self.corpus.face_size
            self._squares[clip] = published_square(np.median(self._landmarks(clip), axis=0), (side, side))
        return self._squares[clip]


def _pose(points: np.ndarray) -> np.ndarray:
    try:
        return reference_pose(points)
    except ValueError:
        return np.full(6, np.nan)


def _bridged(poses: list[np.ndarray]) -> np.ndarray:
    """A track [T, 6] whose missing frames take the straight line between their neighbours."""
    track = np.stack(poses)
    known = np.isfinite(track).all(1)
    if not known.any():
        raise ValueError("no frame of the clip has a head pose")
    times = np.arange(len(track))
    return np.stack([np.interp(times, times[known], values[known]) for values in track.T], axis=1)


class Order:
    """Which clip each item of a step is: every epoch a new shuffle of all clips, each `repeats` times, dealt to processes in turn."""

    def __init__(self, clips: int, repeats: int, seed: int) -> None:
        self.clips, self.items, self.seed = clips, clips * repeats, seed
        self._epoch, self._shuffled = -1, np.zeros(0, int)

    def of(self, step: int, share: int, rank: int, size: int) -> list[int]:
        """Clips of a process's `share` items."""
        first = step * share * size + rank
        return [self._clip(item) for item in range(first, first + share * size, size)]

    def _clip(self, item: int) -> int:
        epoch, at = divmod(item, self.items)
        if epoch != self._epoch:
            self._epoch, self._shuffled = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.items)
        return int(self._shuffled[at]) % self.clips
