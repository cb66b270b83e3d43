"""One window of a film as a file: encoded pictures that stand by themselves, beside a list of when each is shown.

The first encoded picture is an IDR picture and none refers outside, so windows that were made by different processes, hours apart,
follow each other as if one had made them all. The file is the packets, then an index (JSON), then the index's length: 8 bytes.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from infra.errors import MediaError

TAIL = struct.Struct("<Q")


class WindowFile:
    """A window being written at `path`; `close` makes it whole.

    It tells of each picture when it is shown, in ticks, and whether it is encoded here or copied from the source; `note` is why
    none is copied from here on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._out: IO[bytes] = path.open("wb")
        self._packets: list[tuple[int, int, int]] = []  # time, whether it is an IDR picture, bytes; in decoding order
        self._shown: list[int] = []
        self._copied: list[int] = []
        self.note = ""

    def picture(self, stamp: int, copied: bool) -> None:
        """The next picture that is shown."""
        if copied:
            self._copied.append(len(self._shown))
        self._shown.append(stamp)

    def add(self, packets: list[Any]) -> None:
        """Packets of an encoder."""
        for packet in packets:
            data = bytes(packet)
            self._out.write(data)
            self._packets.append((packet.pts, int(packet.is_keyframe), len(data)))

    def close(self) -> None:
        """Write the index."""
        index = {"shown": self._shown, "copied": self._copied, "packets": self._packets, "note": self.note}
        data = json.dumps(index, separators=(",", ":")).encode()
        self._out.write(data + TAIL.pack(len(data)))
        self._out.close()

    def drop(self) -> None:
        """Leave nothing."""
        self._out.close()
        self.path.unlink(missing_ok=True)


class Window:
    """A whole window file. Raises MediaError (media.damaged) for what is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                file.seek(-TAIL.size, 2)
                end = file.tell()
                (size,) = TAIL.unpack(file.read())
                file.seek(end - size)
                told = json.loads(file.read(size))
            self.shown: list[int] = told["shown"]
            self.copied, self.note = frozenset(told["copied"]), str(told["note"])
            self._packets = told["packets"]
            if not self.shown or len(self._packets) != len(self.shown) - len(self.copied) or sum(row[2] for row in self._packets) != end - size:
                raise ValueError("not whole")
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise MediaError(f"{path.name} is not a whole window ({error})", code="media.damaged", next_step="Run again: it is made anew.") from error

    def packets(self) -> Iterator[tuple[int, bool, bytes]]:
        """(time in ticks, whether it is an IDR picture, bytes) of each encoded picture, in decoding order."""
        with self.path.open("rb") as file:
            for time, begins, size in self._packets:
                yield time, bool(begins), file.read(size)
