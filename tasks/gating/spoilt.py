"""Faults that takes have, made from good clips: sound that is moved or another's, mouths that stand still, chatter or are blurred.

A mouth is put into a picture as a re-dub is: brought to where the face is by what speech does not move, under a mask that fades. So
the edge of what was put in gives nothing away.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from models.faces.crop import face_square
from models.lipmemory.align import rigid, similarity
from models.lipmemory.compose import Region, lower_face
from models.quality.features import near
from models.types import FRAME_RATE, SAMPLE_RATE

SHIFTS = (-8, -7, -6, -5, -4, -3, 3, 4, 5, 6, 7, 8)  # frames
FLICKER, EDGE = 6.0, 10.0  # grey levels by which a lower face is lighter and darker in turn, and by which its mask's edge is off
BLUR = 0.025  # spread of the blur, in widths of the face: 2.5 pixels of GRID's faces
CHEEKS = (234, 454)
Marks = Sequence[np.ndarray | None]


def shifted(wave: np.ndarray, frames: int) -> np.ndarray:
    """A sound [samples] at 16 kHz that comes so many frames later, earlier where that is negative; what leaves one end is lost."""
    step = frames * SAMPLE_RATE // FRAME_RATE
    return np.pad(wave, (step, 0))[: len(wave)] if step >= 0 else np.pad(wave[-step:], (0, -step))


def frozen(frames: np.ndarray, marks: Marks) -> Iterator[np.ndarray]:
    """Frames uint8 RGB [T, H, W, 3] whose mouths are all that of the first one."""
    for frame, here in zip(frames, marks, strict=True):
        yield frame if here is None or marks[0] is None else with_mouth(frame, here, frames[0], marks[0])


def chattering(frames: np.ndarray, marks: Marks, spoken: np.ndarray) -> Iterator[np.ndarray]:
    """Frames whose mouths go on in silence as they do in speech. spoken: bool [T], True where a voice speaks; it must somewhere."""
    talking = np.flatnonzero(spoken)
    talking = np.concatenate([talking, talking[::-1]])  # to and fro, so that no frame jumps
    quiet = ~near(spoken)
    for at, (frame, here) in enumerate(zip(frames, marks, strict=True)):
        donor = int(talking[at % len(talking)])
        there = marks[donor]
        yield with_mouth(frame, here, frames[donor], there) if quiet[at] and here is not None and there is not None else frame


def blurred(frames: np.ndarray, marks: Marks, spread: float = BLUR) -> Iterator[np.ndarray]:
    """Frames whose lower faces are blurred by so many widths of the face."""
    for frame, here in zip(frames, marks, strict=True):
        if here is None:
            yield frame
            continue
        width = float(np.linalg.norm(here[CHEEKS[0], :2] - here[CHEEKS[1], :2]))
        yield blended(frame, cv2.GaussianBlur(frame, (0, 0), spread * width), here)


def flickering(frames: np.ndarray, marks: Marks, levels: float = FLICKER) -> Iterator[np.ndarray]:
    """Frames whose lower faces are lighter and darker in turn by up to so many grey levels."""
    for number, (frame, here) in enumerate(zip(frames, marks, strict=True)):
        yield frame if here is None else blended(frame, _lighter(frame, levels if number % 2 else -levels), here)


def edged(frames: np.ndarray, marks: Marks, levels: float = EDGE) -> Iterator[np.ndarray]:
    """Frames whose lower faces are lighter by so many grey levels, up to a hard edge."""
    for frame, here in zip(frames, marks, strict=True):
        yield frame if here is None else blended(frame, _lighter(frame, levels), here, hard=True)


def _lighter(frame: np.ndarray, levels: float) -> np.ndarray:
    return np.clip(frame.astype(np.float32) + levels, 0, 255).astype(np.uint8)


def with_mouth(frame: np.ndarray, marks: np.ndarray, donor: np.ndarray, donor_marks: np.ndarray) -> np.ndarray:
    """A frame with the lower face of another one, brought to where it belongs."""
    turn = similarity(rigid(donor_marks)[None], rigid(marks)[None])[0]
    moved = cv2.warpAffine(donor, turn, frame.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return blended(frame, moved, marks)


def blended(frame: np.ndarray, over: np.ndarray, marks: np.ndarray, *, hard: bool = False) -> np.ndarray:
    """A frame with another one's lower face over its own, under the mask of a re-dub, or one of the same shape that does not fade."""
    square = face_square(marks)
    region = Region.of(square, frame.shape)
    mask = lower_face(marks, square, region)[..., None]
    mask = (mask > 0).astype(np.float32) if hard else mask
    made = frame.copy()
    here = (region.rows, region.columns)
    made[here] = np.rint(frame[here] + mask * (over[here].astype(np.float32) - frame[here])).astype(np.uint8)
    return made
