"""Routes of jobs, reviews and lineage."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from api import schemas as s
from api.access import ScopedRoute, caller_of, needs
from api.links import Links
from api.problems import responses
from db import listing, operations, queries, reviews
from db.lineage import lineage, made_from
from flows.order import order
from infra.errors import InputError
from tasks.ladder import of_row

router = APIRouter(prefix="/v1", route_class=ScopedRoute)
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Short = Annotated[s.Plain, Query(max_length=200)]


@router.get("/jobs", response_model=s.Page[s.Job], responses=responses(422), tags=["jobs"], **needs("read"))
def list_jobs(
    request: Request, cursor: s.Cursor = "", limit: s.Size = 50, batch: s.Asked = None, state: s.State | None = None, locale: Short = "", engine: Short = "", title: Short = ""
) -> dict[str, Any]:
    """Jobs in the order that they were entered in, by whatever is asked of them."""
    wanted = {"batch_id": batch, "state": state, "locale": locale, "engine": engine, "title": title}
    return s.page(listing.jobs(request.app.state.database, s.number_at(cursor), limit + 1, **wanted), limit, "job")


@router.get("/jobs/{job}", response_model=s.JobNow, responses=responses(404, 422), tags=["jobs"], **needs("read"))
def show_job(request: Request, job: s.Number) -> dict[str, Any]:
    """A job with its inputs, takes, scores, verdicts, reviews, error and delivery."""
    found, links = listing.job(request.app.state.database, job), Links(request.app.state.settings)
    return found | {"delivery": found["delivery"] and links.delivery(found["delivery"])}


@router.post("/jobs/{job}/cancel", response_model=s.Cancelled, responses=responses(404, 409, 422), tags=["jobs"], **needs("operate"))
def cancel_job(request: Request, job: s.Number) -> dict[str, Any]:
    """End a job that waits or is worked on. 409 where it has ended."""
    database = request.app.state.database
    found = listing.job_row(database, job)
    ended = operations.cancel(database, found["batch"], caller_of(request).owner, f"{found['title']}/{found['locale']}")
    return {"batch": found["batch"], "cancelled": [*ended["queued"], *ended["running"]], "were_running": ended["running"]}


@router.get("/reviews", response_model=s.Page[s.JobNow], responses=responses(422), tags=["reviews"], **needs("review"))
def list_reviews(request: Request, cursor: s.Cursor = "", limit: Annotated[int, Query(ge=1, le=50)] = 20, batch: s.Asked = None) -> dict[str, Any]:
    """Flagged jobs with their takes, the best take first, each with a signed link to its video."""
    database, links = request.app.state.database, Links(request.app.state.settings)
    rows = s.page(listing.jobs(database, s.number_at(cursor), limit + 1, batch_id=batch, state="flagged"), limit, "job")
    return rows | {"items": [_with_links(listing.job(database, row["job"]), links) for row in rows["items"]]}


def _with_links(job: dict[str, Any], links: Links) -> dict[str, Any]:
    takes = sorted(job["takes"], key=of_row, reverse=True)
    return {**job, "takes": [take | {"link": links.to_artifact(take["video"])} for take in takes], "delivery": None}


@router.post("/takes/{take}/review", response_model=s.Decided, responses=responses(404, 409, 422, 503), tags=["reviews"], **needs("review"))
def decide(request: Request, take: s.Number, body: s.DecisionBody) -> dict[str, Any]:
    """Decide on a take, in the name of the token's owner: approve delivers it, reject ends its job, again renders another. It cannot be undone."""
    database = request.app.state.database
    made = reviews.record(database, take, body.decision, caller_of(request).owner, body.reason, body.note)
    ordered = order(database, made.batch, request.app.state.settings)
    told = {"review": made.review, "take": made.take, "job": made.job, "batch": made.batch, "state": queries.job_states(database, made.batch)[made.job]}
    return told | {"started": ordered.started, "pool": ordered.pool, "next_step": ordered.next_step}


@router.get("/lineage/{sha256}", response_model=dict[str, Any], responses=responses(404, 422), tags=["lineage"], **needs("read"))
def show_lineage(request: Request, sha256: Sha256) -> dict[str, Any]:
    """What a file was made from, down to inputs, weights, code and people's decisions; and what was made of it (`made_into`)."""
    database = request.app.state.database
    tree = lineage(database, sha256)
    if tree is None:
        raise InputError(f"the ledger knows no file of the hash {sha256}", code="lineage.unknown", next_step="Give the SHA-256 of a delivered file, an input or an artifact.")
    return tree | {"made_into": made_from(database, sha256)}
