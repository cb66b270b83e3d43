"""Whether the lips come together where /p/, /b/ and /m/ are said: a score of its own, which the gate does not weigh. Pure.

    g(c) = min over frames t of consonant c, NEAR before and after it, of gap(t) / w        closed: g(c) <= SHUT

gap: between the inner lips (points 13 and 14 of the face mesh), w: the middle mouth width of the video (61 to 291). The part of all
consonants that is closed says little by itself, since a mouth that never opens closes at each: it stands beside the same part with every
consonant moved by AWAY frames either way, as far as somebody speaks there.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from models.quality.watch import COLUMNS
from models.types import FRAME_RATE, Cue, Phone, SyncScore

BILABIALS = ("P", "B", "M")
SHUT = 0.03  # mouth widths; where it comes from: docs/scoring.md, python -m benchmarks.closures
NEAR = 1  # frames: as far as the gate lets lips and sound be apart
AWAY = (*range(-15, -5), *range(6, 16))  # frames


def with_closures(score: SyncScore, rows: np.ndarray, phones: Sequence[Phone]) -> SyncScore:
    """A score with its closures, and in `extra` `closed`, the part of them at which the lips come together, and `closed_elsewhere`, that
    of the same consonants moved. As it was where no such consonant is seen. rows: float32 [T, 7] of the face (watch.COLUMNS), a row a frame
    from the moment that the phones count from.
    """
    gaps = gaps_of(rows)
    found = closures(gaps, phones)
    if not found:
        return score
    chance = list(elsewhere(gaps, phones))
    extra = {"closed": float(np.mean([gap <= SHUT for _, _, gap in found]))} | ({"closed_elsewhere": float(np.mean(chance))} if chance else {})
    return replace(score, closures=tuple(found), extra={**score.extra, **extra})


def gaps_of(rows: np.ndarray) -> np.ndarray:
    """The gap between the inner lips in mouth widths [T], from a face's rows [T, 7]; NaN where none is seen."""
    opening, width = (np.asarray(rows, np.float64)[:, COLUMNS.index(name)] for name in ("opening", "width"))
    seen = width[np.isfinite(width)]
    return np.asarray(opening / max(float(np.median(seen)), 1e-6)) if len(seen) else np.full(len(rows), np.nan)


def closures(gaps: np.ndarray, phones: Sequence[Phone]) -> list[tuple[str, float, float]]:
    """(sound, start in seconds, least gap in mouth widths) of every /p b m/ while a face is seen."""
    found = ((phone, _least(gaps, phone)) for phone in phones if phone.symbol in BILABIALS)
    return [(phone.symbol, phone.start, gap) for phone, gap in found if math.isfinite(gap)]


def elsewhere(gaps: np.ndarray, phones: Sequence[Phone]) -> Iterator[bool]:
    """Whether the lips are closed at each /p b m/ moved by each of AWAY, where somebody speaks there: what chance would close."""
    spoken = np.zeros(len(gaps), bool)
    for phone in phones:
        if phone.symbol != "SIL":
            spoken[math.floor(phone.start * FRAME_RATE) : math.ceil(phone.end * FRAME_RATE)] = True
    for phone in phones:
        middle = round((phone.start + phone.end) / 2 * FRAME_RATE)
        for by in AWAY if phone.symbol in BILABIALS else ():
            if 0 <= middle + by < len(gaps) and spoken[middle + by] and math.isfinite(gap := _least(gaps, phone, by)):
                yield gap <= SHUT


def on_screen(phones: Sequence[Phone], cues: Sequence[Cue]) -> list[Phone]:
    """Phones in order, those of cues from off screen left out: no lips are to close for them."""
    off = sorted((cue.start, cue.end) for cue in cues if cue.off)
    starts = [start for start, _ in off]
    return [phone for phone in phones if not (at := bisect_right(starts, phone.start)) or phone.start >= off[at - 1][1]]


def _least(gaps: np.ndarray, phone: Phone, by: int = 0) -> float:
    """The least gap in a phone's frames, moved by so many; NaN where the face is not seen in half of them."""
    first, last = math.floor(phone.start * FRAME_RATE) + by - NEAR, math.ceil(phone.end * FRAME_RATE) + by + NEAR
    here = gaps[max(0, first) : max(0, last)]
    here = here[np.isfinite(here)]
    return float(here.min()) if len(here) * 2 > last - first else math.nan
