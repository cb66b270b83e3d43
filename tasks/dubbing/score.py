"""Score a re-dub: the face that was redrawn, wherever it was, found anew in the encoded file, and beside it in the source. Streams."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from infra.samples import Wave
from infra.video import pictures
from models.faces.crop import Square
from models.faces.mesh import FaceMesh
from models.quality.watch import Watcher
from models.syncnet.scorer import unscorable
from models.types import Phone, SyncScore
from tasks.dubbing.tracks import Face, TrackFile
from tasks.gating.source import Source
from tasks.score import Place, follow, heard_in, landmarks_in, on_clock, place_of, score_seen, voice_in

AROUND = 1.15  # how much of a picture is searched for a face: its square, grown
Look = Callable[[np.ndarray, Face], np.ndarray | None]  # a picture and a face of the track file in it: the face's landmarks there
Redrawn = Mapping[tuple[int, int], int]  # pictures first..last-1: the track whose face is redrawn there


def score_dubbed(path: Path, tracks: TrackFile, redrawn: Redrawn, source: Source | None = None, phones: Sequence[Phone] = ()) -> SyncScore:
    """Sync score of the faces of tracks in a re-dub, whose pictures are its source's one for one, with features, also against a source,
    and with its mouth closures where its phones are known.

    Raises MediaError when the file cannot be read; what cannot be scored says so.
    """
    wave = heard_in(path)
    if isinstance(wave, SyncScore):
        return wave
    with FaceMesh(video=True) as mesh:
        return _score(path, tracks, redrawn, wave, lambda frame, face: _look(frame, face.square, mesh), Watcher(), source, phones)


def source_of(path: Path, tracks: TrackFile, redrawn: Redrawn) -> Source:
    """What a re-dub's faces were like in its source, by the landmarks in its track file. Raises MediaError."""
    wave, watcher = heard_in(path), Watcher(second_opinion=False)
    if isinstance(wave, SyncScore) or isinstance(voice_in(wave), str):  # nothing to score: the face is watched all the same
        deque(_placed(path, tracks, redrawn, lambda _, face: face.landmarks, watcher), maxlen=0)
        return Source.of(unscorable("no speech is heard", ""), watcher)
    return Source.of(_score(path, tracks, redrawn, wave, lambda _, face: face.landmarks, watcher), watcher)


def _score(
    path: Path, tracks: TrackFile, redrawn: Redrawn, wave: Wave, look: Look, watcher: Watcher, source: Source | None = None, phones: Sequence[Phone] = ()
) -> SyncScore:
    return score_seen(lambda present: follow(_placed(path, tracks, redrawn, look, watcher), present), wave, watcher, source, phones)


def _placed(path: Path, tracks: TrackFile, redrawn: Redrawn, look: Look, watcher: Watcher) -> Iterator[tuple[np.ndarray, Place | None]]:
    """The pictures that are shown at 25 a second, each with the mouth of its redrawn face, whose landmarks `look` finds."""
    shown = zip(pictures(path), _faces(tracks, redrawn), strict=False)
    frame, marks, last, who = np.zeros((0, 0, 3), np.uint8), None, -1, -1
    for picture, face in on_clock((picture.time, (picture, face)) for picture, face in shown):
        if picture.number != last:
            frame, last = picture.rgb(), picture.number
            marks = None if face is None else look(frame, face)
            if face is not None and face.track != who:
                who = face.track
                watcher.cut()
        watcher.add(frame, marks)
        yield frame, None if marks is None else place_of(marks)


def _faces(tracks: TrackFile, redrawn: Redrawn) -> Iterator[Face | None]:
    spans = iter(sorted(redrawn.items()))
    (first, last), track = next(spans, ((tracks.frames, tracks.frames), -1))
    for number, faces in enumerate(tracks.faces(0, tracks.frames)):
        while number >= last and first < tracks.frames:
            (first, last), track = next(spans, ((tracks.frames, tracks.frames), -1))
        yield next((face for face in faces if face.track == track), None) if number >= first else None
    while True:  # pictures that are held after the source's last one
        yield None


def _look(frame: np.ndarray, square: Square, mesh: FaceMesh) -> np.ndarray | None:
    """Landmarks [478, 3] of the face in a frame, looked for about its square."""
    around = square.grown(AROUND)
    left, top = max(0, int(around.x - around.side / 2)), max(0, int(around.y - around.side / 2))
    part = frame[top : int(around.y + around.side / 2), left : int(around.x + around.side / 2)]
    found = landmarks_in(part, mesh) if min(part.shape[:2], default=0) > 8 else None
    return None if found is None else found + np.array([left, top, 0], np.float32)
