"""Webhook endpoints: who is told of what; their deliveries as a log, and sent again. How deliveries go out is db/outbox.py's."""

import base64
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from db import tables as t
from db import tables_events as e
from db.session import Database
from db.workers import later
from infra.errors import LedgerError

KINDS = {  # what events are called outside, and what they are in the ledger
    "job.delivered": ("delivered",),
    "job.flagged": ("flagged",),
    "job.failed": ("failed", "set aside"),
    "job.cancelled": ("cancelled",),
    "job.rejected": ("rejected",),
    "review.decided": ("review",),
    "batch.ended": ("ended",),
}
TEST = "webhook.test"
SECRET_BYTES = 32
ROTATION = 86_400.0  # seconds that a secret is used beside its successor
MOST_LISTED = 200


def new_secret() -> str:
    """A secret in Standard Webhooks' form."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def add(database: Database, url: str, sealed: str, by: str, kinds: list[str], batch: str = "") -> dict[str, Any]:
    """A new endpoint: of these kinds (all where there are none), of batches of a name (`spring*` begins with spring; empty is all).

    Raises LedgerError for kinds that there are not. Whether the URL may be called is infra/outbound.py's to say.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise LedgerError(f"there is no kind of event {', '.join(unknown)[:80]}", code="webhook.kind", next_step=f"Known are {', '.join(KINDS)}.")
    with database.begin() as session:
        row = e.WebhookEndpoint(url=url, secret=sealed, created_by=by, kinds=sorted(set(kinds)), batch=batch)
        session.add(row)
        session.flush()
        return row_of(row)


def row_of(row: e.WebhookEndpoint) -> dict[str, Any]:
    """An endpoint as plain values, without its secrets."""
    plain = {"webhook": row.id, **{name: getattr(row, name) for name in ("url", "kinds", "batch", "active", "note", "failures", "created_by")}}
    times: dict[str, datetime | None] = {name: getattr(row, name) for name in ("created_at", "accepted_at", "rest_until", "previous_until")}
    return plain | {name: at and at.isoformat() for name, at in times.items()}


def every(database: Database) -> list[dict[str, Any]]:
    """All endpoints that were not removed, each with how many deliveries are in which state."""
    with database.begin() as session:
        rows = session.execute(select(e.WebhookEndpoint).where(e.WebhookEndpoint.removed_at.is_(None)).order_by(e.WebhookEndpoint.id)).scalars().all()
        counts = session.execute(select(e.WebhookDelivery.endpoint_id, e.WebhookDelivery.state, func.count()).group_by(e.WebhookDelivery.endpoint_id, e.WebhookDelivery.state)).all()
        return [row_of(row) | {"deliveries": {state: n for of, state, n in counts if of == row.id}} for row in rows]


def one(session: Session, number: int) -> e.WebhookEndpoint:
    """An endpoint, locked; events go on being entered for it meanwhile. Raises LedgerError where it is not there, or was removed."""
    row = session.execute(select(e.WebhookEndpoint).where(e.WebhookEndpoint.id == number, e.WebhookEndpoint.removed_at.is_(None)).with_for_update(key_share=True)).scalar_one_or_none()
    if row is None:
        raise LedgerError(f"there is no webhook {number}", code="webhook.unknown", next_step="`dubwright webhooks list` shows them.")
    return row


def remove(database: Database, number: int) -> None:
    """Send nothing more there and forget its secrets; the log stays. Raises LedgerError."""
    with database.begin() as session:
        row = one(session, number)
        row.active, row.secret, row.previous_secret, row.note = False, "", None, "removed"
        row.removed_at = session.execute(select(func.now())).scalar_one()
        _give_up(session, number)


def _give_up(session: Session, number: int) -> None:
    waiting = update(e.WebhookDelivery).where(e.WebhookDelivery.endpoint_id == number, e.WebhookDelivery.state == "pending")
    session.execute(waiting.values(state="given up", ended_at=func.now(), claimed_until=None))


def rotate(database: Database, number: int, sealed: str) -> dict[str, Any]:
    """Sign with a new secret, and for a day with the one before as well. Raises LedgerError."""
    with database.begin() as session:
        row = one(session, number)
        row.previous_secret, row.secret = row.secret, sealed
        row.previous_until = session.execute(select(later(ROTATION))).scalar_one()
        return row_of(row)


def activate(database: Database, number: int) -> dict[str, Any]:
    """Send to an endpoint again that was disabled; what waits there begins its tries anew. Raises LedgerError."""
    with database.begin() as session:
        row = one(session, number)
        row.active, row.note, row.failures, row.rest_until = True, "", 0, None
        waiting = update(e.WebhookDelivery).where(e.WebhookDelivery.endpoint_id == number, e.WebhookDelivery.state == "pending")
        session.execute(waiting.values(next_at=func.now(), tried_since=func.now()))
        session.flush()
        return row_of(row)


def test(database: Database, number: int) -> dict[str, Any]:
    """Send an event that stands for nothing (`webhook.test`). Raises LedgerError; webhook.disabled where nothing is sent."""
    with database.begin() as session:
        _active(one(session, number))
        row = e.WebhookDelivery(endpoint_id=number, kind=TEST)
        session.add(row)
        session.flush()
        return _delivery(row, [])


def _active(row: e.WebhookEndpoint) -> None:
    if not row.active:
        raise LedgerError(f"webhook {row.id} is disabled: {row.note}", code="webhook.disabled", next_step="Mend the receiver, then activate it.")


def replay(database: Database, number: int, message: str = "", since: datetime | None = None, until: datetime | None = None) -> int:
    """Send again: one message, or every event of a time range that the endpoint wants, also such as it was never sent; returns how many.

    Messages keep their ids. Raises LedgerError: webhook.asked without message or range, webhook.message for one that is not this endpoint's.
    """
    if bool(message) == (since is not None):
        raise LedgerError("replay wants a message, or a time that it begins at", code="webhook.asked", next_step="The log lists messages.")
    with database.begin() as session:
        row = one(session, number)
        _active(row)
        mine = e.WebhookDelivery.endpoint_id == number
        if message:
            chosen = mine & (e.WebhookDelivery.message == message)
        else:
            _missing(session, row, since, until)
            between = (t.Event.at >= since) & (t.Event.at <= (func.now() if until is None else until))
            chosen = mine & (e.WebhookDelivery.state != "pending") & e.WebhookDelivery.event_id.in_(select(t.Event.id).where(between))
        again = {"state": "pending", "next_at": func.now(), "tried_since": func.now(), "claimed_until": None, "ended_at": None}
        found = session.execute(update(e.WebhookDelivery).where(chosen).values(**again).returning(e.WebhookDelivery.id)).scalars().all()
        if message and not found:
            raise LedgerError(f"webhook {number} was sent no message {message[:60]!r}", code="webhook.message", next_step="The log lists messages.")
        return len(found)


def _missing(session: Session, row: e.WebhookEndpoint, since: datetime | None, until: datetime | None) -> None:
    """Deliveries of events that happened before the endpoint was there, or while it was disabled; they wait to be chosen."""
    statement = text(
        "INSERT INTO webhook_deliveries (endpoint_id, event_id, kind, state) "
        "SELECT w.id, v.id, webhook_kind(v.kind), 'given up' FROM webhook_endpoints w, events v JOIN batches b ON b.id = v.batch_id "
        "WHERE w.id = :number AND v.at >= :since AND v.at <= COALESCE(CAST(:until AS timestamptz), now()) AND webhook_kind(v.kind) IS NOT NULL "
        "AND webhook_wants(w.kinds, w.batch, webhook_kind(v.kind), b.name) ON CONFLICT (endpoint_id, event_id) DO NOTHING"
    )
    session.execute(statement, {"number": row.id, "since": since, "until": until})


def log(database: Database, number: int | None = None, before: int | None = None, limit: int = 50, state: str = "") -> list[dict[str, Any]]:
    """Deliveries of an endpoint, or of all, the newest first, each with its attempts; before: only those older than a delivery's number."""
    query = select(e.WebhookDelivery).order_by(e.WebhookDelivery.id.desc()).limit(min(limit, MOST_LISTED))
    for column, value in ((e.WebhookDelivery.endpoint_id, number), (e.WebhookDelivery.state, state or None)):
        query = query if value is None else query.where(column == value)
    query = query if before is None else query.where(e.WebhookDelivery.id < before)
    with database.begin() as session:
        rows = session.execute(query).scalars().all()
        tries: dict[int, list[dict[str, Any]]] = {}
        asked = select(e.WebhookAttempt).where(e.WebhookAttempt.delivery_id.in_([row.id for row in rows])).order_by(e.WebhookAttempt.id)
        for one_try in session.execute(asked).scalars():
            told = {"number": one_try.number, "at": one_try.at.isoformat(), "seconds": one_try.seconds, "status": one_try.status, "note": one_try.note}
            tries.setdefault(one_try.delivery_id, []).append(told)
        return [_delivery(row, tries.get(row.id, [])) for row in rows]


def _delivery(row: e.WebhookDelivery, tries: list[dict[str, Any]]) -> dict[str, Any]:
    times: dict[str, datetime | None] = {"created_at": row.created_at, "next_at": row.next_at if row.state == "pending" else None, "ended_at": row.ended_at}
    plain = {"delivery": row.id, "message": row.message, "webhook": row.endpoint_id, "event": row.event_id, "kind": row.kind, "state": row.state, "tries": tries}
    return plain | {name: at and at.isoformat() for name, at in times.items()}
