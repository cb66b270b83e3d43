"""Tokens of the HTTP API: made once and shown once, known by the SHA-256 of a random secret, looked up by a prefix that is no secret."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, text, update

from db import tables_events as e
from db.session import Database
from db.workers import later
from infra.errors import AccessError, LedgerError

SCOPES = {
    "read": "see batches, jobs, deliveries and lineage",
    "submit": "plan and submit manifests, and queue again what ended without a delivery",
    "operate": "cancel, prioritise, pause, drain, resume",
    "review": "see flagged takes and decide on them",
    "admin": "all of these, and webhooks",
}
FORM = "dw_"  # what every token begins with, so that scanners of repositories know one
SECRET_BYTES = 32
NOBODY = hashlib.sha256(b"").hexdigest()
DAY = 86_400


@dataclass(frozen=True)
class Caller:
    """Who a token speaks for, and for what."""

    token_id: int
    owner: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the token holds a scope; `admin` is all of them."""
        return scope in self.scopes or "admin" in self.scopes


def create(database: Database, name: str, owner: str, scopes: list[str], days: float = 0.0) -> tuple[str, dict[str, Any]]:
    """A new token and its row. The token is `dw_PREFIX_SECRET`; it cannot be shown again. days: until it expires; 0 never does.

    Raises LedgerError for scopes that there are not, or without an owner.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        problem = f"there is no scope {', '.join(unknown)}" if unknown else "a token needs a scope"
        raise LedgerError(problem, code="token.scope", next_step=f"Known are {', '.join(SCOPES)}.")
    if not owner.strip() or not name.strip():
        raise LedgerError("a token needs a name and an owner", code="token.owner", next_step="What it does is recorded under the owner's name.")
    prefix, secret = secrets.token_hex(5), secrets.token_urlsafe(SECRET_BYTES)
    with database.begin() as session:
        ends = session.execute(select(later(days * DAY))).scalar_one() if days else None
        row = e.ApiToken(name=name.strip(), owner=owner.strip(), scopes=sorted(set(scopes)), prefix=prefix, digest=_digest(secret), expires_at=ends)
        session.add(row)
        session.flush()
        return f"{FORM}{prefix}_{secret}", row_of(row)


def _digest(secret: str) -> str:
    """256 random bits need no slow hash: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def row_of(row: e.ApiToken) -> dict[str, Any]:
    """A token as plain values, without its digest."""
    times: dict[str, datetime | None] = {name: getattr(row, name) for name in ("created_at", "expires_at", "last_used", "revoked_at")}
    return {"token": row.prefix, "name": row.name, "owner": row.owner, "scopes": row.scopes, **{name: at and at.isoformat() for name, at in times.items()}}


def every(database: Database) -> list[dict[str, Any]]:
    """All tokens, the newest first."""
    with database.begin() as session:
        return [row_of(row) for row in session.execute(select(e.ApiToken).order_by(e.ApiToken.id.desc())).scalars()]


def revoke(database: Database, prefix: str) -> dict[str, Any]:
    """Make a token worthless, now and for good; a second time changes nothing. Raises LedgerError for one that is not there."""
    wanted = prefix.removeprefix(FORM).partition("_")[0]
    with database.begin() as session:
        row = session.execute(select(e.ApiToken).where(e.ApiToken.prefix == wanted).with_for_update()).scalar_one_or_none()
        if row is None:
            raise LedgerError(f"there is no token {wanted[:20]!r}", code="token.unknown", next_step="`dubwright token list` shows them.")
        row.revoked_at = row.revoked_at or session.execute(select(func.now())).scalar_one()
        return row_of(row)


def caller(database: Database, token: str) -> Caller:
    """Who a token speaks for. Raises AccessError for one that is unknown, expired or revoked; which, is not told."""
    prefix, _, secret = token.removeprefix(FORM).partition("_")
    known = token.startswith(FORM) and token.isascii() and "\x00" not in token
    with database.begin() as session:
        row = session.execute(select(e.ApiToken).where(e.ApiToken.prefix == prefix)).scalar_one_or_none() if known else None
        same = hmac.compare_digest(_digest(secret), row.digest if row else NOBODY)
        now: datetime = session.execute(select(func.now())).scalar_one()
        if row is None or not same or row.revoked_at or (row.expires_at and row.expires_at <= now):
            raise AccessError("the token is not valid", code="access.token", next_step="Ask for a new one: `dubwright token create`.")
        stale = or_(e.ApiToken.last_used.is_(None), e.ApiToken.last_used < func.now() - text("interval '1 minute'"))  # not a write for every call
        session.execute(update(e.ApiToken).where(e.ApiToken.id == row.id, stale).values(last_used=func.now()))
        return Caller(row.id, row.owner, frozenset(row.scopes))
