"""Head pose in OpenFace's convention, from face-mesh landmarks by perspective-n-point instead of OpenFace.

Six values: Rx, Ry, Rz in radians with R = Rx Ry Rz (OpenFace's order), and Tx, Ty, Tz in millimetres, in camera axes: x right,
y down, z away from the camera. OpenFace guesses the focal length from the picture's size; for 256 px it is 233.333, which is the
camera that the pose picture is drawn with. Its own face model is not used: depth is that of the canonical mesh.
"""

import numpy as np

from models.avct.paper.pose_picture import FOCAL, SIZE
from models.faces.pose import CANONICAL, MESH_IDS, rotation, solve

MODEL = np.array(list(CANONICAL.values())) * 10.0  # centimetres to millimetres


def reference_pose(landmarks: np.ndarray) -> np.ndarray:
    """Pose [6] of landmarks [478, 2+] in pixels of the 256 px crop. Raises ValueError where none fits."""
    found = solve(landmarks[list(MESH_IDS), :2].astype(np.float64), MODEL, FOCAL, (SIZE / 2, SIZE / 2))
    return np.concatenate([openface_angles(rotation(found[:3])), found[3:]])


def openface_angles(matrix: np.ndarray) -> np.ndarray:
    """Rx, Ry, Rz of a rotation [3, 3] = Rx Ry Rz, Ry within a quarter turn."""
    return np.array([
        np.arctan2(-matrix[1, 2], matrix[2, 2]),
        np.arcsin(np.clip(matrix[0, 2], -1, 1)),
        np.arctan2(-matrix[0, 1], matrix[0, 0]),
    ])  # fmt: skip


def openface_rotation(angles: np.ndarray) -> np.ndarray:
    """R = Rx Ry Rz [3, 3]."""
    parts = [rotation(np.where(np.arange(3) == axis, angles, 0.0)) for axis in range(3)]
    return parts[0] @ parts[1] @ parts[2]
