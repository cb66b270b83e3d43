"""Score any video: find faces, follow their mouths, compare with the sound, as one face or by track and second.

Streams: beside the sound, memory holds embeddings, half a kilobyte a frame of an open track, and few pictures. What else the gate weighs
(models/quality) is taken of the same pictures and landmarks on the way.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from infra.errors import MediaError
from infra.media import iter_frames, open_media, read_audio
from infra.memory import let_go, tidied
from infra.samples import Samples, Wave, delayed, loudest
from infra.video import pictures
from models.corpus import MARGIN, MOUTH_SIZE
from models.faces.crop import Square, cut, mouth_square
from models.faces.mesh import FaceMesh
from models.quality.closures import with_closures
from models.quality.watch import Watcher
from models.syncnet.network import FRAMES
from models.syncnet.scorer import CHUNK, SHORTEST, SyncScorer, unscorable
from models.types import FRAME_RATE, ROW_RATE, SAMPLE_RATE, Phone, SyncScore
from tasks.dubbing.tracks import Face, TrackFile
from tasks.dubbing.tracks import follow as follow_faces
from tasks.gating.source import Source, with_features
from tasks.speech.activity import voice_activity

SIDE = 400  # pixels of the longer side that landmarks are looked for at
REACH = 6  # frames on each side that a mouth square is averaged over
LEAST_LOUD = 0.003  # peak of a sound that counts as silence
BESIDE = 0.2  # seconds about a speaker's turn that count as theirs
LEAST_SPEECH = 0.3  # seconds of voice that can be scored

Item = TypeVar("Item")
Place = tuple[float, float, float]  # a mouth square's centre x, y and side


def score_video(path: Path, source: Source | None = None, phones: Sequence[Phone] = ()) -> SyncScore:
    """Sync score of a video file at any frame rate, with its features, also against a source, and where its phones are known with its
    mouth closures. Raises MediaError when it cannot be read; what cannot be scored says so.
    """
    wave = heard_in(path)
    return wave if isinstance(wave, SyncScore) else score_frames(iter_frames(path, Fraction(FRAME_RATE)), wave, source, phones)


def heard_in(path: Path) -> Wave | SyncScore:
    """A video's `sound_of`, or the score that says that it has none."""
    try:
        return sound_of(path)
    except MediaError as error:
        if error.code == "media.no_audio":
            return unscorable("there is no sound", SyncScorer.load().version)
        raise


def sound_of(path: Path) -> Wave:
    """A video's sound float32 [samples] at 16 kHz from its first picture on, as a player plays them. Raises MediaError."""
    return delayed(read_audio(path), round(sound_delay(path) * SAMPLE_RATE))


def sound_delay(path: Path) -> float:
    """Seconds from the first picture to the first sound by the file's time stamps; negative where the sound starts earlier."""
    first = []
    for kind in ("audio", "video"):
        with open_media(path) as media:
            stream = next((s for s in media.streams if s.type == kind), None)
            frame: Any = next(media.decode(stream), None) if stream is not None else None
            first.append(float(frame.pts * frame.time_base) if frame is not None and frame.pts is not None else 0.0)
    return first[0] - first[1]


def score_frames(frames: Iterable[np.ndarray], wave: Wave, source: Source | None = None, phones: Sequence[Phone] = ()) -> SyncScore:
    """Sync score of frames uint8 RGB [H, W, 3] at 25 a second and a wave float32 [samples] at 16 kHz that starts with them."""
    watcher = Watcher()
    with FaceMesh(video=True) as mesh:
        return score_seen(lambda present: follow(watched(frames, lambda frame: landmarks_in(frame, mesh), watcher), present), wave, watcher, source, phones)


def watched(frames: Iterable[np.ndarray], look: Callable[[np.ndarray], np.ndarray | None], watcher: Watcher) -> Iterator[tuple[np.ndarray, Place | None]]:
    """Frames with their mouths' places; `look` finds a face's landmarks, and the watcher sees all of it."""
    for frame in frames:
        marks = look(frame)
        watcher.add(frame, marks)
        yield frame, None if marks is None else place_of(marks)


def score_seen(
    mouths: Callable[[list[bool]], Iterable[np.ndarray]], wave: Wave, watcher: Watcher, source: Source | None = None, phones: Sequence[Phone] = ()
) -> SyncScore:
    """Sync score of a wave and of the grey mouths that `mouths` gives, filling the list that says which frames show one; with the features
    of what the watcher saw meanwhile, and whether its lips close for the phones that ask for it.

    Nothing is looked at where nothing is heard.
    """
    scorer = SyncScorer.load()
    voice = voice_in(wave)
    if isinstance(voice, str):
        return unscorable(voice, scorer.version)
    present: list[bool] = []
    video = Samples(np.float32, (part.ravel() for part in scorer.seen(tidied(mouths(present)))))
    let_go()  # what pictures and their networks took
    seen = np.array(present, bool)
    if not seen.any():
        return unscorable("no face is seen", scorer.version)
    if len(seen) < SHORTEST:
        return unscorable("shorter than a second", scorer.version)
    spoken = spoken_frames(voice, len(seen))
    score = with_features(scorer.score_embeddings(video, wave, present=seen, spoken=spoken), watcher, wave, spoken, source)
    return with_closures(score, watcher.rows, phones)


def voice_in(wave: Wave) -> np.ndarray | str:
    """Voice activity [rows] at 100 Hz of a wave float32 [samples] at 16 kHz, or why it holds nothing to score lips against."""
    peak = loudest(wave)
    if peak < LEAST_LOUD:
        return "the sound is silent"
    voice = voice_activity(wave, gain=0.7 / peak)
    return "no speech is heard" if voice.sum() < LEAST_SPEECH * ROW_RATE else voice


def spoken_frames(voice: np.ndarray, frames: int) -> np.ndarray:
    """Which frames [T] at 25 a second hold a voice, from its activity [rows] at 100 Hz."""
    rows = np.pad(voice, (0, max(0, frames * 4 - len(voice))))[: frames * 4]
    return np.asarray(rows.reshape(frames, 4).max(axis=1) > 0)


def follow(frames: Iterable[tuple[np.ndarray, Place | None]], present: list[bool]) -> Iterator[np.ndarray]:
    """Grey mouth pictures uint8 [96, 96] of each frame and mouth's place, averaged over 13 frames, ends held; fills `present`.

    A frame without a face takes the last square seen, and is marked. At most seven pictures are held.
    """
    mouths = Mouths()
    for frame, square in frames:
        present.append(square is not None)
        yield from mouths.add(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), square)
    yield from mouths.rest()


class Mouths:
    """One face's mouth pictures, a frame at a time: what the scorer sees. At most seven frames are held."""

    def __init__(self) -> None:
        self.waiting: deque[np.ndarray] = deque()
        self.squares: deque[Place] = deque(maxlen=2 * REACH + 1)
        self.here: Place | None = None

    def add(self, grey: np.ndarray, square: Place | None) -> Iterator[np.ndarray]:
        """The next frame uint8 [H, W] with its mouth's centre and side, None where there is no face; mouths that are ready.

        Where the mouth is all at once elsewhere, after a cut or since another speaks, no square is averaged over both places.
        """
        if square is not None and self.here is not None and np.hypot(square[0] - self.here[0], square[1] - self.here[1]) > self.here[2]:
            yield from self.rest()
            self.squares.clear()
            self.here = None
        self.waiting.append(grey)
        if square is not None and self.here is None:  # the first face: what came before it takes its place
            self.squares.clear()
        self.here = square or self.here or (grey.shape[1] / 2, grey.shape[0] / 2, grey.shape[1] / 4)
        self.squares.extend([self.here] * (REACH + 1 if not self.squares else 1))
        if len(self.waiting) > REACH:
            yield self._next()

    def rest(self) -> Iterator[np.ndarray]:
        """The mouths of the last frames."""
        while self.waiting:
            self.squares.append(self.squares[-1])
            yield self._next()

    def _next(self) -> np.ndarray:
        return cut(self.waiting.popleft(), Square(*np.mean(self.squares, axis=0)).grown(MARGIN), MOUTH_SIZE)


def landmarks_in(frame: np.ndarray, mesh: FaceMesh) -> np.ndarray | None:
    """Landmarks [478, 3] of the face in a frame, or None; the mesh sees at most SIDE pixels."""
    zoom = min(1.0, SIDE / max(frame.shape[:2]))
    small = cv2.resize(frame, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else frame
    found = mesh(small)
    return found[0] / zoom if found else None


def place_of(landmarks: np.ndarray) -> Place:
    """Centre and side of the mouth square of a face's landmarks [478, 2+]."""
    square = mouth_square(landmarks)
    return square.x, square.y, square.side


def mouth_place(frame: np.ndarray, mesh: FaceMesh) -> Place | None:
    """Centre and side of the mouth square in a frame, or None."""
    marks = landmarks_in(frame, mesh)
    return None if marks is None else place_of(marks)


def score_tracks(path: Path, tracks: TrackFile | None = None) -> dict[int, SyncScore]:
    """Sync score of each face track of a video by its number; faces are followed first where no track file is given.

    Faces that pass through (turned, small, covered, cut off) are not scored. A score's seconds count from its track's first picture;
    `extra["start"]` says where that is, in seconds after the video's first. Raises MediaError when the video cannot be read,
    ValueError where it has not as many pictures as the track file.
    """
    return score_turns(path, tracks, {"": None})[""]


def score_turns(path: Path, tracks: TrackFile | None, turns: Mapping[str, Sequence[tuple[float, float]] | None]) -> dict[str, dict[int, SyncScore]]:
    """`score_tracks` by who speaks: each track against the sound of each speaker's turns alone, (start, end) seconds; None is all of it."""
    if tracks is None:
        with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
            follow_faces(pictures(path), Path(folder) / "faces.tracks")
            with TrackFile(Path(folder) / "faces.tracks") as found:
                return score_turns(path, found, turns)
    wave = heard_in(path)
    voice = wave if isinstance(wave, SyncScore) else voice_in(wave)
    if isinstance(wave, SyncScore) or not isinstance(voice, np.ndarray):
        none = voice if isinstance(voice, SyncScore) else unscorable(str(voice), SyncScorer.load().version)
        return {name: {track.number: none for track in tracks.tracks} for name in turns}
    masks = {name: None if slots is None else _within(slots, len(voice)) for name, slots in turns.items()}
    scores = _scored(path, tracks, wave, voice, masks)
    return {name: {number: row[name] for number, row in scores.items()} for name in turns}


def _within(slots: Sequence[tuple[float, float]], rows: int) -> np.ndarray:
    """Which of `rows` at 100 Hz lie in slots or a little about them, bool [rows]."""
    found = np.zeros(rows, bool)
    for start, end in slots:
        found[max(0, round((start - BESIDE) * ROW_RATE)) : max(0, round((end + BESIDE) * ROW_RATE))] = True
    return found


def _scored(path: Path, tracks: TrackFile, wave: Wave, voice: np.ndarray, masks: Mapping[str, np.ndarray | None]) -> dict[int, dict[str, SyncScore]]:
    ends = {track.number: track.last for track in tracks.tracks}
    lanes: dict[int, _Lane] = {}
    scores: dict[int, dict[str, SyncScore]] = {}
    rows = zip(pictures(path), tracks.faces(), strict=True)
    for tick, (picture, faces) in enumerate(tidied(on_clock((picture.time, (picture, faces)) for picture, faces in rows))):
        for track in [track for track in lanes if picture.number >= ends[track]]:
            scores[track] = lanes.pop(track).score(wave, voice, masks)
        here = {face.track: face for face in faces}
        lanes |= {track: _Lane(tick) for track in here if track not in lanes}
        if lanes:
            shown = picture.rgb(quick=True)
            grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)
            for track, lane in lanes.items():
                lane.add(shown, grey, here.get(track))
    scores |= {track: lane.score(wave, voice, masks) for track, lane in lanes.items()}
    missed = {track.number for track in tracks.tracks} - set(scores)
    scores |= {track: dict.fromkeys(masks, unscorable("shorter than a second", SyncScorer.load().version)) for track in missed}
    return dict(sorted(scores.items()))


class _Lane:
    """One track while it is scored; start: its first frame at 25 a second."""

    def __init__(self, start: int) -> None:
        self.start, self.mouths, self.scorer, self.watcher = start, Mouths(), SyncScorer.load(), Watcher()
        self.held: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []
        self.present = bytearray()

    def add(self, picture: np.ndarray, grey: np.ndarray, face: Face | None) -> None:
        """The next frame, in colours and in grey, and the track's face in it."""
        self.present.append(face is not None and not face.passes)
        self.watcher.add(picture, face.landmarks if face and not face.passes else None)
        self._keep(self.mouths.add(grey, place_of(face.landmarks) if face else None))

    def _keep(self, mouths: Iterable[np.ndarray]) -> None:
        self.held += mouths
        if len(self.held) == CHUNK + FRAMES - 1:
            self.seen.append(self.scorer.see(self.held))
            self.held = self.held[1 - FRAMES :]

    def score(self, wave: Wave, voice: np.ndarray, masks: Mapping[str, np.ndarray | None]) -> dict[str, SyncScore]:
        """The track's score against the sound that begins with the video's first picture: of all of it, or of each mask's rows alone."""
        for mouth in self.mouths.rest():
            self._keep([mouth])
        video = np.concatenate([*self.seen, self.scorer.see(self.held)])
        count, rows = len(self.present), ROW_RATE // FRAME_RATE
        seen = np.frombuffer(self.present, np.uint8) > 0
        if count < SHORTEST or not seen.any():
            why = "shorter than a second" if count < SHORTEST else "no face that can be redrawn is seen"
            return dict.fromkeys(masks, unscorable(why, self.scorer.version))
        first, last = (at * SAMPLE_RATE // FRAME_RATE for at in (self.start, self.start + count))
        spoken = spoken_frames(voice[self.start * rows :], count)
        found = {}
        for name, mask in masks.items():
            present = seen if mask is None else seen & spoken_frames(mask[self.start * rows :], count)
            score = self.scorer.score_embeddings(video, wave[first:last], present=present, spoken=spoken)
            score.extra["start"] = self.start / FRAME_RATE
            found[name] = with_features(score, self.watcher, wave[first:last], spoken) if mask is None else score
        return found


def on_clock(timed: Iterable[tuple[Fraction, Item]]) -> Iterator[Item]:
    """What is shown, with its times in seconds, held or dropped onto a clock of 25 a second, as `iter_frames` does."""
    count, origin = 0, None
    shown: list[Item] = []
    for time, item in timed:
        origin = time if origin is None else origin
        due = (time - origin) * FRAME_RATE
        while shown and count < due - Fraction(1, 2):
            yield shown[0]
            count += 1
        shown = [item]
    yield from shown
