"""Scenes for tests of re-dubs: real faces from the demo's portraits that sway a little, with what goes wrong in real footage."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from flow_cases import COLLINS, HOPPER
from infra.media import VideoWriter, write_wav

HEIGHT, WIDTH, COUNT = 240, 256, 50
Change = Callable[[int, np.ndarray], np.ndarray]


def face(path: Path, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A portrait's head and shoulders as a picture uint8 RGB of that size."""
    picture = cv2.imread(str(path))[..., ::-1]
    whole = min(picture.shape[:2])
    left = (picture.shape[1] - whole) // 2
    square = cv2.resize(np.ascontiguousarray(picture[:whole, left : left + whole]), (height, height), interpolation=cv2.INTER_AREA)
    extra = width - height
    return cv2.copyMakeBorder(square, 0, 0, extra // 2, extra - extra // 2, cv2.BORDER_REPLICATE)


def swayed(picture: np.ndarray, number: int, drift: float = 0.0) -> np.ndarray:
    """The picture a little further: a person never sits quite still."""
    shift = np.array([[1, 0, 2 * np.sin(number / 7) + drift * number], [0, 1, 1.5 * np.cos(number / 9)]])
    return cv2.warpAffine(picture, shift, picture.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def scene(path: Path, change: Change = lambda number, picture: picture, *, fps: Fraction = Fraction(25), drift: float = 0.0, pair: bool = False, who: Path = HOPPER) -> Path:
    """A video of COUNT pictures of one person, or of two beside one another, with a hum for sound; `change` changes each picture."""
    people = [face(HOPPER), face(COLLINS)] if pair else [face(who)]
    hum = 0.05 * np.sin(np.arange(int(COUNT / fps * 16_000)) / 20)
    sound = path.with_suffix(".wav")
    write_wav(sound, hum.astype(np.float32), 16_000)
    with VideoWriter(path, WIDTH * len(people), HEIGHT, fps, sound, crf=16, preset="veryfast", threads=1) as out:
        for number in range(COUNT):
            out.write(change(number, np.concatenate([swayed(one, number + 11 * at, drift) for at, one in enumerate(people)], 1)))
    return path


def without(faceless: Callable[[int], bool]) -> Change:
    """Pictures of those numbers show a wall instead of anybody."""
    return lambda number, picture: np.full_like(picture, 90) if faceless(number) else picture
