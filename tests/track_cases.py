"""Track files of faces that stand still, written as the tracker writes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.faces.crop import Square
from models.faces.follow import Followed, Lane, Sight
from tasks.dubbing.tracks import TrackFile, TrackWriter

SIDE = 60.0  # pixels of a face's square


def standing(path: Path, places: Sequence[tuple[float, float]], frames: int = 50) -> TrackFile:
    """A track file of faces, numbered in order, whose middles are at these places in pixels on every picture of 25 a second."""
    marks = np.random.default_rng(1).uniform(-SIDE / 3, SIDE / 3, (478, 2)).astype(np.float32)
    lanes = [Lane(0, None, kept=True, number=number) for number in range(len(places))]

    def rows() -> Iterator[Followed]:
        for number in range(frames):
            sights = [Sight(lane, number / 25, marks + np.float32(place), 3.0, SIDE, False, square=Square(*place, SIDE)) for lane, place in zip(lanes, places, strict=True)]
            yield Followed(number, number / 25, 0, sights)

    with TrackWriter(path) as out:
        for row in rows():
            out.write(row)
    return TrackFile(path)
