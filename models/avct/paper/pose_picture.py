"""The pose picture: head pose drawn as the wire frame of a truncated pyramid, as AVCT's networks see it."""

import cv2
import numpy as np

SIZE, FOCAL = 256, 233.333
REAR, FRONT, DEPTH = 75.0, 100.0, 100.0  # half sides of the squares at depth 0 and DEPTH


def draw(pose: np.ndarray) -> np.ndarray:
    """A pose [6] (rotation vector in rad, translation) as a picture uint8 [256, 256]: white lines, width 2.

    The published code asks for anti-aliased lines but draws on floating-point pictures, where OpenCV has none: so has this.
    """
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], np.float64)
    solid = np.concatenate([np.c_[corners * REAR, np.zeros(4)], np.c_[corners * FRONT, np.full(4, DEPTH)]])
    camera = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    seen, _ = cv2.projectPoints(solid, pose[:3].astype(np.float64), pose[3:].astype(np.float64), camera, np.zeros(4))
    points = seen.reshape(-1, 2).astype(np.int32)  # truncated, as published
    picture = np.zeros((SIZE, SIZE), np.uint8)
    rear, front = points[:4], points[4:]
    # one stroke round both squares, from the rear's last corner to the front's first; then the three edges that are left
    cv2.polylines(picture, [np.concatenate([rear, rear[:1], front, front[:1]])], True, 255, 2, cv2.LINE_8)
    for corner in (1, 2, 3):
        cv2.line(picture, tuple(map(int, rear[corner])), tuple(map(int, front[corner])), 255, 2, cv2.LINE_8)
    return picture
