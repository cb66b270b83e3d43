"""Batches: how far they are, what failed and why, what they cost; and lineage, as a picture and as JSON."""

import re
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from db import lineage, operations, queries, reviews, shown
from db.prices import costs_of
from infra.errors import DeskError
from review import graph, pages
from review.access import Operator, Viewer

router = APIRouter()


@router.get("/batches")
def batches(request: Request, session: Viewer) -> Response:
    """The newest batches."""
    database = request.app.state.database
    return pages.page(request, "batches.html", batches=queries.batches(database, 50), live=operations.live(database))


@router.get("/batches/{batch_id}")
def batch(request: Request, session: Viewer, batch_id: int) -> Response:
    """One batch."""
    site = request.app.state.site
    told = shown.batch(site.database, batch_id)
    if told is None:
        raise DeskError(f"there is no batch {batch_id}", code="desk.unknown", next_step="Open it from the list of batches.")
    costs = costs_of(site.database, [batch_id], site.settings)
    agreed = reviews.agreement(site.database, batch_id)
    total = sum(told["states"].values())
    bar = graph.states_bar(told["states"], total) if total else ""
    return pages.page(request, "batch.html", told=told, total=total, bar=bar, costs=costs, agreed=agreed, live=operations.live(site.database, batch_id).get(batch_id), states=pages.STATES)


@router.post("/batches/{batch_id}/control")
def control(request: Request, session: Operator, batch_id: int, control: Annotated[str, Form()] = "", priority: Annotated[str, Form()] = "") -> Response:
    """Pause, drain or resume a batch, or put it before others."""
    database = request.app.state.database
    if control in ("open", "paused", "draining"):
        operations.steer(database, control, session.person.name, batch_id)
    elif re.fullmatch(r"-?\d{1,4}", priority):
        operations.prioritise(database, batch_id, int(priority), session.person.name)
    else:
        raise DeskError("nothing that a batch can be told", code="desk.control", next_step="Pause, drain or resume it, or give a priority from -1000 to 1000.")
    return RedirectResponse(f"/batches/{batch_id}", 303)


@router.get("/lineage/{name}")
def lineage_page(request: Request, session: Viewer, name: str) -> Response:
    """What a file was made from: a page, or with `.json` at the end the tree."""
    as_json, sha256 = name.endswith(".json"), name.removesuffix(".json")
    tree = lineage.lineage(request.app.state.database, sha256) if re.fullmatch(r"[0-9a-f]{64}", sha256) else None
    if tree is None:
        raise DeskError(f"the ledger knows no file {sha256[:16]}", code="lineage.unknown", next_step="Open it from a take or a delivery.")
    if as_json:
        return JSONResponse(tree)
    return pages.page(request, "lineage.html", tree=tree, drawn=graph.drawn(tree))
