"""Motion: a portrait and speech to driving keypoints, by a take's engine, from the anchor and with the seed that its rung asks for."""

from dataclasses import replace
from typing import Any

import numpy as np

from infra.version import source_hash
from models.types import FRAME_RATE, Motion, Speech
from tasks.engines import LIPS, mover
from tasks.stages import Made, Take, Work, keep
from tasks.values import load_motion, save_motion
from tasks.windows import pictures_of

APART = 12  # frames that another anchor lies away from the engine's own
LEAST_BLOCK = 50  # frames
ALIKE = 0.01  # in widths of the face: openings of the mouth that count as the same


def move(work: Work, take: Take) -> None:
    """Fill the take's motion."""
    assert work.speech is not None
    speech, rung = work.speech.speech, take.rung
    if rung.engine in LIPS:  # the head moves with what is said, and lips that rest are drawn over
        speech = replace(speech, phones=(), activity=np.zeros_like(speech.activity))
    anchor = None
    if rung.start:
        own = _kept(work, take, speech, {"seed": work.spec["seed"], "anchor": None, "emphasis": 1.0})
        anchor = another_anchor(load_motion(own.path), take.seed, rung.start)
    emphasis = 1.0 if rung.engine in LIPS else rung.emphasis
    take.made["motion"] = _kept(work, take, speech, {"seed": take.seed, "anchor": anchor, "emphasis": emphasis})
    take.motion = load_motion(take.made["motion"].path)
    take.parameters = {"anchor": take.motion.anchor, "frames": take.motion.frames, "fps": FRAME_RATE}


def _kept(work: Work, take: Take, speech: Speech, drawn: dict[str, Any]) -> Made:
    from models.avct.engine import EMPHASIS

    assert work.portrait is not None
    portrait, made = work.portrait, mover(take.rung.engine, work.lease.preset)
    asks = {
        "code": source_hash("models/avct", "models/faces", "tasks/motion.py"),
        "weights": list(made.weights),
        "speech": work.made["speech"].sha256,
        "faces": work.made["faces"].sha256,
        "portrait": work.spec["inputs"]["portrait"]["sha256"],
        "idle": take.rung.engine in LIPS,
        "block": block_of(pictures_of(work)),
        **drawn,
    }
    sources = work.sources("speech", "faces", "portrait")
    how = drawn | {"emphasis": EMPHASIS * drawn["emphasis"], "block": asks["block"]}
    return keep(work, "motion", "motion.npz", asks, sources, lambda path: save_motion(path, made.motion(portrait, speech, **how)))


def another_anchor(first: Motion, seed: int, count: int = 1) -> int | None:
    """A frame at least 12 frames from the engine's own anchor whose mouth is open as far as the portrait's; None where there is none."""
    from models.avct.keypoints import COUNT, mouth_opening

    if first.values.shape[1] != COUNT:  # keypoints without names tell nothing of the mouth: a frame `count` half seconds on
        return (first.anchor + count * APART) % first.frames
    opening = mouth_opening(first.values)
    alike = np.flatnonzero(np.abs(opening - opening[first.anchor]) < ALIKE)
    far = alike[np.abs(alike - first.anchor) >= APART]
    lots = np.random.default_rng(seed).random(first.frames)  # a frame's lot is its own, however many others there are
    return int(far[np.argmin(lots[far])]) if len(far) else None


def block_of(window: int) -> int:
    """Frames whose head motion is drawn together: those of a window, or of as many as the head needs to move about."""
    return -(-LEAST_BLOCK // window) * window
