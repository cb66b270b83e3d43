"""What reviewers teach the gate: their decisions as labelled takes move the level from which a video passes.

A take stands at its prominence over what its length is asked for. A logistic curve of people's approval over the logarithm of that
says from where on no more than the stated part of reviewed takes would be rejected, and each is likelier approved than not; every
level's `passes` moves by that factor.
What `fails` and what cannot be scored stay as they are: no number of approvals lets either pass.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from db import ledger, reviews
from db.session import Database
from infra.errors import InputError
from tasks.gate import Thresholds, load_thresholds

LEAST, EACH = 40, 10  # decisions in all, and of approvals and of rejections, that a level may rest on
TAUGHT_BY = ("sync",)  # reasons of a rejection that say something of what a level measures
MOST = 2.0  # how far reviews may raise a level
RIDGE = 0.01  # holds the slope where approvals and rejections do not overlap

Labelled = tuple[float, bool]  # how high a take stands against what it was asked for, and whether it was approved


def with_reviews(database: Database) -> Thresholds:
    """Thresholds of the shipped scorer moved by what people decided, kept in the ledger as the newest. Raises InputError as `taught` does."""
    base = load_thresholds()
    stored = reviews.base_calibration(database, base.scorer)
    made = taught(Thresholds.from_dict(stored) if stored else base, reviews.decisions(database, base.scorer))
    ledger.store_calibration(database, made.scorer, made.to_dict())
    return made


def taught(base: Thresholds, rows: Sequence[dict[str, Any]]) -> Thresholds:
    """Thresholds moved by decisions as db/reviews.py gives them.

    base: a calibration that rests on no reviews, so that reviews never count twice. Raises InputError: calibrate.too_few_reviews under
    LEAST decisions that can teach or EACH of a kind, calibrate.reviews_disagree where people do not approve more of what scores higher.
    """
    labelled = [one for row in rows if (one := label(base, row)) is not None]
    good = sum(approved for _, approved in labelled)
    bad = len(labelled) - good
    if len(labelled) < LEAST or min(good, bad) < EACH:
        raise InputError(
            f"{len(rows)} reviewed take(s), of which {good} approved and {bad} rejected ones say how lips and speech agree: "
            f"at least {LEAST} are needed, {EACH} of each kind",
            code="calibrate.too_few_reviews", next_step="Review more takes (`dubwright review BATCH`), delivered ones too; reject with the reason sync where lips and speech do not agree.",
        )  # fmt: skip
    above, wanted = np.array([value for value, _ in labelled]), np.array([approved for _, approved in labelled], float)
    shift, slope = fitted(np.log(above), wanted)
    if slope <= 0:
        raise InputError(
            "reviewers do not approve more of the takes that score higher", code="calibrate.reviews_disagree",
            next_step="Look at the rejections with the reason sync; give those for other faults their own reasons.",
        )  # fmt: skip
    factor = least_factor(above, shift, slope, base.false_pass_rate)
    levels = tuple(replace(level, passes=round(max(level.fails, level.passes * factor), 4)) for level in base.levels)
    told = {
        "decisions": len(labelled), "approved": good, "rejected": bad, "left_out": len(rows) - len(labelled), "factor": round(factor, 4),
        "slope": round(slope, 4), "agreed_before": _agreed(above >= 1, wanted), "agreed_after": _agreed(above >= factor, wanted),
    }  # fmt: skip
    return replace(base, levels=levels, measured={"before_reviews": base.measured}, made_from={**base.made_from, "reviews": told})


def label(base: Thresholds, row: dict[str, Any]) -> Labelled | None:
    """A decision as a labelled take; None where it teaches nothing: it could not be scored, is out of sync by its offset, or fell for another fault."""
    extra = (row["curve"] or {}).get("extra") or {}
    clear, seconds = extra.get("prominence"), extra.get("seconds")
    if row["verdict"] == "unscorable" or row["offset"] is None or abs(row["offset"]) > base.largest_offset or not clear or clear <= 0 or not seconds:
        return None
    approved = row["decision"] == "approve"
    if not approved and row["reason"] not in TAUGHT_BY:
        return None
    return clear / base.level(seconds).passes, approved


def fitted(heights: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Shift and slope of the logistic curve of approval [N] over heights [N], by the greatest likelihood with a slight ridge."""
    from scipy.optimize import minimize

    def loss(at: np.ndarray) -> float:
        value = at[0] + at[1] * heights
        return float(np.sum(np.logaddexp(0, value) - wanted * value) + RIDGE * at[1] ** 2)

    found = minimize(loss, np.zeros(2), method="BFGS").x
    return float(found[0]), float(found[1])


def least_factor(above: np.ndarray, shift: float, slope: float, rate: float) -> float:
    """The least height among the reviewed takes that is likelier approved than not, and from which on no more than `rate` of them is expected
    to be rejected; at most MOST.
    """
    heights = np.sort(above)[::-1]
    doubtful = 1 / (1 + np.exp(shift + slope * np.log(heights)))
    share = np.cumsum(doubtful) / np.arange(1, len(heights) + 1)  # grows as the height falls
    allowed = min(int(np.searchsorted(share, rate, "right")), int(np.searchsorted(doubtful, 0.5, "right")))
    return float(min(heights[allowed - 1], MOST)) if allowed else MOST


def _agreed(passes: np.ndarray, wanted: np.ndarray) -> float:
    return round(float(np.mean(passes == (wanted > 0))), 4)


def told(thresholds: Thresholds) -> list[str]:
    """Lines that tell a person what reviews moved, and how many they are."""
    found = thresholds.made_from["reviews"]
    moved = "lower" if found["factor"] < 1 else "higher"
    lines = [
        f"rests on {found['decisions']} reviews: {found['approved']} approved, {found['rejected']} rejected for their sync; {found['left_out']} teach nothing of it",
        f"a video passes from {abs(1 - found['factor']):.0%} {moved} than before: gate and reviewers agreed on {found['agreed_before']:.0%} of these takes, now on {found['agreed_after']:.0%}",
    ]
    return lines + [f"{level.seconds:.0f} s: pass from prominence {level.passes:.2f}, fail under {level.fails:.2f}" for level in thresholds.levels]
