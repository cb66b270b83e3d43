"""Score a re-dub: the face that was redrawn, wherever it was, found anew in the encoded file. Streams."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from infra.video import pictures
from models.faces.crop import Square
from models.faces.mesh import FaceMesh
from models.types import SyncScore
from tasks.dubbing.tracks import Face, TrackFile
from tasks.score import Place, follow, heard_in, mouth_place, on_clock, score_seen

AROUND = 1.15  # how much of a picture is searched for a face: its square, grown


def score_dubbed(path: Path, tracks: TrackFile, redrawn: Mapping[tuple[int, int], int]) -> SyncScore:
    """Sync score of the faces of tracks in pictures first..last-1 of a re-dub, whose pictures are its source's one for one.

    Raises MediaError when the file cannot be read; what cannot be scored says so.
    """
    wave = heard_in(path)
    if isinstance(wave, SyncScore):
        return wave
    with FaceMesh(video=True) as mesh:
        return score_seen(lambda present: follow(_placed(path, tracks, redrawn, mesh), present), wave)


def _placed(path: Path, tracks: TrackFile, redrawn: Mapping[tuple[int, int], int], mesh: FaceMesh) -> Iterator[tuple[np.ndarray, Place | None]]:
    """The pictures that are shown at 25 a second, each with the mouth of its redrawn face."""
    shown = zip(pictures(path), _faces(tracks, redrawn), strict=False)
    seen, last = None, -1
    for picture, face in on_clock((picture.time, (picture, face)) for picture, face in shown):
        if seen is None or picture.number != last:
            frame = picture.rgb()
            seen, last = (frame, None if face is None else _mouth(frame, face.square, mesh)), picture.number
        yield seen


def _faces(tracks: TrackFile, redrawn: Mapping[tuple[int, int], int]) -> Iterator[Face | None]:
    spans = iter(sorted(redrawn.items()))
    (first, last), track = next(spans, ((tracks.frames, tracks.frames), -1))
    for number, faces in enumerate(tracks.faces(0, tracks.frames)):
        while number >= last and first < tracks.frames:
            (first, last), track = next(spans, ((tracks.frames, tracks.frames), -1))
        yield next((face for face in faces if face.track == track), None) if number >= first else None
    while True:  # pictures that are held after the source's last one
        yield None


def _mouth(frame: np.ndarray, square: Square, mesh: FaceMesh) -> Place | None:
    """The mouth's place in a frame, looked for about a face's square."""
    around = square.grown(AROUND)
    left, top = max(0, int(around.x - around.side / 2)), max(0, int(around.y - around.side / 2))
    part = frame[top : int(around.y + around.side / 2), left : int(around.x + around.side / 2)]
    found = mouth_place(part, mesh) if min(part.shape[:2], default=0) > 8 else None
    return None if found is None else (found[0] + left, found[1] + top, found[2])
