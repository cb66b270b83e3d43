"""SyncNet's protocol on any pair of embeddings: distance curves over offsets, offset, confidence (SEEDS.md 5.3).

Two differences from the published protocol: windows whose partner lies outside the clip are left out of the mean, where the
published code compares them with zero vectors; and an offset that fewer than half of the windows have a partner at (in clips
of a second) is not a candidate, since the least of a few poor means says nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from kernels.sync_distance import sync_distance

REACH = 15
BROAD = 3  # frames on each side that the dip at the right offset may be wide
SECOND = 21  # windows of five frames in a second of frames
BLOCK = 4096  # windows whose mean is taken at a time, so that those of hours are not copied
SHIFTS = (-15, -12, -9, -6, -4, -3, -2, 2, 3, 4, 6, 9, 12, 15)


@dataclass(frozen=True)
class Curve:
    """Distances float32 [windows, 31] of each video window to the sound at offsets -15..+15; NaN where there is none."""

    distances: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean distance at each offset [31], NaN where no window has a partner."""
        return _mean(self.distances)

    @property
    def candidates(self) -> np.ndarray:
        """Mean distance at each offset [31], NaN where fewer than half of the windows have a partner."""
        known = (~np.isnan(self.distances)).sum(axis=0)
        return np.where(known * 2 >= known.max(), self.mean, np.nan)

    @property
    def offset(self) -> int:
        """Frames by which the audio leads (SyncNet's sign)."""
        return REACH - int(np.nanargmin(self.candidates))

    @property
    def distance(self) -> float:
        """The least mean distance."""
        return float(np.nanmin(self.candidates))

    @property
    def median(self) -> float:
        """Median of the mean distances."""
        return float(np.nanmedian(self.candidates))

    @property
    def confidence(self) -> float:
        """Median less minimum of the mean distances."""
        return self.median - self.distance

    @property
    def prominence(self) -> float:
        """How far the best offset stands out: confidence over the spread of the means that lie more than BROAD frames from it.

        Confidence grows with how lively a face and a voice look to the network; this does not, so that a threshold found on
        some people holds for others. 0 where there is no spread to compare with.
        """
        means = self.candidates
        rest = means[np.abs(np.arange(len(means)) - int(np.nanargmin(means))) > BROAD]
        spread = float(np.nanstd(rest)) if np.isfinite(rest).any() else 0.0
        return self.confidence / spread if spread > 1e-6 else 0.0

    def window_confidence(self, offset: int) -> np.ndarray:
        """Per window [windows]: median of the mean distances less the window's distance at an offset."""
        return self.median - self.distances[:, REACH - offset]


def _mean(distances: np.ndarray, power: int = 1) -> np.ndarray:
    """Mean [31] of distances [windows, 31] to a power, NaN where none is known; float32."""
    total, count = np.zeros(distances.shape[1]), np.zeros(distances.shape[1], int)
    for start in range(0, len(distances), BLOCK):
        block = distances[start : start + BLOCK]
        known = ~np.isnan(block)
        total += np.where(known, block**power, 0).sum(axis=0, dtype=np.float64)
        count += known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def curve_of(video: np.ndarray, audio: np.ndarray) -> Curve:
    """The distance curve of embeddings float32 [windows, E] each; d[i, j] = |v_i - a_(i + j - 15)|."""
    return Curve(sync_distance(torch.from_numpy(video), torch.from_numpy(audio), reach=REACH).numpy())


def certainty(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Log probability of each offset [31] given distances [windows, 31] of unit vectors; minus infinity where none is known.

    The softmax, under the network's own temperature, of the mean cosine similarities (1 - d^2 / 2) at the offsets.
    """
    likeness = temperature * (1 - _mean(distances, power=2).astype(np.float64) / 2)
    likeness[np.isnan(likeness)] = -np.inf
    peak = likeness.max()
    return likeness - peak - np.log(np.exp(likeness - peak).sum())


def margin(distances: np.ndarray) -> np.ndarray:
    """SyncNet's measure at each offset [31]: median of the mean distances less the mean distance; NaN where none is known."""
    mean = _mean(distances)
    return np.nanmedian(mean) - mean


def auc(curves: list[Curve], measure: Callable[[np.ndarray], np.ndarray]) -> float:
    """Area under the ROC of telling in-sync seconds from shifted ones by a measure; seconds every half second of every clip."""
    right: list[float] = []
    wrong: list[float] = []
    for curve in curves:
        for start in range(0, len(curve.distances) - SECOND + 1, 12):
            values = measure(curve.distances[start : start + SECOND])
            right.append(values[REACH])
            wrong += [values[REACH + s] for s in SHIFTS if np.isfinite(values[REACH + s])]
    higher = np.searchsorted(np.sort(wrong), right, "left") + np.searchsorted(np.sort(wrong), right, "right")
    return float(higher.mean() / 2 / len(wrong))


def figures_of(curves: list[Curve], temperature: float) -> dict[str, float]:
    """Figures of clips that are in sync: `offset_within_1`; `auc_1s` by `certainty`; `auc_1s_margin` by SyncNet's `margin`."""
    return {
        "offset_within_1": float(np.mean([abs(c.offset) <= 1 for c in curves])),
        "auc_1s": auc(curves, lambda distances: certainty(distances, temperature)),
        "auc_1s_margin": auc(curves, margin),
    }
