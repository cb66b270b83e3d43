"""Statistics: how often takes are flagged, how far gate and reviewers agree, how long a decision takes; by locale and engine."""

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from db import reviews, shown
from review import graph, pages
from review.access import Viewer

router = APIRouter()
KEPT = 60.0  # seconds: counting a large ledger takes longer than a page should


@router.get("/statistics")
def statistics(request: Request, session: Viewer) -> Response:
    """The page; figures are at most a minute old."""
    state = request.app.state
    if time.monotonic() - getattr(state, "counted_at", float("-inf")) > KEPT:
        state.counted = figures(state.database)
        state.counted_at = time.monotonic()
    told = state.counted
    say = pages.words_of(request)
    plots = {
        part: {
            "flagged": graph.bars([(name, share, f"{share:.0%} · {count}") for name, share, count in told["flagged"][part]], say("share of takes that did not pass")),
            "agreed": graph.bars([(name, share, f"{share:.0%} · {count}") for name, share, count in told["agreed"][part]], say("share of reviewed takes on which gate and reviewers agree")),
            "seconds": graph.bars(_scaled(told["seconds"][part]), say("median seconds for a decision")),
        }
        for part in ("locale", "engine")
    }
    return pages.page(request, "statistics.html", told=told, plots=plots, days=graph.days(told["days"]))


def _scaled(rows: list[tuple[str, float, int]]) -> list[tuple[str, float, str]]:
    most = max((seconds for _, seconds, _ in rows), default=0) or 1.0
    return [(name, seconds / most, f"{seconds:.0f} s · {count}") for name, seconds, count in rows]


def figures(database: Any) -> dict[str, Any]:
    """(name, share, count) by locale and engine; agreement over all as db/reviews.py tells it."""
    told, people = shown.figures(database), reviews.agreement(database)
    flagged: dict[str, list[tuple[str, float, int]]] = {}
    agreed: dict[str, list[tuple[str, float, int]]] = {}
    for part in ("locale", "engine"):
        sums: dict[str, list[int]] = {}
        for row in told["takes"]:
            count = sums.setdefault(row[part], [0, 0])
            count[0] += row["count"]
            count[1] += row["count"] * (row["verdict"] != "pass")
        flagged[part] = [(name, short / whole, whole) for name, (whole, short) in sorted(sums.items())]
        both: dict[str, list[float]] = {}
        for row in people.get("by", []):
            held = both.setdefault(row[part], [0.0, 0.0])
            held[0] += row["reviews"]
            held[1] += row["reviews"] * (row["share"] or 0.0)
        agreed[part] = [(name, right / whole, int(whole)) for name, (whole, right) in sorted(both.items())]
    return {"flagged": flagged, "agreed": agreed, "people": people, "seconds": told["seconds"], "days": told["days"], "takes": sum(row["count"] for row in told["takes"])}
