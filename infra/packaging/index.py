"""Where the segments of a fragmented MP4 begin, how long they are, and whether each can be decoded by itself: read from the file's own boxes.

A file of one rendition holds all its segments (HLS by byte ranges), so that it can be signed as one file; whatever signing put before the
pictures, this finds the segments where they are.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from infra.errors import MediaError


@dataclass(frozen=True)
class Segment:
    """A segment: when it begins and how long it lasts, in seconds; its bytes; whether it begins with a picture that nothing before it is needed for."""

    start: Fraction
    seconds: Fraction
    offset: int
    size: int
    closed: bool

    @property
    def rate(self) -> float:
        """Bits a second."""
        return float(8 * self.size / self.seconds) if self.seconds else 0.0


@dataclass(frozen=True)
class Index:
    """A rendition: bytes before its first segment (what a player initialises by), and the segments."""

    head: int
    segments: tuple[Segment, ...]

    @property
    def seconds(self) -> Fraction:
        """How long all segments last."""
        return sum((segment.seconds for segment in self.segments), Fraction(0))


def index_of(path: Path) -> Index:
    """The segments of a file in which each begins with its index box (sidx; ISO/IEC 14496-12, 8.16.3). Raises MediaError for another file."""
    found: list[tuple[int, Fraction, Fraction, bool]] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, at, length in boxes_of(file, size):
            if kind == b"sidx":
                file.seek(at + 8)
                found.append((at, *_sidx(file.read(length - 8))))
    if not found:
        raise MediaError(f"{path.name} holds no segments", code="media.unreadable")
    ends = [at for at, *_ in found[1:]] + [size]
    segments = [Segment(start, seconds, at, end - at, closed) for (at, start, seconds, closed), end in zip(found, ends, strict=True)]
    return Index(found[0][0], tuple(segments))


def boxes_of(file: BinaryIO, size: int) -> list[tuple[bytes, int, int]]:
    """Kind, place and size of a file's top boxes."""
    found, at = [], 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        length = length or size - at
        if length < 8:
            break
        found.append((head[4:8], at, length))
        at += length
    return found


def _sidx(body: bytes) -> tuple[Fraction, Fraction, bool]:
    """Start, length and whether it begins with a closed group, of a box's body."""
    version = body[0]
    scale, = struct.unpack_from(">I", body, 8)
    start, = struct.unpack_from(">Q" if version else ">I", body, 12)
    at = 12 + (16 if version else 8) + 2
    count, = struct.unpack_from(">H", body, at)
    rows = [struct.unpack_from(">III", body, at + 2 + 12 * number) for number in range(count)]
    closed = bool(rows) and bool(rows[0][2] >> 31) and (rows[0][2] >> 28 & 7) in (0, 1, 2)
    return Fraction(start, scale), Fraction(sum(row[1] for row in rows), scale), closed
