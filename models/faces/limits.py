"""Which faces are not redrawn, and why: beyond these limits a drawn mouth would look worse than an undubbed one."""

import numpy as np

from models.faces.cover import LIPS, covered
from models.faces.points import Face
from models.faces.pose import head_pose

# Degrees of yaw as models/faces/pose.py reads them, which is a third too frontal: heads turned by 15, 30, 45 and 60 degrees are read as 12,
# 22, 32 and 44. From some 38 on one cheek is hidden, and the mesh guesses half of the mouth.
TURNED = 27.0
SMALLEST = 48.0  # pixels, the longer side of the landmarks: a mouth of a dozen pixels; what is drawn at 128 would be lost
BACK = 0.9  # a face that was beyond a limit must come back to this part of it, or lips would flicker between drawn and not
OUTSIDE = 0.1  # share of landmarks beyond the picture's border that is cut off; of the lips none may be
CHIN = (152, 148, 377)
REASONS = ("", "turned", "small", "covered", "cut off")  # stored as numbers; only add at the end


def yaw_of(landmarks: np.ndarray) -> float:
    """Degrees that landmarks [478, 2+] are turned aside, positive to the left of the picture; a quarter turn where no pose fits."""
    try:
        return float(np.degrees(head_pose(Face.of_mesh(landmarks))[1]))
    except ValueError:
        return 90.0


def side_of(landmarks: np.ndarray) -> float:
    """Pixels, the longer side of the landmarks' box."""
    return float(np.ptp(landmarks[:, :2], axis=0).max())


def mouth_hidden(picture: np.ndarray, landmarks: np.ndarray, yaw: float) -> bool:
    """Whether something lies over the mouth in a picture uint8 RGB [H, W, 3]. Takes as long as finding the face: ask now and then."""
    return "mouth" in covered(picture, Face.of_mesh(landmarks), yaw)


def cut_off(landmarks: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether lips or chin, or more than a tenth of the landmarks [478, 2+], lie outside of a picture of this shape."""
    outside = np.any((landmarks[:, :2] < 0) | (landmarks[:, :2] > (shape[1], shape[0])), axis=1)
    return bool(outside[[*LIPS, *CHIN]].any() or outside.mean() > OUTSIDE)


def beyond(yaw: float, side: float, cut: bool, hidden: bool, before: str) -> str:
    """The first limit that a face is beyond, one of REASONS; before: what its last picture's face was."""
    if cut:
        return "cut off"
    if side < SMALLEST / (BACK if before == "small" else 1):
        return "small"
    if abs(yaw) > TURNED * (BACK if before == "turned" else 1):
        return "turned"
    return "covered" if hidden else ""
