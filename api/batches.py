"""Routes of batches: submit, plan, look, cancel, prioritise, hold, retry."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from api import schemas as s
from api.access import ScopedRoute, caller_of, needs
from api.links import Links
from api.manifests import TYPES
from api.planning import Planner
from api.problems import responses
from api.repeats import once
from db import ledger, listing, operations
from db.prices import costs_of
from flows.order import order

router = APIRouter(prefix="/v1", route_class=ScopedRoute, tags=["batches"])
MANIFEST = {"required": True, "content": {kind: {"schema": {"$ref": "#/components/schemas/ManifestBody"}} for kind in ("application/json", "application/yaml")}}
KEY = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}, "description": "Under one key a request is done once and has one answer for 24 hours."}
CONTROLS = {"pause": "paused", "drain": "draining", "resume": "open"}


def planner_of(request: Request) -> Planner:
    """The application's planner."""
    found: Planner = request.app.state.planner
    return found


def _with_manifest(*parameters: dict[str, Any]) -> dict[str, Any]:
    asked = needs("submit")
    asked["openapi_extra"] |= {"requestBody": MANIFEST, "parameters": list(parameters)}
    return asked


@router.post("/batches", response_model=s.Submitted, status_code=201, responses={200: {"model": s.Submitted}, **responses(409, 413, 422, 503)}, **_with_manifest(KEY))
async def submit_batch(request: Request) -> Response:
    """Enter a manifest. The same manifest, however often and from however many clients at once, is one batch: 201 the first time, then 200."""
    body, kind, planner = await request.body(), request.headers.get("content-type", ""), planner_of(request)

    async def submit() -> Response:
        created, told = await planner.in_turn(lambda: planner.submit(body, kind))
        return JSONResponse(s.Submitted(**told).model_dump(mode="json"), 201 if created else 200)

    answer = await once(request, body, submit)
    answer.headers["Location"] = f"{request.scope.get('root_path', '')}/v1/batches/{json.loads(bytes(answer.body))['batch']}"
    return answer


@router.post("/plans", response_model=s.Planned, responses=responses(413, 422, 503), **_with_manifest())
async def plan_batch(request: Request) -> dict[str, Any]:
    """Look at a manifest: what would be made, what exists, what cannot be made and why, how long it would take and cost. Nothing is entered."""
    body, kind, planner = await request.body(), request.headers.get("content-type", ""), planner_of(request)
    return await planner.in_turn(lambda: planner.plan(body, kind))


@router.get("/batches", response_model=s.Page[s.Batch], responses=responses(422), **needs("read"))
def list_batches(request: Request, cursor: s.Cursor = "", limit: s.Size = 50, name: Annotated[s.Plain, Query(max_length=200)] = "") -> dict[str, Any]:
    """Batches, the newest first."""
    return s.page(listing.batches(request.app.state.database, s.number_at(cursor), limit + 1, name), limit, "batch")


@router.get("/batches/{batch}", response_model=s.BatchNow, responses=responses(404, 422), **needs("read"))
def show_batch(request: Request, batch: s.Number) -> dict[str, Any]:
    """Where a batch stands: jobs by state, what goes on right now, costs."""
    database, settings = request.app.state.database, request.app.state.settings
    found = listing.batch(database, batch)
    return found | {"live": operations.live(database, batch)[batch], "costs": costs_of(database, [batch], settings)}


@router.get("/batches/{batch}/deliveries", response_model=s.Page[s.Delivery], responses=responses(404, 422), **needs("read"))
def list_deliveries(request: Request, batch: s.Number, cursor: s.Cursor = "", limit: s.Size = 50) -> dict[str, Any]:
    """A batch's results: URLs, hashes, sizes, and signed links that are valid for a few minutes."""
    database, links = request.app.state.database, Links(request.app.state.settings)
    listing.batch(database, batch)
    rows = s.page(listing.deliveries(database, s.number_at(cursor), limit + 1, batch_id=batch), limit, "job")
    return rows | {"items": [links.delivery(row) for row in rows["items"]]}


@router.post("/batches/{batch}/cancel", response_model=s.Cancelled, responses=responses(404, 422), **needs("operate"))
def cancel_batch(request: Request, batch: s.Number) -> dict[str, Any]:
    """End a batch's waiting and running jobs. Deliveries stay."""
    database = request.app.state.database
    listing.batch(database, batch)
    ended = operations.cancel(database, batch, caller_of(request).owner)
    return {"batch": batch, "cancelled": [*ended["queued"], *ended["running"]], "were_running": ended["running"]}


@router.put("/batches/{batch}/priority", response_model=s.Prioritised, responses=responses(404, 422), **needs("operate"))
def prioritise_batch(request: Request, batch: s.Number, body: s.PriorityBody) -> dict[str, Any]:
    """Work on a batch before those of less."""
    database = request.app.state.database
    listing.batch(database, batch)
    return {"batch": batch, "priority": body.priority, "was": operations.prioritise(database, batch, body.priority, caller_of(request).owner)}


def _steer(request: Request, word: str, batch: int | None) -> dict[str, Any]:
    database = request.app.state.database
    if batch is not None:
        listing.batch(database, batch)
    running = operations.steer(database, CONTROLS[word], caller_of(request).owner, batch)
    stands = operations.service_control(database) if batch is None else operations.control_of(database, batch)
    return {"batch": batch, "control": stands, "running": running}


@router.post("/batches/{batch}/pause", response_model=s.Controlled, responses=responses(404, 422), **needs("operate"))
def pause_batch(request: Request, batch: s.Number) -> dict[str, Any]:
    """Begin no more of its jobs; workers wait."""
    return _steer(request, "pause", batch)


@router.post("/batches/{batch}/drain", response_model=s.Controlled, responses=responses(404, 422), **needs("operate"))
def drain_batch(request: Request, batch: s.Number) -> dict[str, Any]:
    """Begin no more of its jobs; workers end after theirs."""
    return _steer(request, "drain", batch)


@router.post("/batches/{batch}/resume", response_model=s.Controlled, responses=responses(404, 422), **needs("operate"))
def resume_batch(request: Request, batch: s.Number) -> dict[str, Any]:
    """Begin its jobs again. What is said of all batches still holds; `control` says so."""
    return _steer(request, "resume", batch)


@router.post("/batches/{batch}/retry", response_model=s.Ordered, responses=responses(404, 422, 503), **needs("submit"))
def retry_batch(request: Request, batch: s.Number, body: s.RetryBody | None = None) -> dict[str, Any]:
    """Queue again the jobs that ended as `failed` (or as `states` says), and order their work."""
    database = request.app.state.database
    listing.batch(database, batch)
    again = ledger.retry(database, batch, tuple((body or s.RetryBody()).states))
    ordered = order(database, batch, request.app.state.settings)
    return {"batch": batch, "queued_again": again, "started": ordered.started, "pool": ordered.pool, "next_step": ordered.next_step}


@router.get("/service", response_model=s.Controlled, tags=["service"], **needs("read"))
def show_service(request: Request) -> dict[str, Any]:
    """Whether jobs of any batch are begun, and how many are worked on."""
    database = request.app.state.database
    return {"batch": None, "control": operations.service_control(database), "running": listing.running(database)}


@router.post("/service/pause", response_model=s.Controlled, tags=["service"], **needs("operate"))
def pause_service(request: Request) -> dict[str, Any]:
    """Begin no more jobs of any batch; workers wait."""
    return _steer(request, "pause", None)


@router.post("/service/drain", response_model=s.Controlled, tags=["service"], **needs("operate"))
def drain_service(request: Request) -> dict[str, Any]:
    """Begin no more jobs of any batch; workers end after theirs."""
    return _steer(request, "drain", None)


@router.post("/service/resume", response_model=s.Controlled, tags=["service"], **needs("operate"))
def resume_service(request: Request) -> dict[str, Any]:
    """Begin jobs again, except of batches that are held themselves."""
    return _steer(request, "resume", None)


assert set(TYPES) >= set(MANIFEST["content"])  # type: ignore[call-overload]
