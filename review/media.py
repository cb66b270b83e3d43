"""Videos and pictures, by links that a session signs for itself: they name an artifact and end after a while. Ranges are streamed from the store."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from starlette.responses import Response, StreamingResponse

from db.accounts import SignedIn
from infra.artifacts import Artifacts
from infra.errors import ObjectMissing
from infra.store import Store
from review.access import Refused

SECONDS = 15 * 60  # that a link works
PIECE = 2**20
TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm", ".png": "image/png", ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".bmp": "image/bmp",
}  # fmt: skip
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def link(held: SignedIn, sha256: str, kind: str, at: float | None = None, about: list[int] | None = None) -> str:
    """A link to an artifact for this session alone. kind: its type by suffix (`.mp4`), or `moment` for its picture at a second, about a face."""
    return "/media/" + _signer(held).dumps([sha256, kind, at, about])


def _signer(held: SignedIn) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(held.secret, salt="media")


def linked(held: SignedIn, token: str) -> tuple[str, str, float | None, list[int] | None]:
    """What a link names. Raises Refused for another session's, a changed one, and one that has ended."""
    try:
        sha256, kind, at, about = _signer(held).loads(token, max_age=SECONDS)
    except SignatureExpired as error:
        raise Refused(403, "This link has ended. Load the page again.") from error
    except BadSignature as error:
        raise Refused(403, "This link is not yours.") from error
    return str(sha256), str(kind), None if at is None else float(at), about


def stream(artifacts: Artifacts, sha256: str, kind: str, request: Request) -> Response:
    """An artifact's bytes, or the range that is asked for, a piece at a time."""
    key = f"sha256/{sha256[:2]}/{sha256}"
    info = artifacts.store.info(key)
    if info is None:
        raise ObjectMissing(f"the object {sha256[:12]} is not in the store", next_step="It was removed; have another take rendered.")
    headers = {"accept-ranges": "bytes", "etag": f'"{sha256}"', "cache-control": f"private, max-age={SECONDS}"}
    asked = _range(request.headers.get("range", ""), info.size)
    if asked is None:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{info.size}"})
    first, last = asked
    headers["content-length"] = str(last - first + 1)
    whole = "range" not in request.headers
    if not whole:
        headers["content-range"] = f"bytes {first}-{last}/{info.size}"
    known = TYPES.get(kind.lower(), "application/octet-stream")
    return StreamingResponse(_pieces(artifacts.store, key, first, last), 200 if whole else 206, headers, known)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """(first, last) byte that a header asks for; None where there are no such bytes. Several ranges are answered by the whole."""
    found = RANGE.match(header)
    if not found or found.group(0) == "bytes=-":
        return (0, size - 1) if size else None
    start, end = found.groups()
    first = int(start) if start else max(0, size - int(end))
    last = min(int(end), size - 1) if start and end else size - 1
    return (first, last) if first <= last else None


def _pieces(store: Store, key: str, first: int, last: int) -> Iterator[bytes]:
    while first <= last:
        piece: Any = store.read(key, first, min(PIECE, last - first + 1))
        if not piece:
            return
        yield piece
        first += len(piece)
