"""What becomes of every picture of a re-dub: redrawn by a track's face, or passed through as it is, and why."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from models.types import ROW_RATE
from tasks.dubbing.tracks import Face, Shot, TrackFile

FADE = 0.12  # seconds in which redrawn lips come and go where the same shot goes on without them
NEAR = 0.25  # seconds about a shot in which a voice counts as heard in it
NO_FACE, OTHERS, QUIET, WAITS, OFF = "no face", "another face", "nothing is said", "listens", "off screen"
WORDS = {
    NO_FACE: "no face is seen", OTHERS: "the speaker's face is not seen", QUIET: "nothing is said in the shot", WAITS: "whose lips are redrawn does not speak",
    OFF: "whoever speaks is off screen", "turned": "the face is turned aside",
    "small": "the face is too small", "covered": "the mouth is covered", "cut off": "the face is cut off by the picture's edge",
}  # fmt: skip
MOST_TOLD = 12


@dataclass(frozen=True)
class Span:
    """Pictures first..last-1: redrawn where they show the face of a track, else passed through for a reason."""

    first: int
    last: int
    track: int | None
    why: str = ""


def plan_spans(tracks: TrackFile, speaking: frozenset[int], activity: np.ndarray | None, theirs: np.ndarray | None = None) -> list[Span]:
    """Spans that cover every picture once. activity: float32 [rows] of the dub, where shots without any are to stay as they are.
    theirs: bool [pictures], False where these faces are left alone since others speak; by default nowhere.
    """
    still = (QUIET if quiet else "" if theirs is None or theirs[at] else WAITS for at, quiet in enumerate(_quiet(tracks, activity)))
    states = ((OTHERS if faces else NO_FACE, faces) for faces in tracks.faces(0, tracks.frames))
    rows = (_fate(why, faces, speaking, next(still)) for why, faces in states)
    return list(runs(rows))


def _quiet(tracks: TrackFile, activity: np.ndarray | None) -> Iterator[bool]:
    """For each picture, whether its shot is one in which nothing is said."""
    for shot in tracks.shots:
        low, high = (round((tracks.times[at] + side * NEAR) * ROW_RATE) for at, side in ((shot.first, -1), (shot.last - 1, 1)))
        still = activity is not None and not activity[max(0, low) : max(0, high)].any()
        yield from [still] * (shot.last - shot.first)


def _fate(why: str, faces: Sequence[Face], speaking: frozenset[int], still: str) -> tuple[int | None, str]:
    own = [face for face in faces if face.track in speaking]
    if still or not own:
        return None, still or why
    face = max(own, key=lambda one: one.square.side)
    return (None, face.passes) if face.passes else (face.track, "")


def runs(rows: Iterable[tuple[int | None, str]]) -> Iterator[Span]:
    """Spans of what becomes of each picture in order: (track, "") or (None, why)."""
    for (_, track, why), group in groupby(enumerate(rows), key=lambda row: ("", *row[1])):
        numbers = [number for number, _ in group]
        yield Span(numbers[0], numbers[-1] + 1, track, why)


def strengths(spans: Sequence[Span], shots: Sequence[Shot], rate: float) -> np.ndarray:
    """How strongly each picture is redrawn, float32 [pictures]: eased where redrawn lips come or go within a shot, so that none jumps."""
    found = np.zeros(spans[-1].last if spans else 0, np.float32)
    edges = {edge for shot in shots for edge in (shot.first, shot.last)}
    steps = max(1, round(FADE * rate))
    for span in spans:
        if span.track is None:
            continue
        count = np.arange(1, span.last - span.first + 1, dtype=np.float32)
        rise = np.ones_like(count) if span.first in edges else np.minimum(1, count / (steps + 1))
        fall = np.ones_like(count) if span.last in edges else np.minimum(1, count[::-1] / (steps + 1))
        found[span.first : span.last] = np.minimum(rise, fall)
    return found


def told(spans: Sequence[Span], times: np.ndarray) -> list[str]:
    """For a reader: which pictures stay as they are, and why."""
    left = [span for span in spans if span.track is None]
    lines = [
        f"pictures {span.first} to {span.last - 1} ({times[span.first]:.2f} to {times[span.last - 1]:.2f} s) stay as they are: {WORDS[span.why]}"
        for span in left[:MOST_TOLD]
    ]
    more = sum(span.last - span.first for span in left[MOST_TOLD:])
    return lines + ([f"and {more} more in {len(left) - MOST_TOLD} stretches"] if more else [])
