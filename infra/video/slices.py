"""Windows cut out of a film that was written from them: the same packets again, so that a window lives as long as any video that holds it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.errors import MediaError
from infra.media import open_media
from infra.video.window import WindowFile

LENGTH = 4  # bytes that tell a unit's length in the files that we write
START = b"\0\0\0\1"


class _Packet:
    """An encoded picture as an encoder gives it."""

    def __init__(self, pts: int, is_keyframe: bool, data: bytes) -> None:
        self.pts, self.is_keyframe, self.data = pts, is_keyframe, data

    def __bytes__(self) -> bytes:
        return self.data


def cut(video: Path, first: int, count: int | None, ticks: int, path: Path) -> None:
    """Write pictures first..first+count-1, or all that follow, as a window file at `path`: one that began as such, in a film of our own.

    ticks: a second's, in which windows tell times. Raises MediaError where the film holds no such window.
    """
    found = list(_packets(video, first, count, ticks))
    if not found or (count is not None and len(found) != count) or not found[0].is_keyframe:
        raise MediaError(f"{video.name} holds no window at picture {first}", code="media.damaged", next_step="Run again: it is made anew.")
    out = WindowFile(path)
    try:
        for stamp in sorted(packet.pts for packet in found):
            out.picture(stamp, copied=False)
        out.add(found)
        out.close()
    except BaseException:
        out.drop()
        raise


def _packets(video: Path, first: int, count: int | None, ticks: int) -> Iterator[_Packet]:
    with open_media(video) as media:
        stream = media.streams.video[0]
        packets: Iterator[Any] = (packet for packet in media.demux(stream) if packet.size)
        for number, packet in enumerate(packets):
            if count is not None and number >= first + count:
                return
            if number >= first:
                yield _Packet(round(packet.pts * packet.time_base * ticks), packet.is_keyframe, units(bytes(packet)))


def units(data: bytes) -> bytes:
    """A picture of an MP4 file (ISO 14496-15: each unit after its length) as a stream of units, each after a start code."""
    made, at = bytearray(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + LENGTH])
        made += START + data[at + LENGTH : at + LENGTH + size]
        at += LENGTH + size
    return bytes(made)
