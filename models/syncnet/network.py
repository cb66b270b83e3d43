"""The `compact` scorer's networks: five grey frames of a mouth and a fifth of a second of sound to unit vectors.

B batch, T frames; a window is frames i..i+4 and feature rows 4i..4i+19 (100 Hz).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.samples import Wave
from models.types import ROW_RATE, SAMPLE_RATE

FRAMES = 5
ROWS = 20
SIZE = 64
MELS = 40


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """Sizes of the two encoders."""

    video_widths: tuple[int, ...] = (32, 64, 128, 160)
    audio_widths: tuple[int, ...] = (32, 64, 128)
    embedding: int = 128


class SyncNetwork(nn.Module):
    """Both encoders and the temperature of their similarity."""

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        widths = (2 * FRAMES - 1, *config.video_widths)
        self.video = nn.Sequential(
            *(_unit(a, b, 5 if i == 0 else 3, 2) for i, (a, b) in enumerate(itertools.pairwise(widths))),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(widths[-1] * (SIZE // 16) ** 2, 256),
            nn.ReLU(),
            nn.Linear(256, config.embedding),
        )
        first, second, third = config.audio_widths
        self.audio = nn.Sequential(
            _unit(1, first, 5, (1, 2)),
            _unit(first, second, 3, 2),
            _unit(second, third, 3, 2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(third * (ROWS // 4) * (MELS // 8), 256),
            nn.ReLU(),
            nn.Linear(256, config.embedding),
        )
        self.scale = nn.Parameter(torch.tensor(2.5))

    def see(self, mouths: Tensor) -> Tensor:
        """Windows of grey mouths [B, 5, 64, 64] in [0, 1] to unit vectors [B, E]; brightness and contrast are taken out."""
        mean = mouths.mean((1, 2, 3), keepdim=True)
        level = (mouths - mean) / (mouths.std((1, 2, 3), keepdim=True) + 0.02)
        return F.normalize(self.video(torch.cat([level, level.diff(dim=1) * 3.0], 1)), dim=-1)

    @property
    def temperature(self) -> float:
        """What a cosine similarity is multiplied by before a softmax over candidates, as learned."""
        return float(self.scale.detach().exp())

    def hear(self, mels: Tensor) -> Tensor:
        """Windows of log mel rows [B, 20, 40] to unit vectors [B, E]."""
        return F.normalize(self.audio(mels[:, None]), dim=-1)


def _unit(inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def cut_windows(mouths: Tensor, mels: Tensor) -> tuple[Tensor, Tensor]:
    """Runs [N, T, 64, 64] and [N, 4 T, 40] to windows [N * (T - 4), 5, 64, 64] and [N * (T - 4), 20, 40]."""
    seen = mouths.unfold(1, FRAMES, 1).permute(0, 1, 4, 2, 3).reshape(-1, FRAMES, *mouths.shape[-2:])
    heard = mels.unfold(1, ROWS, 4).permute(0, 1, 3, 2).reshape(-1, ROWS, MELS)
    return seen, heard


def mel_filters(bands: int = MELS, bins: int = 257) -> np.ndarray:
    """Triangular filters [bands, bins] equally wide in mel (HTK formula) from 80 Hz to 7,600 Hz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (80.0, 7600.0))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bin_hertz = np.linspace(0, SAMPLE_RATE / 2, bins)
    rising = (bin_hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bin_hertz) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mels(wave: Wave, rows: int, first: int = 0, last: int | None = None, loud: float | None = None) -> np.ndarray:
    """Log mel energies float32 [last - first, 40] of rows first..last (all by default) of the `rows` that a wave float32 in [-1, 1]
    has at 100 Hz: 25 ms Hann windows about each row's middle.

    Loudness is relative to the loud parts of the clip (`loudness`), floored 60 dB below, in units of 20 dB.
    """
    loud = loudness(wave, rows) if loud is None else loud
    level = np.concatenate([np.zeros((0, MELS), np.float32), *_levels(wave, first, rows if last is None else last)])
    return (np.maximum(level - loud, -6.0) / 2 + 1).astype(np.float32)


def loudness(wave: Wave, rows: int) -> float:
    """How loud the loud parts of a wave are: the 95th percentile of its rows' loudest bands, log10."""
    peaks = [level.max(-1) for level in _levels(wave, 0, rows)]
    return float(np.percentile(np.concatenate(peaks), 95)) if peaks else 0.0


def _levels(wave: Wave, start: int, stop: int) -> Iterator[np.ndarray]:
    """Log10 mel energies of rows start..stop, half a minute at a time, so that spectra of hours are never held."""
    hop, width = SAMPLE_RATE // ROW_RATE, 400
    before = (width - hop) // 2
    window, filters = np.hanning(width).astype(np.float32), mel_filters().T
    for first in range(start, stop, 3000):
        count = min(3000, stop - first)
        low, high = first * hop - before, (first + count) * hop - before + width
        piece = wave[max(0, low) : max(0, high)]
        piece = np.pad(piece, (max(0, -low), max(0, high - max(0, low) - len(piece))))
        frames = np.lib.stride_tricks.sliding_window_view(piece, width)[: count * hop : hop]
        spectrum = np.abs(np.fft.rfft(frames * window, 512)) ** 2
        yield np.log10(spectrum.astype(np.float32) @ filters + 1e-10)
