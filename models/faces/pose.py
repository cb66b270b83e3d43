"""Head pose from one picture: perspective-n-point between landmarks and the face mesh's canonical face.

Six values: Rx, Ry, Rz in radians (R = Rz Ry Rx) and Tx, Ty, Tz in centimetres, in camera axes: x right, y down, z away from the
camera. Ry is the yaw: positive where the face looks to the left of the picture, zero where it looks into the camera.
"""

import numpy as np

from models.faces.points import MESH_68, Face

# The rigid part of MediaPipe's canonical face (Apache-2.0), in centimetres, axes as above: left half and midline.
_LEFT = {
    2: (0.000, 2.089, -6.058),
    4: (0.000, 0.463, -7.587),
    5: (0.000, -0.366, -7.243),
    6: (0.000, -2.473, -5.789),
    10: (0.000, -8.262, -4.482),
    33: (-4.446, -2.664, -3.173),
    54: (-6.279, -6.615, -1.426),
    67: (-3.524, -8.006, -3.729),
    97: (-0.597, 2.014, -5.866),
    98: (-1.406, 1.714, -5.241),
    117: (-5.259, -0.946, -2.974),
    119: (-3.301, -0.862, -3.873),
    121: (-1.821, -1.468, -4.224),
    127: (-7.743, -2.365, 2.005),
    129: (-1.786, 0.978, -4.850),
    132: (-7.271, 2.891, 2.252),
    133: (-1.856, -2.585, -3.758),
    143: (-6.408, -2.236, -1.561),
    147: (-6.235, 1.944, -1.664),
    168: (0.000, -3.271, -5.236),
    197: (0.000, -1.728, -6.317),
    198: (-1.247, -0.230, -5.681),
    205: (-3.833, 1.537, -4.138),
}
_TWIN = {
    33: 263,
    54: 284,
    67: 297,
    97: 326,
    98: 327,
    117: 346,
    119: 348,
    121: 350,
    127: 356,
    129: 358,
    132: 361,
    133: 362,
    143: 372,
    147: 376,
    198: 420,
    205: 425,
}
CANONICAL = _LEFT | {right: (-_LEFT[left][0], *_LEFT[left][1:]) for left, right in _TWIN.items()}
MESH_IDS = tuple(CANONICAL)
RIGID_68 = tuple(i for i in range(27, 48) if MESH_68[i] in CANONICAL)  # of the 68: nose and corners of the eyes
FOCAL = 3.6  # focal length over the face's size: seen from some 60 cm, as portraits are


def project(pose: np.ndarray, model: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Points of a model [N, 3] in centimetres as a camera with that pose [6] and focal length in pixels sees them: [N, 2]."""
    placed = model @ rotation(pose[:3]).T + pose[3:]
    return placed[:, :2] / placed[:, 2:] * focal + np.array(centre)


def rotation(angles: np.ndarray) -> np.ndarray:
    """R = Rz Ry Rx [3, 3] of three angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def angles_of(matrix: np.ndarray) -> np.ndarray:
    """The three angles of a rotation [3, 3], yaw within a quarter turn."""
    yaw = np.arcsin(np.clip(-matrix[2, 0], -1, 1))
    return np.array([np.arctan2(matrix[2, 1], matrix[2, 2]), yaw, np.arctan2(matrix[1, 0], matrix[0, 0])])


def solve(points: np.ndarray, model: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Pose [6] under which a model [N >= 6, 3] projects onto points [N, 2]. Raises ValueError where none does."""
    import cv2

    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]], np.float64)
    given = np.ascontiguousarray(model, np.float64), np.ascontiguousarray(points, np.float64)
    found, turn, shift = cv2.solvePnP(*given, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found or not np.isfinite(shift).all() or shift[2, 0] <= 0:
        raise ValueError("no head pose fits these points")
    turn, shift = cv2.solvePnPRefineLM(*given, camera, None, turn, shift)
    return np.concatenate([angles_of(cv2.Rodrigues(turn)[0]), shift[:, 0]])


def head_pose(face: Face) -> np.ndarray:
    """Pose [6] of a face, as a camera pointed at it sees it: from the mesh's rigid points, or from FAN's where FAN found it."""
    left, top, right, bottom = face.box
    centre = (left + right) / 2, (top + bottom) / 2
    if face.source == "fan":
        ids = list(RIGID_68)
        points, model = face.points[ids], [CANONICAL[MESH_68[i]] for i in ids]
    else:
        points, model = face.mesh[list(MESH_IDS), :2], list(CANONICAL.values())
    return solve(points, np.array(model), FOCAL * face.size, centre)
