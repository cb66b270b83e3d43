"""The published measures of two runs of embeddings: distances with silence of zeros at both ends, offset, LSE-D and LSE-C (SEEDS.md 5.3)."""

from dataclasses import dataclass, field

import numpy as np
import torch

from kernels.sync_distance import sync_distance

REACH = 15
SMOOTH = 9  # windows that a window's confidence is median-filtered over


@dataclass(frozen=True)
class PublishedScore:
    """What the published code prints of one clip or face track. Offsets in frames; positive: the audio leads.

    distance: least mean distance ("Min dist", LSE-D of one clip). confidence: median less least ("Confidence", LSE-C of one clip).
    distances: float32 [31], mean distance at offsets +15..-15 as published, index 15 - offset. window_confidence: of each window
    at the offset found, median-filtered. scorable: False where there is none, and `reason` says why.
    """

    offset: int
    distance: float
    confidence: float
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    window_confidence: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    reason: str = ""

    @property
    def scorable(self) -> bool:
        """Whether there are numbers."""
        return not self.reason


def distances_of(video: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Distances float32 [N, 31] of video embeddings [N, 1024] to the audio [N, 1024] at j - 15; beyond its ends lie zeros."""
    return sync_distance(torch.from_numpy(video), torch.from_numpy(audio), reach=REACH, edges="zeros").numpy()


def score_of(distances: np.ndarray) -> PublishedScore:
    """The published score of distances [N, 31], N at least 1."""
    mean = distances.mean(0, dtype=np.float64).astype(np.float32)
    best, median = int(mean.argmin()), float(np.median(mean))
    windows = smoothed(median - distances[:, best], SMOOTH)
    return PublishedScore(REACH - best, float(mean[best]), median - float(mean[best]), mean, windows)


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Values [N] median-filtered over an odd width, with zeros beyond their ends: `scipy.signal.medfilt`, which tells off short ones."""
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2), width), axis=-1))


def unscorable(reason: str) -> PublishedScore:
    """A score that says why there is none."""
    return PublishedScore(0, float("nan"), float("nan"), reason=reason)
