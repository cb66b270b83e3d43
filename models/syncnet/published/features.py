"""The published sound features: MFCC by python_speech_features with all its defaults, of whole samples that are not scaled (SEEDS.md 5.1)."""

import warnings

import numpy as np
import torch
from torch import Tensor

from infra.samples import Wave
from models.syncnet.published.network import CEPSTRA, FRAMES, ROWS
from models.types import FRAME_RATE, SAMPLE_RATE

STEP, WIDTH = SAMPLE_RATE // 100, SAMPLE_RATE // 40  # samples from row to row, and of a row
PER_FRAME = SAMPLE_RATE // FRAME_RATE


def windows_in(frames: int, samples: int) -> int:
    """How many windows the published code scores: one less than there are, negative where the clip is too short."""
    return min(frames, samples // PER_FRAME) - FRAMES


def whole_samples(wave: np.ndarray) -> np.ndarray:
    """Samples float32 in [-1, 1] as int16, rounded as ffmpeg does."""
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def cepstra(samples: np.ndarray) -> np.ndarray:
    """MFCC float64 [rows, 13] of int16 samples: 25 ms every 10 ms, no window function, c0 the log energy."""
    import python_speech_features

    with warnings.catch_warnings():  # digital silence: log of 0 in bands, which the package itself replaces
        warnings.simplefilter("ignore")
        made: np.ndarray = python_speech_features.mfcc(samples, SAMPLE_RATE, numcep=CEPSTRA)
    return made


def sound_windows(wave: Wave, first: int, last: int, origin: int = 0) -> Tensor:
    """Windows first..last-1 of a sound float32 [samples] at 16 kHz: float32 [last - first, 1, 13, 20], window i from row 4i on.

    origin: the sample that the clip begins with; nothing before it is heard. Only the samples at hand are read; the row before them is heard too, since pre-emphasis looks one sample back.
    """
    if last <= first:
        return torch.zeros(0, 1, CEPSTRA, ROWS)
    start, count = 4 * first, 4 * (last - 1 - first) + ROWS
    before = min(start, 1)
    piece = wave[origin + (start - before) * STEP : origin + (start + count - 1) * STEP + WIDTH]
    rows = cepstra(whole_samples(np.asarray(piece)))[before : before + count]
    heard = torch.from_numpy(rows.astype(np.float32))
    return heard.unfold(0, ROWS, 4)[:, None]
