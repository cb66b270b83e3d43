"""Composition at the portrait's own resolution: the motion is applied to the picture itself, generated pixels fill in.

The networks see the face square at 128 px. Their flow is applied to the square at the size that it has in the portrait, the
painted pixels are blended in by alpha, and both fade to nothing towards the square's border, so that the rest of the portrait
stays as it is (DESIGN.md, decision 5).
"""

import functools

import cv2
import numpy as np

from models.faces.crop import Square, cut

TEETH_OVER_SKIN = 0.2  # how much closer to neutral teeth are than the skin around them, in green and blue over red
NONE = np.empty((0, 0), np.float32)  # the second map, where the first holds both axes
FADE = 0.16  # width of the fade at the square's border, as a part of its half side


class Canvas:
    """A portrait ready to be moved: `small` float32 [S, S, 3] in [0, 1] is what the networks see."""

    def __init__(self, picture: np.ndarray, square: Square, size: int, *, relight: bool = True) -> None:
        self.picture = picture
        self.small = cut(picture, square, size).astype(np.float32) / 255.0
        height, width = picture.shape[:2]
        low_x, low_y = np.floor([square.x - square.side / 2, square.y - square.side / 2]).astype(int)
        high_x, high_y = np.ceil([square.x + square.side / 2, square.y + square.side / 2]).astype(int)
        self.left, self.top = max(0, int(low_x)), max(0, int(low_y))
        self.right, self.bottom = min(width, int(high_x)), min(height, int(high_y))
        xs, ys = np.meshgrid(np.arange(self.left, self.right) + 0.5, np.arange(self.top, self.bottom) + 0.5)
        unit = square.to_unit(np.stack([xs, ys], -1)).astype(np.float32)
        self.side = square.side
        middle = self.small[size * 3 // 8 : size // 2, size * 3 // 8 : size * 5 // 8].reshape(-1, 3)  # nose and cheeks
        skin = np.median(middle, axis=0)
        self.relight = relight
        self.light = np.array([1.0, *np.maximum(skin[1:] / max(float(skin[0]), 0.02) + TEETH_OVER_SKIN, 0.3)], np.float32)
        self.here = np.stack([xs, ys], -1).astype(np.float32) - 0.5
        edge = 1 - np.abs(unit).max(-1)
        ramp = np.clip(edge / FADE, 0, 1)
        self.fade = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
        self.unit = (unit + 1) / 2  # where each pixel of the patch lies in a network picture of unit size: u in [0, 1)
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def lit(self, painted: np.ndarray) -> np.ndarray:
        """Painted pixels [S, S, 3] under the portrait's light: green and blue no further above red than teeth are above skin.

        The painter learned under many lights and greys what it is unsure of; on warm skin such grey looks green.
        """
        return np.minimum(painted, painted[..., :1] * self.light) if self.relight else painted

    def sample(self, field: np.ndarray) -> np.ndarray:
        """A network picture float32 [S, S, C] at the patch's pixels, linearly."""
        size = len(field)
        if size not in self._maps:
            self._maps[size] = cv2.convertMaps(self.unit[..., 0] * size - 0.5, self.unit[..., 1] * size - 0.5, cv2.CV_16SC2)
        return cv2.remap(field, *self._maps[size], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def compose(self, flow: np.ndarray, paint: np.ndarray) -> np.ndarray:
        """One frame uint8 [H, W, 3]: flow [h, w, 2] in [-1, 1]; paint [S, S, 4], colours in [0, 1] and how much of them is used."""
        look = self.sample((flow - _identity(len(flow))) * (self.side / 2))
        look *= self.fade[..., None]
        look += self.here
        moved = cv2.remap(self.picture, look, NONE, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        over = self.sample(np.concatenate([self.lit(paint[..., :3]) * np.float32(255), paint[..., 3:]], axis=-1))
        share, blended = over[..., 3] * self.fade, np.ascontiguousarray(over[..., :3])
        blended -= moved
        blended *= share[..., None]
        blended += moved
        frame = self.picture.copy()
        frame[self.top : self.bottom, self.left : self.right] = np.clip(np.rint(blended, out=blended), 0, 255, out=blended)
        return frame


@functools.cache
def _identity(size: int) -> np.ndarray:
    line = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    return np.stack(np.meshgrid(line, line), axis=-1)
