"""Several speakers: whose lips move with which cues of a video, and whose are left alone meanwhile.

The manifest's `faces` maps speakers of the script to faces; who is not mapped is found by the scorer, whose lips agree with the
original's sound in that speaker's own cues. Nobody's lips move with cues from off screen. Times are seconds of the video's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from models.types import ROW_RATE, Cue, Speech
from tasks.dubbing.cast import Cast, Wish, by_sound, choose
from tasks.dubbing.spans import OFF, Span, plan_spans, runs
from tasks.dubbing.tracks import TrackFile
from tasks.score import score_turns
from tasks.scripts.lines import name_key
from tasks.speech import SpeechTrack

ABOUT = 0.25  # seconds before and after a cue in which its speaker's lips are redrawn, closed: source and dub seldom begin and end together
TOGETHER = 1.0  # seconds between two cues of one speaker over which the lips stay redrawn: less would come and go
FAR = 1e6  # seconds: later than all
NAMELESS = "cues without a name"
Told = Wish | Literal["off", "sound"]


@dataclass(frozen=True)
class Turn:
    """A cue as casting sees it: who says it, whether from off screen, its slot in the script, and where it is heard."""

    speaker: str
    off: bool
    start: float
    end: float
    begins: float
    ends: float


@dataclass(frozen=True)
class Part:
    """A person on screen: the speakers whose cues move their lips, their tracks and how these were chosen."""

    speakers: tuple[str, ...]
    cast: Cast

    @property
    def words(self) -> str:
        """Who it is and how they were chosen."""
        who = f"{' and '.join(self.speakers)}: " if any(self.speakers) else ""
        tracks = ", ".join(map(str, sorted(self.cast.tracks)))
        return f"{who}{self.cast.how}" + (f" (face track {tracks})" if who and tracks else "")


@dataclass(frozen=True)
class Lane:
    """A person who is redrawn: what becomes of their face in every picture, and when they speak, (first, last) seconds; None is always."""

    spans: list[Span]
    times: tuple[tuple[float, float], ...] | None = None

    def hears(self, speech: Speech) -> Speech:
        """The speech as this person says it: nobody speaks while others do."""
        if self.times is None:
            return speech
        rows = np.zeros_like(speech.activity)
        for first, last in self.times:
            low, high = max(0, round(first * ROW_RATE)), max(0, round(min(last, speech.seconds + 1) * ROW_RATE))
            rows[low:high] = speech.activity[low:high]
        return replace(speech, activity=rows)


def turns_of(track: SpeechTrack, transcript: Sequence[Cue] = ()) -> tuple[Turn, ...]:
    """Who speaks when. transcript: of a recording, the cues of a timed one, at whose times it is taken to be spoken."""
    if any(cue.end > 0 for cue in transcript):
        return tuple(Turn(cue.speaker, cue.off, cue.start, cue.end, cue.start, cue.end) for cue in transcript)
    slots: list[tuple[float, float]] = [(fit["start"], fit["end"]) for fit in track.fits if fit["ends"] > fit["begins"]]
    if len(slots) != len(track.speech.cues):
        slots = [(0.0, 0.0)] * len(track.speech.cues)
    several = zip(track.speech.cues, slots, strict=True)
    return tuple(Turn(cue.speaker, cue.off, *(slot if slot[1] > 0 else (cue.start, cue.end)), cue.start, cue.end) for cue, slot in several)


def several(turns: Sequence[Turn], faces: Mapping[str, object]) -> bool:
    """Whether it has to be asked whose lips move with which cue."""
    return bool(faces) or any(turn.off for turn in turns) or len({name_key(turn.speaker) for turn in turns}) > 1


def parts_of(tracks: TrackFile, video: Path, turns: Sequence[Turn], faces: Mapping[str, Told], face: Wish | None = None) -> list[Part]:
    """The people whose lips are redrawn. faces: what is told of speakers; face: the only face that is meant, where one is.

    Without `faces` one person says everything where one is seen or one speaks. Raises as `cast.choose` does.
    """
    wishes = {name_key(name): told for name, told in faces.items()}
    names: dict[str, str] = {}
    for turn in turns:
        if not turn.off and wishes.get(name_key(turn.speaker)) != "off":
            names.setdefault(name_key(turn.speaker), turn.speaker or NAMELESS)
    people = {track.identity for track in tracks.tracks}
    if not faces and (face is not None or len(people) <= 1 or len(names) <= 1):
        return [Part(tuple(names.values()), choose(tracks, video, face))] if names or not turns else []
    found = {key: choose(tracks, video, told) for key in names if isinstance(told := wishes.get(key), Wish)}
    sought = [key for key in names if key not in found]
    if sought:
        taken = {tracks.track(number).identity for cast in found.values() for number in cast.tracks}
        slots = {key: [(turn.start, turn.end) for turn in turns if name_key(turn.speaker) == key and not turn.off] for key in sought}
        for key, scores in score_turns(video, tracks, slots).items():
            found[key] = by_sound(tracks, {number: score for number, score in scores.items() if tracks.track(number).identity not in taken})
    return _joined({names[key]: found[key] for key in names}, told={names[key] for key in names if key not in sought})


def _joined(casts: Mapping[str, Cast], told: set[str]) -> list[Part]:
    """Speakers with the same tracks as one person; where the sound alone gave two speakers one face, that is for somebody to look at."""
    parts: dict[frozenset[int], Part] = {}
    for name, cast in casts.items():
        before = parts.get(cast.tracks)
        both = (*(before.speakers if before else ()), name)
        doubt = f"{' and '.join(both)} are given one face" if before and cast.tracks and not set(both) <= told else ""
        why = "; ".join(dict.fromkeys(text for text in (before.cast.ambiguous if before else "", cast.ambiguous and f"{name}: {cast.ambiguous}", doubt) if text))
        parts[cast.tracks] = Part(both, replace(cast, ambiguous=why))
    return list(parts.values())


def whose(turns: Sequence[Turn], parts: Sequence[Part]) -> list[int]:
    """The part that says each turn, -1 where nobody on screen does."""
    owner = {name_key(name): number for number, part in enumerate(parts) for name in part.speakers}
    return [-1 if turn.off else owner.get(name_key(turn.speaker or NAMELESS), -1) for turn in turns]


def lanes_of(
    tracks: TrackFile, turns: Sequence[Turn], parts: Sequence[Part], activity: np.ndarray | None = None, *, still: bool = False
) -> tuple[list[Lane], list[Span]]:
    """A lane for each part, and spans of whoever speaks: every picture once, with the track whose lips move there or why none do.

    activity: as `plan_spans` takes it. still: lips of those who listen are redrawn, closed; else they are as in the source.
    """
    owners, edges = whose(turns, parts), [0.0, *((a.ends + b.begins) / 2 for a, b in pairwise(turns)), FAR]
    lanes = []
    for number, part in enumerate(parts):
        mine = [at for at, owner in enumerate(owners) if owner == number]
        theirs = np.ones(tracks.frames, bool) if still else _near(tracks.times, [turns[at] for at in mine])
        lanes.append(Lane(plan_spans(tracks, part.cast.tracks, activity, theirs), tuple((edges[at], edges[at + 1]) for at in mine)))
    now = np.searchsorted(edges[1:-1], tracks.times, "right")
    return lanes, _lead([lane.spans for lane in lanes], np.array(owners, int)[now] if turns else np.full(tracks.frames, -1), tracks.frames)


def untouched(lanes: Sequence[Lane], lead: Sequence[Span]) -> list[Span]:
    """The lead's spans, with the first track that is redrawn at all where it has none: what is left passes through as it is."""
    rows = [_rows(lane.spans) for lane in lanes]
    return list(runs((track, why) if track is not None else next((row[at] for row in rows if row[at][0] is not None), (None, why)) for at, (track, why) in enumerate(_rows(lead))))


def _near(times: np.ndarray, turns: Sequence[Turn]) -> np.ndarray:
    """Which pictures lie in these turns, their slots or shortly about them; short rests between them belong to them."""
    found = np.zeros(len(times), bool)
    until = -TOGETHER
    for turn in turns:
        first, last = min(turn.start, turn.begins) - ABOUT, max(turn.end, turn.ends) + ABOUT
        found[(times >= (until if first - until < TOGETHER else first)) & (times < last)] = True
        until = max(until, last)
    return found


def _rows(spans: Sequence[Span]) -> list[tuple[int | None, str]]:
    return [(span.track, span.why) for span in spans for _ in range(span.last - span.first)]


def _lead(lanes: Sequence[list[Span]], owners: np.ndarray, frames: int) -> list[Span]:
    """Spans by who speaks: what their lane says of each picture."""
    rows = [_rows(spans) for spans in lanes]
    return list(runs(rows[owner][at] if owner >= 0 else (None, OFF) for at, owner in zip(range(frames), owners.tolist(), strict=True)))
