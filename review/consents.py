"""Consent records: whose face and voice may be used for what, what was delivered on a record, and its revocation. Entering one is the command's."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from db import accounts, erasure
from infra.errors import ConsentError
from review import pages
from review.access import Operator

router = APIRouter()
SHOWN = 500  # records on a page, the newest


@router.get("/consents")
def listed(request: Request, session: Operator, person: Annotated[str, Query(max_length=200)] = "") -> Response:
    """The newest records, of all or of a person."""
    rows = erasure.records(request.app.state.database, person.strip(), most=SHOWN)
    return pages.page(request, "consents.html", rows=rows, person=person.strip(), most=SHOWN)


@router.get("/consents/{name}")
def shown(request: Request, session: Operator, name: str) -> Response:
    """One record: what it allows, what it is bound to, what was delivered on it."""
    database = request.app.state.database
    return pages.page(request, "consent.html", row=_record(request, name), delivered=erasure.delivered(database, [name]))


@router.post("/consents/{name}/revoke")
def revoke(
    request: Request, session: Operator, name: str, why: Annotated[str, Form(max_length=2000)] = "", sure: Annotated[str, Form()] = "",
) -> Response:
    """End a record for good: what waits or runs on it is cancelled. Raises ConsentError without a reason, or where nobody said to be sure."""
    database, by = request.app.state.database, session.person.name
    if _record(request, name)["revoked_at"] is None:
        if not why.strip() or sure != name:
            raise ConsentError(f"{name} is not revoked: that needs a reason, and its id once more", code="consent.refused", next_step="Write both; a revocation cannot be taken back.")
        told = erasure.revoke(database, name, by, why.strip())
        with database.begin() as session_:
            accounts.log(session_, by, "consent revoked", {"consent": name, "cancelled": len(told["cancelled"]), "delivered": len(told["delivered"])})
    return RedirectResponse(f"/consents/{name}", 303)


def _record(request: Request, name: str) -> dict[str, Any]:
    found = erasure.records(request.app.state.database, consent_id=name)
    if not found:
        raise ConsentError(f"there is no consent record {name[:60]!r}", code="consent.unknown", next_step="Open it from the list of records.")
    return found[0]
