"""The stages of a job as benchmarks run them: speech, motion, render with encode, score; no ledger, no store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from infra.media import VideoWriter
from infra.settings import get_settings
from infra.telemetry import Stopwatch
from models.avct.engine import AvctEngine
from models.types import FRAME_RATE, Portrait
from tasks.faces import read_portrait
from tasks.score import score_video
from tasks.scripts import from_text
from tasks.speech import SpeechTrack, synthesise

PORTRAIT = Path(__file__).parent.parent / "demo" / "portraits" / "grace_hopper.jpg"
LINE = "Every night the catalogue is spoken again in another language, and in the morning somebody looks at what was flagged. "


def portrait() -> Portrait:
    """The demo's portrait."""
    return read_portrait(PORTRAIT)


def speech_of(seconds: float) -> SpeechTrack:
    """About so many seconds of English speech."""
    return synthesise(from_text(LINE * max(1, round(seconds / 6.3))), "en-US")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def film(track: SpeechTrack, face: Portrait, folder: Path) -> Path:
    """A portrait's take without its score."""
    import torch

    settings = get_settings()
    torch.set_num_threads(settings.threads)
    engine, sound, path = AvctEngine.load(), folder / "sound.wav", folder / "film.mp4"
    track.write(sound)
    height, width = face.picture.shape[:2]
    with VideoWriter(path, width, height, Fraction(FRAME_RATE), sound, threads=settings.threads) as out:
        for frame in engine.render(face, engine.motion(face, track.speech, seed=1)):
            out.write(frame)
    return path


def make(track: SpeechTrack, face: Portrait, folder: Path, watch: Stopwatch) -> float:
    """One take from speech to score; returns seconds of video."""
    import torch

    settings = get_settings()
    torch.set_num_threads(settings.threads)
    engine, sound, film = AvctEngine.load(), folder / "sound.wav", folder / "film.mp4"
    track.write(sound)
    with watch.measure("motion"):
        motion = engine.motion(face, track.speech, seed=1)
    height, width = face.picture.shape[:2]
    with watch.measure("render"), VideoWriter(film, width, height, Fraction(FRAME_RATE), sound, threads=settings.threads) as out:
        for frame in engine.render(face, motion):
            out.write(frame)
    with watch.measure("score"):
        found = score_video(film)
    assert not found.scorable or np.isfinite(found.confidence)
    return motion.frames / FRAME_RATE
