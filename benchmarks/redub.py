"""Re-dub from end to end: pictures a second with the share of each stage, and memory against length. `dubwright bench redub`.

The film is the demo's portrait, 360x288, swaying a little; speech is espeak-ng's. Memory is that of a process of its own that dubs a film
of an hour, over one that dubs a minute; both at two pictures a second, so that an hour of speech and time is done in minutes: what
grows with time (speech, sound, scores) is that of an hour, what grows with pictures (tracks, times, spans) of 7,200.
"""

import itertools
import statistics
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import pipeline, rows
from infra.media import VideoWriter, write_wav
from infra.memory import one_heap
from infra.samples import Samples
from infra.settings import get_settings
from infra.telemetry import Stopwatch
from infra.video import inspect, pictures
from models.lipmemory.engine import LipMemoryEngine
from tasks.dubbing.cast import choose
from tasks.dubbing.redub import Film, dub
from tasks.dubbing.references import find_references
from tasks.dubbing.score import score_dubbed
from tasks.dubbing.spans import plan_spans
from tasks.dubbing.tracks import TrackFile, follow
from tasks.speech.fit import fitted

WIDTH, HEIGHT = 360, 288
ROUNDS, SECONDS = 3, 12.0
SHORT, LONG, SLOW = 60.0, 3600.0, Fraction(2)  # seconds of the films whose memory is compared, and their pictures a second


def run(*, rounds: int = ROUNDS, seconds: float = SECONDS, short: float = SHORT, long: float = LONG) -> dict[str, Any]:
    """Every figure. Fewer rounds and shorter films are quicker and less exact."""
    found: dict[str, list[float]] = {}
    with pipeline.scratch() as folder:
        film = film_of(folder / "film.mkv", seconds, Fraction(25))
        make(film, folder, Stopwatch())  # networks are loaded, files are warm
        for _ in range(rounds):
            watch = Stopwatch()
            count = make(film, folder, watch)
            spent = sum(watch.seconds.values())
            found.setdefault("fps", []).append(count / spent)
            for stage, part in watch.seconds.items():
                found.setdefault(f"share_{stage}", []).append(part / spent)
    small, large = (_peak(length) for length in (short, long))
    measured = {f"redub_{name}": ("pictures/s" if name == "fps" else "share", values) for name, values in found.items()}
    rows.add(measured | {"redub_memory_short": ("MiB", [small]), "redub_memory_long": ("MiB", [large]), "redub_memory_ratio_long": ("ratio", [large / small])})
    figures = {name: statistics.median(values) for name, values in found.items()}
    figures |= {"memory_ratio_long": large / small, "memory_peak_short_mib": small, "memory_peak_long_mib": large}
    return {"figures": {name: round(value, 4) for name, value in figures.items()}, "rounds": rounds, "seconds": {"film": seconds, "short": short, "long": long}}


def film_of(path: Path, seconds: float, fps: Fraction) -> Path:
    """A film of the portrait, which sways a little, with a hum."""
    picture = pipeline.portrait().picture
    zoom = HEIGHT / min(picture.shape[0], picture.shape[1] * HEIGHT // WIDTH)
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)[:HEIGHT]
    left = (WIDTH - small.shape[1]) // 2
    still = cv2.copyMakeBorder(small, 0, 0, max(0, left), max(0, WIDTH - small.shape[1] - left), cv2.BORDER_REPLICATE)[:, max(0, -left) :][:, :WIDTH]
    hum, clip = path.with_suffix(".wav"), path.with_suffix(".mp4")
    second = (600 * np.sin(np.arange(16_000) * 2 * np.pi * 90 / 16_000)).astype(np.int16)
    write_wav(hum, Samples(np.int16, itertools.repeat(second, round(seconds))), 16_000)  # an hour of it must not be this process's peak
    with VideoWriter(clip, WIDTH, HEIGHT, fps, hum, crf=20, preset="ultrafast", threads=1) as out:
        for number in range(round(seconds * fps)):
            shift = np.array([[1, 0, 3 * np.sin(number / 11)], [0, 1, 2 * np.cos(number / 13)]])
            out.write(cv2.warpAffine(still, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return clip


def make(film: Path, folder: Path, watch: Stopwatch) -> int:
    """Dub a film from speech to score, as a job does; returns its pictures."""
    settings = get_settings()
    torch.set_num_threads(settings.threads)
    seconds = inspect(film).seconds
    with watch.measure("speech"):
        track, _ = fitted(pipeline.speech_of(seconds), seconds, "fit")
    with watch.measure("tracks"):
        follow(pictures(film), folder / "faces.tracks")
    with TrackFile.open(folder / "faces.tracks") as tracks:
        with watch.measure("cast"):
            cast = choose(tracks, film, None)
            spans = plan_spans(tracks, cast.tracks, None)
            find_references(film, tracks, spans, folder / "references.npz", settings.max_takes)
        with watch.measure("render"):
            made = dub(Film(film, tracks, spans, folder / "references.npz"), track, folder / "dub.mp4", settings, LipMemoryEngine.load(), language="en-US", notes=[])
            count = max(made)
        with watch.measure("score"):
            found = score_dubbed(folder / "dub.mp4", tracks, {(span.first, span.last): span.track for span in spans if span.track is not None})
    if count != round(seconds * inspect(film).fps) or not found.scorable:
        raise RuntimeError(f"{count} pictures were made; the score says {found.reason or 'something'}")
    return count


def _peak(seconds: float) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.redub", str(seconds)], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    one_heap()
    with pipeline.scratch() as scratch:
        make(film_of(scratch / "film.mkv", float(sys.argv[1]), SLOW), scratch, Stopwatch())
    sys.stdout.write(f"{rows.peak_mib():.1f}\n")
