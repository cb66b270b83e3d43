"""What a clip in sync goes through on its way to a catalogue: noise, a thrifty encoder, a small picture. The scorer is to bear it.

Every condition spoils a clip that is in sync, and none moves its sound, so that the right offset stays 0. Noise is pink (equal power
in every octave) or babble (four other clips' voices at one loudness), at a signal-to-noise ratio over the whole clip.
"""

import functools
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from infra.media import VideoWriter, write_wav

RATE = 16_000
VOICES = 4  # in babble


@dataclass(frozen=True)
class Condition:
    """One way to spoil a clip: how the picture is written again (crf 0 not at all), its size over the original, how far it is turned
    in its own plane (degrees), and noise (dB).
    """

    name: str
    crf: int = 0
    size: float = 1.0
    turned: float = 0.0
    noise_db: float | None = None
    babble: bool = False
    counted: bool = True  # among those whose worst figure is reported

    @property
    def pictured(self) -> bool:
        """Whether the picture is another than the clip's."""
        return self.crf > 0


CONDITIONS = (
    Condition("noise_20db", noise_db=20.0),
    Condition("noise_10db", noise_db=10.0),
    Condition("crf_35", crf=35),
    Condition("half_size", crf=18, size=0.5),
    Condition("third_size", crf=18, size=1 / 3, counted=False),
    Condition("turned_20", crf=18, turned=20.0, counted=False),
    Condition("babble_10db", noise_db=10.0, babble=True, counted=False),
)


def pink(samples: int, seed: int) -> np.ndarray:
    """Pink noise float64 [samples] of unit power: white noise whose amplitude falls with the root of the frequency, from 20 Hz."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft(random.normal(size=samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    made = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20.0)), samples)
    return made / np.sqrt(np.mean(made**2))


def babble(waves: list[np.ndarray], samples: int, seed: int) -> np.ndarray:
    """Several voices at once, float64 [samples] of unit power; each begins somewhere in its own clip and goes round."""
    random = np.random.default_rng(seed)
    made = np.zeros(samples)
    for wave in waves:
        level = np.sqrt(np.mean(wave.astype(np.float64) ** 2)) or 1.0
        made += np.resize(np.roll(wave / level, int(random.integers(len(wave)))), samples)
    return made / (np.sqrt(np.mean(made**2)) or 1.0)


def with_noise(wave: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """Sound float32 [samples] with noise of unit power at a signal-to-noise ratio, brought under full scale where it would clip."""
    power = float(np.mean(wave.astype(np.float64) ** 2))
    mixed = wave + noise * np.sqrt(power / 10 ** (decibels / 10))
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def heard(wave: np.ndarray, condition: Condition, others: list[np.ndarray], seed: int) -> np.ndarray:
    """The sound as a condition leaves it; others: clips that lend their voices to babble."""
    if condition.noise_db is None:
        return wave
    noise = babble(others, len(wave), seed) if condition.babble else pink(len(wave), seed)
    return with_noise(wave, noise, condition.noise_db)


def written_again(path: Path, condition: Condition, folder: Path) -> Path:
    """A clip's picture turned, scaled and encoded once more, with its sound beside it as it was."""
    import cv2

    from models.corpus import read_clip

    frames, wave = read_clip(path)
    high, wide = frames.shape[1:3]
    turn = cv2.getRotationMatrix2D((wide / 2, high / 2), condition.turned, 1.0)
    small = (2 * round(wide * condition.size / 2), 2 * round(high * condition.size / 2))
    sound, made = folder / f"{path.stem}.wav", folder / f"{path.parent.name}-{path.stem}.mp4"
    write_wav(sound, wave, RATE)
    with VideoWriter(made, *small, Fraction(25), sound, crf=condition.crf, preset="medium", threads=1) as out:
        for frame in frames:
            upright = cv2.warpAffine(frame, turn, (wide, high), borderMode=cv2.BORDER_REPLICATE) if condition.turned else frame
            out.write(cv2.resize(upright, small, interpolation=cv2.INTER_AREA) if condition.size != 1 else upright)
    return made


def mouths_again(path: Path, condition: Condition) -> np.ndarray | None:
    """The mouths uint8 [T, 96, 96] of a clip as a condition leaves its picture; None where a frame shows no face any more."""
    from models.corpus import prepare_clip

    with tempfile.TemporaryDirectory() as folder:
        arrays = prepare_clip(written_again(path, condition, Path(folder)))
    return None if arrays is None else arrays["mouth"]


def each_again(paths: list[Path], condition: Condition, workers: int) -> Iterator[np.ndarray | None]:
    """`mouths_again` of clips, in several processes."""
    if workers < 2:
        yield from (mouths_again(path, condition) for path in paths)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(functools.partial(mouths_again, condition=condition), paths)
