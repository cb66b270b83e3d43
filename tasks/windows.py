"""Finished windows of a render under way, kept so that whoever goes on with it, on whatever machine, begins behind them.

A window is a stage result: its bytes are an artifact, its key says what it was made from and which one it is, its record carries
the lease. What a render is made from leads to the render itself; once that is kept its windows serve nobody and are marked for
removal in the same transaction (db/retention.py). The last window is never kept: the render is, as soon as it is whole.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db import ledger
from infra.errors import ObjectMissing
from infra.video import FilmWriter
from models.types import FRAME_RATE
from tasks import progress
from tasks.stages import Made, Take, Work, keep, keep_file, key_of


def pictures_of(work: Work) -> int:
    """Pictures of one window: a whole number of seconds at 25 a second, which every group that networks see divides."""
    return work.settings.window_seconds * FRAME_RATE


class Windows:
    """The windows of one render, in order; `rows` are (first picture, last + 1, seconds) of those there are.

    asks: what the render is made from. sources: the same as lineage has it. kept: hashes of those that are stored.
    """

    def __init__(self, work: Work, asks: dict[str, Any], sources: tuple[tuple[str, str], ...]) -> None:
        self.work, self.asks, self.sources, self.size = work, asks, sources, pictures_of(work)
        self.rows: list[tuple[int, int, float]] = []
        self.kept: list[str] = []
        self.earlier = 0.0  # seconds that windows took which were made before
        self._started = time.perf_counter()

    def join(self, out: FilmWriter) -> int:
        """Put the windows that were kept before into a film; returns how many pictures they hold."""
        self.rows.clear()
        self.kept.clear()
        self.earlier = 0.0
        while found := ledger.find_stage(self.work.database, self._key(len(self.rows))):
            path = self.work.folder / f"window-{found[0][:12]}"
            try:
                self.work.artifacts.fetch(found[0], path)
            except ObjectMissing:
                break  # somebody removed it: from here on all are made again
            out.join(path)
            path.unlink()
            self.kept.append(found[0])
            self.earlier += found[1]
            self.rows.append((len(self.rows) * self.size, out.frames, round(found[1], 4)))
        self._started = time.perf_counter()
        return out.frames

    def keep(self, number: int, path: Path) -> None:
        """Keep a window that is whole. Raises StaleToken where the job is another's now, and a StoreError."""
        seconds = self._ended((number + 1) * self.size)
        self.kept.append(keep_file(self.work, "window", self._key(number), path, "window.h264", self.sources, seconds).sha256)

    def end(self, pictures: int) -> None:
        """The last window is done."""
        self._ended(pictures)

    def _ended(self, last: int) -> float:
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        self.rows.append((self.rows[-1][1] if self.rows else 0, last, round(seconds, 4)))
        return seconds

    def _key(self, number: int) -> str:
        return key_of("window", self.asks | {"window": number})


def rendered(work: Work, take: Take, asks: dict[str, Any], sources: tuple[tuple[str, str], ...], write: Callable[[Windows, Path], None]) -> Made:
    """A take's video: what is kept under its key, or what `write` writes, from the first window on that nobody kept."""
    windows = Windows(work, asks, sources)

    def make(path: Path) -> float:
        write(windows, path)
        take.windows = tuple(windows.rows)
        return windows.earlier

    made = keep(work, "render", "render.mp4", asks, sources, make, spent=windows.kept)
    total = take.windows[-1][1] if take.windows else 0
    progress.tell(work.name, "render", total, total)
    return made
