"""Landmarks by FAN (face-alignment 1.5.0), where a user has installed its weight files; nothing is ever downloaded.

face-alignment looks its files up by name under TORCH_HOME/hub/checkpoints and fetches what is missing. Here the files are looked
for first, and where one is missing FAN is not constructed. FAN finds the faces and their 68 points, from which pose is told; the
mesh, which networks and crop rule read, is then taken in FAN's box.
"""

import os
import warnings
from pathlib import Path

import numpy as np

from infra.errors import SetupError
from models.faces.mesh_landmarker import MeshLandmarker
from models.faces.points import Face

DETECTOR, POINTS = "s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"


def folder() -> Path:
    """Where torch keeps downloaded weights: TORCH_HOME/hub/checkpoints."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def missing() -> list[str]:
    """The weight files that FAN needs and that are not there."""
    return [name for name in (DETECTOR, POINTS) if not (folder() / name).is_file()]


class FanLandmarker:
    """Faces by S3FD, 68 points by FAN, the mesh in FAN's box. Raises SetupError where a weight file is missing or unreadable."""

    name = "fan"

    def __init__(self) -> None:
        if absent := missing():
            raise SetupError(
                f"FAN needs {' and '.join(absent)} in {folder()}",
                code="setup.fan",
                next_step="Put the files there, or leave FAN out: the face mesh does its work.",
            )
        try:
            import face_alignment

            self._fan = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D,
                device="cpu",
                flip_input=False,
                compile=False,
                face_detector_kwargs={"path_to_detector": str(folder() / DETECTOR)},
            )
        except Exception as error:  # whatever torch says of a damaged file
            raise SetupError(
                f"FAN's weights in {folder()} do not load ({type(error).__name__}: {str(error)[:200]})",
                code="setup.fan",
                next_step="Replace both files, or remove them: the face mesh does FAN's work.",
            ) from error
        self._mesh = MeshLandmarker()

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Faces of an RGB uint8 picture [H, W, 3] on which FAN and the mesh agree, largest first."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where it finds no face; an empty list says so too
            return self.meshed(picture, self._fan.get_landmarks_from_image(picture) or [])

    def meshed(self, picture: np.ndarray, faces_68: list[np.ndarray]) -> list[Face]:
        """Faces of FAN's points, [68, 2] each, with the mesh that lies in the box of each; those without one are left out."""
        found = []
        for points in faces_68:
            box = np.concatenate([points.min(0), points.max(0)])
            mesh = self._mesh.mesh_at(picture, box)
            if mesh is not None:
                found.append(Face(points.astype(np.float32), mesh, "fan"))
        return sorted(found, key=lambda face: -face.size)

    def close(self) -> None:
        """Free the networks."""
        self._mesh.close()
