"""The track file: every face of a video, picture by picture, written while it is followed and read without loading it whole.

Format "DWTRACK1", little-endian, in this order:

    header    64 bytes: the magic, then as uint64 the number of pictures, of faces, and the bytes of the tail; the rest zero
    faces     a record (`FACE`, 1,940 bytes) for each face, by picture and track: landmarks are int16 in the face's own square, two
              half sides to the full scale, so that a square of 1,000 pixels is stored to 0.016 of a pixel at worst
    pictures  a record (`PICTURE`, 16 bytes) for each picture: its time in seconds, and the number of faces before it
    tail      UTF-8 JSON: {"shots": [[first, last]], "tracks": [[number, identity, shot, first, last, faces, side, yaw, usable]]}

An hour of one face at 25 pictures a second takes 175 MB. Depth (the mesh's z) is not kept: nothing that redraws, poses, aligns or scores
reads it. A landmark further than two half sides from the middle of its square is stored as if it were there.
"""

import functools
import itertools
import json
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from infra.errors import InputError
from infra.memory import let_go, tidied
from models.faces.crop import Square
from models.faces.follow import Followed, Lane, followed
from models.faces.identity import People
from models.faces.limits import REASONS
from models.faces.mesh import POINTS
from models.faces.shots import Picture

MAGIC, HEADER = b"DWTRACK1", struct.Struct("<8s3Q32x")
REACH = 2.0  # half sides that the full scale of a stored landmark stands for
SCALE = 32767 / REACH
FACE = np.dtype(
    [
        ("frame", "<u4"), ("track", "<u4"), ("square", "<f4", 3), ("yaw", "<f4"), ("passes", "u1"), ("spare", "u1", 3),
        ("landmarks", "<i2", (POINTS, 2)),
    ]
)  # fmt: skip
PICTURE = np.dtype([("time", "<f8"), ("faces", "<u8")])
BLOCK = 64  # records that are read at a time


@dataclass(frozen=True)
class Shot:
    """Pictures first..last-1."""

    first: int
    last: int


@dataclass(frozen=True)
class Track:
    """One face of one shot, seen in pictures first..last-1 with gaps.

    identity: tracks of one person share it, as far as models/faces/identity.py can tell. faces: pictures that it is seen in; usable: that
    it can be redrawn in. side: pixels, mean of the longer side of its landmarks. yaw: degrees, mean without its sign, as read.
    """

    number: int
    identity: int
    shot: int
    first: int
    last: int
    faces: int
    side: float
    yaw: float
    usable: int


@dataclass(frozen=True)
class Face:
    """One face in one picture: its square smoothed over time; landmarks float32 [478, 2] in pixels; yaw in degrees, as read.

    passes: "" where it can be redrawn, otherwise why its picture passes through: 'turned', 'small', 'covered' or 'cut off'.
    """

    frame: int
    track: int
    square: Square
    landmarks: np.ndarray
    yaw: float
    passes: str


def follow(pictures: Iterable[Picture], path: Path) -> None:
    """Follow every face of a video's pictures, in one streamed pass, into a track file at `path` (replaced when it is whole)."""
    with TrackWriter(path) as out:
        for row in followed(tidied(pictures)):
            out.write(row)
    let_go()  # what the decoder held


class TrackWriter:
    """Writes a track file picture by picture; use as a context manager. A block that raises leaves no file behind.

    Beside open tracks it holds a few numbers for each track and shot, none for each picture.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.fresh = path, path.with_name(f".incoming-{path.name}")
        self.out: IO[bytes] = self.fresh.open("wb")
        self.index: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed in __exit__)
        self.out.write(HEADER.pack(MAGIC, 0, 0, 0))
        self.frames = self.faces = 0
        self.shots: list[list[int]] = []
        self.sums: dict[int, _Sums] = {}
        self.open: dict[int, Lane] = {}
        self.people = People()

    def write(self, row: Followed) -> None:
        """Add the next picture's faces."""
        while len(self.shots) <= row.shot:
            self.shots.append([self.frames, self.frames])
        self.shots[row.shot][1] = self.frames + 1
        self.index.write(np.array([(row.time, self.faces)], PICTURE).tobytes())
        for sight in sorted(row.faces, key=lambda sight: sight.lane.number):
            assert sight.square is not None
            number = sight.lane.number
            record = np.zeros(1, FACE)
            record["frame"], record["track"], record["yaw"] = self.frames, number, sight.yaw
            record["square"], record["passes"] = astuple(sight.square), REASONS.index(sight.passes)
            record["landmarks"] = np.clip(np.rint(sight.square.to_unit(sight.landmarks) * SCALE), -32767, 32767)
            self.out.write(record.tobytes())
            self.faces += 1
            self.open[number] = sight.lane
            self.sums.setdefault(number, _Sums(row.shot, self.frames)).add(self.frames, sight.side, sight.yaw, not sight.passes)
        self.frames += 1
        self._name([number for number, lane in self.open.items() if lane.closed and self.sums[number].last < self.frames - BLOCK])

    def _name(self, numbers: list[int]) -> None:
        """Give tracks that have ended their identities: another's than of those that are seen beside them."""
        for number in sorted(numbers):
            mine = self.sums[number]
            beside = {other.identity for other in self.sums.values() if other is not mine and other.beside(mine)}
            mine.identity = self.people.who(self.open.pop(number).likeness, frozenset(beside))

    def _finish(self) -> None:
        self._name(list(self.open))
        tail = json.dumps({"shots": self.shots, "tracks": [self.sums[n].row(n) for n in sorted(self.sums)]}).encode()
        self.index.seek(0)
        while part := self.index.read(1 << 16):
            self.out.write(part)
        self.out.write(tail)
        self.out.seek(0)
        self.out.write(HEADER.pack(MAGIC, self.frames, self.faces, len(tail)))

    def __enter__(self) -> "TrackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException:
            kind = BaseException
            raise
        finally:
            self.index.close()
            self.out.close()
            if kind is not None:
                self.fresh.unlink(missing_ok=True)
        if kind is None:
            os.replace(self.fresh, self.path)


@dataclass
class _Sums:
    """What a track's row is made from."""

    shot: int
    first: int
    last: int = -1
    faces: int = 0
    side: float = 0.0
    yaw: float = 0.0
    usable: int = 0
    identity: int = -1

    def add(self, frame: int, side: float, yaw: float, usable: bool) -> None:
        self.last, self.faces, self.usable = frame, self.faces + 1, self.usable + usable
        self.side, self.yaw = self.side + side, self.yaw + abs(yaw)

    def beside(self, other: "_Sums") -> bool:
        """Whether both tracks are seen at a time, as far as their ends tell."""
        return self.identity >= 0 and self.shot == other.shot and self.first <= other.last and other.first <= self.last

    def row(self, number: int) -> list[float]:
        mean = round(self.side / self.faces, 2), round(self.yaw / self.faces, 2)
        return [number, self.identity, self.shot, self.first, self.last + 1, self.faces, *mean, self.usable]


class TrackFile:
    """A track file, open for reading. Raises InputError, code tracks.damaged, for what is none; use as a context manager or `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("rb")
        try:
            magic, self.frames, self._faces, size = HEADER.unpack(self.file.read(HEADER.size))
            self._index = HEADER.size + self._faces * FACE.itemsize
            self.file.seek(self._index + self.frames * PICTURE.itemsize)
            told = json.loads(self.file.read())
            if magic != MAGIC or os.fstat(self.file.fileno()).st_size != self._index + self.frames * PICTURE.itemsize + size:
                raise ValueError("not whole")
            self.shots = tuple(Shot(*row) for row in told["shots"])
            self.tracks = tuple(Track(*row) for row in told["tracks"])
        except (struct.error, ValueError, KeyError, TypeError, OverflowError, OSError) as error:
            self.file.close()
            raise InputError(
                f"{path.name} is not a whole track file ({error})", code="tracks.damaged", next_step="Remove it; it is made anew."
            ) from error

    @classmethod
    def open(cls, path: Path) -> "TrackFile":
        """The file at a path."""
        return cls(path)

    @property
    def times(self) -> np.ndarray:
        """Seconds of each picture on the video's clock, float64 [frames]."""
        return self._pictures(0, self.frames)["time"]

    def faces(self, start: int = 0, stop: int | None = None) -> Iterator[list[Face]]:
        """The faces of pictures start..stop-1, each picture once, by track; a block of them is held."""
        stop = self.frames if stop is None else min(stop, self.frames)
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            bounds = self._bounds(first, last)
            for low, high in itertools.pairwise(bounds):
                yield [_face(record) for record in self._records(int(low), int(high))]

    def of(self, track: int) -> Iterator[Face]:
        """One track's faces in order. Raises KeyError for a track that there is not."""
        row = self.track(track)
        low, high = (int(v) for v in self._bounds(row.first, row.last)[[0, -1]])
        for start in range(low, high, BLOCK):
            records = self._records(start, min(start + BLOCK, high))
            yield from (_face(record) for record in records[records["track"] == track])

    def track(self, number: int) -> Track:
        """The track of a number. Raises KeyError for one that there is not."""
        found = next((row for row in self.tracks if row.number == number), None)
        if found is None:
            raise KeyError(f"{self.path.name} has no track {number}")
        return found

    def shown(self, at: float, point: tuple[float, float]) -> int | None:
        """The track whose face a point in pixels lies in, in the one picture that is shown at a time, seconds from the first; None where it lies in none."""
        times = self.times
        number = int(np.searchsorted(times, times[0] + at + 1e-3, side="right")) - 1 if self.frames else -1
        if number < 0:
            return None
        found = [(float(np.abs(face.square.to_unit(np.array(point))).max()), face.track) for face in next(self.faces(number, number + 1))]
        return min((one for one in found if one[0] < 1), default=(1.0, None))[1]

    def passing(self) -> dict[int, dict[str, list[tuple[int, int]]]]:
        """Which pictures pass through, by track: for each reason, 'no face' for gaps included, runs of pictures (first, last + 1)."""
        told: dict[int, dict[str, list[tuple[int, int]]]] = {row.number: {} for row in self.tracks}
        after = {row.number: row.first for row in self.tracks}
        for faces in self.faces():
            for face in faces:
                runs = told[face.track]
                if face.frame > after[face.track]:
                    runs.setdefault("no face", []).append((after[face.track], face.frame))
                after[face.track] = face.frame + 1
                if not face.passes:
                    continue
                mine = runs.setdefault(face.passes, [])
                if mine and mine[-1][1] == face.frame:
                    mine[-1] = (mine[-1][0], face.frame + 1)
                else:
                    mine.append((face.frame, face.frame + 1))
        return told

    def runs(self, chosen: frozenset[int]) -> Iterator[tuple[int, int, str]]:
        """The whole video as runs of pictures (first, last + 1, why): "" where a face of the chosen tracks can be redrawn, otherwise why
        none is: as `Face.passes`, 'another face' where only others are seen, 'no face' where nobody is.
        """
        at = 0
        for why, group in itertools.groupby(self.faces(), key=functools.partial(_why, chosen)):
            count = sum(1 for _ in group)
            yield at, at + count, why
            at += count

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> "TrackFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bounds(self, first: int, last: int) -> np.ndarray:
        """Numbers of the first face of each picture first..last; the last is where the faces of picture last-1 end."""
        after = [self._faces] if last >= self.frames else []
        return np.array([*self._pictures(first, min(last + 1, self.frames))["faces"], *after], np.int64)

    def _pictures(self, first: int, last: int) -> np.ndarray:
        return self._read(self._index, first, last, PICTURE)

    def _records(self, first: int, last: int) -> np.ndarray:
        return self._read(HEADER.size, first, last, FACE)

    def _read(self, base: int, first: int, last: int, kind: np.dtype) -> np.ndarray:
        count = max(0, last - first)
        data = os.pread(self.file.fileno(), count * kind.itemsize, base + first * kind.itemsize)  # its own place: readers do not meet
        return np.frombuffer(data, kind)


def _face(record: np.ndarray) -> Face:
    square = Square(*(float(v) for v in record["square"]))
    landmarks = square.to_pixels(record["landmarks"] / SCALE).astype(np.float32)
    return Face(int(record["frame"]), int(record["track"]), square, landmarks, float(record["yaw"]), REASONS[record["passes"]])


def _why(chosen: frozenset[int], faces: list[Face]) -> str:
    mine = [face.passes for face in faces if face.track in chosen]
    return "" if "" in mine else mine[0] if mine else "another face" if faces else "no face"
