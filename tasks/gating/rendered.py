"""Takes that engines render of held-out clips: a clip's own face and sound, its lips drawn anew, or its first frame moved.

A re-dub is compared with the clip, a moved portrait with its picture, as jobs are.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infra.media import write_wav
from models.avct.transcripts import read_words
from models.corpus import read_clip
from models.lipmemory.engine import tracked
from models.types import SAMPLE_RATE, Portrait, Speech
from tasks.engines import engine
from tasks.gating.clips import Clip, delivered, split_of
from tasks.gating.seen import hear, see
from tasks.gating.source import Source
from tasks.speech import from_recording
from tasks.speech.activity import voice_activity

REDUBS = ("lipmemory", "coherence")  # engines that draw lips into given pictures; the others move a portrait
NEAR = slice(1, 7)  # frames that steady a reference's landmarks


def rendered(path: Path, name: str, preset: str = "compact") -> Clip:
    """A held-out clip as an engine makes it. Raises ValueError, WeightsError for an engine that does not exist."""
    frames, sound = read_clip(path)
    wave = sound.astype(np.float32) / 32768
    heard, original = hear(wave, len(frames)), see(frames)
    marks = np.stack([here for here in original.marks if here is not None])  # held-out clips show their face throughout
    if name in REDUBS:
        made, source = redrawn(frames, marks, wave, name, preset), Source.of(original.score(heard), original)
    else:
        portrait = Portrait(frames[0], marks[0])
        made, source = moved(path, portrait, wave, name, preset), Source.still(portrait)
    return Clip(split_of(path), path.parent.name, path.stem, heard, see(delivered(made)), source)


def redrawn(frames: np.ndarray, marks: np.ndarray, wave: np.ndarray, name: str, preset: str = "compact") -> Iterator[np.ndarray]:
    """Frames uint8 RGB [T, H, W, 3] with landmarks [T, 478, 3], their lips drawn anew for a sound, from the first of them."""
    drawer = engine(name, preset)
    speech = Speech(wave, (), voice_activity(wave, gain=0.7 / max(float(np.abs(wave).max()), 1e-6)))
    yield from drawer.frames(tracked(frames, marks), drawer.reference(frames[0], marks[0], list(marks[NEAR])), speech, len(frames))


def moved(path: Path, portrait: Portrait, wave: np.ndarray, name: str, preset: str = "compact") -> Iterator[np.ndarray]:
    """A portrait that says what is said in a clip, whose words stand beside it."""
    mover = engine(name, preset)
    yield from mover.render(portrait, mover.motion(portrait, spoken(path, wave), seed=1))


def spoken(path: Path, wave: np.ndarray) -> Speech:
    """A clip's sound and words as a job with recording and transcript has them."""
    words = " ".join(word for word, _, _ in read_words(path.with_suffix(".align")) if word not in ("sil", "sp"))
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        write_wav(Path(folder) / "said.wav", wave, SAMPLE_RATE)
        return from_recording(Path(folder) / "said.wav", words, "en-GB").speech
