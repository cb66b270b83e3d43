"""Landmarks by the models that come with the face mesh's wheel: BlazeFace finds faces, the mesh looks at a square around each."""

import numpy as np

from models.faces.crop import Square, cut
from models.faces.detect import FaceFinder
from models.faces.mesh import FaceMesh
from models.faces.points import Face

MESH_MARGIN = 2.2  # side of the square that the mesh sees over the longer side of the found box
LARGEST_VIEW = 1024  # pixels: the mesh works at 256 inside


class MeshLandmarker:
    """Faces by BlazeFace, landmarks by the face mesh on a square around each. Not safe to share between threads."""

    name = "mesh"

    def __init__(self) -> None:
        self._finder, self._mesh = FaceFinder(), FaceMesh(faces=3)

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Faces of an RGB uint8 picture [H, W, 3], largest first."""
        found: list[Face] = []
        for box in self._finder(picture):
            mesh = self.mesh_at(picture, box)
            if mesh is not None and all(_apart(mesh, other.mesh) for other in found):
                found.append(Face.of_mesh(mesh))
        return sorted(found, key=lambda face: -face.size)

    def mesh_at(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Mesh landmarks [478, 3] of the face in a box (left, top, right, bottom), or None where the mesh sees no face there."""
        left, top, right, bottom = (float(v) for v in box[:4])
        square = Square((left + right) / 2, (top + bottom) / 2, MESH_MARGIN * max(right - left, bottom - top))
        size = min(LARGEST_VIEW, max(192, round(square.side)))
        zoom = square.side / size
        near = [mesh for mesh in self._mesh(cut(picture, square, size)) if _holds(box, _back(mesh, square, zoom))]
        return min((_back(mesh, square, zoom) for mesh in near), key=lambda m: _distance(m, square), default=None)

    def close(self) -> None:
        """Free the networks."""
        self._finder.close()
        self._mesh.close()


def _back(mesh: np.ndarray, square: Square, zoom: float) -> np.ndarray:
    """Landmarks of a square's view in pixels of the picture."""
    corner = np.array([square.x - square.side / 2, square.y - square.side / 2, 0.0])
    return (mesh * zoom + corner).astype(np.float32)


def _distance(mesh: np.ndarray, square: Square) -> float:
    return float(np.hypot(*(mesh[:, :2].mean(0) - (square.x, square.y))))


def _holds(box: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether the middle of a mesh lies in the box it was looked for in."""
    x, y = mesh[:, :2].mean(0)
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two meshes are two faces: their middles lie further apart than a third of the smaller one."""
    sizes = [np.ptp(mesh[:, :2], axis=0).max() for mesh in (one, other)]
    return bool(np.hypot(*(one[:, :2].mean(0) - other[:, :2].mean(0))) > min(sizes) / 3)
