"""What AVCT hears: 41 values at 100 Hz (13 MFCC, 26 log filter-bank, F0 in Hz, voicing) and phones, four rows to a frame.

MFCC and filter-bank are `python_speech_features` with its defaults on the peak-normalised wave, as published. F0 is WORLD's
harvest where the exact path is asked for (it costs more than a quarter of real time), else a normalised autocorrelation with the
same conventions: Hz, unvoiced gaps bridged linearly, ends held, flag 0 or 1.
"""

import functools
from collections.abc import Sequence

import numpy as np

from infra.errors import SetupError
from infra.samples import Wave
from models.avct.phonemes import SIL, index
from models.types import FRAME_RATE, ROW_RATE, SAMPLE_RATE, Phone, Speech

ROWS_PER_FRAME = ROW_RATE // FRAME_RATE
WIDTH = 41
LOWEST_HZ, HIGHEST_HZ = 65.0, 420.0
BLOCK_SECONDS = 30  # long sound is analysed in blocks of this length, so that memory does not grow with it

ABOUT = 25  # rows about a cue that are still its own
OFFSET, HUSHED_HZ = 3e-4, 120.0  # of digital silence, which has no logarithm: the mean that voices leave in it, and a pitch


def spoken_rows(speech: Speech, frames: int, *, exact_pitch: bool = False) -> np.ndarray:
    """`audio_rows` of a speech: cues that were spoken apart are normalised and analysed each for itself, with silence's rows between."""
    if not speech.apart or not speech.cues:
        return audio_rows(speech.wave, frames, exact_pitch=exact_pitch)
    features, hop, at = np.tile(silent_row(), (frames * ROWS_PER_FRAME, 1)), SAMPLE_RATE // ROW_RATE, 0
    for number, cue in enumerate(speech.cues):
        begins, ends = round(cue.start * ROW_RATE), round(cue.end * ROW_RATE)
        following = round(speech.cues[number + 1].start * ROW_RATE) if number + 1 < len(speech.cues) else len(features)
        first, last = max(at, begins - ABOUT), min(len(features), ends + ABOUT, (ends + following + 1) // 2 if ends < following else ends)
        if last <= first:
            continue
        own = np.asarray(speech.wave[begins * hop : ends * hop])
        level = _level(own)
        heard = np.asarray(speech.wave[first * hop : last * hop + 640])
        heard = ((np.pad(heard, (0, (last - first) * hop + 640 - len(heard))) - level[0]) / level[1]).astype(np.float32)
        rows = _block(heard, last - first)
        if exact_pitch:
            rows[:, 39] = harvest(heard, last - first)
        rows[:, 39], rows[:, 40] = _bridge(rows[:, 39]), rows[:, 39] > 0
        features[first:last], at = rows, last
    return features


@functools.cache
def silent_row() -> np.ndarray:
    """The row float32 [41] of silence between cues that were spoken apart."""
    row = _block(np.full(ROW_RATE * SAMPLE_RATE // ROW_RATE, OFFSET, np.float32), 1)[0]
    row[39], row[40] = HUSHED_HZ, 0
    return row


def _level(wave: np.ndarray) -> tuple[float, float]:
    """Mean and peak of a wave."""
    mean = float(wave.mean(dtype=np.float64)) if len(wave) else 0.0
    return mean, max(float(wave.max(initial=mean)) - mean, mean - float(wave.min(initial=mean)), 1e-4)


def audio_rows(wave: Wave, frames: int, *, exact_pitch: bool = False) -> np.ndarray:
    """Features float32 [frames * 4, 41] of a wave float32 [samples] at 16 kHz, padded with silence to whole frames.

    exact_pitch: F0 by WORLD's harvest; needs the package pyworld (SetupError).
    """
    wave = np.asarray(wave)
    mean, peak = _level(wave)
    rows, hop, block = frames * ROWS_PER_FRAME, SAMPLE_RATE // ROW_RATE, BLOCK_SECONDS * ROW_RATE
    parts = []
    for start in range(0, rows, block):
        count = min(block, rows - start)
        heard = (wave[start * hop : (start + count) * hop + 640] - mean) / peak
        needed = (start + count) * hop + (640 if start + count < rows else 400)
        parts.append(_block(np.pad(heard, (0, max(0, needed - start * hop - len(heard)))).astype(np.float32), count))
    features = np.concatenate(parts) if parts else np.zeros((0, WIDTH), np.float32)
    if exact_pitch:
        features[:, 39] = harvest((wave - mean) / peak, rows)
    features[:, 39], features[:, 40] = _bridge(features[:, 39]), features[:, 39] > 0
    return features


def _block(wave: np.ndarray, rows: int) -> np.ndarray:
    from python_speech_features import fbank, lifter
    from scipy.fft import dct

    energies, energy = fbank(np.pad(wave, (0, 400)), SAMPLE_RATE)
    log_bank = np.log(energies[:rows])
    cepstra = lifter(dct(log_bank, type=2, axis=1, norm="ortho")[:, :13], 22)
    cepstra[:, 0] = np.log(energy[:rows])
    return np.concatenate([cepstra, log_bank, pitch(wave, rows)[:, None], np.zeros((rows, 1))], axis=1).astype(np.float32)


def pitch(wave: np.ndarray, rows: int) -> np.ndarray:
    """F0 in Hz [rows] at 100 Hz of a wave at 16 kHz, 0 where unvoiced: peak of the normalised autocorrelation of 40 ms."""
    size, hop = 640, SAMPLE_RATE // ROW_RATE
    padded = np.pad(wave, (size // 2, size + rows * hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: rows * hop : hop]
    spectrum = np.fft.rfft(frames * np.hanning(size).astype(np.float32), 2 * size, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :size]
    taper = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[:size]
    normal = correlation / np.maximum(correlation[:, :1], 1e-9) / np.maximum(taper / taper[0], 1e-3)
    low, high = int(SAMPLE_RATE / HIGHEST_HZ), int(SAMPLE_RATE / LOWEST_HZ)
    lag = normal[:, low:high].argmax(1) + low
    strength = normal[np.arange(rows), lag]
    loud = correlation[:, 0] > 1e-3 * max(float(correlation[:, 0].max(initial=0.0)), 1e-6)
    return np.where((strength > 0.5) & loud, SAMPLE_RATE / lag, 0.0)


def pitch_method() -> str:
    """`harvest` where pyworld is installed, else `autocorrelation`."""
    try:
        import pyworld  # noqa: F401 (whether it can be)
    except ImportError:
        return "autocorrelation"
    return "harvest"


def harvest(wave: np.ndarray, rows: int) -> np.ndarray:
    """F0 in Hz [rows] at 100 Hz by WORLD's harvest (Morise 2017), 0 where unvoiced, in blocks with a second of sound around each.

    Raises SetupError where pyworld is not installed.
    """
    try:
        import pyworld
    except ImportError as error:
        raise SetupError("WORLD is not installed", code="setup.pyworld", next_step="pip install 'dubwright[world]' (it is compiled: a C++ compiler is needed).") from error
    found, hop = np.zeros(rows), SAMPLE_RATE // ROW_RATE
    for first in range(0, rows, BLOCK_SECONDS * ROW_RATE):
        last, early = min(first + BLOCK_SECONDS * ROW_RATE, rows), max(0, first - ROW_RATE)
        heard = wave[early * hop : (last + ROW_RATE) * hop].astype(np.float64)
        if len(heard):
            part = pyworld.harvest(heard, SAMPLE_RATE, frame_period=1000 / ROW_RATE)[0][first - early : last - early]
            found[first : first + len(part)] = part
    return found


def _bridge(hertz: np.ndarray) -> np.ndarray:
    voiced = np.flatnonzero(hertz > 0)
    if len(voiced) == 0:
        return hertz
    return np.interp(np.arange(len(hertz)), voiced, hertz[voiced]).astype(np.float32)


def phone_rows(phones: Sequence[Phone], frames: int) -> np.ndarray:
    """Phone index int64 [frames * 4] of each 100 Hz row, silence where no phone is."""
    rows = np.full(frames * ROWS_PER_FRAME, SIL, np.int64)
    for phone in phones:
        rows[max(0, round(phone.start * ROW_RATE)) : max(0, round(phone.end * ROW_RATE))] = index(phone.symbol)
    return rows
