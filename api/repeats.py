"""Requests that are sent again: under one `Idempotency-Key` a request is done once, and has one answer for a day."""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.access import caller_of
from db import answers
from infra.errors import DubwrightError, ManifestError

LONGEST = 255


def key_of(request: Request) -> str:
    """The request's key, as the draft's quoted string or plain; nothing where it has none. Raises ManifestError for one that cannot be used."""
    plain = request.headers.get("idempotency-key", "").strip()
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        plain = plain[1:-1]
    if len(plain) > LONGEST or not plain.isascii() or any(ord(c) < 33 or ord(c) == 127 for c in plain):
        raise ManifestError(f"an Idempotency-Key is 1 to {LONGEST} visible ASCII characters", code="idempotency.key", next_step="Use a UUID.")
    return plain


def fingerprint(request: Request, body: bytes) -> str:
    """What makes two requests the same: method, path, type and body."""
    parts = (request.method, request.url.path, request.url.query, request.headers.get("content-type", ""))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape") + b"\n" + body).hexdigest()


async def once(request: Request, body: bytes, do: Callable[[], Awaitable[Response]]) -> Response:
    """Do a request, or give the answer that it had. Only what succeeded is kept: a request that was refused may be mended under its key."""
    key, database, caller = key_of(request), request.app.state.database, caller_of(request)
    if not key:
        return await do()
    before = await run_in_threadpool(answers.begin, database, caller.token_id, key, fingerprint(request, body))
    if before is not None:
        return Response(before.answer, before.status, {"Idempotency-Replayed": "true"}, "application/json")
    try:
        answer = await do()
    except Exception:
        with contextlib.suppress(DubwrightError):  # what went wrong is raised; the key is free again in ten minutes anyway
            await run_in_threadpool(answers.forget, database, caller.token_id, key)
        raise
    await run_in_threadpool(answers.keep, database, caller.token_id, key, answers.Kept(answer.status_code, bytes(answer.body).decode()))
    return answer
