"""Accounts and the log, for admins; one's own language and password, for everybody."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from db import accounts
from db.tables_desk import ROLES
from review import pages, texts
from review.access import Admin, Refused, Viewer

router = APIRouter()


@router.get("/accounts")
def listed(request: Request, session: Admin) -> Response:
    """All accounts."""
    return pages.page(request, "accounts.html", accounts=accounts.listed(request.app.state.database), roles=ROLES, link="", link_of="")


@router.post("/accounts")
def change(
    request: Request, session: Admin, name: Annotated[str, Form(max_length=80)] = "", what: Annotated[str, Form()] = "", role: Annotated[str, Form()] = "",
) -> Response:
    """Add an account, change its role, disable or enable it, or make a link that signs it in once."""
    database, by = request.app.state.database, session.person.name
    if what == "add":
        accounts.add(database, name, role, by=by)
    elif what == "role":
        accounts.change(database, name, by, role=role)
    elif what in ("disable", "enable"):
        accounts.change(database, name, by, disabled=what == "disable")
    if what in ("add", "link"):
        token = accounts.link(database, name)
        here = request.app.state.settings.desk_url.rstrip("/") or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return pages.page(request, "accounts.html", accounts=accounts.listed(database), roles=ROLES, link=f"{here}/sign-in?t={token}", link_of=name.strip().lower())
    return RedirectResponse("/accounts", 303)


@router.get("/log")
def log(request: Request, session: Admin, before: Annotated[int, Query(ge=0)] = 0) -> Response:
    """What people did."""
    return pages.page(request, "log.html", rows=accounts.logged(request.app.state.database, before))


@router.get("/me")
def mine(request: Request, session: Viewer) -> Response:
    """One's own settings."""
    return pages.page(request, "me.html", languages=texts.LOCALES)


@router.post("/me")
def change_mine(
    request: Request, session: Viewer, locale: Annotated[str, Form()] = "", password: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Choose a language, or set a password, which signs one out everywhere."""
    if locale and locale not in texts.LOCALES:
        raise Refused(422, "There is no such language.")
    accounts.change(request.app.state.database, session.person.name, session.person.name, locale=locale, password=password)
    return RedirectResponse("/sign-in" if password else "/me", 303)
