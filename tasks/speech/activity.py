"""Voice activity: where in a sound somebody speaks, by silero's network through ONNX Runtime."""

import functools
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import SetupError
from infra.samples import Wave, blocks_of
from models.types import ROW_RATE, SAMPLE_RATE

STEP, CONTEXT = 512, 64  # samples at 16 kHz that the network takes a call, and that it sees of the last one
SPEAKS, FALLS_SILENT, BRIDGED = 0.5, 0.3, 0.12  # probabilities to start and stop at; pauses bridged, in seconds
QUIETER, ABOVE_NOISE, APART = 12.0, 18.0, 0.25  # dB below the loud parts, dB over the quietest; seconds between words


@functools.cache
def _session() -> Any:
    try:
        import importlib.util

        import onnxruntime

        found = importlib.util.find_spec("silero_vad")
        assert found is not None and found.origin is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = Path(found.origin).parent / "data" / "silero_vad.onnx"
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except (ImportError, AssertionError) as error:
        raise SetupError(f"voice activity needs silero-vad and onnxruntime ({error})", code="setup.vad", next_step="pip install silero-vad onnxruntime.") from error


def probabilities(wave: Wave, gain: float = 1.0) -> np.ndarray:
    """Probability of speech for every 512 samples [ceil(samples / 512)] of a wave float32 at 16 kHz, heard `gain` times as loud."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    rate, found = np.array(SAMPLE_RATE, np.int64), []
    for start in range(0, len(wave), STEP):
        piece = np.pad(wave[start : start + STEP] * np.float32(gain), (0, max(0, start + STEP - len(wave)))).astype(np.float32)
        out, state = _session().run(None, {"input": np.concatenate([context, piece])[None], "state": state, "sr": rate})
        context = piece[-CONTEXT:]
        found.append(float(out[0, 0]))
    return np.array(found, np.float32)


def voice_activity(wave: Wave, gain: float = 1.0) -> np.ndarray:
    """Where a voice speaks: float32 [rows] at 100 Hz, 1 or 0, of a wave float32 [samples] at 16 kHz, heard `gain` times as loud."""
    active, speaking = [], False
    for value in probabilities(wave, gain):
        speaking = value >= (FALLS_SILENT if speaking else SPEAKS)
        active.append(speaking)
    rows = len(wave) * ROW_RATE // SAMPLE_RATE
    if not active:
        return np.zeros(rows, np.float32)
    at = np.minimum(np.arange(rows) * (SAMPLE_RATE // ROW_RATE) // STEP, len(active) - 1)
    return bridge(np.array(active)[at], int(BRIDGED * ROW_RATE)).astype(np.float32)


def widened(wave: Wave, activity: np.ndarray) -> np.ndarray:
    """Activity [rows] with the first word's beginning and the last word's end: the network wakes late, by whole syllables at times.

    What is as loud as speech (within 12 dB of the loud parts, 18 dB above the quietest) and no further than a quarter of a second from
    active rows belongs to them; pauses inside stay as they are. wave: float32 [samples] at 16 kHz.
    """
    on, hop = np.flatnonzero(activity), SAMPLE_RATE // ROW_RATE
    if not len(on):
        return activity
    rows = [np.square(block[: len(block) // hop * hop].reshape(-1, hop)).mean(1) for block in blocks_of(wave, 1600 * hop)]
    level = 10 * np.log10(np.concatenate(rows)[: len(activity)] + 1e-10)
    loud = level > max(np.percentile(level, 95) - QUIETER, np.percentile(level, 10) + ABOVE_NOISE)
    heard = bridge((activity > 0) | loud, int(APART * ROW_RATE))
    silent = np.flatnonzero(~heard)
    before, after = silent[silent < on[0]], silent[silent > on[-1]]
    made = activity.copy()
    made[before[-1] + 1 if len(before) else 0 : on[0]] = 1
    made[on[-1] : after[0] if len(after) else len(made)] = 1
    return made


def bridge(active: np.ndarray, longest: int) -> np.ndarray:
    """Fill pauses of at most `longest` rows between active ones."""
    filled = active.copy()
    on = np.flatnonzero(active)
    for before, after in pairwise(on):
        if 1 < after - before <= longest:
            filled[before:after] = True
    return filled
