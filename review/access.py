"""Who gets in. Every route declares who may use it, `needs(role)` or `anybody`; an app with a route that does not is not made (`all_guarded`).

A request that changes something must come from the desk's own pages: its Origin is the desk's, and its form or header carries the session's
token. A page that is asked for without a session leads to the sign-in; everything else is refused.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import accounts
from db.accounts import SignedIn
from infra.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all, browsers send no Origin either
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


class Refused(Exception):
    """A request that is not allowed; `where`: the sign-in page, for a page that was asked for without a session."""

    def __init__(self, status: int, why: str, where: str = "") -> None:
        super().__init__(why)
        self.status, self.why, self.where = status, why, where


async def _sent_token(request: Request) -> str:
    """The token that a request carries in its header or form."""
    if request.method in SAFE:
        return ""
    if sent := request.headers.get("x-csrf"):
        return sent
    form: FormData = await request.form()
    return str(form.get("csrf") or "")


def cookie_name(settings: Settings, request: Request) -> str:
    """The session's cookie; over HTTPS a name that browsers keep to this host."""
    return "__Host-desk" if is_secure(settings, request) else "desk"


def is_secure(settings: Settings, request: Request) -> bool:
    """Whether readers reach the desk over HTTPS."""
    return settings.desk_url.startswith("https://") if settings.desk_url else request.url.scheme == "https"


def form_token(held: SignedIn) -> str:
    """What a session's forms carry."""
    return hmac.new(held.secret.encode(), b"form", hashlib.sha256).hexdigest()


def needs(role: str) -> Any:
    """The dependency of a route that accounts of a role, and of those above it, may use; gives their session."""

    def allowed(request: Request, sent: Annotated[str, Depends(_sent_token)]) -> SignedIn:
        app = request.app.state
        token = request.cookies.get(cookie_name(app.settings, request), "")
        held = accounts.signed_in(app.database, token) if token else None
        if held is None:
            page = request.method == "GET" and "text/html" in request.headers.get("accept", "") and "hx-request" not in request.headers
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            raise Refused(401, "Sign in first.", f"/sign-in?next={quote(back)}" if page else "")
        request.state.held = held
        if not held.person.may(role):
            raise Refused(403, f"This needs the role {role}; yours is {held.person.role}.")
        if request.method not in SAFE and not hmac.compare_digest(sent, form_token(held)):
            raise Refused(403, "This form is not the desk's own, or its session has ended. Load the page again.")
        return held

    allowed.role = role  # type: ignore[attr-defined]
    return Depends(allowed)


Viewer = Annotated[SignedIn, needs("viewer")]
Reviewer = Annotated[SignedIn, needs("reviewer")]
Operator = Annotated[SignedIn, needs("operator")]
Admin = Annotated[SignedIn, needs("admin")]


def _anybody() -> None:
    """A route that needs no session."""


_anybody.role = ""  # type: ignore[attr-defined]
anybody = Depends(_anybody)


def roles_of(route: APIRoute) -> list[str]:
    """What a route declares: the role it needs, or an empty one for anybody."""
    return list(_declared(route.dependant))


def _declared(dependant: Dependant) -> Iterator[str]:
    for inner in dependant.dependencies:
        if inner.call is not None and hasattr(inner.call, "role"):
            yield inner.call.role
        yield from _declared(inner)


def flat(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes, those of routers that an app took in among them (from FastAPI 0.140 on they stay in theirs)."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from flat(inner.routes)


def all_guarded(app: FastAPI, mounts: tuple[str, ...]) -> None:
    """Raises ValueError for a route that does not declare once who may use it, and for a mounted app that is not named."""
    for route in flat(app.routes):
        if isinstance(route, APIRoute):
            if len(roles_of(route)) != 1:
                raise ValueError(f"{route.path} does not declare who may use it")
        elif getattr(route, "path", "") not in mounts:
            raise ValueError(f"{route} is not a route of the desk")


class Guarded:
    """Refuses what other sites make a browser send, and gives every answer its security headers. Streams pass through as they are."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        secure = is_secure(self.settings, request)

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more = {**HEADERS, "cache-control": "no-store", **({"strict-transport-security": "max-age=31536000"} if secure else {})}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in known)]
            await send(message)

        if request.method not in SAFE and not self.from_here(request):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("another site sent this request", 403)(scope, receive, headed)
            return
        await self.app(scope, receive, headed)

    def from_here(self, request: Request) -> bool:
        """Whether a request comes from the desk's own pages, as far as the browser says; one without a browser says nothing."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        if origin is None:
            return True
        here = self.settings.desk_url.rstrip("/") or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return urlsplit(origin)[:2] == urlsplit(here)[:2]
