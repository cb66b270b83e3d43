"""What the pictures of a file are: their number and times, what is black, what stands still. One pass, streamed.

ffmpeg's freezedetect looks at the mean change of the whole picture, so that it takes a portrait for frozen of which only the lips move, and the
watermark's swing for movement. What it finds counts only where no part of the picture moves either, held against the picture a swing of the
watermark before, in which the watermark is the same.
"""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infra.errors import MediaError
from infra.marking.detect import plane_of
from infra.marking.watermark import PERIOD
from infra.media import decoded, open_media

BLACK = "d=0.02:pic_th=0.98:pix_th=0.08"  # nearly all pixels darker than 8 % of the range
FROZEN = "n=0.012:d=0.4"  # a mean change of 3 levels, more than the watermark's own
PARTS = 16  # parts of the short side that are watched by themselves
STILL = 2.0  # levels that a part may differ by from itself a swing before

Spans = list[tuple[float, float]]


@dataclass
class Pictures:
    """Pictures of a file. times: of the first and the last, in seconds; steps: the shortest and longest time between two; black, still: (from, to) in seconds."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0
    steps: tuple[float, float] = (0.0, 0.0)
    black: Spans = field(default_factory=list)
    still: Spans = field(default_factory=list)

    @property
    def step(self) -> float:
        """Seconds that a picture lasts, on the average."""
        return (self.last - self.first) / (self.count - 1) if self.count > 1 else 0.04


def watch(path: Path) -> Pictures:
    """Look at every picture of a file. Raises MediaError where it holds none or is damaged."""
    import av

    found, black, frozen, parts = Pictures(), _Marks("black_start", "black_end"), _Marks("freezedetect.freeze_start", "freezedetect.freeze_end"), _Parts()
    steps = [float("inf"), 0.0]
    with open_media(path) as media:
        if not media.streams.video:
            raise MediaError(f"{path.name} holds no picture", code="media.no_video", next_step="Give a file with a video stream.")
        stream = media.streams.video[0]
        stream.thread_type = "AUTO"
        graph = _graph(stream)
        try:
            for frame in decoded(media, stream):
                time = float(frame.time) if frame.time is not None else found.count / 25
                if found.count:
                    steps = [min(steps[0], time - found.last), max(steps[1], time - found.last)]
                found.first, found.last = (found.first if found.count else time), time
                found.count += 1
                graph.push(frame)
                parts.see(time, plane_of(frame))
                _pull(graph, black, frozen)
            graph.push(None)
            _pull(graph, black, frozen)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"the picture of {path.name} is damaged after {found.last:.2f} s ({error})", code="media.damaged") from error
    if not found.count:
        raise MediaError(f"{path.name} holds no picture", code="media.no_video")
    end = found.last + found.step
    found.steps = (steps[0], steps[1]) if found.count > 1 else (0.0, 0.0)
    found.black = black.until(end)
    found.still = overlap(frozen.until(end), parts.until(end))
    return found


def _graph(stream: Any) -> Any:
    import av

    graph = av.filter.Graph()
    graph.threads = 1
    graph.link_nodes(graph.add_buffer(template=stream), graph.add("blackdetect", BLACK), graph.add("freezedetect", FROZEN), graph.add("buffersink")).configure()
    return graph


def _pull(graph: Any, *marks: "_Marks") -> None:
    import av

    while True:
        try:
            told = graph.pull().metadata
        except (BlockingIOError, av.EOFError):
            return
        for mark in marks:
            mark.see(told)


class _Marks:
    """Spans that a detector tells by the beginning and the end of each."""

    def __init__(self, begin: str, end: str) -> None:
        self._begin, self._end = f"lavfi.{begin}", f"lavfi.{end}"
        self._open: float | None = None
        self._spans: Spans = []

    def see(self, told: dict[str, str]) -> None:
        if self._end in told and self._open is not None:
            self._spans.append((self._open, float(told[self._end])))
            self._open = None
        if self._begin in told:
            self._open = float(told[self._begin])

    def until(self, end: float) -> Spans:
        """All spans; one that is open lasts until the end."""
        return self._spans + ([(self._open, end)] if self._open is not None and self._open < end else [])


class _Parts:
    """Spans in which no part of the picture differs from itself a swing of the watermark before."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, np.ndarray]] = deque()
        self._since: float | None = None
        self._spans: Spans = []

    def see(self, time: float, luma: np.ndarray) -> None:
        zoom = PARTS / min(luma.shape)
        size = (max(PARTS, round(luma.shape[1] * zoom)), max(PARTS, round(luma.shape[0] * zoom)))
        parts = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        while len(self._held) > 1 and self._held[1][0] <= time - PERIOD + 1e-3:
            self._held.popleft()
        before = self._held[0] if self._held and self._held[0][0] <= time - PERIOD + 1e-3 else None
        self._held.append((time, parts))
        if before is None:
            return
        if before[1].shape == parts.shape and float(np.abs(parts - before[1]).max()) < STILL:
            self._since = before[0] if self._since is None else self._since
        elif self._since is not None:
            self._spans.append((self._since, time))
            self._since = None

    def until(self, end: float) -> Spans:
        return self._spans + ([(self._since, end)] if self._since is not None else [])


def overlap(these: Spans, those: Spans) -> Spans:
    """What lies in both, in order."""
    found = [(max(a, c), min(b, d)) for a, b in merged(these) for c, d in merged(those) if max(a, c) < min(b, d)]
    return sorted(found)


def beyond(these: Spans, those: Spans) -> Spans:
    """What of these lies in none of those."""
    left = merged(these)
    for begin, end in merged(those):
        left = [part for a, b in left for part in ((a, min(b, begin)), (max(a, end), b)) if part[0] < part[1]]
    return left


def merged(spans: Spans) -> Spans:
    """Spans in order, those that touch as one."""
    found: Spans = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif begin < end:
            found.append((begin, end))
    return found


def average_rate(path: Path) -> Fraction:
    """Pictures a second, as the file says."""
    with open_media(path) as media:
        return Fraction(media.streams.video[0].average_rate or 0) if media.streams.video else Fraction(0)
