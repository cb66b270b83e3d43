"""What a face does while it does not speak: blinks, and a mouth that closes and rests in silence."""

import numpy as np

from models.avct import keypoints as kp
from models.corpus import smooth
from models.types import FRAME_RATE, ROW_RATE

BLINK = np.array([0.25, 0.7, 1.0, 0.9, 0.6, 0.35, 0.15])  # closure of the lids, frame by frame (about 0.3 s)
BLINKS_A_SECOND = 0.25
BLOCK = 250  # frames that head motion and blinks are drawn for together; what is drawn hangs on nothing outside of them
SETTLED, STILL = 6, 12  # frames at a block's beginning and end in which neither goes on: what lips are steadied by there is the same whatever follows
EASED = 20  # frames in which the head leaves its rest, and comes back
BEFORE, AFTER = 6, 3  # frames before and after a voice in which lips may move
MOUTH = [*kp.LIPS, kp.NAMES.index("chin"), kp.NAMES.index("jaw_l"), kp.NAMES.index("jaw_r")]
SHUT = 0.92  # how much of the gap between the lids a blink closes


def blinks(frames: int, speaking: np.ndarray, seed: int, block: int = BLOCK) -> np.ndarray:
    """Closure of the lids [frames] in [0, 1]: blinks at random, rarer than 1.2 s apart, likelier in silence; none where blocks meet."""
    closure = np.zeros(frames + len(BLINK))
    for first in range(0, frames, block):
        random = np.random.default_rng([seed, 1, first // block] if first else [seed, 1])
        last = first + block - STILL - len(BLINK) if first + block < frames else frames - 1
        t = first + int(random.uniform(0.6, 2.0) * FRAME_RATE)
        while t <= last:
            closure[t : t + len(BLINK)] = BLINK
            pace = BLINKS_A_SECOND * (1.0 if speaking[t] > 0.5 else 1.4)
            t += int((1.2 + random.exponential(1 / pace - 1.2)) * FRAME_RATE)
    return closure[:frames]


def between(frames: int, *, begins: bool, ends: bool) -> np.ndarray:
    """How far the head follows what is drawn for a block [frames], 0 to 1: not where another block comes before it or after it."""
    share, ramp = np.ones(frames), max(1, min(EASED, (frames - SETTLED - STILL) // 2))
    rise = np.arange(frames)
    if not begins:
        share = np.minimum(share, np.clip((rise - SETTLED + 1) / (ramp + 1), 0, 1))
    if not ends:
        share = np.minimum(share, np.clip((frames - STILL - rise) / (ramp + 1), 0, 1))
    return share * share * (3 - 2 * share)


def close_lids(values: np.ndarray, closure: np.ndarray) -> np.ndarray:
    """Keypoints [T, K, 2] with the upper lids brought down to the lower ones by `closure` [T]."""
    values = values.copy()
    for side in ("l", "r"):
        upper, lower = kp.NAMES.index(f"upper_lid_{side}"), kp.NAMES.index(f"lower_lid_{side}")
        gap = values[:, lower] - values[:, upper]
        values[:, upper] += gap * (SHUT * closure)[:, None]
        values[:, lower] -= gap * (0.06 * closure)[:, None]
    return values


def speaking_frames(activity: np.ndarray, frames: int) -> np.ndarray:
    """How much each frame [frames] belongs to speech, in [0, 1], from voice activity at 100 Hz.

    Lips move before the voice is heard and after it: so some frames at both ends are speech too, and the edges are eased.
    """
    rows = np.zeros(frames * ROW_RATE // FRAME_RATE, np.float32)
    rows[: len(activity)] = activity[: len(rows)]
    per_frame = rows.reshape(frames, -1).max(1)
    padded = np.pad(per_frame, (AFTER, BEFORE), mode="edge")
    wider = np.lib.stride_tricks.sliding_window_view(padded, AFTER + BEFORE + 1).max(-1)
    return np.clip(smooth(wider.astype(np.float64)[:, None], 2)[:, 0], 0, 1)


def speaking_at(activity: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`speaking_frames` for pictures at rising times [T], in seconds, of any rate: interpolated between frames at 25 a second."""
    if not len(times):
        return np.zeros(0)
    frames = int(times[-1] * FRAME_RATE) + 2
    return np.interp(times * FRAME_RATE, np.arange(frames), speaking_frames(activity, frames))


def emphasised(values: np.ndarray, anchor: int, gain: float) -> np.ndarray:
    """Head-frame motion [T, K, 2] whose mouth, chin and jaw move `gain` times as far from where they are at the anchor."""
    values = values.copy()
    values[:, MOUTH] = values[anchor, MOUTH] + gain * (values[:, MOUTH] - values[anchor, MOUTH])
    return values


def rest_in_silence(values: np.ndarray, jacobians: np.ndarray, speaking: np.ndarray, rest: int) -> tuple[np.ndarray, np.ndarray]:
    """Head-frame motion [T, K, 2], [T, K, 2, 2] eased to the frame `rest` where nobody speaks: mouth, chin and jaw."""
    values, jacobians = values.copy(), jacobians.copy()
    share = speaking[:, None, None]
    values[:, MOUTH] = values[rest, MOUTH] + share * (values[:, MOUTH] - values[rest, MOUTH])
    jacobians[:, MOUTH] = jacobians[rest, MOUTH] + share[..., None] * (jacobians[:, MOUTH] - jacobians[rest, MOUTH])
    return values, jacobians
