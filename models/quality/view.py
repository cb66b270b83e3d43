"""A face turned upright and brought to one size, so that one number means the same in every picture.

The view is grey, 192 x 192 pixels, 8.7 of them for a centimetre of the face mesh's canonical face: 22 cm from hair to chin. It is aligned
by points of brow, eyes, temples and nose, which speech does not move. A face 14.5 cm wide is 126 pixels wide in it: finer than the
128-pixel squares that the compact engines draw, so that what they draw too softly is seen to be soft.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from models.faces.pose import CANONICAL
from models.lipmemory.align import similarity

SIZE, ZOOM = 192, 8.7  # pixels of the view, and of it for a centimetre of face
DOWN = 6  # pixels that the middle of the canonical face lies below the view's middle
STILL = tuple(point for point, place in CANONICAL.items() if place[1] < 0.5)  # centimetres below the tip of the nose
GOAL = np.array([CANONICAL[point][:2] for point in STILL]) * ZOOM + np.array([SIZE / 2, SIZE / 2 + DOWN])
ALIASES = 0.7  # zoom under which a picture is blurred before it is shrunk


@dataclass(frozen=True)
class View:
    """An upright face: grey float32 [192, 192] in 0..255; landmarks [478, 2] in its pixels."""

    grey: np.ndarray
    landmarks: np.ndarray


def upright(picture: np.ndarray, landmarks: np.ndarray) -> View:
    """The view of a face in a picture uint8 RGB [H, W, 3] or grey [H, W] by its landmarks [478, 2+] in pixels."""
    points = np.asarray(landmarks)[:, :2].astype(np.float64)
    turn = similarity(points[None, list(STILL)], GOAL[None])[0]
    zoom = float(np.sqrt(max(np.linalg.det(turn[:, :2]), 1e-9)))
    middle, reach = points[list(STILL)].mean(0), SIZE / zoom
    left, top = (int(max(0, v - reach)) for v in middle)
    near = picture[top : top + int(2 * reach) + 1, left : left + int(2 * reach) + 1]
    if near.size == 0:  # the face lies outside of the picture
        return View(np.zeros((SIZE, SIZE), np.float32), points @ turn[:, :2].T + turn[:, 2])
    grey = cv2.cvtColor(near, cv2.COLOR_RGB2GRAY) if near.ndim == 3 else near
    if zoom < ALIASES:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 / zoom)
    moved = points @ turn[:, :2].T + turn[:, 2]
    turn = turn.copy()
    turn[:, 2] += turn[:, :2] @ np.array([left, top])
    view = cv2.warpAffine(grey, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return View(view.astype(np.float32), moved)


def ellipse(x: float, y: float, wide: float, high: float) -> np.ndarray:
    """Which pixels [192, 192] of the view lie in an ellipse: its middle and half axes in centimetres from the tip of the nose."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    across = ((columns - SIZE / 2) / ZOOM - x) / wide
    along = ((rows - SIZE / 2 - DOWN) / ZOOM - y) / high
    return np.asarray(across**2 + along**2 <= 1)


MOUTH = ellipse(0, 4.5, 3.6, 2.3)
EYES = ellipse(-3.3, -2.6, 2.2, 1.5) | ellipse(3.3, -2.6, 2.2, 1.5)
CHEEKS = ellipse(-4.0, 1.0, 1.8, 1.6) | ellipse(4.0, 1.0, 1.8, 1.6)
LOWER = ellipse(0, 5.2, 5.2, 3.8)
UPPER = ellipse(0, -3.2, 5.6, 3.4)
