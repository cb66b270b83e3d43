"""The watermark: a faint pattern of large cells whose sign swings once a second. Added to pictures one at a time, before the encode.

What is said of a picture depends on its time and its own pixels alone, so that a render that is cut into windows marks them alike.
"""

import math

import cv2
import numpy as np

from infra.marking.code import CELLS, tile

PERIOD = 1.0  # seconds of a swing
FLAT, BUSY = 1.3, 2.5  # levels of 255 where the picture is even, and the most where it is busy: at most 1.9 root mean square, 42.6 dB
RISE = 0.16  # levels for each level of local deviation
SHRINK = 4  # the picture is looked at this much smaller
EDGE = 1.4  # how much of the sine is cut off at its top


def swing(time: float) -> float:
    """The pattern's sign and strength, -1 to 1, at a time in seconds."""
    return max(-1.0, min(1.0, EDGE * math.sin(2 * math.pi * time / PERIOD)))


class Watermark:
    """A payload of 64 bits for pictures of one size. Luma alone is changed, by at most 3 levels; same picture and time, same result."""

    def __init__(self, payload: int, height: int, width: int) -> None:
        if not 0 <= payload < 1 << 64:
            raise ValueError(f"a payload has 64 bits, not {payload}")
        self.payload = payload
        self._pattern = pattern(tile(payload), height, width)
        self._dither = _dither(height, width)
        self._under = -self._dither
        self._blur = max(3, round(min(height, width) / CELLS / SHRINK) | 1)

    def on_rgb(self, frame: np.ndarray, time: float) -> np.ndarray:
        """A marked copy of a frame uint8 RGB [H, W, 3]: each channel moves as luma does."""
        more, less = self._change(cv2.cvtColor(self._small(frame), cv2.COLOR_RGB2GRAY), time)
        return cv2.subtract(cv2.add(frame, cv2.merge((more, more, more))), cv2.merge((less, less, less)))

    def on_luma(self, luma: np.ndarray, time: float) -> np.ndarray:
        """A marked copy of a plane Y uint8 [H, W]."""
        more, less = self._change(self._small(luma), time)
        return cv2.subtract(cv2.add(luma, more), less)

    def _small(self, picture: np.ndarray) -> np.ndarray:
        size = (max(1, picture.shape[1] // SHRINK), max(1, picture.shape[0] // SHRINK))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    def _change(self, small: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """By how much pixels rise and fall, uint8 [H, W] each: more where the picture's own detail hides it."""
        seen = small.astype(np.float32)
        around = (self._blur, self._blur)
        mean = cv2.blur(seen, around)
        spread = np.sqrt(np.maximum(cv2.blur(seen * seen, around) - mean * mean, 0))
        gain = (np.minimum(FLAT + RISE * spread, BUSY) * swing(time)).astype(np.float32)
        height, width = self._pattern.shape
        change = cv2.multiply(self._pattern, cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR))
        more = cv2.add(change, self._dither, dtype=cv2.CV_8U)  # rounds, and cuts what falls below 0
        less = cv2.subtract(self._under, change, dtype=cv2.CV_8U)
        return more, less


def pattern(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Signs [32, 32] as float32 [H, W], tiled from the top left, the short side 32 cells long; edges a little soft."""
    side = min(height, width) / CELLS
    rows, columns = (((np.arange(size) + 0.5) / side).astype(int) % CELLS for size in (height, width))
    drawn = cells.astype(np.float32)[np.ix_(rows, columns)]
    return cv2.GaussianBlur(drawn, (0, 0), max(0.1, 0.14 * side))


def _dither(height: int, width: int) -> np.ndarray:
    """Thresholds -0.5 to 0.5 in Bayer's order [H, W]: changes of less than a level survive rounding on the average of 8 x 8 pixels."""
    order = np.zeros((1, 1))
    for _ in range(3):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return np.tile((order + 0.5) / 64 - 0.5, (-(-height // 8), -(-width // 8)))[:height, :width].astype(np.float32)
