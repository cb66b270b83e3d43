"""Scenes made from portraits: heads that sway, turn, come and go, as pictures that can be followed."""

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import Delaunay

from models.faces.mesh import FaceMesh

PORTRAITS = Path(__file__).resolve().parent.parent / "demo" / "portraits"
ROOM = (60, 90, 140)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RINGS = ((1.18, 0.22), (1.35, 0.5), (1.45, 0.85))  # the head behind the face: reach over the oval's, depth over the face's size


def portrait(name: str, width: int = 300, height: int = 360) -> np.ndarray:
    read = cv2.imread(str(PORTRAITS / name))[..., ::-1]
    return cv2.resize(np.ascontiguousarray(read), (width, height), interpolation=cv2.INTER_AREA)


def wall(like: np.ndarray) -> np.ndarray:
    return np.full_like(like, ROOM)


def shifted(picture: np.ndarray, x: float, y: float = 0.0) -> np.ndarray:
    """A picture moved to the right and down over a plain wall."""
    size = picture.shape[1], picture.shape[0]
    return cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_CONSTANT, borderValue=ROOM)


def swaying(picture: np.ndarray, frames: int) -> list[np.ndarray]:
    """A head that moves a little, as heads do."""
    return [shifted(picture, 3 * np.sin(i / 5), 2 * np.cos(i / 7)) for i in range(frames)]


class Turner:
    """A portrait whose head can be turned aside: its face mesh, and rings for the head behind it, carry the picture."""

    def __init__(self, picture: np.ndarray) -> None:
        with FaceMesh() as mesh:
            face = mesh(picture)[0][:468]
        size, oval = float(np.ptp(face[:, :2], axis=0).max()), face[list(OVAL)]
        middle = oval[:, :2].mean(0)
        rings = [np.column_stack([middle + (oval[:, :2] - middle) * reach, oval[:, 2] + deep * size]) for reach, deep in RINGS]
        self.picture, self.points = picture, np.concatenate([face, *rings])
        self.axis = np.array([*middle, oval[:, 2].mean() + 0.25 * size])
        self.triangles = Delaunay(self.points[:, :2]).simplices

    def __call__(self, degrees: float) -> np.ndarray:
        """The picture with its head turned; what lies around it is blurred."""
        (cos, sin), away = (np.cos(np.radians(degrees)), np.sin(np.radians(degrees))), self.points - self.axis
        placed = np.column_stack([away[:, 0] * cos + away[:, 2] * sin, away[:, 1], away[:, 2] * cos - away[:, 0] * sin]) + self.axis
        made, limits = cv2.GaussianBlur(self.picture, (0, 0), 25), (self.picture.shape[1], self.picture.shape[0])
        for corners in self.triangles[np.argsort(-placed[self.triangles][:, :, 2].mean(1))]:  # the farthest first
            goal = placed[corners, :2].astype(np.float32)
            low = np.maximum(np.floor(goal.min(0)).astype(int) - 1, 0)
            high = np.minimum(np.ceil(goal.max(0)).astype(int) + 2, limits)
            if (high <= low).any():
                continue
            goal -= low.astype(np.float32)
            wide, tall = (int(v) for v in high - low)
            change = cv2.getAffineTransform(self.points[corners, :2].astype(np.float32), goal)
            carried = cv2.warpAffine(self.picture, change, (wide, tall), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            inside = np.zeros((tall, wide), np.uint8)
            cv2.fillConvexPoly(inside, np.round(goal).astype(np.int32), 1)
            made[low[1] : high[1], low[0] : high[0]][inside > 0] = carried[inside > 0]
        return made
