"""Bring a reference face to where a target face is, by what speech does not move: eyes, bridge of the nose, forehead, temples."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 10, 151, 9, 127, 356, 234, 454)  # face-mesh points


def similarity(source: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The rotations, scales and shifts [N, 2, 3] that take points source [N, K, 2] nearest to goal [N, K, 2] (Umeyama 1991)."""
    from_mean, to_mean = source.mean(1, keepdims=True), goal.mean(1, keepdims=True)
    a, b = source - from_mean, goal - to_mean
    spread = np.maximum((a**2).sum((1, 2)), 1e-12)
    along = (a * b).sum((1, 2)) / spread
    across = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1) / spread
    turn = np.stack([np.stack([along, -across], -1), np.stack([across, along], -1)], -2)  # [N, 2, 2]
    shift = to_mean[:, 0] - np.einsum("nij,nj->ni", turn, from_mean[:, 0])
    return np.concatenate([turn, shift[..., None]], -1)


def rigid(landmarks: np.ndarray) -> np.ndarray:
    """The points [..., 16, 2] of landmarks [..., 478, 2+] that speech does not move."""
    return np.asarray(landmarks)[..., list(RIGID), :2].astype(np.float64)


NEAR = 3  # frames on each side that steady a frame's points
STILL = 0.012  # how far points may have moved, in sides of the face, before a neighbour counts little


def steady(window: Sequence[np.ndarray | None], at: int, side: float) -> np.ndarray | None:
    """A frame's points [K, 2] without the landmarker's tremble: a mean over near frames, `at` the frame's place among them.

    A neighbour counts the less the further its points have moved, so that a still head stands still and a moving one is not held
    back; what lies beyond a frame without points (None) counts nothing. side: of the face, in the points' unit.
    """
    own = window[at]
    if own is None:
        return None
    total, weight = own.copy(), 1.0
    for steps in (range(at - 1, -1, -1), range(at + 1, len(window))):
        for place in steps:
            near = window[place]
            if near is None:
                break
            away = float(np.sqrt(((near - own) ** 2).sum(-1).mean())) / (STILL * side)
            share = float(np.exp(-0.5 * away**2))
            total, weight = total + share * near, weight + share
    return total / weight


def steadied(items: Iterable[Item], points: Callable[[Item], tuple[np.ndarray, float] | None]) -> Iterator[tuple[Item, np.ndarray | None]]:
    """Each item with its steady points [K, 2]; looks three items ahead and holds seven.

    points: an item's points and the side of its face, or None where it shows no face.
    """
    window: deque[tuple[Item, tuple[np.ndarray, float] | None] | None] = deque([None] * (2 * NEAR + 1), 2 * NEAR + 1)
    for following in chain(((item, points(item)) for item in items), repeat(None, NEAR)):
        window.append(following)
        if (middle := window[NEAR]) is not None:
            near = [None if row is None or row[1] is None else row[1][0] for row in window]
            yield middle[0], None if middle[1] is None else steady(near, NEAR, middle[1][1])
