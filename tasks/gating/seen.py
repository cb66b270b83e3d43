"""A clip's face as the scorer and the features see it, kept so that one look serves many sounds and joins."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from infra.samples import Wave
from models.faces.mesh import FaceMesh
from models.quality.coherence import Opinion
from models.quality.watch import Watcher
from models.syncnet.network import FRAMES
from models.syncnet.protocol import curve_of
from models.syncnet.scorer import SyncScorer, unscorable
from models.types import FRAME_RATE, ROW_RATE, SAMPLE_RATE, SyncScore
from tasks.gating.source import Source, with_features
from tasks.gating.spoilt import shifted
from tasks.score import LEAST_SPEECH, follow, landmarks_in, spoken_frames, voice_in, watched


@dataclass(frozen=True)
class Heard:
    """A sound float32 [samples] at 16 kHz as the scorer hears it: embeddings [T - 4, E], and which frames [T] hold a voice."""

    wave: np.ndarray
    audio: np.ndarray
    spoken: np.ndarray

    def later(self, frames: int) -> "Heard":
        """It coming so many frames later, earlier where that is negative; what comes in at the other end is unknown, and silent."""
        spoken = np.roll(self.spoken, frames)
        spoken[:frames] = spoken[frames or len(spoken) :] = False
        return Heard(shifted(self.wave, frames), _moved(self.audio, frames), spoken)


@dataclass(frozen=True)
class Seen:
    """A face through a clip: embeddings [T - 4, E], present bool [T], rows [T, 7], what it looks like, and the landmarks of each frame.

    Has what a Watcher has for features.
    """

    video: np.ndarray
    present: np.ndarray
    rows: np.ndarray
    likeness: np.ndarray | None
    marks: tuple[np.ndarray | None, ...]
    opinion: Opinion | None = None

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.present)

    def score(self, heard: Heard, source: Source | None = None) -> SyncScore:
        """Its score and features with a sound of as many frames."""
        scorer = SyncScorer.load()
        if heard.spoken.sum() * 4 < LEAST_SPEECH * ROW_RATE:
            return unscorable("no speech is heard", scorer.version)
        score = scorer.score_curve(curve_of(self.video, heard.audio), present=self.present, spoken=heard.spoken)
        return with_features(score, self, heard.wave, heard.spoken, source)


def hear(wave: np.ndarray, frames: int) -> Heard:
    """Listen to a sound float32 [samples] at 16 kHz for so many frames; what cannot be scored has no voice."""
    voice = voice_in(wave)
    spoken = np.zeros(frames, bool) if isinstance(voice, str) else spoken_frames(voice, frames)
    return Heard(wave, SyncScorer.load().hear(wave, frames), spoken)


def _moved(rows: np.ndarray, by: int) -> np.ndarray:
    made = np.full_like(rows, np.nan)
    made[max(0, by) : len(rows) + min(0, by)] = rows[max(0, -by) : len(rows) - max(0, by)]
    return made


def see(frames: Iterable[np.ndarray], known: Sequence[np.ndarray | None] | None = None) -> Seen:
    """Look at the frames uint8 RGB [H, W, 3] of a clip of one face; known: its landmarks in each, where they need not be looked for."""
    watcher, present = Watcher(), list[bool]()
    marks: list[np.ndarray | None] = []
    given = iter(known) if known is not None else None

    def look(frame: np.ndarray) -> np.ndarray | None:
        marks.append(next(given) if given is not None else landmarks_in(frame, mesh))
        return marks[-1]

    with FaceMesh(video=True) as mesh:
        video = SyncScorer.load().see(follow(watched(frames, look, watcher), present))
    return Seen(video, np.array(present, bool), watcher.rows, watcher.likeness, tuple(marks), watcher.opinion)


def join_heard(clips: Sequence[Heard], frames: int) -> Heard:
    """Sounds one after another, from the first again where they end too early, cut to so many frames."""
    parts: list[Heard] = []
    while sum(len(part.spoken) for part in parts) < frames:
        parts.append(clips[len(parts) % len(clips)])
    gap = np.full((FRAMES - 1, parts[0].audio.shape[1]), np.nan, np.float32)
    audio = np.concatenate([piece for number, part in enumerate(parts) for piece in ([gap, part.audio] if number else [part.audio])])
    wave, spoken = np.concatenate([part.wave for part in parts]), np.concatenate([part.spoken for part in parts])
    return Heard(wave[: frames * SAMPLE_RATE // FRAME_RATE], audio[: frames - FRAMES + 1], spoken[:frames])


def join(clips: Sequence[Seen]) -> Seen:
    """Clips one after another; windows that straddle a joint say nothing, and no frame is compared with one beyond it."""
    first = clips[0]
    gap = np.zeros((FRAMES - 1, first.video.shape[1]), np.float32)
    video = np.concatenate([part for number, clip in enumerate(clips) for part in ([gap, clip.video] if number else [clip.video])])
    present, rows = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("present", "rows"))
    for at in itertools.accumulate(clip.frames for clip in clips[:-1]):
        present[at] = False
        rows[at] = np.nan
    opinion = Joined(clips) if first.opinion is not None else None
    return Seen(video, present, rows, first.likeness, tuple(mark for clip in clips for mark in clip.marks), opinion)


class Joined(Opinion):
    """The second opinion on clips that were joined: each one's own on its part of the sound."""

    def __init__(self, clips: Sequence[Seen]) -> None:
        self.clips = clips

    def add(self, picture: np.ndarray, landmarks: np.ndarray | None) -> None:
        """Nothing more is seen of clips that are whole."""
        raise ValueError("joined clips are whole")

    def nats(self, wave: Wave) -> np.ndarray:
        """Nats of each window of each clip [windows]."""
        found, start = [], 0
        for clip in self.clips:
            assert clip.opinion is not None
            stop = start + clip.frames * SAMPLE_RATE // FRAME_RATE
            found.append(clip.opinion.nats(wave[start:stop]))
            start = stop
        return np.concatenate(found)
