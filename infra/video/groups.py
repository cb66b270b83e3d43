"""Groups of H.264 pictures that a dub leaves as they are: found in the source, and copied beside newly encoded ones.

A group runs from one IDR picture to before the next: nothing in it refers outside (ITU-T H.264, 7.4.1.2.4), so it can stand
between others. Copied and encoded pictures keep their own parameter sets, told apart by their numbers.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from infra.media import open_media, packets_of
from infra.video.source import VideoFacts, picture_stream
from infra.video.sps import picture_set_number, sequence

SLICE, IDR, SPS, PPS = 1, 5, 7, 8  # nal_unit_type, H.264 table 7-1
MOST_SETS = 32
START = b"\0\0\0\1"


class CannotCopy(Exception):
    """Why a source's groups cannot be copied."""


@dataclass(frozen=True)
class Group:
    """Pictures first..last-1, all copied; `time` is when the first is shown."""

    first: int
    last: int
    time: Fraction


@dataclass(frozen=True)
class Plan:
    """The groups to copy, and what the pictures between them must fit.

    That is the source's parameter sets, a number free for others, how many pictures decoding runs ahead of showing (`ahead`),
    how many a decoder holds (`held`), and the profile.
    """

    groups: tuple[Group, ...] = ()
    sets: bytes = b""
    free: int = 0
    ahead: int = 0
    held: int = 0
    profile: int = 0


def plan(source: Path, facts: VideoFacts, ranges: Sequence[tuple[int, int]]) -> Plan:
    """Which whole groups lie inside picture ranges (first, last) that nobody edits. Reads the file's packets once, decodes nothing.

    Raises CannotCopy with the reason.
    """
    for holds, why in (
        (facts.codec == "h264", f"the source is {facts.codec}, not H.264"),
        (facts.pixel_format in ("yuv420p", "yuvj420p"), f"the source is {facts.pixel_format}"),
        (not facts.turned, "the source is turned"),
        (not facts.interlaced, "the source is interlaced"),
    ):
        if not holds:
            raise CannotCopy(why)
    inside = _merged(ranges)
    groups: list[Group] = []
    ahead = count = 0
    with open_media(source) as media:
        stream = picture_stream(media, source.name)
        reader = _Reader(stream)
        for times in _groups(media, stream, reader, facts.origin):
            first, last = count, count + len(times)
            count = last
            at = bisect_right(inside, (first, 1 << 62)) - 1
            if at >= 0 and inside[at][0] <= first and last <= inside[at][1]:
                shown = {time: place for place, time in enumerate(sorted(times))}
                if len(shown) < len(times):
                    raise CannotCopy("two pictures of the source have one time")
                ahead = max(ahead, *(place - shown[time] for place, time in enumerate(times)))
                groups.append(Group(first, last, min(times)))
        told = reader.sequences[0]
        return Plan(tuple(groups), reader.annex_b(), reader.free(), ahead, told.held, told.profile)


def copied(source: Path, groups: Sequence[Group], origin: Fraction) -> Iterator[tuple[Fraction, bool, bytes]]:
    """(time, whether it is an IDR picture, bytes in Annex B form) of every picture of the groups, in decoding order."""
    wanted = iter(groups)
    group = next(wanted, None)
    with open_media(source) as media:
        stream = picture_stream(media, source.name)
        reader = _Reader(stream)
        for number, packet in enumerate(_packets(media, stream)):
            if group is None:
                return
            if number >= group.first:
                units = reader.units(bytes(packet))
                data = b"".join(START + unit for unit in units if unit[0] & 31 not in (SPS, PPS))
                yield packet.pts * packet.time_base - origin, number == group.first, data
            if number + 1 >= group.last:
                group = next(wanted, None)


def held_by(header: bytes) -> int:
    """How many pictures a decoder holds, by an encoder's header in Annex B form."""
    return next(sequence(unit).held for unit in _split(header) if unit[0] & 31 == SPS)


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _packets(media: Any, stream: Any) -> Iterator[Any]:
    for packet in packets_of(media, [stream]):
        if packet.size:
            yield packet


def _groups(media: Any, stream: Any, reader: "_Reader", origin: Fraction) -> Iterator[list[Fraction]]:
    """The times of one group's pictures after another, in decoding order."""
    times: list[Fraction] = []
    for packet in _packets(media, stream):
        if packet.pts is None or packet.is_discard or packet.is_corrupt:
            raise CannotCopy("pictures of the source have no time, or are cut by its edit list")
        kinds = {unit[0] & 31 for unit in reader.units(bytes(packet)) if unit}
        if not kinds & {SLICE, IDR}:
            raise CannotCopy("the source stores pictures in parts")
        if IDR in kinds and times:
            yield times
            times = []
        if IDR not in kinds and not times:
            raise CannotCopy("the source does not begin with a whole group of pictures")
        times.append(packet.pts * packet.time_base - origin)
    if times:
        yield times


class _Reader:
    """NAL units of one stream's packets, which must all use the parameter sets that its header tells."""

    def __init__(self, stream: Any) -> None:
        data = stream.codec_context.extradata or b""
        self.size = 0
        if data[:1] == b"\x01" and len(data) > 6:  # avcC, ISO/IEC 14496-15, 5.3.3.1
            self.size = (data[4] & 3) + 1
            self.sets = _sets_of_avcc(data)
        else:
            self.sets = [unit for unit in _split(data) if unit[0] & 31 in (SPS, PPS)]
        if not self.sets:
            raise CannotCopy("the source's header tells no parameter sets")
        try:
            self.sequences = [sequence(unit) for unit in self.sets if unit[0] & 31 == SPS]
        except ValueError as error:
            raise CannotCopy(f"the source's parameter sets are damaged ({error})") from error
        if len(self.sequences) != 1 or self.sequences[0].fields:
            raise CannotCopy("the source is coded for interlace, or as several sequences")

    def units(self, data: bytes) -> list[bytes]:
        """A packet's NAL units. Raises CannotCopy where it brings parameter sets of its own."""
        found = _split(data) if not self.size else _measured(data, self.size)
        if any(unit[0] & 31 in (SPS, PPS) and unit.rstrip(b"\0") not in self.sets for unit in found):
            raise CannotCopy("the source changes its parameter sets on the way")
        return found

    def annex_b(self) -> bytes:
        """The parameter sets as an encoder's header holds them."""
        return b"".join(START + unit for unit in self.sets)

    def free(self) -> int:
        """A number that no parameter set of the source has."""
        taken = {s.number for s in self.sequences} | {picture_set_number(unit) for unit in self.sets if unit[0] & 31 == PPS}
        if free := [number for number in range(MOST_SETS) if number not in taken]:
            return free[0]
        raise CannotCopy("the source uses every number of parameter sets")


def _sets_of_avcc(data: bytes) -> list[bytes]:
    sets, at = [], 5
    for mask in (31, 255):
        count, at = data[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(data[at : at + 2], "big")
            sets.append(data[at + 2 : at + 2 + size].rstrip(b"\0"))
            at += 2 + size
    return sets


def _measured(data: bytes, size: int) -> list[bytes]:
    units, at = [], 0
    while at + size < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        units.append(data[at + size : at + size + length])
        at += size + length
    return [unit for unit in units if unit]


def _split(data: bytes) -> list[bytes]:
    """NAL units between start codes; a trailing zero belongs to the next start code (H.264 annex B)."""
    return [part for part in (piece.rstrip(b"\0") for piece in data.split(b"\0\0\1")) if part]
