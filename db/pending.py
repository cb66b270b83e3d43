"""Decisions that can be taken back: one waits some seconds in a row of its own, and only then becomes a review that nobody can change.

The wait is the database's: what was decided before a server stopped is recorded by the next one that runs.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db import reviews
from db import tables as t
from db import tables_desk as d
from db.accounts import Person
from db.desk import claim_in
from db.session import Database
from infra.errors import DeskError, LedgerError

UNDO = timedelta(seconds=10)


@dataclass(frozen=True)
class Wanted:
    """A decision on a take. changes: what another take is to be rendered with (db/reviews.py, CHANGES). seconds: that it took."""

    decision: str
    reason: str = ""
    note: str = ""
    changes: dict[str, Any] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Held:
    """Decisions that were made together: their bundle, how many, when they become reviews; jobs that somebody else holds are left out."""

    bundle: str
    decided: int
    due_at: datetime | None
    left: int


def decide(database: Database, take_ids: Sequence[int], wanted: Wanted, person: Person, wait: timedelta = UNDO) -> Held:
    """Decide on takes of flagged jobs that nobody else holds, each a job's only decision.

    Raises LedgerError for a decision that cannot be (db/reviews.py), and DeskError, desk.held or desk.decided, where it is about one take
    and that is not possible.
    """
    if wanted.decision not in t.DECISIONS:
        raise DeskError(f"there is no decision {wanted.decision[:20]!r}", code="desk.decision", next_step="Approve, reject, or ask for another take.")
    reviews.check(wanted.decision, person.name, wanted.reason)
    bundle, decided = secrets.token_hex(8), 0
    with database.begin() as session:
        due = session.execute(select(func.now() + wait)).scalar_one()
        for take_id in dict.fromkeys(take_ids):
            problem = _hold(session, take_id, wanted, person, bundle, due)
            if problem is None:
                decided += 1
            elif len(take_ids) == 1:
                raise problem
    return Held(bundle, decided, due if decided else None, len(set(take_ids)) - decided)


def _hold(session: Session, take_id: int, wanted: Wanted, person: Person, bundle: str, due: datetime) -> DeskError | None:
    take = session.get(t.Take, take_id)
    if take is None:
        return DeskError(f"there is no take {take_id}", code="desk.unknown", next_step="Open it from the queue.")
    job = session.execute(select(t.Job).where(t.Job.id == take.job_id).with_for_update()).scalar_one()
    if session.get(d.Pending, job.id) is not None:
        return DeskError(f"{job.title}/{job.locale} has just been decided on", code="desk.decided", next_step="Look again in a few seconds.")
    if job.state != "flagged":
        return DeskError(f"{job.title}/{job.locale} is {job.state}", code="desk.closed", next_step=reviews.STEPS.get(job.state, "It has ended."))
    if not claim_in(session, job.id, person):
        name = session.execute(select(d.Account.name).join(d.Claim, d.Claim.account_id == d.Account.id).where(d.Claim.job_id == job.id)).scalar_one()
        return DeskError(f"{name} is working on {job.title}/{job.locale}", code="desk.held", next_step="Take the next one, or wait until it is given back.")
    session.add(
        d.Pending(
            job_id=job.id, take_id=take_id, account_id=person.id, decision=wanted.decision, reason=wanted.reason, note=wanted.note[:2000],
            changes=wanted.changes or {}, seconds=wanted.seconds, bundle=bundle, due_at=due,
        )
    )  # fmt: skip
    session.flush()
    return None


def undo(database: Database, bundle: str, person: Person) -> list[int]:
    """Take back one's decisions of a bundle that have not become reviews; the takes that they were on."""
    with database.begin() as session:
        gone = delete(d.Pending).where(d.Pending.bundle == bundle, d.Pending.account_id == person.id).returning(d.Pending.take_id)
        found = list(session.execute(gone).scalars())
        if found:
            session.add(d.Audit(actor=person.name, action="took back", detail={"takes": found}))
        return found


def of_person(database: Database, person: Person) -> list[dict[str, Any]]:
    """One's decisions that can still be taken back, by bundle: how many, what, until when."""
    columns = (d.Pending.bundle, d.Pending.decision, func.count(), func.max(d.Pending.due_at), func.min(d.Pending.take_id))
    query = select(*columns).where(d.Pending.account_id == person.id, d.Pending.due_at > func.now()).group_by(d.Pending.bundle, d.Pending.decision)
    with database.begin() as session:
        return [dict(zip(("bundle", "decision", "count", "due_at", "take"), row, strict=True)) for row in session.execute(query.order_by(func.max(d.Pending.due_at)))]


def of_job(database: Database, job_id: int) -> dict[str, Any] | None:
    """The decision on a job that can still be taken back, and whose it is."""
    query = select(d.Pending, d.Account.name).join(d.Account, d.Account.id == d.Pending.account_id).where(d.Pending.job_id == job_id)
    with database.begin() as session:
        found = session.execute(query).one_or_none()
        return None if found is None else {"bundle": found[0].bundle, "decision": found[0].decision, "take": found[0].take_id, "due_at": found[0].due_at, "actor": found[1]}


def settle(database: Database) -> list[reviews.Reviewed]:
    """Make reviews of all decisions whose time to be taken back is over. Safe to call from several processes at once."""
    made: list[reviews.Reviewed] = []
    while True:
        with database.begin() as session:
            due = select(d.Pending).where(d.Pending.due_at <= func.now()).order_by(d.Pending.due_at).limit(1).with_for_update(skip_locked=True)
            row = session.execute(due).scalar_one_or_none()
            if row is None:
                return made
            found = _settled(session, row)
        made += [found] if found else []


def _settled(session: Session, row: d.Pending) -> reviews.Reviewed | None:
    name = session.execute(select(d.Account.name).where(d.Account.id == row.account_id)).scalar_one()
    session.execute(delete(d.Pending).where(d.Pending.job_id == row.job_id))
    try:
        return reviews.record_in(session, row.take_id, row.decision, name, row.reason, row.note, row.changes, row.seconds)
    except LedgerError as error:  # the job was cancelled or queued by somebody else meanwhile
        session.add(d.Audit(actor=name, action="decision lapsed", detail={"take": row.take_id, "decision": row.decision, "why": error.message}))
        return None
