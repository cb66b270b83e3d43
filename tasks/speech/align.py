"""Phone times of a recording: with its transcript by synthesis and dynamic time warping, without one by a phone decoder."""

import functools
from dataclasses import dataclass

import numpy as np

from infra.errors import InputError, SetupError
from models.types import ROW_RATE, SAMPLE_RATE, Phone
from tasks.speech.espeak import Spoken

HOP = SAMPLE_RATE // ROW_RATE
MOST = 6000  # rows of either sound that are compared each with each: 0.7 GB. Of more, several are taken as one
DOUBTFUL = 0.8  # mean cosine distance along the path above which words and sound hardly belong together


@dataclass(frozen=True)
class Alignment:
    """Phones of a recording in seconds, and how far apart recording and synthesis stayed (0 alike, about 1 unrelated)."""

    phones: tuple[Phone, ...]
    cost: float


def _features(wave: np.ndarray) -> np.ndarray:
    import librosa

    cepstra = librosa.feature.mfcc(y=wave, sr=SAMPLE_RATE, n_mfcc=20, hop_length=HOP, n_fft=512, win_length=400, n_mels=40)
    cepstra = np.concatenate([cepstra, 2 * librosa.feature.delta(cepstra, width=5)]) if cepstra.shape[1] > 5 else cepstra
    return (cepstra - cepstra.mean(1, keepdims=True)) / (cepstra.std(1, keepdims=True) + 1e-3)


def _coarser(rows: np.ndarray, step: int) -> np.ndarray:
    """Features [F, rows] of which so many each are taken as their mean; the last few stand for themselves."""
    if step == 1:
        return rows
    padded = np.pad(rows, [(0, 0), (0, -rows.shape[1] % step)], mode="edge")
    return padded.reshape(len(rows), -1, step).mean(2)


def _trimmed(activity: np.ndarray, rows: int) -> tuple[int, int]:
    on = np.flatnonzero(activity)
    return (max(0, int(on[0]) - 8), min(rows, int(on[-1]) + 9)) if len(on) else (0, rows)


def align(wave: np.ndarray, activity: np.ndarray, spoken: Spoken) -> Alignment:
    """Carry a synthesis's phones over to a recording of the same words.

    wave: float32 [samples] at 16 kHz; activity: [rows] at 100 Hz. Dynamic time warping (Sakoe and Chiba 1978) on MFCC and their
    slopes, normalised over each sound. Works in every language that the synthesis speaks. Over a minute it is coarser: 40 ms at four.
    """
    import librosa

    model = librosa.resample(spoken.sound, orig_sr=spoken.rate, target_sr=SAMPLE_RATE)
    first, last = _trimmed(activity, len(wave) // HOP)
    begin = min((p.start for p in spoken.phones), default=0.0)
    end = max((p.end for p in spoken.phones), default=spoken.sound.size / spoken.rate)
    low, high = int(max(0.0, begin - 0.05) * SAMPLE_RATE), int((end + 0.05) * SAMPLE_RATE)
    ours, theirs = _features(model[low:high]), _features(wave[first * HOP : last * HOP])
    step = -(-max(ours.shape[1], theirs.shape[1]) // MOST)
    ours, theirs = _coarser(ours, step), _coarser(theirs, step)
    costs, path = librosa.sequence.dtw(X=ours, Y=theirs, metric="cosine")
    path = path[::-1]
    cost = float(costs[-1, -1] / len(path))
    rows = np.interp(np.arange(ours.shape[1] + 1), path[:, 0], path[:, 1])

    def carry(time: float) -> float:
        row = np.clip((time * SAMPLE_RATE - low) / HOP / step, 0, ours.shape[1])
        return (float(np.interp(row, np.arange(len(rows)), rows)) * step + first) / ROW_RATE

    phones = tuple(Phone(p.symbol, carry(p.start), carry(p.end)) for p in spoken.phones)
    return Alignment(phones, cost)


@functools.cache
def _decoder() -> object:
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError as error:
        raise SetupError("a recording without transcript needs pocketsphinx", code="setup.pocketsphinx", next_step="pip install pocketsphinx, or give a transcript.") from error
    return Decoder(allphone=get_model_path("en-us/en-us-phone.lm.bin"), lm=None, loglevel="FATAL", lw=2.0, beam=1e-20, pbeam=1e-20)


def decode(wave: np.ndarray) -> tuple[Phone, ...]:
    """Phones heard in a recording of English, by pocketsphinx's phone decoder. Raises InputError when it hears none."""
    decoder = _decoder()
    pcm = (np.clip(np.pad(wave, (3200, 3200)), -1, 1) * 32767 + np.random.default_rng(0).normal(0, 2, len(wave) + 6400)).astype(np.int16)
    decoder.start_utt()  # type: ignore[attr-defined]
    decoder.process_raw(pcm.tobytes(), full_utt=True)  # type: ignore[attr-defined]
    decoder.end_utt()  # type: ignore[attr-defined]
    phones = [
        Phone(s.word, max(0.0, s.start_frame / 100 - 0.2), max(0.0, (s.end_frame + 1) / 100 - 0.2))
        for s in decoder.seg()  # type: ignore[attr-defined]
        if s.word.isalpha() and s.word != "SIL"
    ]
    if not phones:
        raise InputError("no speech sounds were recognised in the recording", code="input.no_speech", next_step="Give the recording's transcript.")
    return tuple(phones)
