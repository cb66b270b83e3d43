"""Mel features as Wav2Lip has them (SEEDS.md 6.1): 80 bands at 80 Hz, in [-4, 4], and the chunk of 0.2 s that each frame hears.

16 kHz, pre-emphasis 0.97, Hann window and FFT of 800 samples centred on every 200th, magnitude, 80 Slaney bands from 55 to
7,600 Hz of equal area, 20 log10 floored at -100 dB, 20 dB below which is the reference, mapped to [-4, 4] and clipped.
"""

import hashlib
from itertools import pairwise

import numpy as np

from infra.samples import Wave, blocks_of
from models.types import FRAME_RATE, SAMPLE_RATE, Speech

BANDS, WIDTH, HOP = 80, 800, 200
COLUMN_RATE = SAMPLE_RATE // HOP  # mel columns a second
CHUNK = 16  # mel columns that a frame hears
PRE_EMPHASIS, FLOOR_DB, REFERENCE_DB, REACH = 0.97, -100.0, 20.0, 4.0
TENTH = SAMPLE_RATE // 10
LEVEL = 0.1  # root mean square of the loud tenths of a second of a levelled wave
LEAD = 1  # frames before its own at which the chunk of a rendered frame starts


def slaney_filters(bands: int = BANDS, low: float = 55.0, high: float = 7600.0) -> np.ndarray:
    """Triangular filters float32 [bands, 401] of equal area, equally wide on Slaney's mel scale: linear to 1 kHz, then logarithmic."""
    edges = _hertz(np.linspace(_mel(low), _mel(high), bands + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, WIDTH // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)


STEP = np.log(6.4) / 27  # Slaney's step a mel above 1 kHz, where 15 mels are


def _mel(hertz: float) -> float:
    return float(hertz * 3 / 200 if hertz < 1000 else 15 + np.log(hertz / 1000) / STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(STEP * (mel - 15)))


def columns(samples: int) -> int:
    """Mel columns of a wave of so many samples."""
    return samples // HOP + 1


def mel_columns(wave: "Wave | Heard", first: int = 0, last: int | None = None, gain: float = 1.0) -> np.ndarray:
    """Mel float32 [80, last - first] of a wave float32 [samples] in [-1, 1], heard `gain` times as loud: columns first..last, or all.

    The wave's ends are mirrored, as centred windows ask; a range of columns costs that range's samples alone.
    """
    last = columns(len(wave)) if last is None else min(last, columns(len(wave)))
    low, high = first * HOP - WIDTH // 2, (last - 1) * HOP + WIDTH // 2
    if last <= first:
        return np.zeros((BANDS, 0), np.float32)
    at = np.arange(low, high)
    period = max(1, 2 * (len(wave) - 1))
    at = np.abs(at) % period
    at = np.minimum(at, period - at)
    base = max(0, int(at.min()) - 1)
    piece = wave[base : int(at.max()) + 1] * np.float32(gain)
    sharp = piece[at - base] - PRE_EMPHASIS * np.where(at > 0, piece[np.maximum(at - 1, base) - base], 0)
    frames = np.lib.stride_tricks.sliding_window_view(sharp, WIDTH)[::HOP]
    window = np.hanning(WIDTH + 1)[:-1].astype(np.float32)  # periodic
    level = _FILTERS @ np.abs(np.fft.rfft(frames * window, axis=1)).T.astype(np.float32)
    decibel = 20 * np.log10(np.maximum(level, 10 ** (FLOOR_DB / 20))) - REFERENCE_DB
    return np.clip(2 * REACH * (decibel - FLOOR_DB) / -FLOOR_DB - REACH, -REACH, REACH).astype(np.float32)


_FILTERS = slaney_filters()


def chunk_start(frame: int, lead: int = LEAD) -> int:
    """The mel column at which a frame's chunk starts: int(80 (i - lead) / 25), and not before the first.

    lead: 1 for a rendered frame, as published training has it (SEEDS.md 3.1); 0 for the sync loss's chunk, which starts with the
    first of its five frames.
    """
    return max(0, int(COLUMN_RATE * (frame - lead) / FRAME_RATE))


def chunk_starts(times: np.ndarray, total: int) -> np.ndarray:
    """The mel columns [T] of `total` at which the chunks of pictures at `times`, in seconds, start."""
    return np.floor(COLUMN_RATE * (times - LEAD / FRAME_RATE) + 1e-6).clip(0, max(0, total - CHUNK)).astype(int)


def chunks(wave: "Wave | Heard", times: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """What pictures at rising times [T], in seconds, hear of a wave: float32 [T, 80, 16]; the tail repeats the last full chunk.

    At 25 pictures a second these are `chunk_start`'s chunks, at any other rate those that start at the same distance.
    """
    total = columns(len(wave))
    starts = chunk_starts(times, total)
    if not len(starts):
        return np.zeros((0, BANDS, CHUNK), np.float32)
    mels = mel_columns(wave, int(starts[0]), int(starts[-1]) + CHUNK, gain)
    if mels.shape[1] < CHUNK:  # a sound shorter than a chunk
        mels = np.pad(mels, ((0, 0), (0, CHUNK - mels.shape[1])), constant_values=-REACH)
    windows = np.lib.stride_tricks.sliding_window_view(mels, CHUNK, axis=1)  # [80, columns, 16]
    return np.ascontiguousarray(windows[:, starts - starts[0]].transpose(1, 0, 2))


def levelled(wave: np.ndarray) -> np.ndarray:
    """A wave float32 at one loudness; silence stays silence."""
    return (wave * np.float32(gain_of(wave))).astype(np.float32)


def gain_of(wave: Wave) -> float:
    """What brings a wave to the loudness that the network knows, by its loud tenths of a second (95th percentile); 1 for silence."""
    if len(wave) < TENTH:
        return 1.0
    tenths = [np.sqrt(np.square(block[: len(block) // TENTH * TENTH].reshape(-1, TENTH)).mean(1)) for block in blocks_of(wave, 160 * TENTH)]
    loud = float(np.percentile(np.concatenate(tenths), 95))
    return LEVEL / loud if loud > 1e-4 else 1.0


class Heard:
    """A speech's sound at the loudness that the network knows, read in slices: as a whole, or each cue for itself where cues were spoken apart."""

    def __init__(self, speech: Speech) -> None:
        self.wave = speech.wave
        cues = speech.cues if speech.apart else ()
        spans = [(round(cue.start * SAMPLE_RATE), round(cue.end * SAMPLE_RATE)) for cue in cues] or [(0, len(self.wave))]
        self._edges = np.array([(one[1] + other[0]) // 2 for one, other in pairwise(spans)], np.int64)
        self._gains = np.array([float(f"{gain_of(self.wave[first:last]):.4g}") for first, last in spans], np.float32)  # so far alike on all machines

    def __len__(self) -> int:
        return len(self.wave)

    def __getitem__(self, part: slice) -> np.ndarray:
        first, last, _ = part.indices(len(self.wave))
        return np.asarray(self.wave[first:last]) * self._gains[np.searchsorted(self._edges, np.arange(first, last), "right")]

    def digest(self, times: np.ndarray, shares: np.ndarray) -> str:
        """A hash of all that pictures at rising times [T], in seconds, hear; shares [T]: how much of each is speech, the others hear silence."""
        starts = chunk_starts(times, columns(len(self)))
        made = hashlib.sha256(np.ascontiguousarray(shares, np.float32).tobytes())
        spoken = np.flatnonzero(shares > 0)
        for run in np.split(spoken, np.flatnonzero(np.diff(spoken) > 1) + 1) if len(spoken) else ():
            last = (int(starts[run[-1]]) + CHUNK - 1) * HOP + WIDTH // 2
            made.update(starts[run].astype(np.int64).tobytes())
            made.update(self[max(0, int(starts[run[0]]) * HOP - WIDTH // 2 - 1) : last].tobytes())
            made.update(b"" if last <= len(self) else str(len(self)).encode())  # its end is mirrored
        return made.hexdigest()
