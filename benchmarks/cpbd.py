"""CPBD, the cumulative probability of blur detection (Narvekar and Karam, IEEE Trans. Image Processing 20(9), 2011): papers' measure of sharpness.

For every vertical edge, how likely is a person to see it as blurred? P = 1 - exp(-(w / w_jnb)^3.6), with w the edge's width in pixels
(Marziliano's: from the edge to where brightness stops rising or falling on each side) and w_jnb the width that is just noticed, 5 pixels in
blocks of little contrast (up to 50 grey levels) and 3 in others. CPBD is the part of edges with P <= 0.63, which is P at w = w_jnb: 0
is all blur, 1 all sharp. Blocks are 64 pixels a side and count where more than two in a thousand of their pixels lie on Canny's edges.

No reference implementation is at hand to compare with: thresholds of the edge detectors follow the authors' description (Canny with its
usual settings, Sobel over twice its root mean square), so that numbers hold between rows of one table.
"""

import cv2
import numpy as np

BLOCK, CROWDED = 64, 0.002  # pixels a side; part of them on edges from which a block counts
BETA, JUST_NOTICED = 3.6, 0.63
LOW_CONTRAST, WIDE, NARROW = 50, 5.0, 3.0
CANNY = (100, 200)


def cpbd(grey: np.ndarray) -> float:
    """CPBD of a grey picture uint8 [H, W], 0 to 1; NaN where it has no edges. The rest of a picture that fills no block is left out."""
    image, edges = grey.astype(np.float64), cv2.Canny(grey, *CANNY) > 0
    upright = _vertical_edges(image)
    chances: list[float] = []
    for top in range(0, grey.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, grey.shape[1] - BLOCK + 1, BLOCK):
            here = (slice(top, top + BLOCK), slice(left, left + BLOCK))
            if edges[here].mean() <= CROWDED:
                continue
            noticed = WIDE if np.ptp(image[here]) <= LOW_CONTRAST else NARROW
            rows, columns = np.nonzero(upright[here])
            widths = [_width(image[top + row], left + int(column)) for row, column in zip(rows, columns, strict=True)]
            chances += [1 - np.exp(-((width / noticed) ** BETA)) for width in widths]
    return float(np.mean(np.array(chances) <= JUST_NOTICED + 1e-3)) if chances else float("nan")


def _vertical_edges(image: np.ndarray) -> np.ndarray:
    """Where brightness changes along a row more than usual, thinned to the steepest pixel: bool [H, W]."""
    strength = np.square(cv2.Sobel(image, cv2.CV_64F, 1, 0) / 8)
    across = np.square(cv2.Sobel(image, cv2.CV_64F, 0, 1) / 8)
    strong = (strength > 4 * strength.mean()) & (strength > across)
    steepest = (strength[:, 1:-1] > strength[:, :-2]) & (strength[:, 1:-1] >= strength[:, 2:])
    return np.asarray(strong & np.pad(steepest, ((0, 0), (1, 1))))


def _width(row: np.ndarray, at: int) -> int:
    """Pixels from where brightness begins to rise, or to fall, to where it stops, about a place in a row [W]."""
    sign = 1.0 if row[min(at + 1, len(row) - 1)] >= row[max(at - 1, 0)] else -1.0
    left = right = at
    while left > 0 and sign * (row[left] - row[left - 1]) > 0:
        left -= 1
    while right < len(row) - 1 and sign * (row[right + 1] - row[right]) > 0:
        right += 1
    return right - left
