"""Who speaks: which face tracks of a video get new lips.

A wish decides first (a point on a face, boxes, a picture of the person). Without one, the only person there is is taken; of several, the
one whose lips agree with the video's own sound clearly more than the others'. What is not clear is said and left to a person, with
the best guess beside it. Times count from the video's first picture.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from infra.errors import InputError
from infra.video import inspect, pictures
from models.faces.identity import Likeness, alike
from models.types import SyncScore
from tasks.dubbing.tracks import Face, Track, TrackFile
from tasks.score import score_tracks

# Measured on 19 GRID clips of 3 s, ten speakers, each clip's lips against each other speaker's sound (288 pairs, both speaking): 252 speakers
# chosen, none wrongly, 36 left open (the best guess is right in 35 of them); a voice from off screen was given to one of two people in
# 4 of 100 scenes. Of 30 videos of two side by side, followed and scored whole, 29 were chosen rightly and one was left open.
IN_SYNC = 0.45  # probability of being in sync that a speaker's lips reach; chance is 0.1
CLEARLY = 1.4  # times as probable as the next person's
NEAR = 0.5  # seconds about a wished time in which its face may be found
OVERLAP = 0.5  # share of the smaller of a wished box and a face that lies in the other
LOOKS_LIKE = 0.7  # correlation with a reference picture (models/faces/identity.py) under which nobody is meant
AHEAD = 0.05  # and by how much the one who is meant is ahead of the next
ONE_BY_ONE = "they are never seen together and may be one person, so that all of them are redrawn in this take"
EACH = 6  # faces of a track that are compared with a reference picture


@dataclass(frozen=True)
class Wish:
    """Whose lips to redraw. point: on the face, as shares of width and height, at `at` seconds; boxes: (at, left, top, right, bottom), in
    shares too; tracks: by number, these and no others; picture: a portrait of the person. A point and boxes count together; the picture
    where there are neither.
    """

    point: tuple[float, float] | None = None
    at: float = 0.0
    boxes: tuple[tuple[float, float, float, float, float], ...] = ()
    tracks: tuple[int, ...] = ()
    picture: Path | None = None


@dataclass(frozen=True)
class Cast:
    """The tracks that get new lips, and how they were chosen.

    ambiguous: "" or, for a reviewer, why a person should choose; tracks are then the best guess, or none. scores: by identity, the
    probability that its lips agree with the original sound, where that was asked and could be told.
    """

    tracks: frozenset[int]
    how: str
    ambiguous: str = ""
    scores: dict[int, float] = field(default_factory=dict)


def choose(tracks: TrackFile, video: Path, wish: Wish | None = None) -> Cast:
    """Who speaks in a video with these face tracks.

    Raises InputError, code input.face_wish, for a wish that meets no face, and MediaError where the video cannot be read.
    """
    people = sorted({track.identity for track in tracks.tracks})
    if wish is not None and (wish.point or wish.boxes):
        return _of(tracks, _pointed(tracks, video, wish), "wished for by place")
    if wish is not None and wish.tracks:
        return _numbered(tracks, video, wish.tracks)
    if wish is not None and wish.picture is not None:
        return _pictured(tracks, video, wish.picture)
    if not people:
        return Cast(frozenset(), "no face", "no face is seen long enough to be followed")
    if len(people) == 1:
        return _of(tracks, people, "the only person seen")
    return by_sound(tracks, score_tracks(video, tracks))


def by_sound(tracks: TrackFile, scores: dict[int, SyncScore]) -> Cast:
    """The person whose lips agree with the sound, from the scores of all tracks; ambiguous where nobody's do clearly."""
    told = in_sync(tracks.tracks, scores)
    if not told:
        reasons = sorted({score.reason for score in scores.values() if score.reason})
        why = f"{_count(tracks)} people are seen and nothing says who speaks ({'; '.join(reasons) or 'nothing could be scored'})"
        everybody = {track.identity for track in tracks.tracks}
        if parted(tracks.tracks, everybody):
            return replace(_of(tracks, everybody, "the only person in each picture"), ambiguous=f"{why}; {ONE_BY_ONE}; point at the face that speaks")
        return Cast(frozenset(), "nobody", f"{why}; point at the face that speaks")
    ranked = sorted(told, key=lambda who: -told[who])
    best, rest = told[ranked[0]], ranked[1:]
    next_best = told[rest[0]] if rest else 0.0
    figures = ", ".join(f"person {who} {told[who]:.2f}" for who in ranked[:4])
    guess = _of(tracks, ranked[:1], "lips agree with the sound")
    if best < IN_SYNC:
        why = f"nobody's lips agree with the sound (probability of sync: {figures}); the speaker may be off screen, or sound and picture apart"
        return Cast(guess.tracks, "best guess by sound", f"{why}; point at the face that speaks", told)
    if best < CLEARLY * next_best:
        why = f"the lips of more than one person agree with the sound (probability of sync: {figures})"
        several = {who for who in ranked if told[who] >= IN_SYNC}
        if parted(tracks.tracks, several):
            guess, why = _of(tracks, several, ""), f"{why}; {ONE_BY_ONE}"
        return Cast(guess.tracks, "best guess by sound", f"{why}; point at the face that speaks", told)
    return Cast(guess.tracks, f"lips agree with the sound ({figures})", "", told)


def parted(tracks: Iterable[Track], people: set[int]) -> bool:
    """Whether no two of these people are ever there at the same time: they may be one, in another light or from another side."""
    spans = sorted((track.first, track.last, track.identity) for track in tracks if track.identity in people)
    return all(later[0] >= earlier[1] or later[2] == earlier[2] for number, earlier in enumerate(spans) for later in spans[number + 1 :])


def in_sync(tracks: Iterable[Track], scores: dict[int, SyncScore]) -> dict[int, float]:
    """By identity: the probability that lips and sound agree within a frame, a mean over its tracks by the seconds that were scored."""
    sums: dict[int, tuple[float, float]] = {}
    for track in tracks:
        score = scores.get(track.number)
        if score is None or not score.scorable:
            continue
        value, seconds = score.extra["in_sync"], score.extra["seconds"]
        before = sums.get(track.identity, (0.0, 0.0))
        sums[track.identity] = before[0] + value * seconds, before[1] + seconds
    return {who: total / seconds for who, (total, seconds) in sorted(sums.items()) if seconds > 0}


def _of(tracks: TrackFile, people: Iterable[int], how: str) -> Cast:
    chosen = set(people)
    return Cast(frozenset(track.number for track in tracks.tracks if track.identity in chosen), how)


def _count(tracks: TrackFile) -> int:
    return len({track.identity for track in tracks.tracks})


def _numbered(tracks: TrackFile, video: Path, numbers: tuple[int, ...]) -> Cast:
    there = {track.number for track in tracks.tracks}
    if strange := sorted(set(numbers) - there):
        raise InputError(f"{video.name} has no face track {', '.join(map(str, strange))}; it has {', '.join(map(str, sorted(there))) or 'none'}", code="input.face_wish",
                         next_step=f"dubwright score {video.name} lists the tracks with their numbers.")  # fmt: skip
    return Cast(frozenset(numbers), "wished for by number")


def _pointed(tracks: TrackFile, video: Path, wish: Wish) -> set[int]:
    """Identities of the faces at the wished places."""
    facts = inspect(video)
    size = np.array([facts.width, facts.height])
    hits: list[Face | None] = []
    if wish.point is not None:
        hits.append(_face_at(tracks, wish.at, lambda face: _reached(face, np.array(wish.point) * size)))
    for at, *box in wish.boxes:
        corners = np.array(box).reshape(2, 2) * size
        hits.append(_face_at(tracks, at, lambda face, corners=corners: _shared(face, corners)))  # type: ignore[misc]
    met = [face for face in hits if face is not None]
    if not met:
        at = wish.at if wish.point is not None else wish.boxes[0][0]
        raise InputError(f"the wish meets no face of {video.name}: {_seen_at(tracks, at, size)}", code="input.face_wish",
                         next_step="Give a point inside of a face, as shares of width and height, and the second at which it is there.")  # fmt: skip
    return {tracks.track(face.track).identity for face in met}


def _face_at(tracks: TrackFile, at: float, worth) -> Face | None:  # type: ignore[no-untyped-def]
    """The face that is worth most (over 0) in the picture nearest to a time in which any is, within NEAR seconds."""
    times = tracks.times - (tracks.times[0] if tracks.frames else 0.0)
    first, last = np.searchsorted(times, (at - NEAR, at + NEAR))
    rows = [(faces, abs(float(times[first + i]) - at)) for i, faces in enumerate(tracks.faces(int(first), int(last)))]
    for faces, _ in sorted(rows, key=lambda row: row[1]):
        best = max(faces, key=worth, default=None)
        if best is not None and worth(best) > 0:
            return best
    return None


def _reached(face: Face, point: np.ndarray) -> float:
    """1 at the middle of a face's square, 0 at its border and outside."""
    return 1 - float(np.abs(face.square.to_unit(point)).max())


def _shared(face: Face, corners: np.ndarray) -> float:
    """How much a box [2, 2] and a face share of their union; 0 where not OVERLAP of the smaller lies in the other."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    common = float(np.prod(np.maximum(0, np.minimum(high, corners[1]) - np.maximum(low, corners[0]))))
    areas = float(np.prod(high - low)), float(np.prod(np.maximum(corners[1] - corners[0], 0)))
    return common / (sum(areas) - common) if common > OVERLAP * min(areas) else 0.0


def _seen_at(tracks: TrackFile, at: float, size: np.ndarray) -> str:
    times = tracks.times
    if not len(times):
        return "it holds no picture"
    number = int(np.argmin(np.abs(times - times[0] - at)))
    places = [np.array([face.square.x, face.square.y]) / size for face in next(tracks.faces(number, number + 1))]
    told = " and ".join(f"({x:.2f}, {y:.2f})" for x, y in places)
    return f"at {at:.2f} s " + (f"faces are at {told}" if places else "no face is followed")


def _pictured(tracks: TrackFile, video: Path, picture: Path) -> Cast:
    """The person who looks like a reference picture. Raises InputError where nobody does."""
    from models.faces.pose import head_pose
    from tasks.faces import faces_in, read_picture

    read = read_picture(picture)
    faces = faces_in(read)
    if not faces:
        raise InputError(f"no face is seen in {picture.name}", code="input.face_wish", next_step="Give a picture of the person's face, well lit.")
    meant = Likeness()
    meant.add(read, faces[0].mesh, math.degrees(head_pose(faces[0])[1]))
    looks = likenesses(tracks, video)
    assert meant.vectors is not None
    like = {who: alike(meant.vectors, seen.vectors) for who, seen in looks.items() if seen.vectors is not None}
    ranked = sorted(like, key=lambda who: -like[who])
    if not ranked or like[ranked[0]] < LOOKS_LIKE:
        raise InputError(f"nobody in {video.name} looks like {picture.name}", code="input.face_wish",
                         next_step="Give a frame of this very video with the face in it, or point at the face.")  # fmt: skip
    guess = _of(tracks, ranked[:1], f"looks like {picture.name}")
    if len(ranked) > 1 and like[ranked[0]] - like[ranked[1]] < AHEAD:
        figures = ", ".join(f"person {who} {like[who]:.2f}" for who in ranked[:4])
        return Cast(guess.tracks, guess.how, f"more than one person looks like {picture.name} ({figures}); point at the face that speaks")
    return guess


def likenesses(tracks: TrackFile, video: Path) -> dict[int, Likeness]:
    """What each identity looks like, from a few faces of each of its tracks that can be seen well."""
    looks = {track.identity: Likeness() for track in tracks.tracks}
    who = {track.number: (track.identity, max(1, track.usable // EACH)) for track in tracks.tracks}
    count = dict.fromkeys(who, 0)
    for picture, faces in zip(pictures(video), tracks.faces(), strict=True):
        for face in faces:
            identity, step = who[face.track]
            if not face.passes:
                if count[face.track] % step == 0:
                    looks[identity].add(picture.rgb(quick=True), face.landmarks, face.yaw)
                count[face.track] += 1
    return looks
