"""References of a re-dub: for each speaking track the pictures of its face that give redrawn lips their skin and teeth.

A NumPy archive, `picture-TRACK-RUNG`, `marks-TRACK-RUNG` and `still-TRACK-RUNG`: the first rung is the frame whose mouth is most closed and that looks
nearest to the camera, each further rung another like it at least half a second away. Read one at a time, as tracks come up.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from infra.memory import let_go
from infra.video import pictures
from models.avct.keypoints import from_landmarks, mouth_opening
from models.faces.crop import face_square
from models.lipmemory.align import NEAR, rigid, steady
from models.lipmemory.compose import Reference, reference_of
from tasks.dubbing.spans import Span
from tasks.dubbing.tracks import Face, TrackFile

APART = 0.5  # seconds between the references of a track
TURNED = 0.004  # openings of the mouth, in widths of the face, that a degree of yaw weighs
SMALLER = 0.05  # what half the size of the track's largest face weighs
HELD = 4  # references in memory at once


def find_references(video: Path, tracks: TrackFile, spans: Sequence[Span], path: Path, rungs: int) -> None:
    """Choose and cut the references of every track that is redrawn, into an archive."""
    chosen: dict[int, list[tuple[Face, int]]] = {}
    for number in sorted({span.track for span in spans if span.track is not None}):
        for rung, face in enumerate(_best(tracks, number, spans, rungs)):
            chosen.setdefault(face.frame, []).append((face, rung))
    with zipfile.ZipFile(path, "w") as out:
        if not chosen:
            return
        for picture in pictures(video, min(chosen), max(chosen) + 1):
            for face, rung in chosen.get(picture.number, []):
                found = reference_of(picture.rgb(), face.landmarks, face_square(face.landmarks), _still(tracks, face))
                _put(out, f"picture-{face.track}-{rung}", found.picture)
                _put(out, f"still-{face.track}-{rung}", found.still)
                _put(out, f"marks-{face.track}-{rung}", found.landmarks.astype(np.float32))
    let_go()  # what the decoder and the tracks' faces took


def _still(tracks: TrackFile, face: Face) -> np.ndarray | None:
    """A face's steady points, by the faces of its track in the pictures about it."""
    first = max(0, face.frame - NEAR)
    rows = [[one for one in faces if one.track == face.track] for faces in tracks.faces(first, min(tracks.frames, face.frame + NEAR + 1))]
    return steady([rigid(own[0].landmarks) if own else None for own in rows], face.frame - first, face.square.side)


def _put(out: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """One array, with a fixed date, so that the same references are the same bytes."""
    data = io.BytesIO()
    np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
    out.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue(), zipfile.ZIP_DEFLATED)


def _best(tracks: TrackFile, number: int, spans: Sequence[Span], rungs: int) -> list[Face]:
    """The faces of a track that serve best, in order."""
    redrawn = [(span.first, span.last) for span in spans if span.track == number]
    rows, at = [], 0
    for face in tracks.of(number):
        while at < len(redrawn) and face.frame >= redrawn[at][1]:
            at += 1
        if at < len(redrawn) and face.frame >= redrawn[at][0]:
            opening = float(mouth_opening(from_landmarks(face.square.to_unit(face.landmarks))[0]))
            rows.append((face.frame, opening + TURNED * abs(face.yaw), face.square.side))
    table = np.array(rows)
    table[:, 1] += SMALLER * (1 - table[:, 2] / table[:, 2].max())
    frames: list[int] = []
    for frame in table[np.argsort(table[:, 1], kind="stable"), 0].astype(int):
        if len(frames) < rungs and all(abs(tracks.times[frame] - tracks.times[other]) >= APART for other in frames):
            frames.append(int(frame))
    wanted = {frame: face for face in tracks.of(number) if (frame := face.frame) in frames}
    return [wanted[frame] for frame in frames]


class References:
    """The references of a rung, read as they are asked for. A track that has no such rung gives its first. Use as a context manager."""

    def __init__(self, path: Path, rung: int) -> None:
        self.archive, self.rung = zipfile.ZipFile(path), rung
        self.names = set(self.archive.namelist())
        self.held: dict[int, Reference] = {}

    def of(self, track: int) -> Reference:
        """The reference of a track."""
        if track not in self.held:
            rung = self.rung if f"marks-{track}-{self.rung}.npy" in self.names else 0
            picture, marks, still = (self._read(f"{name}-{track}-{rung}") for name in ("picture", "marks", "still"))
            if len(self.held) >= HELD:
                self.held.pop(next(iter(self.held)))
            self.held[track] = reference_of(picture, marks, face_square(marks), still)
        return self.held[track]

    def _read(self, name: str) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def __enter__(self) -> "References":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.archive.close()
