"""Windows of a render: whoever begins at one makes the frames that the whole render makes (P2, P11)."""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from flow_cases import HOPPER
from models.types import Motion, Portrait
from tasks.ladder import Rung
from tasks.render import AFTER, LEAD, _frames, overlapping

SIZE = 25


def test_every_window_sees_its_neighbours_frames_once() -> None:
    taken: list[int] = []

    def frames(start: int) -> Iterator[np.ndarray]:
        for number in range(start, 110):
            taken.append(number)
            yield np.array(number)

    def seen(begin: int, first: int) -> dict[int, list[int]]:
        return {start: [int(frame) for frame in window] for start, window in overlapping(frames(begin), begin, first, SIZE, 110)}

    whole = seen(0, 0)
    assert taken == list(range(110)) and list(whole) == [0, 25, 50, 75, 100]
    assert all(rows == list(range(max(0, start - LEAD), min(start + SIZE + AFTER, 110))) for start, rows in whole.items())
    assert seen(25, 50) == {start: rows for start, rows in whole.items() if start >= 50}


@pytest.fixture(scope="module")
def moving() -> tuple[Portrait, Any, Motion]:
    from models.avct.engine import AvctEngine
    from tasks.faces import read_portrait
    from tasks.scripts import from_text
    from tasks.speech import synthesise

    large = read_portrait(HOPPER)
    zoom = 256 / large.picture.shape[1]
    portrait = Portrait(cv2.resize(large.picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), large.landmarks * zoom)
    speech = synthesise(from_text("Good evening, all of my friends."), "en-US")
    return portrait, speech, AvctEngine.load().motion(portrait, speech.speech, seed=3)


@pytest.mark.parametrize("engine", ["avct", "lipmemory"])
def test_a_portrait_goes_on_at_a_window_with_the_same_frames(moving: tuple[Portrait, Any, Motion], engine: str) -> None:
    portrait, speech, motion = moving
    motion = Motion(motion.values[: 2 * SIZE + 4], motion.jacobians[: 2 * SIZE + 4], motion.anchor)
    work: Any = SimpleNamespace(lease=SimpleNamespace(preset="compact"), speech=speech)
    take: Any = SimpleNamespace(rung=Rung(engine))
    whole = list(_frames(work, take, portrait, motion, 0, SIZE))
    rest = list(_frames(work, take, portrait, motion, SIZE, SIZE))
    assert len(whole) == motion.frames and len(rest) == motion.frames - SIZE
    assert all(np.array_equal(one, other) for one, other in zip(whole[SIZE:], rest, strict=True))
    apart = [np.abs(one.astype(int) - other).mean() for one, other in itertools.pairwise(whole)]
    assert apart[SIZE - 1] < 2.5 * np.median(apart) + 0.1  # no jump where windows meet
