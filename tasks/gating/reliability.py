"""Whether the prominence can be believed: of takes that are predicted to be in sync with some probability, how many are.

Prediction: a logistic curve of the prominence for each length, fitted on half of the clips and tested on the other half, both ways round;
takes with the right and with wrong sound weigh the same. Only takes whose best offset is within a frame count: others never pass.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.gating.rates import rate_of

BINS = 5
RIDGE = 1e-2  # keeps the slope finite where right and wrong do not overlap
Trials = Sequence[Sequence[float]]  # per clip, the prominence of each trial; minus infinity where the offset is not within one frame


def fitted(values: np.ndarray, right: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """a, b of p = 1 / (1 + exp(-(a + b x))) that make values [N] likeliest given right [N] (1 or 0), weighted [N]; Newton's method."""
    design = np.stack([np.ones_like(values), values], 1)
    found = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (weights * (right - chance)) - RIDGE * found
        bend = (design * (weights * chance * (1 - chance))[:, None]).T @ design + RIDGE * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found = found + step
        if np.abs(step).max() < 1e-6:
            break
    return float(found[0]), float(found[1])


def reliability(trials: Mapping[str, tuple[Trials, Trials]]) -> dict[str, Any]:
    """By length ('3s'), the trials of clips with their own sound and with wrong ones: the curves of all clips, and a table of what was
    predicted and what came of it.

    curves: by length [a, b]. bins: low and high (predicted), predicted (their mean), share (in sync, with its 95 % interval), clips.
    error: mean distance of prediction and share over the bins, by their weight. Bins without takes are left out.
    """
    rows, curves = [], {}
    for length, (right, wrong) in trials.items():
        clip, value, label, weight = _flat(right, wrong)
        if len(value) < 4 or label.min() == label.max():
            continue
        curves[length] = [round(v, 4) for v in fitted(value, label, weight)]
        for half in (0, 1):
            mine = clip % 2 == half
            if not mine.any() or len(set(label[~mine])) < 2:
                continue
            a, b = fitted(value[~mine], label[~mine], weight[~mine])
            rows.append(np.stack([1 / (1 + np.exp(-np.clip(a + b * value[mine], -30, 30))), label[mine], weight[mine], clip[mine]], 1))
    if not rows:
        return {}
    table = np.concatenate(rows)
    bins = [row for low in np.arange(BINS) / BINS if (row := _bin(table, float(low), float(low) + 1 / BINS)) is not None]
    whole = sum(row["weight"] for row in bins)
    error = sum(row["weight"] * abs(row["predicted"] - row["share"]) for row in bins) / whole
    told = [{name: value if isinstance(value, int) else round(value, 4) for name, value in row.items()} for row in bins]
    return {"curves": curves, "bins": told, "error": round(error, 4)}


def predicted(told: Mapping[str, Any], seconds: float, prominence: float) -> float:
    """Probability that a take of so many scored seconds with such a prominence is in sync, of as many right as wrong ones; NaN where unknown."""
    lengths = sorted(told.get("curves", {}), key=lambda name: float(name[:-1]))
    if not lengths:
        return math.nan
    reached = [name for name in lengths if float(name[:-1]) <= seconds + 0.5]
    a, b = told["curves"][reached[-1] if reached else lengths[0]]
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, a + b * prominence))))


def _flat(right: Trials, wrong: Trials) -> tuple[np.ndarray, ...]:
    """Clip, value, label and weight of every trial with a value; each clip weighs the same, right and wrong ones half each."""
    rows = []
    for label, several in ((1.0, right), (0.0, wrong)):
        for clip, values in enumerate(several):
            rows += [(clip, value, label, 1 / len(values)) for value in values if math.isfinite(value)]
    return tuple(np.array(rows, np.float64).reshape(-1, 4).T)


def _bin(table: np.ndarray, low: float, high: float) -> dict[str, Any] | None:
    inside = (table[:, 0] >= low) & ((table[:, 0] < high) | (high >= 1))
    if not inside.any():
        return None
    chance, label, weight, clip = table[inside].T
    share, clips = float(np.average(label, weights=weight)), len(set(clip))
    interval = rate_of([share] * clips)
    return {
        "low": low, "high": high, "predicted": float(np.average(chance, weights=weight)), "share": share,
        "share_low": interval["low"], "share_high": interval["high"], "clips": clips, "weight": float(weight.sum()),
    }  # fmt: skip
