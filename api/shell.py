"""What lies around every request: a number, a largest body, headers for safety, and an end for errors that nobody expected."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from api.problems import Refusal, tell
from infra.errors import InputError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Shell:
    """An ASGI middleware. It comes first, so that its headers and the request's number are on every answer."""

    def __init__(self, app: App, largest: int) -> None:
        self.app, self.largest = app, largest

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = str(uuid4())
        scope["state"] = {**scope.get("state", {}), "request_id": number}
        began = read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.largest:
                raise self._too_large()
            return message

        async def dressed(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = 1
                headers = MutableHeaders(scope=message)
                headers.update({**HEADERS, "X-Request-Id": number})
                if scope.get("scheme") == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        try:
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if not length.isdigit() or int(length) > self.largest:
                raise self._too_large()
            await self.app(scope, counted, dressed)
        except Exception as error:
            answer = tell(Request(scope), error)
            if began:
                raise
            await answer(scope, receive, dressed)

    def _too_large(self) -> Refusal:
        what = f"a request is at most {self.largest >> 20} MiB"
        return Refusal(InputError(what, code="request.too_large", next_step="Split the manifest, or ask the operator for more (DUBWRIGHT_API_BODY_MIB)."), 413)
