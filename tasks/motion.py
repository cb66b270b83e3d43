"""Motion: a portrait and speech to driving keypoints, by the job's engine. The second take stands on another anchor and seed."""

from dataclasses import replace

import numpy as np

from infra.version import source_hash
from models.types import FRAME_RATE, Motion
from tasks.engines import LIPS, mover
from tasks.stages import Take, Work, keep
from tasks.values import load_motion, save_motion

SEED_STEP = 1_000_003  # between the seeds of a job's takes
APART = 12  # frames that the second take's anchor lies away from the first one's
ALIKE = 0.01  # in widths of the face: openings of the mouth that count as the same


def move(work: Work, take: Take) -> None:
    """Fill the take's motion."""
    assert work.speech is not None and work.portrait is not None
    made = mover(work.lease.engine, work.lease.preset)
    speech, portrait = work.speech.speech, work.portrait
    if work.lease.engine in LIPS:  # the head moves with what is said, and lips that rest are drawn over
        speech = replace(speech, phones=(), activity=np.zeros_like(speech.activity))
    asks = {
        "code": source_hash("models/avct", "models/faces", "tasks/motion.py"),
        "weights": list(made.weights),
        "speech": work.made["speech"].sha256,
        "faces": work.made["faces"].sha256,
        "portrait": work.spec["inputs"]["portrait"]["sha256"],
        "seed": take.seed,
        "anchor": take.anchor,
        "idle": work.lease.engine in LIPS,
    }
    take.made["motion"] = keep(
        work, "motion", "motion.npz", asks, work.sources("speech", "faces", "portrait"),
        lambda path: save_motion(path, made.motion(portrait, speech, seed=take.seed, anchor=take.anchor)),
    )  # fmt: skip
    take.motion = load_motion(take.made["motion"].path)
    take.parameters = {"anchor": take.motion.anchor, "frames": take.motion.frames, "fps": FRAME_RATE}


def next_take(work: Work) -> Take:
    """The next rung of the ladder: the engine's own anchor first, then another frame like it, each with its own seed."""
    number = len(work.takes) + 1
    seed = work.spec["seed"] + (number - 1) * SEED_STEP
    if number == 1 or work.speech is None or work.takes[0].motion is None:
        return Take(number, seed, None)
    return Take(number, seed, another_anchor(work.takes[0].motion, seed))


def another_anchor(first: Motion, seed: int) -> int | None:
    """A frame at least 12 frames from the first take's anchor whose mouth is open as far as the portrait's; None where there is none."""
    from models.avct.keypoints import COUNT, mouth_opening

    if first.values.shape[1] != COUNT:  # keypoints without names tell nothing of the mouth: a frame half a second on
        return (first.anchor + APART) % first.frames
    opening = mouth_opening(first.values)
    alike = np.flatnonzero(np.abs(opening - opening[first.anchor]) < ALIKE)
    far = [int(frame) for frame in alike if abs(int(frame) - first.anchor) >= APART]
    return int(np.random.default_rng(seed).choice(far)) if far else None
