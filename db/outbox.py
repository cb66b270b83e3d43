"""Deliveries of webhooks on their way out: claimed by one sender at a time, put into words, recorded.

A claim is a time, not a lock: a sender that dies after it sent and before it recorded leaves a delivery that is sent once more, under the same id.
"""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from db import tables as t
from db import tables_events as e
from db.session import Database
from db.webhooks import TEST
from db.workers import later

FIRST_WAIT, TIMES, LONGEST_WAIT = 5.0, 3.0, 3 * 3600.0  # seconds: 5, 15, 45 ... up to three hours
LONGEST_REST = 300.0  # seconds that a failing endpoint is left alone for
AT_ONCE = 2  # deliveries under way to one endpoint


@dataclass(frozen=True)
class Claimed:
    """A delivery that this sender may send now: where to, signed with what, and how often it was tried."""

    delivery_id: int
    endpoint_id: int
    message: str
    url: str
    secrets: tuple[str, ...]  # as stored
    attempt: int
    body: dict[str, Any]


def claim(database: Database, seconds: float, only: int | None = None) -> Claimed | None:
    """Take the next delivery that is due, or one alone if it is, for so many seconds; None when there is none."""
    d, w, other = e.WebhookDelivery, e.WebhookEndpoint, aliased(e.WebhookDelivery)
    under_way = select(func.count()).where(other.endpoint_id == w.id, other.claimed_until > func.now()).scalar_subquery()
    free = select(w.id).where(w.active, w.rest_until.is_(None) | (w.rest_until <= func.now()), under_way < AT_ONCE)
    query = (
        select(d)
        .where(d.state == "pending", d.next_at <= func.now(), d.claimed_until.is_(None) | (d.claimed_until <= func.now()), d.endpoint_id.in_(free))
        .order_by(d.next_at, d.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=d)
    )
    query = query if only is None else query.where(d.id == only)
    with database.begin() as session:
        row = session.execute(query).scalar_one_or_none()
        if row is None:
            return None
        endpoint = session.get_one(w, row.endpoint_id)
        row.attempts += 1
        row.claimed_until = session.execute(select(later(seconds))).scalar_one()
        secrets: tuple[str, ...] = (endpoint.secret,)
        if endpoint.previous_secret and endpoint.previous_until and endpoint.previous_until > session.execute(select(func.now())).scalar_one():
            secrets = (endpoint.secret, endpoint.previous_secret)
        return Claimed(row.id, endpoint.id, row.message, endpoint.url, secrets, row.attempts, _body(session, row))


def _body(session: Session, row: e.WebhookDelivery) -> dict[str, Any]:
    """`type`, `timestamp`, `data`. Made of rows that never change, so that every sending of a message is the same."""
    if row.event_id is None:
        return {"type": TEST, "timestamp": row.created_at.isoformat(), "data": {"webhook": row.endpoint_id}}
    event = session.get_one(t.Event, row.event_id)
    batch = session.get_one(t.Batch, event.batch_id)
    data: dict[str, Any] = {"event": event.id, "batch": batch.id, "batch_name": batch.name}
    if event.job_id is not None:
        data |= _job(session, event.job_id, row.kind)
    if row.kind == "review.decided":
        data |= {name: event.detail.get(name) for name in ("take", "actor", "decision", "reason", "note")}
    elif row.kind == "job.cancelled":
        data |= {"actor": event.detail.get("actor")}
    elif row.kind == "batch.ended":
        data |= {"jobs": event.detail["jobs"]}
    elif row.kind == "job.failed" and event.kind == "set aside":
        data |= {"error": {"code": "job.poison", "message": f"its worker died {event.detail.get('attempts')} times"}}
    elif row.kind != "job.delivered":
        data |= {"error": {name: event.detail.get(name) for name in ("code", "message", "next_step")}}
    return {"type": row.kind, "timestamp": event.at.isoformat(), "data": data}


def _job(session: Session, job_id: int, kind: str) -> dict[str, Any]:
    job = session.get_one(t.Job, job_id)
    told: dict[str, Any] = {"job": job.id, "title": job.title, "locale": job.locale}
    delivery = session.get(t.Delivery, job_id) if kind == "job.delivered" else None
    if delivery is not None:
        told |= {"take": delivery.take_id, "url": delivery.url, "sha256": delivery.sha256, "files": delivery.files}
    return told


def wait(attempt: int, asked: float = 0.0) -> float:
    """Seconds until a delivery is sent again that failed so many times: three times as long each time, a fifth more or less, and what the receiver asks for."""
    plain = min(FIRST_WAIT * TIMES ** min(attempt - 1, 20), LONGEST_WAIT)
    return max(plain * random.uniform(0.8, 1.2), min(asked, 3600.0))


def accepted(database: Database, sent: Claimed, seconds: float, status: int) -> None:
    """Record that a delivery was accepted."""
    with database.begin() as session:
        _attempt(session, sent, seconds, status, "")
        endpoint = update(e.WebhookEndpoint).where(e.WebhookEndpoint.id == sent.endpoint_id)  # the endpoint first, as everywhere
        session.execute(endpoint.values(failures=0, rest_until=None, accepted_at=func.now()))
        done = update(e.WebhookDelivery).where(e.WebhookDelivery.id == sent.delivery_id)
        session.execute(done.values(state="delivered", ended_at=func.now(), claimed_until=None))


def refused(database: Database, sent: Claimed, seconds: float, status: int | None, note: str, hours: float, asked: float = 0.0) -> str:
    """Record that a delivery was not accepted; returns its state: `pending`, or `given up` after so many hours, when the endpoint is disabled.

    An endpoint that accepted something since is not: it refuses this one alone. A receiver that says 410 wants no more.
    """
    with database.begin() as session:
        _attempt(session, sent, seconds, status, note)
        endpoint = session.execute(select(e.WebhookEndpoint).where(e.WebhookEndpoint.id == sent.endpoint_id).with_for_update(key_share=True)).scalar_one()
        row = session.execute(select(e.WebhookDelivery).where(e.WebhookDelivery.id == sent.delivery_id).with_for_update()).scalar_one()
        row.claimed_until = None
        endpoint.failures += 1
        pause = wait(sent.attempt, asked)
        row.next_at, endpoint.rest_until, late, now = session.execute(
            select(later(pause), later(min(wait(endpoint.failures), LONGEST_REST)), later(-hours * 3600), func.now()),
        ).one()
        if row.state != "pending" or (status != 410 and row.tried_since > late):
            return row.state
        row.state, row.ended_at = "given up", now
        if status == 410:
            endpoint.active, endpoint.note = False, "the receiver answered 410: it wants no more"
        elif endpoint.accepted_at is None or endpoint.accepted_at < row.tried_since:
            endpoint.active, endpoint.note = False, f"nothing was accepted for {hours:g} hours; the last answer: {note or status}"
        return row.state


def _attempt(session: Session, sent: Claimed, seconds: float, status: int | None, note: str) -> None:
    session.add(e.WebhookAttempt(delivery_id=sent.delivery_id, number=sent.attempt, seconds=round(seconds, 3), status=status, note=note[:300]))
