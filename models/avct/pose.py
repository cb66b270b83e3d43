"""Head pose of the `compact` preset and motion in the head's own frame.

The pose of a face in its square is an affine frame of six values: matrix F [2, 2] (models/avct/keypoints.py: eye line,
eye-to-nose line) and origin o [2] (middle of the eyes). Keypoints k and Jacobians J are, in that frame, m = F^-1 (k - o) and
L = R^-1 J with R the head's turn. The transformer speaks in m and L; poses move the head; both meet in `transfer`.
"""

import numpy as np

from models.avct import keypoints as kp
from models.corpus import smooth
from models.types import Motion

REST = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])


def pose_of(landmarks: np.ndarray) -> np.ndarray:
    """Six values [..., 6]: F row by row, then the origin, from landmarks [..., 478, 2+] in square coordinates."""
    frame = kp.head_frame(landmarks)
    left, right = (landmarks[..., list(ids), :2].mean(-2) for ids in (kp.LEFT_EYE, kp.RIGHT_EYE))
    return np.concatenate([frame.reshape(*frame.shape[:-2], 4), (left + right) / 2], axis=-1)


def split(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [..., 2, 2] and origin [..., 2] of poses [..., 6]."""
    return pose[..., :4].reshape(*pose.shape[:-1], 2, 2), pose[..., 4:]


def to_head(values: np.ndarray, jacobians: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [..., K, 2] and Jacobians [..., K, 2, 2] from the square to the head's frame."""
    matrix, origin = split(pose)
    upright = np.swapaxes(kp.turn_of(values), -1, -2)
    return (values - origin[..., None, :]) @ np.swapaxes(np.linalg.inv(matrix), -1, -2), upright[..., None, :, :] @ jacobians


def transfer(
    driving: tuple[np.ndarray, np.ndarray], poses: np.ndarray, anchor: int, source: tuple[np.ndarray, np.ndarray], source_pose: np.ndarray
) -> Motion:
    """Relative motion transfer: what the driver did since its anchor frame happens to the source, in the source's own frame.

    driving: head-frame keypoints [T, K, 2] and Jacobians [T, K, 2, 2]; poses [T, 6]; source: keypoints and Jacobians in the
    square; source_pose [6]. Published form (SEEDS.md 1.3, step 5) in square coordinates: k_src + (d_t - d_0) and
    J_t J_0^-1 J_src; taking the difference in the head's frame keeps it right for a tilted or smaller head.
    """
    home, _ = to_head(*source, source_pose)
    matrix, origin = split(poses)
    source_matrix, source_origin = split(source_pose)
    since = matrix @ np.linalg.inv(matrix[anchor])
    local = home + driving[0] - driving[0][anchor]
    values = local @ np.swapaxes(since @ source_matrix, -1, -2) + (source_origin + origin - origin[anchor])[:, None]
    home_turn, turned = kp.turn_of(source[0]), kp.turn_of(values)
    upright = home_turn.T @ source[1]
    jacobians = turned[:, None] @ (driving[1] @ np.linalg.inv(driving[1][anchor]) @ upright)
    return Motion(values.astype(np.float32), jacobians.astype(np.float32), anchor)


def ease(track: np.ndarray) -> np.ndarray:
    """A drawn pose track [T, 6] without its jitter: two running means of a fifth of a second, starting where it starts."""
    eased = smooth(smooth(track.astype(np.float64), 2), 2)
    return eased - eased[:1]
