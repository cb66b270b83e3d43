"""Who may do what: every route names a scope, and is refused before its body is read to all who do not hold it. A route that names none is not served."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool

from api.problems import Refusal
from db import tokens
from db.tokens import SCOPES, Caller
from infra.errors import AccessError

REALM = 'Bearer realm="dubwright"'
PUBLIC = "public"
STRANGERS = 60  # refused requests a minute of one address


def needs(scope: str) -> dict[str, Any]:
    """What a route's decorator takes to name its scope, which OpenAPI then shows."""
    assert scope in SCOPES or scope == PUBLIC, scope
    return {"openapi_extra": {"security": [] if scope == PUBLIC else [{"token": [scope]}]}}


def scope_of(route: APIRoute) -> str:
    """The scope that a route names."""
    security = (route.openapi_extra or {}).get("security")
    assert security is not None, f"the route {route.path} names no scope"
    return str(security[0]["token"][0]) if security else PUBLIC


class Limits:
    """How often a token may call, and an address be refused, in this process."""

    def __init__(self, rate: int) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._calls, self._refusals = RateLimitItemPerMinute(rate), RateLimitItemPerMinute(STRANGERS)

    def call(self, token_id: int) -> None:
        """Count a call. Raises Refusal where it is one too many."""
        self._check(self._window.hit(self._calls, "token", str(token_id)), self._calls, "token", str(token_id))

    def refusal(self, address: str) -> None:
        """Count a refusal; callers with a valid token are never held up by it. Raises Refusal where it is one too many."""
        self._check(self._window.hit(self._refusals, "address", address), self._refusals, "address", address)

    def _check(self, fine: bool, item: RateLimitItemPerMinute, *names: str) -> None:
        if fine:
            return
        seconds = max(1, round(self._window.get_window_stats(item, *names).reset_time - time.time()))
        error = AccessError(f"too many requests, {item.amount} a minute are served", code="access.busy", next_step=f"Go on in {seconds} s.")
        raise Refusal(error, 429, {"Retry-After": str(seconds)})


async def admit(request: Request, scope: str) -> None:
    """Put the caller into the request's state. Raises Refusal: 401 for nobody known, 403 without the scope, 429."""
    limits: Limits = request.app.state.limits
    address = request.client.host if request.client else ""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        limits.refusal(address)
        raise Refusal(AccessError("this needs a token", code="access.token", next_step="Send Authorization: Bearer TOKEN; `dubwright token create` makes one."), 401, {"WWW-Authenticate": REALM})
    try:
        found = await run_in_threadpool(tokens.caller, request.app.state.database, token.strip())
    except AccessError as error:
        limits.refusal(address)
        raise Refusal(error, 401, {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}) from error
    limits.call(found.token_id)
    if not found.may(scope):
        missing = AccessError(f"this needs the scope {scope}", code="access.scope", next_step="Use a token that holds it.")
        raise Refusal(missing, 403, {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'})
    request.state.caller = found


def caller_of(request: Request) -> Caller:
    """Who sent a request that was admitted."""
    found: Caller = request.state.caller
    return found


class ScopedRoute(APIRoute):
    """A route that asks who calls before anything else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the question."""
        handler, scope = super().get_route_handler(), scope_of(self)

        async def guarded(request: Request) -> Response:
            if scope != PUBLIC:
                await admit(request, scope)
            return await handler(request)

        return guarded
