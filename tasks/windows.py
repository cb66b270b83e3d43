"""Windows of renders: each is made once, for all videos that show the very same pictures in it.

A window is a stage result: its key says what its own pictures are made from, and nothing of the rest of the video. While a render is under
way its windows are artifacts, so that whoever goes on with it, on whatever machine, finds them; once the render is kept they are marked
for removal in the same transaction (db/retention.py), and from then on the window's key leads to the render, from which the window is cut
when another version of the title, with a cue changed somewhere else, asks for it.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from db import ledger
from infra.errors import MediaError, ObjectMissing
from infra.video import FilmWriter
from infra.video.slices import cut
from models.types import FRAME_RATE
from tasks import progress
from tasks.stages import Made, Take, Work, keep, keep_file, key_of

Own = Callable[[int, int], Any]  # what pictures first..last-1 are made from, beside what all are; plain values


def pictures_of(work: Work) -> int:
    """Pictures of one window: a whole number of seconds at 25 a second, which every group that networks see divides."""
    return work.settings.window_seconds * FRAME_RATE


class Windows:
    """The windows of one render, in order; `rows` are (first picture, last + 1, seconds) of those there are.

    asks: what every window is made from. own: what each is made from beside that. total: pictures, or a few more where a video's last one
    is held. sources: as lineage has it. whole: all pictures are encoded, none copied from a source, so that windows can be cut out of the video.
    kept: hashes of those that are stored. made: how many were rendered now.
    """

    def __init__(
        self, work: Work, asks: dict[str, Any], own: Own, total: int, sources: tuple[tuple[str, str], ...], whole: bool = True
    ) -> None:
        self.whole, self.work, self.sources, self.total = whole, work, sources, total
        self.size: int = pictures_of(work)
        self.keys = [
            key_of("window", asks | {"window": [number, self.size], "own": own(first, min(first + self.size, total))})
            for number, first in enumerate(range(0, total, self.size))
        ]
        self.rows: list[tuple[int, int, float]] = []
        self.kept: list[str] = []
        self.cuts: dict[str, float] = {}  # keys under which the video is found for its windows' sake, and the seconds that each took
        self._begin()

    def _begin(self) -> None:
        self.rows.clear()
        self.kept.clear()
        self.cuts.clear()
        self.made = 0
        self.earlier = 0.0  # seconds that windows took which were made before
        self._started = time.perf_counter()

    def missing(self, out: FilmWriter) -> Iterator[tuple[int, int | None]]:
        """Put windows that were made before into a film, each in its place; stretches between them come as (first picture, last + 1), None for
        the film's end, and are to be written before the next is asked for.
        """
        self._begin()
        first: int | None = None
        for number, key in enumerate(self.keys):
            path = self.work.folder / f"window-{key[:12]}"
            seconds = self._fetched(number, key, path, out.ticks)
            if seconds is None:
                first = number * self.size if first is None else first
                continue
            if first is not None:
                yield first, number * self.size
                first = None
            out.join(path)
            path.unlink()
            self.earlier += seconds
            self.rows.append((number * self.size, out.frames, round(seconds, 4)))
            self._started = time.perf_counter()
        if first is not None:
            yield first, None

    def _fetched(self, number: int, key: str, path: Path, ticks: int) -> float | None:
        """Bring a window that was made before to `path`; the seconds that it took, or None where there is none."""
        work = self.work
        if found := ledger.find_stage(work.database, key):
            try:
                work.artifacts.fetch(found[0], path)
            except ObjectMissing:
                return None  # somebody removed it: it is made again
            self.kept.append(found[0])
            return found[1]
        if found := ledger.find_stage(work.database, cut_key(key)):
            try:
                cut(work.artifacts.path(found[0]), number * self.size, None if number + 1 == len(self.keys) else self.size, ticks, path)
            except (ObjectMissing, MediaError):
                return None
            return found[1]
        return None

    def keep(self, number: int, path: Path) -> None:
        """Keep a window that is whole. Raises StaleToken where the job is another's now, and a StoreError."""
        seconds = self._ended(min((number + 1) * self.size, self.total))
        self.kept.append(keep_file(self.work, "window", self.keys[number], path, "window.h264", self.sources, seconds).sha256)

    def end(self, pictures: int) -> None:
        """The last window is done."""
        if not self.rows or self.rows[-1][1] < pictures:
            self._ended(pictures)
        self.rows[-1] = (self.rows[-1][0], pictures, self.rows[-1][2])
        if self.whole:
            self.cuts.update({cut_key(key): seconds for key, (_, _, seconds) in zip(self.keys, self.rows, strict=False)})

    def _ended(self, last: int) -> float:
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        self.rows.append((self.rows[-1][1] if self.rows else 0, last, round(seconds, 4)))
        self.made += 1
        return seconds


def cut_key(key: str) -> str:
    """The key under which a whole video is found that holds a window."""
    return key_of("cut", {"window": key})


def rendered(
    work: Work, take: Take, asks: dict[str, Any], sources: tuple[tuple[str, str], ...], windows: Windows, write: Callable[[Path], None]
) -> Made:
    """A take's video: what is kept under its key, or what `write` writes, of which only windows are made that no video holds yet."""

    def make(path: Path) -> float:
        write(path)
        take.windows = tuple(windows.rows)
        return windows.earlier

    made = keep(work, "render", "render.mp4", asks, sources, make, spent=windows.kept, also=windows.cuts)
    take.rendered = windows.made
    total = take.windows[-1][1] if take.windows else 0
    progress.tell(work.name, "render", total, total)
    return made
