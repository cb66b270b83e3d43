"""Where one shot ends and the next begins, while pictures stream by: scenedetect's adaptive detector on small copies.

A picture that differs from both of its neighbours, which are like each other, is a flash or a dropout and no cut: a shot goes on over it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np

SMALL = 160  # pixels of the longer side that pictures are compared at
RATIO = 3.0  # a cut changes this many times as much as the pictures about it (scenedetect's own default)
LEAST_CHANGE = 9.0  # and this much, of 255, in hue, saturation and lightness: two people before one blue wall differ by 13
WINDOW = 2  # pictures on each side that a change is compared with; a cut is known this much later
FLASH = 0.5  # pictures before and after a change that differ by less than this part of it: the change was a flash
MOST_SIDE = 1920  # pixels: larger pictures are reduced to this for everything that looks for faces


class Picture(Protocol):
    """What is followed: infra.video.Picture, or anything like it."""

    @property
    def number(self) -> int:
        """Which picture of the video."""

    @property
    def time(self) -> Fraction:
        """Seconds on the video's clock."""

    def rgb(self, quick: bool = False) -> np.ndarray:
        """uint8 RGB [H, W, 3]; `quick` is good enough to look at."""


@dataclass(frozen=True)
class Marked:
    """A picture as it is looked at: uint8 RGB [h, w, 3] of at most 1920 pixels a side; zoom: its side over the original's."""

    number: int
    time: float
    picture: np.ndarray
    zoom: float
    cut: bool = False  # a shot begins with it


def marked(pictures: Iterable[Picture]) -> Iterator[Marked]:
    """Pictures in order, each saying whether a shot begins with it. At most three are held, and six small copies.

    Pictures are counted from 0 in the order in which they come.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(RATIO, min_scene_len=0, window_width=WINDOW, min_content_val=LEAST_CHANGE)
    waiting: deque[Marked] = deque()
    small: deque[np.ndarray] = deque(maxlen=2 * WINDOW + 2)
    for count, picture in enumerate(pictures):
        seen, zoom = _reduced(picture.rgb(quick=True), MOST_SIDE)
        waiting.append(Marked(count, float(picture.time), seen, zoom, cut=count == 0))
        small.append(_reduced(seen, SMALL)[0])
        if detector.process_frame(FrameTimecode(count, fps=25.0), small[-1]) and not _flash(list(small)):
            waiting[-1 - WINDOW] = replace(waiting[-1 - WINDOW], cut=True)
        if len(waiting) > WINDOW:
            yield waiting.popleft()
    yield from waiting


def _reduced(picture: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """A picture of at most so many pixels a side, and its size over the original's."""
    import cv2

    zoom = min(1.0, most / max(picture.shape[:2]))
    return (cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else picture), zoom


def _flash(small: list[np.ndarray]) -> bool:
    """Whether what came before a change, found WINDOW pictures ago, comes again after it."""
    before, after = small[: -1 - WINDOW], small[-1 - WINDOW :]

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(one.astype(np.int16) - other).mean())

    change = apart(before[-1], after[0])
    pairs = [(a, b) for a in before for b in after if a is not before[-1] or b is not after[0]]
    return any(apart(a, b) < FLASH * change for a, b in pairs)
