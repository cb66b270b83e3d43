"""Answers that are kept for a day, so that a request that is sent again under its key is done once (draft-ietf-httpapi-idempotency-key-header)."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from db import tables_events as e
from db.session import Database
from db.workers import later
from infra.errors import LedgerError

KEPT = text("interval '24 hours'")
HELD = 600.0  # seconds after which a request whose process died may be sent again


@dataclass(frozen=True)
class Kept:
    """An answer that was given before: status and body."""

    status: int
    answer: str


def begin(database: Database, token_id: int, key: str, fingerprint: str) -> Kept | None:
    """Begin a request under a key, or find the answer that it had. None: go on, then `keep` or `forget`.

    Raises LedgerError: idempotency.busy while the same request is under way, idempotency.other where the key was used for another request.
    """
    with database.begin() as session:
        session.execute(delete(e.KeptAnswer).where(e.KeptAnswer.began_at < func.now() - KEPT))
        fresh = {"token_id": token_id, "key": key, "fingerprint": fingerprint, "held_until": later(HELD)}
        if session.execute(insert(e.KeptAnswer).values(**fresh).on_conflict_do_nothing().returning(e.KeptAnswer.key)).first():
            return None
        row = session.execute(select(e.KeptAnswer).where(e.KeptAnswer.token_id == token_id, e.KeptAnswer.key == key).with_for_update()).scalar_one_or_none()
        if row is None or (row.status is None and row.fingerprint == fingerprint and row.held_until > session.execute(select(func.now())).scalar_one()):
            raise LedgerError("the same request is being worked on", code="idempotency.busy", next_step="Send it again in a second; the answer will be that of the first.")
        if row.fingerprint != fingerprint:
            raise LedgerError("this key was used for another request", code="idempotency.other", next_step="Use a new Idempotency-Key for every new request.")
        if row.status is None or row.answer is None:  # its process died
            row.held_until = session.execute(select(later(HELD))).scalar_one()
            return None
        return Kept(row.status, row.answer)


def keep(database: Database, token_id: int, key: str, kept: Kept) -> None:
    """Keep what was answered."""
    with database.begin() as session:
        mine = (e.KeptAnswer.token_id == token_id, e.KeptAnswer.key == key)
        session.execute(update(e.KeptAnswer).where(*mine).values(status=kept.status, answer=kept.answer))


def forget(database: Database, token_id: int, key: str) -> None:
    """Give a key back whose request did nothing."""
    with database.begin() as session:
        session.execute(delete(e.KeptAnswer).where(e.KeptAnswer.token_id == token_id, e.KeptAnswer.key == key, e.KeptAnswer.status.is_(None)))
