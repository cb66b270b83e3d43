"""Where each cue of a timed script is spoken, and how long it may be: time is borrowed from rests and neighbours before speech is hurried.

A linear programme over cues that may need one another. What it asks for, the cheapest first (cost of a second, COSTS): the silence after the
slot, the cue's own pauses, speech up to 1.07 times as fast, the silence before the slot (EARLY at most), speech up to 1.14 times as fast, a
start after the slot's (a little), speech up to the fastest rate, a start as late as need be. Cues keep their order and never overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

EARLY = 0.25  # seconds before its slot at which a cue may begin
LATE = 0.15  # and after it, before a faster voice would be worse
STEPS = (1.07, 1.14)  # rates up to which a hurry is hardly heard, and heard but not minded
COSTS = {"past": 0.1, "pauses": 0.3, "easy": 1.0, "early": 2.0, "brisk": 3.0, "late": 4.0, "fast": 8.0, "pushed": 20.0, "lost": 60.0}
NAMES = ("start", *COSTS)
APART = 2.0  # seconds that a cue leaves free after it at which its neighbours cannot need one another


@dataclass(frozen=True)
class Slot:
    """A cue's slot in seconds, how long it is as spoken, its pauses at their shortest, and what its pauses can give."""

    start: float
    end: float
    natural: float
    rests: float
    give: float


@dataclass(frozen=True)
class Place:
    """Where a cue begins, and how long it may be, seconds."""

    start: float
    length: float


def placed(slots: Sequence[Slot], seconds: float, fastest: float, *, gap: float, breath: float) -> list[Place]:
    """A place for each slot, in order of their starts, in a picture of `seconds`. gap: kept free before a slot by what takes the silence
    before it; breath: between two cues that push one another. A cue that does not go in at the fastest rate gets the length that it then has.
    """
    found: list[Place] = []
    for first, last in _groups(slots):
        following = seconds if last == len(slots) else slots[last].start
        until = min(seconds, max(slots[last - 1].end, following - gap))
        found += _solved(slots[first:last], found[-1].start + found[-1].length + breath if found else 0.0, until, fastest, gap, breath)
    return found


def _groups(slots: Sequence[Slot]) -> Iterator[tuple[int, int]]:
    """Cues first..last-1 that may need one another's time."""
    first = 0
    for at, (slot, following) in enumerate(pairwise(slots), 1):
        if following.start - max(slot.start + slot.natural, slot.end) > APART:
            yield first, at
            first = at
    if slots:
        yield first, len(slots)


def _solved(slots: Sequence[Slot], free: float, until: float, fastest: float, gap: float, breath: float) -> list[Place]:
    """The programme for one group; free: from when on there is silence; until: when it should be done."""
    if _at_ease(slots, free, until, gap):
        return [Place(slot.start, slot.natural) for slot in slots]
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    count, wide = len(slots), len(NAMES)
    bounds: list[tuple[float, float | None]] = []
    rows: list[tuple[int, int, float]] = []
    right: list[float] = []

    def limit(terms: list[tuple[int, str, float]], most: float) -> None:
        rows.extend((len(right), cue * wide + NAMES.index(name), factor) for cue, name, factor in terms)
        right.append(most)

    shorter = ("pauses", "easy", "brisk", "fast")
    for cue, slot in enumerate(slots):
        speech = slot.natural - slot.rests - slot.give
        edges = [speech / min(rate, fastest) for rate in (1.0, *STEPS, fastest)]
        gives = {"pauses": slot.give, "easy": edges[0] - edges[1], "brisk": edges[1] - edges[2], "fast": edges[2] - edges[3], "early": min(EARLY, slot.start), "late": LATE}
        bounds += [(0.0, max(0.0, gives[name]) if name in gives else None) for name in NAMES]
        whole = [(cue, name, -1.0) for name in shorter]
        limit([(cue, "start", 1.0), (cue, "late", -1.0), (cue, "pushed", -1.0)], slot.start)
        limit([(cue, "start", -1.0), (cue, "early", -1.0)], -slot.start)
        limit([(cue, "start", 1.0), *whole, (cue, "past", -1.0)], slot.end - slot.natural)
        if cue + 1 < count:
            between = min(gap, max(slots[cue + 1].start - slot.end, 0.0))
            kept = between if slot.natural <= slot.end - slot.start else max(between, breath)
            limit([(cue, "start", 1.0), *whole, (cue + 1, "start", -1.0)], -slot.natural - kept)
    limit([(0, "start", -1.0)], -free)
    limit([(count - 1, "start", 1.0), *((count - 1, name, -1.0) for name in shorter), (count - 1, "lost", -1.0)], until - slots[-1].natural)
    at, which, factors = (np.array(column) for column in zip(*rows, strict=True))
    costs = np.tile([0.0, *COSTS.values()], count)
    made = linprog(costs, coo_array((factors, (at, which)), shape=(len(right), count * wide)).tocsr(), right, bounds=bounds, method="highs")
    if made.x is None:  # numbers that no solver takes: as the script has them
        return [Place(slot.start, slot.natural) for slot in slots]
    table = made.x.reshape(count, wide)
    return [Place(_near(float(row[0]), slot.start), slot.natural - float(row[[NAMES.index(name) for name in shorter]].sum())) for row, slot in zip(table, slots, strict=True)]


def _at_ease(slots: Sequence[Slot], free: float, until: float, gap: float) -> bool:
    """Whether every cue has time enough as it is spoken, from its slot's start on."""
    ends = [slot.start + slot.natural for slot in slots]
    done = (end <= min(max(slot.end, following.start - gap), following.start) for end, (slot, following) in zip(ends, pairwise(slots), strict=False))
    return slots[0].start >= free and ends[-1] <= until and all(done)


def _near(value: float, wanted: float) -> float:
    """A start that is off by the solver's rounding alone is the slot's."""
    return wanted if abs(value - wanted) < 1e-4 else value
