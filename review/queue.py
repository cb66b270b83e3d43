"""The queue: flagged takes by urgency, filtered, a page at a time; rows refresh themselves when something happened."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from db import desk, pending
from db.accounts import Person, SignedIn
from db.desk import Filters
from db.pending import Wanted
from db.reviews import REASONS
from review import media, pages
from review.access import Reviewer, Viewer

router = APIRouter()
Given = Annotated[str, Query(max_length=200)]
AGES = (("1", "1 h"), ("8", "8 h"), ("24", "1 d"), ("72", "3 d"), ("168", "7 d"))


def filters(
    batch: Given = "", locale: Given = "", engine: Given = "", kind: Given = "", speaker: Given = "", says: Given = "", hours: Given = "", held: Given = "",
) -> Filters:  # fmt: skip
    """The filters of a request's query."""
    return Filters(batch, locale, engine, kind, speaker, says, hours, held)


Wished = Annotated[Filters, Depends(filters)]


def _rows(request: Request, held: SignedIn, wanted: Filters, after: str, limit: int = desk.PAGE) -> dict[str, Any]:
    found = desk.listed(request.app.state.database, wanted, held.person, _place(after), limit)
    last = found[-1] if len(found) == limit else None
    for row in found:
        row["poster"] = media.link(held, row["video"], "moment", 0.5)
    return {"rows": found, "after": f"{last['urgency']!r},{last['job_id']}" if last else "", "wanted": wanted, "query": _query(wanted), "kinds": desk.KINDS}


def _place(after: str) -> tuple[float, int] | None:
    urgency, _, job = after.partition(",")
    try:
        return float(urgency), int(job)
    except ValueError:
        return None


def _query(wanted: Filters) -> str:
    from urllib.parse import urlencode

    return urlencode(wanted.to_dict())




@router.get("/")
def queue(
    request: Request, session: Viewer, wanted: Wished,
    after: Given = "",
) -> Response:  # fmt: skip
    """The page."""
    site = request.app.state.site
    stamp = site.pulse.now()
    shown = _rows(request, session, wanted, after)
    return pages.page(
        request, "queue.html", **shown, count=desk.counted(site.database, wanted, session.person), most=desk.MOST, facets=site.facets.found(),
        ages=AGES, views=[(name, _query(query)) for name, query in desk.views(site.database, session.person)], stamp=stamp, reasons=REASONS, further=bool(after),
    )  # fmt: skip


@router.get("/queue/rows")
def rows(
    request: Request, session: Viewer, wanted: Wished,
    after: Given = "",
) -> Response:  # fmt: skip
    """More rows."""
    return pages.part(request, "rows.html", **_rows(request, session, wanted, after))


@router.get("/queue/live")
def live(
    request: Request, session: Viewer, wanted: Wished,
    stamp: Given = "", shown: Annotated[int, Query(ge=1, le=200)] = desk.PAGE,
) -> Response:  # fmt: skip
    """The rows anew where something happened since a stamp; else nothing, which costs nothing."""
    site = request.app.state.site
    now = site.pulse.now()
    if now == stamp:
        return Response(status_code=204)
    found = _rows(request, session, wanted, "", max(desk.PAGE, shown))
    return pages.part(request, "live.html", **found, count=desk.counted(site.database, wanted, session.person), most=desk.MOST, stamp=now)


@router.get("/queue/next")
def next_take(
    request: Request, session: Reviewer, wanted: Wished,
) -> Response:  # fmt: skip
    """To the most urgent take that is free."""
    found = desk.next_job(request.app.state.database, wanted, session.person)
    query = _query(wanted)
    return RedirectResponse(f"/takes/{found}" + (f"?{query}" if query else "") if found else f"/?{query}", 303)


@router.post("/queue/views")
def save_view(request: Request, session: Viewer, name: Annotated[str, Form(max_length=60)] = "", query: Annotated[str, Form(max_length=1000)] = "") -> Response:
    """Keep the filters of the page under a name; without filters, forget the name."""
    from urllib.parse import parse_qsl

    given = {key: value for key, value in parse_qsl(query) if key in Filters.__annotations__}
    desk.save_view(request.app.state.database, session.person, name, Filters(**given))
    return RedirectResponse(f"/?{query}" if given else "/", 303)


@router.post("/queue/bulk")
def bulk(
    request: Request, session: Reviewer, take: Annotated[list[int] | None, Form()] = None, decision: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = "",
    query: Annotated[str, Form(max_length=1000)] = "",
) -> Response:  # fmt: skip
    """Claim, give back, or decide on the takes that are ticked. Those that somebody else holds are left out."""
    site, person = request.app.state.site, session.person
    chosen = (take or [])[:500]
    if decision in ("claim", "release"):
        _hold(site.database, chosen, decision, person)
    elif chosen:
        pending.decide(site.database, chosen, Wanted(decision, reason if decision == "reject" else ""), person)
    return RedirectResponse(f"/?{query}" if query else "/", 303)


def _hold(database: Any, takes: list[int], what: str, person: Person) -> None:
    for job in desk.jobs_of(database, takes):
        if what == "claim":
            desk.claim(database, job, person)
        else:
            desk.let_go(database, job, person)
