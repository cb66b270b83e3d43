"""Keypoints and Jacobians of the `compact` preset, taken from face-mesh landmarks.

The published detector finds ten keypoints by itself, from video in which heads move. In footage of still heads such
keypoints ignore the mouth, so `compact` names its keypoints: each is a mesh point, or the mean of a few. A keypoint's Jacobian
is its local frame in the picture plane: the head's turn, and for the lips the line between their corners as the first axis.
Relative motion so carries turns of the head and the spreading and rounding of the lips, as the published 2x2 Jacobians do.
Full affine frames from landmarks were tried: their trembling, extrapolated to hair and shoulders, cost 1 dB.

Coordinates are those of the face square: x right, y down, [-1, 1] (models/faces/crop.py).
"""

import numpy as np

POINTS: dict[str, tuple[int, ...]] = {
    "lip_corner_l": (61,),
    "lip_corner_r": (291,),
    "upper_lip_outer": (0,),
    "upper_lip_outer_l": (40,),
    "upper_lip_outer_r": (270,),
    "lower_lip_outer": (17,),
    "lower_lip_outer_l": (91,),
    "lower_lip_outer_r": (321,),
    "upper_lip_inner": (13,),
    "lower_lip_inner": (14,),
    "chin": (152, 148, 377),
    "jaw_l": (172, 136),
    "jaw_r": (397, 365),
    "nose_tip": (1, 4),
    "nose_bridge": (168, 6),
    "upper_lid_l": (159, 158, 160),
    "lower_lid_l": (145, 153, 144),
    "upper_lid_r": (386, 385, 387),
    "lower_lid_r": (374, 380, 373),
    "brow_l": (105, 66, 63),
    "brow_r": (334, 296, 293),
    "forehead": (10, 151),
    "cheek_l": (234, 93),
    "cheek_r": (454, 323),
}
NAMES = tuple(POINTS)
COUNT = len(NAMES)
MIRROR = tuple(NAMES.index(n[:-1] + {"l": "r", "r": "l"}[n[-1]] if n.endswith(("_l", "_r")) else n) for n in NAMES)
LIPS = tuple(range(10))
LIDS = tuple(NAMES.index(n) for n in ("upper_lid_l", "lower_lid_l", "upper_lid_r", "lower_lid_r"))
QUICK = [i for i, n in enumerate(NAMES) if n.startswith(("upper_lid", "lower_lid", "chin", "jaw"))]
SLOW = [i for i, n in enumerate(NAMES) if "lip" not in n and i not in QUICK]
PAIRS = tuple((NAMES.index(f"{n}_l"), NAMES.index(f"{n}_r")) for n in ("jaw", "upper_lid", "lower_lid", "brow", "cheek"))
LIP_WIDTH = 0.4  # of a usual mouth, in half sides of the square
LEFT_EYE, RIGHT_EYE, NOSE_BASE = (33, 133, 159, 145), (263, 362, 386, 374), (2, 94, 1)


def from_landmarks(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [..., K, 2] and Jacobians [..., K, 2, 2] from landmarks [..., 478, 2+] in square coordinates."""
    values = np.stack([landmarks[..., list(ids), :2].mean(-2) for ids in POINTS.values()], axis=-2)
    return values, jacobians_of(values)


def from_track(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and Jacobians of a track of landmarks [T, 478, 2+], all but the lips steadied over time.

    Landmarks tremble by a third of a pixel, a still head does not: quadratics fitted over 13 frames (lids, chin and jaw: 5) take
    the trembling out and leave nods, blinks and syllables in (Savitzky and Golay 1964).
    """
    from scipy.signal import savgol_filter

    values, _ = from_landmarks(landmarks.astype(np.float64))
    for chosen, reach in ((SLOW, 13), (QUICK, 5)):
        if len(values) >= reach:
            values[:, chosen] = savgol_filter(values[:, chosen], reach, 2, axis=0, mode="nearest")
    return values, jacobians_of(values)


def turn_of(values: np.ndarray) -> np.ndarray:
    """The head's turn in the picture plane as rotation matrices [..., 2, 2], from the left-to-right lines of keypoints [..., K, 2]."""
    across = sum(values[..., right, :] - values[..., left, :] for left, right in PAIRS)
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    return np.stack([across, np.stack([-across[..., 1], across[..., 0]], axis=-1)], axis=-1)


def jacobians_of(values: np.ndarray) -> np.ndarray:
    """Jacobians [..., K, 2, 2] that keypoints [..., K, 2] imply: the head's turn; for the lips with their corners as first axis."""
    jacobians = np.repeat(turn_of(values)[..., None, :, :], COUNT, axis=-3)
    corners = values[..., NAMES.index("lip_corner_r"), :] - values[..., NAMES.index("lip_corner_l"), :]
    jacobians[..., : len(LIPS), :, 0] = (corners / LIP_WIDTH)[..., None, :]
    return jacobians


def head_frame(landmarks: np.ndarray) -> np.ndarray:
    """The head's frame [..., 2, 2]: columns along the eye line and from the eyes to the nose, about 1 long on a frontal face."""
    left, right, nose = (landmarks[..., list(ids), :2].mean(-2) for ids in (LEFT_EYE, RIGHT_EYE, NOSE_BASE))
    return np.stack([(right - left) / 0.5, (nose - (left + right) / 2) / 0.38], axis=-1)


def mouth_opening(values: np.ndarray) -> np.ndarray:
    """Distance between the inner lips over the width of the face [...], from keypoints [..., K, 2]."""
    gap = np.linalg.norm(values[..., NAMES.index("lower_lip_inner"), :] - values[..., NAMES.index("upper_lip_inner"), :], axis=-1)
    width = np.linalg.norm(values[..., NAMES.index("cheek_r"), :] - values[..., NAMES.index("cheek_l"), :], axis=-1)
    return gap / width
