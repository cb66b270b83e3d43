"""A take's features: one number each, made of what watch.py took of every picture and of where a voice speaks. Pure.

Formulas are in the functions; units and sides in catalogue.py. A feature that cannot be told (no silence, no source) is left out.
"""

from collections.abc import Mapping

import numpy as np

from models.faces.identity import alike
from models.quality.watch import COLUMNS

AWAY = 6  # frames about speech in which lips may move: they part before the sound and close after it
QUIET = 12  # frames of silence in a row that are looked at together
SPOKEN, MOSTLY = 25, 20  # frames of a stretch of speech, and how many of them hold a voice
FLAT = 0.5  # grey levels added to flicker on both sides: pictures that do not change at all are alike


def features_of(rows: np.ndarray, spoken: np.ndarray | None) -> dict[str, float]:
    """Features of a face's rows [T, 7] (watch.COLUMNS) that need no source. spoken: bool [T], True where a voice speaks."""
    column = dict(zip(COLUMNS, np.asarray(rows, np.float64).T, strict=True))
    found = {
        "sharpness": sharpness(column["mouth_detail"], column["face_detail"]),
        "flicker": flicker(column["lower_change"], column["upper_change"]),
        "seam": _median(column["seam"]),
    }
    if spoken is not None and len(rows) and len(spoken):
        moved = lip_speed(column["opening"], column["width"])
        found |= {"silent_motion": silent_motion(moved, spoken), "spoken_motion": spoken_motion(moved, spoken)}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def lip_speed(opening: np.ndarray, width: np.ndarray) -> np.ndarray:
    """|g(t) - g(t - 1)| / w [T], mouth widths a frame, 0 to about 0.5: g the gap between the inner lips, w the middle mouth width.

    NaN at the first frame and wherever a face is missing.
    """
    return np.abs(np.diff(opening, prepend=np.nan)) / max(_median(width), 1e-6)


def silent_motion(moved: np.ndarray, spoken: np.ndarray) -> float:
    """The liveliest stretch of silence, mouth widths a frame, from 0: over runs of QUIET frames none of which is within AWAY frames of
    speech, the largest median of `lip_speed`; runs overlap by half. A mouth that opens once for breath moves in few frames of a run.
    NaN where there is no such run.
    """
    quiet = ~near(spoken[: len(moved)]) & np.isfinite(moved)
    found = [np.median(moved[at : at + QUIET]) for at in _runs(quiet, QUIET)]
    return float(max(found)) if found else np.nan


def near(spoken: np.ndarray) -> np.ndarray:
    """Which frames [T] are within AWAY frames of speech."""
    return np.convolve(spoken.astype(int), np.ones(2 * AWAY + 1, int))[AWAY : AWAY + len(spoken)] > 0


def spoken_motion(moved: np.ndarray, spoken: np.ndarray) -> float:
    """How much the lips move in speech, mouth widths a frame, from 0: over stretches of SPOKEN frames that are MOSTLY speech (half
    overlapping) the mean of `lip_speed` in each, and of these the tenth part from below; over all speech where there is no such stretch.
    """
    here = spoken[: len(moved)] & np.isfinite(moved)
    starts = range(0, len(moved) - SPOKEN + 1, SPOKEN // 2)
    found = [moved[at : at + SPOKEN][here[at : at + SPOKEN]].mean() for at in starts if here[at : at + SPOKEN].sum() >= MOSTLY]
    if not found:
        return float(moved[here].mean()) if here.sum() >= SPOKEN // 2 else np.nan
    return float(np.quantile(found, 0.1))


def sharpness(mouth: np.ndarray, face: np.ndarray) -> float:
    """Median over frames of 20 log10(m / f), dB, about -20 to 5: root mean square of fine detail in the mouth and in eyes and cheeks."""
    return _median(20 * np.log10(np.maximum(mouth, 1e-2) / np.maximum(face, 1e-2)))


def flicker(lower: np.ndarray, upper: np.ndarray) -> float:
    """(median l + FLAT) / (median u + FLAT), from 0: how much the skin about the mouth, and the upper face, jump from frame to frame."""
    return (_median(lower) + FLAT) / (_median(upper) + FLAT)


def compared(take: Mapping[str, float], source: Mapping[str, float]) -> dict[str, float]:
    """Features of a take against those of its source: what of `sharpness` is kept (difference in dB), `flicker` over its own, `seam` less
    its own. What either lacks is left out.
    """
    both = take.keys() & source.keys()
    found = {}
    if "sharpness" in both:
        found["sharpness_kept"] = take["sharpness"] - source["sharpness"]
    if "flicker" in both:
        found["flicker_added"] = take["flicker"] / max(source["flicker"], 1e-6)
    if "seam" in both:
        found["seam_added"] = take["seam"] - source["seam"]
    return found


def likeness(take: np.ndarray | None, source: np.ndarray | None) -> dict[str, float]:
    """`likeness` of two faces' vectors [2, 4096], correlation -1 to 1; nothing where one was not seen."""
    return {} if take is None or source is None else {"likeness": alike(take, source)}


def _runs(marked: np.ndarray, length: int) -> list[int]:
    """Where runs of so many marked frames begin, half overlapping."""
    found, first = [], None
    for at, on in enumerate([*marked, False]):
        if on and first is None:
            first = at
        elif not on and first is not None:
            found += [*range(first, at - length + 1, length // 2)]
            first = None
    return found


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
