"""The crop rule: which square of a picture the networks see, from its landmarks.

One rule for training, rendering and scoring, so that a network meets at work what it met in training. Landmarks are in
pixels of the picture, in the face-mesh order (478 points); squares may leave the picture, and sampling repeats its
border there.
"""

from dataclasses import dataclass

import numpy as np

FACE_SCALE = 1.4  # side of the face square over the longer side of the landmarks' box
FACE_RISE = 0.04  # the square's centre lies this part of its side above the box's centre
MOUTH_SCALE = 0.8  # side of the mouth square over the width of the face, cheek to cheek
MOUTH_DROP = 0.06  # the mouth square's centre lies this part of its side below the centre of the lips

CHEEKS = (234, 454)
LIP_RING = (61, 291, 0, 17, 40, 270, 91, 321)


@dataclass(frozen=True)
class Square:
    """An axis-aligned square in picture pixels: centre (x, y) and side."""

    x: float
    y: float
    side: float

    def to_unit(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels [..., 2] to the square's [-1, 1] coordinates (x right, y down)."""
        return (points[..., :2] - np.array([self.x, self.y])) * (2.0 / self.side)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """The square's [-1, 1] coordinates [..., 2] to picture pixels."""
        return points[..., :2] * (self.side / 2.0) + np.array([self.x, self.y])

    def grown(self, factor: float) -> "Square":
        """The square about the same centre with its side multiplied."""
        return Square(self.x, self.y, self.side * factor)

    def matrix(self, size: int) -> np.ndarray:
        """The 2x3 affine map from picture pixel centres to those of a size x size picture of this square."""
        zoom = size / self.side
        return np.array(
            [
                [zoom, 0.0, size / 2.0 - 0.5 - zoom * (self.x - 0.5)],
                [0.0, zoom, size / 2.0 - 0.5 - zoom * (self.y - 0.5)],
            ],
        )


def face_square(landmarks: np.ndarray) -> Square:
    """The square that the renderer sees around one face's landmarks [478, 2+]; pixel edges count, so centres are +0.5."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    side = FACE_SCALE * float((high - low).max())
    x, y = (low + high) / 2
    return Square(float(x), float(y) - FACE_RISE * side, side)


def published_square(landmarks: np.ndarray, shape: tuple[int, int]) -> Square:
    """AVCT's published crop of a picture of height and width `shape`: a frontal face box moved up by a tenth of its height, grown by
    half its side on each side, and shrunk about its centre until it lies in the picture.

    Published boxes are those of dlib's frontal detector; here the box of the 68 landmarks that dlib trains on, made square, stands
    for it.
    """
    from models.faces.points import MESH_68

    face = landmarks[list(MESH_68), :2]
    low, high = face.min(0), face.max(0)
    side = float((high - low).mean())
    x, y = (low + high) / 2
    y -= 0.1 * side
    height, width = shape
    return Square(float(x), float(y), max(2.0, min(2 * side, 2 * x, 2 * y, 2 * (width - x), 2 * (height - y))))


def mouth_square(landmarks: np.ndarray) -> Square:
    """The square that the scorer sees around one face's mouth, from landmarks [478, 2+]."""
    side = MOUTH_SCALE * float(np.linalg.norm(landmarks[CHEEKS[0], :2] - landmarks[CHEEKS[1], :2]))
    x, y = landmarks[list(LIP_RING), :2].mean(0)
    return Square(float(x), float(y) + MOUTH_DROP * side, side)


def cut(picture: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Resample a square of a picture [H, W, 3] to size x size; what lies outside repeats the border."""
    import cv2

    method = cv2.INTER_AREA if square.side > size * 1.5 else cv2.INTER_LINEAR
    if square.side > size * 1.5:  # warpAffine does not average: shrink in two steps so that nothing aliases
        whole = max(size, round(square.side))
        patch = cv2.warpAffine(
            picture, square.matrix(whole), (whole, whole), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return cv2.resize(patch, (size, size), interpolation=method)
    return cv2.warpAffine(picture, square.matrix(size), (size, size), flags=method, borderMode=cv2.BORDER_REPLICATE)
