"""SyncNet's protocol on any pair of embeddings: distance curves over offsets, offset, confidence (SEEDS.md 5.3).

One difference from the published protocol: windows whose partner lies outside the clip are left out of the mean, where the
published code compares them with zero vectors.
"""

from dataclasses import dataclass

import numpy as np

REACH = 15
SECOND = 21  # windows of five frames in a second of frames
SHIFTS = (-15, -12, -9, -6, -4, -3, -2, 2, 3, 4, 6, 9, 12, 15)


@dataclass(frozen=True)
class Curve:
    """Distances float32 [windows, 31] of each video window to the sound at offsets -15..+15; NaN where there is none."""

    distances: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean distance at each offset [31]."""
        return np.nanmean(self.distances, axis=0)

    @property
    def offset(self) -> int:
        """Frames by which the audio leads (SyncNet's sign)."""
        return REACH - int(np.argmin(self.mean))

    @property
    def distance(self) -> float:
        """The least mean distance."""
        return float(self.mean.min())

    @property
    def confidence(self) -> float:
        """Median less minimum of the mean distances."""
        return float(np.median(self.mean) - self.mean.min())

    def window_confidence(self, offset: int | None = None) -> np.ndarray:
        """Per window [windows]: median of the mean distances less the window's distance at an offset (the best by default)."""
        column = REACH - (self.offset if offset is None else offset)
        return np.median(self.mean) - self.distances[:, column]


def curve_of(video: np.ndarray, audio: np.ndarray) -> Curve:
    """The distance curve of embeddings [windows, E] each; d[i, j] = |v_i - a_(i + j - 15)|."""
    count = len(video)
    distances = np.full((count, 2 * REACH + 1), np.nan, np.float32)
    for column in range(2 * REACH + 1):
        step = column - REACH
        low, high = max(0, -step), min(count, len(audio) - step)
        if high > low:
            distances[low:high, column] = np.linalg.norm(video[low:high] - audio[low + step : high + step] + 1e-6, axis=1)
    return Curve(distances)


def agreement(curve: Curve, start: int, shift: int) -> float:
    """How well a second of video from window `start` agrees with the sound `shift` frames away: curve's median less distance."""
    part = curve.distances[start : start + SECOND]
    return float(np.nanmedian(np.nanmean(part, axis=0)) - np.nanmean(part[:, REACH + shift]))


def auc(curves: list[Curve]) -> float:
    """Area under the ROC of telling in-sync seconds from shifted ones, by `agreement`; seconds every half second of every clip."""
    right, wrong = [], []
    for curve in curves:
        for start in range(0, len(curve.distances) - SECOND + 1, 12):
            right.append(agreement(curve, start, 0))
            wrong += [agreement(curve, start, s) for s in SHIFTS if not np.isnan(curve.distances[start : start + SECOND, REACH + s]).all()]
    ranks = np.argsort(np.argsort(np.array(right + wrong)))
    positives = len(right)
    return float((ranks[:positives].sum() - positives * (positives - 1) / 2) / (positives * len(wrong)))
