"""The queue of flagged takes: what waits, in the order of urgency; who holds what; views and notes.

Urgency is counted in hours: those a take has waited, one for each point of priority (job and batch together), and 24 times the share by which
it is below what passes. Waiting adds the same to all, so the order is stored (`queue.urgency`, without the time of reading) and indexed.
"""

import time
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, delete, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import tables as t
from db import tables_desk as d
from db.accounts import Person
from db.session import Database
from infra.errors import DeskError

KINDS = {  # why a take was flagged, as migration 0006 finds them
    "sync": "lips and speech",
    "mouth": "the mouth",
    "identity": "the person's looks",
    "picture": "the picture",
    "speech": "words not heard",
    "face": "who speaks",
    "unscorable": "could not be scored",
    "person": "a reviewer's wish",
}
CLAIM = timedelta(minutes=5)  # without a heartbeat
PAGE, MOST = 50, 10_000  # rows of a page; beyond so many nothing is counted


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; empty is all.

    speaker: the picture or video that a job was made from. says: a speaker of its script. hours: that a take has waited at least.
    held: `free`, `mine`, or of anybody.
    """

    batch: str = ""
    locale: str = ""
    engine: str = ""
    kind: str = ""
    speaker: str = ""
    says: str = ""
    hours: str = ""
    held: str = ""

    def to_dict(self) -> dict[str, str]:
        """Those that are set."""
        return {name: value for name, value in asdict(self).items() if value}

    def without(self, name: str) -> "Filters":
        """The same with one of them open."""
        return replace(self, **{name: ""})


def _narrowed(query: Select[Any], wanted: Filters, person: Person) -> Select[Any]:
    row = d.Waiting
    for name, column in (("locale", row.locale), ("engine", row.engine), ("speaker", row.speaker)):
        if value := getattr(wanted, name):
            query = query.where(column == value)
    if wanted.batch:
        query = query.where(row.batch_id == (int(wanted.batch) if wanted.batch.isdigit() else -1))
    if wanted.kind:
        query = query.where(row.kinds.contains([wanted.kind]))
    if wanted.says:
        query = query.where(row.speakers.contains([wanted.says]))
    if wanted.hours.isdigit():
        query = query.where(row.flagged_at <= func.now() - timedelta(hours=min(int(wanted.hours), 100_000)))
    held = select(d.Claim.job_id).where(d.Claim.job_id == row.job_id, d.Claim.expires_at > func.now())
    if wanted.held == "mine":
        query = query.where(held.where(d.Claim.account_id == person.id).exists())
    if wanted.held == "free":
        query = query.where(~held.exists())
    return query


def listed(database: Database, wanted: Filters, person: Person, after: tuple[float, int] | None = None, limit: int = PAGE) -> list[dict[str, Any]]:
    """A page of the queue, the most urgent first; `after` is the (urgency, job) of the last row before it."""
    row = d.Waiting
    query = _narrowed(select(row), wanted, person)
    if after:
        query = query.where(tuple_(row.urgency, row.job_id) < tuple_(literal(after[0]), literal(after[1])))
    page = query.order_by(row.urgency.desc(), row.job_id.desc()).limit(limit).subquery()
    more = (
        select(
            page, t.Job.title, t.Batch.name.label("batch"), t.Take.number, t.Take.video, t.Verdict.verdict, t.Verdict.reasons, d.Account.name.label("holder"),
            d.Claim.account_id.label("held_by"), d.Pending.due_at, d.Pending.decision, func.extract("epoch", func.now()).label("now"),
        )
        .join(t.Job, t.Job.id == page.c.job_id).join(t.Batch, t.Batch.id == page.c.batch_id).join(t.Take, t.Take.id == page.c.take_id)
        .join(t.Verdict, t.Verdict.take_id == page.c.take_id)
        .outerjoin(d.Claim, (d.Claim.job_id == page.c.job_id) & (d.Claim.expires_at > func.now()))
        .outerjoin(d.Account, d.Account.id == d.Claim.account_id).outerjoin(d.Pending, d.Pending.job_id == page.c.job_id)
        .order_by(page.c.urgency.desc(), page.c.job_id.desc())
    )  # fmt: skip
    with database.begin() as session:
        found = [dict(row._mapping) for row in session.execute(more)]
    return [one | {"hours": one["urgency"] + float(one["now"]) / 3600} for one in found]


def counted(database: Database, wanted: Filters, person: Person) -> int:
    """How many rows a list has, up to MOST."""
    part = _narrowed(select(literal(1)).select_from(d.Waiting), wanted, person).limit(MOST).subquery()
    with database.begin() as session:
        return session.execute(select(func.count()).select_from(part)).scalar_one()


class Facets:
    """How many takes wait by batch, locale, engine, speaker and kind. Counting 100,000 takes half a second, so it is done once in `seconds`, whoever asks."""

    def __init__(self, database: Database, seconds: float = 20.0) -> None:
        self.database, self.seconds = database, seconds
        self.at, self.kept = float("-inf"), dict[str, list[tuple[str, str, int]]]()

    def found(self) -> dict[str, list[tuple[str, str, int]]]:
        """By filter, (value, words, takes) each."""
        if time.monotonic() - self.at > self.seconds:
            self.at, self.kept = time.monotonic(), self._count()
        return self.kept

    def _count(self) -> dict[str, list[tuple[str, str, int]]]:
        row = d.Waiting
        with self.database.begin() as session:
            found = {
                name: [(value, value, count) for value, count in session.execute(select(column, func.count()).group_by(column).order_by(func.count().desc()).limit(200)).tuples() if value]
                for name, column in (("locale", row.locale), ("engine", row.engine), ("speaker", row.speaker))
            }
            for name, column in (("kind", row.kinds), ("says", row.speakers)):
                each = select(func.unnest(column).label("one")).subquery()
                counts = session.execute(select(each.c.one, func.count()).group_by(each.c.one).order_by(func.count().desc()).limit(200)).tuples()
                found[name] = [(value, KINDS.get(value, value) if name == "kind" else value, count) for value, count in counts]
            of_batch = select(row.batch_id, func.count().label("count")).group_by(row.batch_id).order_by(row.batch_id.desc()).limit(200).subquery()
            batches = session.execute(select(t.Batch.id, t.Batch.name, of_batch.c.count).join(of_batch, of_batch.c.batch_id == t.Batch.id).order_by(t.Batch.id.desc()))
            found["batch"] = [(str(number), f"{number} {name}", count) for number, name, count in batches]
        return found


class Pulse:
    """Whether what the queue shows changed: a number in the database, asked for once a second however many readers ask.

    A change may be counted a moment before others see it, and claims run out in silence, so once a minute the stamp changes by itself.
    """

    def __init__(self, database: Database) -> None:
        self.database, self.at, self.kept = database, float("-inf"), ""

    def now(self) -> str:
        """A stamp that is another one when something happened."""
        if time.monotonic() - self.at > 1.0:
            with self.database.begin() as session:
                count = session.execute(text("SELECT last_value FROM desk_changes")).scalar_one()
            self.at = time.monotonic()
            self.kept = f"{count}.{int(self.at // 60)}"
        return self.kept


def next_job(database: Database, wanted: Filters, person: Person) -> int | None:
    """The take to look at next: the most urgent that nobody holds and that is not decided."""
    row = d.Waiting
    query = _narrowed(select(row.take_id), replace(wanted, held="free"), person).where(~select(d.Pending.job_id).where(d.Pending.job_id == row.job_id).exists())
    with database.begin() as session:
        return session.execute(query.order_by(row.urgency.desc(), row.job_id.desc()).limit(1)).scalar_one_or_none()


def claim(database: Database, job_id: int, person: Person) -> dict[str, Any] | None:
    """Hold a flagged job, or hold on to it; who holds it and until when, which may be somebody else. None for a job that does not wait for anybody."""
    with database.begin() as session:
        if session.get(d.Waiting, job_id) is None:
            return None
        claim_in(session, job_id, person)
        return _holder(session, job_id, person)


def claim_in(session: Session, job_id: int, person: Person) -> bool:
    """Hold a job in a transaction; False where somebody else does."""
    until = session.execute(select(func.now() + CLAIM)).scalar_one()
    row = insert(d.Claim).values(job_id=job_id, account_id=person.id, expires_at=until)
    free = (d.Claim.expires_at <= func.now()) | (d.Claim.account_id == person.id)
    was = session.execute(select(d.Claim.account_id, d.Claim.expires_at > func.now()).where(d.Claim.job_id == job_id)).one_or_none()
    fresh = was is None or tuple(was) != (person.id, True)
    taken = row.on_conflict_do_update(index_elements=["job_id"], set_={"account_id": person.id, "expires_at": until}, where=free)
    held = session.execute(taken.returning(d.Claim.account_id)).scalar_one_or_none() is not None
    if held and fresh:
        session.add(d.Audit(actor=person.name, action="claimed", detail={"job": job_id}))
    return held


def _holder(session: Session, job_id: int, person: Person) -> dict[str, Any] | None:
    query = select(d.Account.name, d.Claim.account_id, d.Claim.expires_at).join(d.Account, d.Account.id == d.Claim.account_id)
    found = session.execute(query.where(d.Claim.job_id == job_id, d.Claim.expires_at > func.now())).one_or_none()
    return None if found is None else {"name": found[0], "mine": found[1] == person.id, "expires_at": found[2]}


def holder(database: Database, job_id: int, person: Person) -> dict[str, Any] | None:
    """Who holds a job, or None."""
    with database.begin() as session:
        return _holder(session, job_id, person)


def let_go(database: Database, job_id: int, person: Person) -> None:
    """Give a job back that one holds; a decision of it that waits keeps it."""
    with database.begin() as session:
        gone = delete(d.Claim).where(d.Claim.job_id == job_id, d.Claim.account_id == person.id, ~select(d.Pending.job_id).where(d.Pending.job_id == job_id).exists())
        if session.execute(gone.returning(d.Claim.job_id)).first():
            session.add(d.Audit(actor=person.name, action="let go", detail={"job": job_id}))


def leave_note(database: Database, job_id: int, person: Person, given: str) -> None:
    """Leave words for whoever looks at a job next, as an event, too. Raises DeskError, desk.note, for none or too many."""
    words = given.strip()
    if not words or len(words) > 2000:
        raise DeskError(f"a note of {len(words)} characters", code="desk.note", next_step="Write 1 to 2000 characters.")
    with database.begin() as session:
        job = session.get(t.Job, job_id)
        if job is None:
            raise DeskError(f"there is no job {job_id}", code="desk.unknown", next_step="Open it from the queue.")
        session.add(d.Note(job_id=job_id, account_id=person.id, text=words))
        session.add(t.Event(batch_id=job.batch_id, job_id=job_id, kind="note", detail={"actor": person.name, "text": words}))


def notes(database: Database, job_id: int) -> list[dict[str, Any]]:
    """What was left at a job, in order."""
    query = select(d.Note.at, d.Account.name, d.Note.text).join(d.Account, d.Account.id == d.Note.account_id).where(d.Note.job_id == job_id).order_by(d.Note.id)
    with database.begin() as session:
        return [{"at": at, "actor": name, "text": words} for at, name, words in session.execute(query)]


def save_view(database: Database, person: Person, name: str, wanted: Filters) -> None:
    """Keep filters under a name; an empty set of filters forgets it. Raises DeskError, desk.view."""
    called = name.strip()[:60]
    if not called:
        raise DeskError("a view needs a name", code="desk.view", next_step="Write a name of 1 to 60 characters.")
    with database.begin() as session:
        if not wanted.to_dict():
            session.execute(delete(d.SavedView).where(d.SavedView.account_id == person.id, d.SavedView.name == called))
            return
        row = insert(d.SavedView).values(account_id=person.id, name=called, query=wanted.to_dict())
        session.execute(row.on_conflict_do_update(index_elements=["account_id", "name"], set_={"query": wanted.to_dict()}))


def views(database: Database, person: Person) -> list[tuple[str, Filters]]:
    """One's views by name."""
    with database.begin() as session:
        rows = session.execute(select(d.SavedView.name, d.SavedView.query).where(d.SavedView.account_id == person.id).order_by(d.SavedView.name))
        return [(name, Filters(**{key: str(value) for key, value in query.items() if key in Filters.__annotations__})) for name, query in rows]


def jobs_of(database: Database, take_ids: list[int]) -> list[int]:
    """The jobs of takes."""
    with database.begin() as session:
        return list(session.execute(select(t.Take.job_id).where(t.Take.id.in_(take_ids)).distinct()).scalars())
