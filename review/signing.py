"""Signing in and out: by password, by a link that works once, by OpenID Connect. The only pages that need no session, with health and static files."""

import secrets
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from db import accounts
from db.accounts import Person
from infra.errors import DubwrightError
from review import openid, pages
from review.access import Refused, Viewer, anybody, cookie_name, is_secure

router = APIRouter()
BEGUN = "desk-openid"  # the cookie that ties a sign-in to the browser that began it


def _counted(request: Request, name: str) -> bool:
    """Whether another try is allowed, for a name and for where it comes from."""
    where, database = request.client.host if request.client else "?", request.app.state.database
    if not accounts.tried(database, f"address {where}", accounts.TRIES_AN_ADDRESS, accounts.TRIES_WITHIN):
        return False
    return not name or accounts.tried(database, f"name {name.strip().lower()}", accounts.TRIES_A_NAME, accounts.TRIES_WITHIN)


def inside(target: str) -> str:
    """A place within the desk to go to next; its front page for any other."""
    parts = urlsplit(target)
    fine = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not any(ord(c) < 33 or c == "\\" for c in target)
    return target if fine else "/"


def _enter(request: Request, person: Person, how: str, target: str) -> Response:
    state = request.app.state
    token, _ = accounts.sign_in(state.database, person, how)
    answer = RedirectResponse(inside(target), 303)
    answer.set_cookie(
        cookie_name(state.settings, request), token, httponly=True, samesite="lax", secure=is_secure(state.settings, request), path="/",
        max_age=int(accounts.LONGEST.total_seconds()),
    )  # fmt: skip
    return answer


@router.get("/sign-in", dependencies=[anybody])
def sign_in_page(request: Request, next: str = "/", t: str = "") -> Response:
    """The form; with a link's token, the button that uses it (a page that is only looked at ahead uses up nothing)."""
    provider = request.app.state.settings.oidc_issuer
    return pages.page(request, "sign_in.html", next=inside(next), link=t, provider=urlsplit(provider).netloc if provider else "", problem="")


@router.post("/sign-in", dependencies=[anybody])
def sign_in(
    request: Request, name: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "", link: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/"
) -> Response:
    """Sign in by name and password, or by a link's token."""
    database = request.app.state.database
    if not _counted(request, "" if link else name):
        accounts.refused(database, name, "too many tries")
        return _again(request, next, "too many", 429)
    person = accounts.use_link(database, link) if link else accounts.check(database, name, password[:1000])
    if person is None:
        accounts.refused(database, name, "link" if link else "password")
        return _again(request, next, "link" if link else "password", 401)
    return _enter(request, person, "link" if link else "password", next)


def _again(request: Request, target: str, problem: str, status: int) -> Response:
    provider = request.app.state.settings.oidc_issuer
    return pages.page(request, "sign_in.html", status, next=inside(target), link="", provider=urlsplit(provider).netloc if provider else "", problem=problem)


@router.get("/sign-in/openid", dependencies=[anybody])
def openid_begin(request: Request) -> Response:
    """To the identity provider."""
    if not request.app.state.settings.oidc_issuer or not _counted(request, ""):
        raise Refused(403, "There is no such sign-in here.")
    url, state = openid.begin(request)
    answer = RedirectResponse(url, 303)
    secure = is_secure(request.app.state.settings, request)
    answer.set_cookie(BEGUN, state, httponly=True, samesite="lax", secure=secure, path="/sign-in/openid", max_age=int(accounts.STATE.total_seconds()))
    return answer


@router.get("/sign-in/openid/back", dependencies=[anybody])
def openid_end(request: Request, state: str = "", code: str = "") -> Response:
    """Back from it."""
    person: Any = None
    if request.app.state.settings.oidc_issuer and _counted(request, ""):
        try:
            begun_here = secrets.compare_digest(request.cookies.get(BEGUN, "").encode(), state.encode())
            person = openid.end(request, state if begun_here else "", code)
        except DubwrightError as error:
            accounts.refused(request.app.state.database, "", f"OpenID Connect: {error.message}"[:300])
    if person is None:
        return _again(request, "/", "openid", 401)
    return _enter(request, person, "OpenID Connect", "/")


@router.post("/sign-out")
def sign_out(request: Request, held: Viewer) -> Response:
    """End the session."""
    accounts.sign_out(request.app.state.database, held)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(cookie_name(request.app.state.settings, request), path="/", secure=is_secure(request.app.state.settings, request), httponly=True, samesite="lax")
    return answer


@router.get("/health", dependencies=[anybody])
def health(request: Request) -> Response:
    """Whether the desk and its database answer."""
    request.app.state.site.pulse.now()
    return JSONResponse({"ok": True})
