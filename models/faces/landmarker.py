"""One door to landmarks: FAN where its weights are installed, otherwise the models that come with the face mesh's wheel."""

from typing import Protocol

import numpy as np

from models.faces import fan
from models.faces.mesh_landmarker import MeshLandmarker
from models.faces.points import Face


class Landmarker(Protocol):
    """Finds the faces of a picture."""

    name: str

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Faces of an RGB uint8 picture [H, W, 3], largest first."""

    def close(self) -> None:
        """Free the networks."""


def landmarker() -> Landmarker:
    """FAN where its weight files lie under TORCH_HOME, otherwise the mesh; each carries its `name`."""
    return fan.FanLandmarker() if not fan.missing() else MeshLandmarker()
