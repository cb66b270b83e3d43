"""Put drawn lips back into the picture that they belong to, at its own resolution; what lies outside the mask stays bit for bit.

The network draws at 128 pixels. Where its preset blends, its flow moves the reference picture itself, so that skin keeps the detail
that the picture has, and painted pixels come in by alpha alone (DESIGN.md, decision 5). The mask covers the lower face, chin
included, and fades inside its border, where the drawing's light is brought to the picture's.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from models.faces.crop import Square, cut
from models.lipmemory.align import rigid

MARGIN, VIEW = 1.25, 160  # what the network sees of a reference: its face square grown, at this many pixels (as in training)
KEPT = 1.7  # what is kept of a reference's picture: its face square, grown
FEATHER = 0.09  # width of the mask's fade, as a part of the square's side
CHIN = 0.05  # how far below the landmarks the mask reaches, as a part of the side: a chin may come down
NOSE = 0.02  # where, in half sides below the square's middle, the mask begins


@dataclass(frozen=True)
class Reference:
    """The face that is given new lips: picture uint8 RGB [H, W, 3], landmarks [478, 3] in its pixels, and its small view."""

    picture: np.ndarray
    landmarks: np.ndarray
    square: Square
    view: np.ndarray  # uint8 RGB [160, 160, 3] of the square grown by 1.25
    still: np.ndarray  # [16, 2] where what speech does not move is, in its pixels


@dataclass(frozen=True)
class Drawn:
    """A drawn lower face, RGB in [0, 1]: painted [h, S, 3]; alpha [h, S] and flow [h, S, 2] where the preset blends, else None."""

    painted: np.ndarray
    alpha: np.ndarray | None = None
    flow: np.ndarray | None = None


@dataclass(frozen=True)
class Patch:
    """A redrawn part of a picture: made uint8 RGB [h, w, 3], how much of each pixel it is, float32 [h, w], and its corner."""

    made: np.ndarray
    mask: np.ndarray
    top: int
    left: int


@dataclass(frozen=True)
class Region:
    """The pixels of a picture that the lower half of a square covers, and where each lies in the square: unit [h, w, 2]."""

    rows: slice
    columns: slice
    unit: np.ndarray

    @classmethod
    def of(cls, square: Square, shape: tuple[int, ...]) -> "Region":
        """The lower half of a square in a picture of this shape; empty where the square lies outside of it."""
        low_x, high_x = (int(np.clip(square.x + s * square.side / 2, 0, shape[1])) for s in (-1, 1))
        low_y, high_y = (int(np.clip(v, 0, shape[0])) for v in (square.y, square.y + square.side / 2))
        xs, ys = np.meshgrid(np.arange(low_x, high_x) + 0.5, np.arange(low_y, high_y) + 0.5)
        unit = square.to_unit(np.stack([xs, ys], -1)).astype(np.float32)
        return cls(slice(low_y, high_y), slice(low_x, high_x), unit)

    @property
    def empty(self) -> bool:
        """Whether no pixel of the picture is in it."""
        return self.unit.size == 0


def lower_face(landmarks: np.ndarray, square: Square, region: Region) -> np.ndarray:
    """How much of each pixel of a region is redrawn, float32 [h, w]: 1 inside the lower face, exactly 0 outside of it."""
    if region.empty:
        return np.zeros(region.unit.shape[:2], np.float32)
    points = square.to_unit(landmarks)
    points = np.concatenate([points, points + np.array([0, 2 * CHIN])])
    height, width = region.unit.shape[:2]
    corner, step = region.unit[0, 0], 2 / square.side
    hull = cv2.convexHull(np.round((points - corner) / step).astype(np.int32))
    inside = np.zeros((height + 2, width + 2), np.uint8)  # a border of zeros: the picture's edge ends the mask as the hull does
    cv2.fillConvexPoly(inside[1:-1, 1:-1], hull, 1)
    inside[1:-1, 1:-1] &= (region.unit[..., 1] > NOSE).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1] / max(FEATHER * square.side, 1.0)
    ramp = np.clip(depth, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def at_source(drawn: Drawn, region: Region, square: Square, reference: Reference, change: np.ndarray) -> np.ndarray:
    """The drawing at the picture's resolution, float32 RGB [h, w, 3] in [0, 255]; change [2, 3] takes target to reference pixels."""
    height, size = drawn.painted.shape[:2]
    xs = ((region.unit[..., 0] + 1) / 2 * size - 0.5).astype(np.float32)
    ys = ((region.unit[..., 1] + 1) / 2 * size - 0.5 - (size - height)).astype(np.float32)

    def looked(field: np.ndarray, method: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.remap(np.ascontiguousarray(field, np.float32), xs, ys, method, borderMode=cv2.BORDER_REPLICATE)

    painted = looked(drawn.painted * 255, cv2.INTER_CUBIC)
    if drawn.alpha is None or drawn.flow is None:
        return painted
    place = square.to_pixels(region.unit + looked(drawn.flow)) @ change[:, :2].T + change[:, 2] - 0.5
    look = place.astype(np.float32)
    moved = cv2.remap(reference.picture, look[..., 0], look[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    return moved + looked(drawn.alpha)[..., None] * (painted - moved)


def matched(made: np.ndarray, real: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A drawing [h, w, 3] in the light that the picture has where the mask fades.

    By the middle of the differences, since a chin that is drawn elsewhere than it was filmed says nothing about light.
    """
    rim = (mask > 0) & (mask < 0.7)
    return made + np.median(real[rim] - made[rim], axis=0) if rim.any() else made


def patch_of(picture: np.ndarray, landmarks: np.ndarray, square: Square, drawn: Drawn, reference: Reference, change: np.ndarray) -> Patch:
    """A drawn lower face as the patch that it is of the picture uint8 RGB [H, W, 3]; an empty one where the face lies outside of it."""
    region = Region.of(square, picture.shape)
    mask = lower_face(landmarks, square, region)
    if region.empty:
        return Patch(np.zeros((*mask.shape, 3), np.uint8), mask, 0, 0)
    real = picture[region.rows, region.columns].astype(np.float32)
    made = matched(at_source(drawn, region, square, reference, change), real, mask)
    return Patch(np.clip(np.rint(made), 0, 255).astype(np.uint8), mask, region.rows.start, region.columns.start)


def pasted(picture: np.ndarray, patch: Patch) -> np.ndarray:
    """The picture uint8 RGB [H, W, 3] with a patch; where its mask is 0, bit for bit as it was."""
    frame = picture.copy()
    height, width = patch.mask.shape
    under = frame[patch.top : patch.top + height, patch.left : patch.left + width]
    mask = patch.mask[..., None]
    blended = under + mask * (patch.made - under.astype(np.float32))
    under[:] = np.where(mask > 0, np.clip(np.rint(blended), 0, 255), under).astype(np.uint8)
    return frame


def reference_of(picture: np.ndarray, landmarks: np.ndarray, square: Square, still: np.ndarray | None = None) -> Reference:
    """A reference from a picture uint8 RGB [H, W, 3] with the landmarks and the face square of its face; it keeps the face alone.

    still: steady points [16, 2] of what speech does not move, by default the landmarks' own.
    """
    around = square.grown(KEPT)
    width, height = picture.shape[1], picture.shape[0]
    left, top = (int(np.clip(middle - around.side / 2, 0, most - 1)) for middle, most in ((around.x, width), (around.y, height)))
    right, bottom = (max(first + 1, int(middle + around.side / 2) + 1) for first, middle in ((left, around.x), (top, around.y)))
    kept = picture[top:bottom, left:right].copy()
    moved = landmarks.copy()
    moved[:, :2] -= (left, top)
    still = (rigid(landmarks) if still is None else still) - (left, top)
    return Reference(kept, moved, Square(square.x - left, square.y - top, square.side), cut(picture, square.grown(MARGIN), VIEW), still)


def seen_reference(reference: Reference, square: Square, change: np.ndarray, size: int) -> np.ndarray:
    """The reference where the target's face is, as the network sees it: uint8 RGB [size, size, 3]."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # pixel numbers to places: centres lie at halves
    to_view = _square(reference.square.grown(MARGIN).matrix(VIEW)) @ np.linalg.inv(half) @ _square(change) @ half
    whole = to_view @ np.linalg.inv(_square(square.matrix(size)))
    return cv2.warpAffine(
        reference.view, whole[:2], (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1.0]])
