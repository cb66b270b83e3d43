"""Limits of features: where a good take ends, by takes that are good and takes with the fault that the feature is there for.

The edge of the good is what one good take in a hundred goes beyond. Where the takes with the fault lie clear of it, the limit is half
way to them, since good takes of other people and cameras spread further than those at hand; else it is the edge. A feature that no
good take has gets no limit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from models.quality.catalogue import FEATURES
from tasks.gate import faults_of
from tasks.gating.rates import rate_of

BEYOND = 0.01  # part of the good takes of a kind that may lie beyond the edge, and of those with the fault within theirs
FEWEST = 15  # good takes that an edge is told from; it is then the furthest of them
Values = Mapping[str, Sequence[float]]  # by kind of take, a feature's values


def limit_of(name: str, good: Values, faulty: Values) -> float | None:
    """The limit of a feature, by its values in good takes and in those that have its fault, each by kind; None without good ones.

    Of several kinds the one that spreads furthest counts.
    """
    sign = 1.0 if FEATURES[name].good == "below" else -1.0
    edges = [sign * float(np.quantile(sign * np.asarray(values), 1 - BEYOND)) for values in good.values() if len(values)]
    if not edges:
        return None
    edge = sign * max(sign * value for value in edges)
    starts = [sign * float(np.quantile(sign * np.asarray(values), BEYOND)) for values in faulty.values() if len(values)]
    start = sign * min((sign * value for value in starts), default=-np.inf)
    return round(float((edge + start) / 2 if sign * start > sign * edge else edge), 5)


def measured(name: str, limit: float, good: Values, faulty: Values) -> dict[str, Any]:
    """How often a limit flags good takes, and takes with the fault, by kind, each with its 95 % interval."""

    def share(values: Iterable[float]) -> dict[str, float]:
        return rate_of([float(bool(faults_of({name: value}, {name: limit}))) for value in values])

    return {
        **{f"flagged_{_word(kind)}": share(values) for kind, values in good.items() if len(values)},
        **{f"caught_{_word(kind)}": share(values) for kind, values in faulty.items() if len(values)},
    }


def _word(kind: str) -> str:
    return kind.replace(" ", "_")
