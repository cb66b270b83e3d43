"""Rates of clips with intervals that are honest about how many clips there were."""

from collections.abc import Sequence


def rate_of(parts: Sequence[float]) -> dict[str, float]:
    """The mean of each clip's part of trials [0, 1], and its 95 % interval (Clopper and Pearson) with every clip counted once."""
    from scipy.stats import beta

    count, hits = len(parts), sum(parts)
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return {"rate": round(hits / count, 4), "low": round(low, 4), "high": round(high, 4), "clips": count}
