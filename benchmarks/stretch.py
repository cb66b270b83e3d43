"""Ways of playing speech faster or slower, compared: `python -m benchmarks.stretch`.

Each is held against the same voice unhurried, in five languages at four rates: how far the mel spectrum is from it at the times that
belong together, how far pitch is, how many samples are missing or too many. Nothing here is timed.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from infra.media import ffmpeg, resampled, whole_samples
from models.avct.features import pitch
from models.types import ROW_RATE, SAMPLE_RATE
from tasks.speech import espeak
from tasks.speech.stretch import Span, stretched

TEXTS = {
    "en-gb": "We are all away a long, long while, and nobody asks why.",
    "de": "Schöne Grüße, ich möchte zwölf Brötchen und Käse, bitte sehr.",
    "es": "Mañana veremos un jabalí y un pingüino en la montaña.",
    "fr-fr": "Un bon vin blanc, où est le feu d'artifice de juin?",
    "it": "Gli gnocchi sono pronti, che bella giornata abbiamo avuto.",
}
RATES = (0.85, 0.93, 1.07, 1.20)
NEAR = 3  # spectra of 5 ms either way that count as the same time


def mel_db(wave: np.ndarray) -> np.ndarray:
    """Mel spectrum in dB [40, 5 ms steps] of a wave float32 at 16 kHz."""
    import librosa

    powers = librosa.feature.melspectrogram(y=wave, sr=SAMPLE_RATE, n_fft=512, hop_length=80, n_mels=40)
    return librosa.power_to_db(powers, ref=1.0, amin=1e-7)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference in dB of the mel spectra of two waves at 16 kHz that say the same, one faster than the other."""
    one, two = mel_db(first), mel_db(second)
    at = np.linspace(0, one.shape[1] - 1, two.shape[1]).round().astype(int)
    near = [np.abs(one[:, np.clip(at + k, 0, one.shape[1] - 1)] - two).mean(0) for k in range(-NEAR, NEAR + 1)]
    return float(np.min(near, axis=0).mean())


def pitches(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz of two waves at 16 kHz that say the same, at the times that belong together and where both are voiced."""
    one, two = (pitch(wave, len(wave) * ROW_RATE // SAMPLE_RATE) for wave in (first, second))
    at = np.linspace(0, len(one) - 1, len(two)).round().astype(int)
    voiced = (one[at] > 0) & (two > 0)
    return one[at][voiced], two[voiced]


def _atempo(sound: np.ndarray, rate: int, tempo: float, voice: str) -> np.ndarray:
    return stretched(sound, Span(0, len(sound), True), round(len(sound) / tempo), rate)


def _again(sound: np.ndarray, rate: int, tempo: float, voice: str) -> np.ndarray:
    return whole_samples(espeak.speak(TEXTS[voice], voice, round(165 * tempo)).sound)


def _vocoder(sound: np.ndarray, rate: int, tempo: float, voice: str) -> np.ndarray:
    import librosa

    return whole_samples(librosa.effects.time_stretch(sound.astype(np.float32) / 32768, rate=tempo))


def _rubberband(sound: np.ndarray, rate: int, tempo: float, voice: str) -> np.ndarray:
    pcm = ["-f", "s16le", "-ar", str(rate), "-ac", "1"]
    arguments = [ffmpeg(), "-loglevel", "error", "-nostdin", *pcm, "-i", "pipe:0", "-af", f"rubberband=tempo={tempo}", *pcm, "pipe:1"]
    return np.frombuffer(subprocess.run(arguments, input=sound.tobytes(), capture_output=True, check=False).stdout, np.int16)


WAYS: dict[str, Callable[[np.ndarray, int, float, str], np.ndarray]] = {
    "atempo": _atempo, "again": _again, "vocoder": _vocoder, "rubberband": _rubberband,
}  # fmt: skip


def run(texts: int = len(TEXTS)) -> dict[str, Any]:
    """For every way that is there: mel difference in dB, pitch difference in semitones, worst length error in milliseconds."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for voice in list(TEXTS)[:texts]:
        spoken = espeak.speak(TEXTS[voice], voice)
        sound = whole_samples(spoken.sound)
        sound = sound[: np.flatnonzero(sound)[-1] + 1]
        before = np.asarray(resampled(sound, spoken.rate, SAMPLE_RATE))
        for tempo in RATES:
            for name, make in WAYS.items():
                made = make(sound, spoken.rate, tempo, voice)
                if not len(made):
                    continue  # an ffmpeg without that filter
                made = made[: np.flatnonzero(made)[-1] + 1]
                after = np.asarray(resampled(made, spoken.rate, SAMPLE_RATE))
                one, two = pitches(before, after)
                semitones = float(np.median(np.abs(np.log2(two / one)))) * 12
                rows.setdefault(name, []).append((apart(before, after), semitones, abs(len(made) - len(sound) / tempo) / spoken.rate * 1000))
    figures: dict[str, float] = {}
    for name, found in rows.items():
        figures[f"stretch_{name}_mel_db"] = round(statistics.mean(row[0] for row in found), 3)
        figures[f"stretch_{name}_semitones"] = round(statistics.mean(row[1] for row in found), 3)
        figures[f"stretch_{name}_length_ms"] = round(max(row[2] for row in found), 1)
    return {"figures": figures, "languages": texts, "rates": list(RATES)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(), indent=2) + "\n")
