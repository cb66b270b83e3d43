"""What the gate asks of a video, in units of its own confidence, to be drawn beside its curve. Thresholds are those of tasks/gate.py, as stored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

STRETCH = 3  # seconds in a row that must not disagree by themselves
TOLERANCE = 0.5  # seconds that a video may be short of a level, as one that begins and ends in silence is


def level_for(levels: Sequence[Mapping[str, float]], seconds: float) -> Mapping[str, float]:
    """The level for a video that is scored for so many seconds: the longest that it reaches, else the shortest there is."""
    reached = [level for level in levels if level["seconds"] <= seconds + TOLERANCE]
    return max(reached, key=lambda level: level["seconds"]) if reached else min(levels, key=lambda level: level["seconds"])


def widened(scored: float, length: float) -> float:
    """How much wider the spread of a mean over `length` seconds is than of one over all that are scored."""
    return math.sqrt(max(scored / length, 1.0))


def in_confidence(thresholds: Mapping[str, Any], confidence: float | None, extra: Mapping[str, Any]) -> dict[str, float] | None:
    """`passes` and `fails` of the whole and `stretch`, the least of STRETCH seconds, as confidences; None where the score or the thresholds do not say."""
    clear, seconds = extra.get("prominence") or 0.0, extra.get("seconds") or 0.0
    levels = thresholds.get("levels") or []
    if confidence is None or not math.isfinite(confidence) or not clear > 0 or not levels:
        return None
    level, spread = level_for(levels, seconds), confidence / clear
    return {
        "seconds": level["seconds"], "passes": level["passes"] * spread, "fails": level["fails"] * spread,
        "stretch": thresholds.get("stretch", 0.0) * spread * widened(seconds, STRETCH),
    }  # fmt: skip
