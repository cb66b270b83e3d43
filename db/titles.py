"""Titles: what a title was made from, its locales, its versions in time (a job each, with the take that counts and what was delivered), and how its words are said."""

import unicodedata
from typing import Any

from sqlalchemy import func, select

from db import tables as t
from db.session import Database

MOST = 100  # versions of a locale that are looked at


def locales(database: Database, title: str) -> dict[str, dict[str, int]]:
    """How many `versions` a title has in each of its locales, and how many `delivered`; empty for one that the ledger does not know."""
    delivered = func.count(t.Delivery.job_id)
    query = select(t.Job.locale, func.count(), delivered).outerjoin(t.Delivery, t.Delivery.job_id == t.Job.id).where(t.Job.title == title)
    with database.begin() as session:
        return {name: {"versions": count, "delivered": done} for name, count, done in session.execute(query.group_by(t.Job.locale).order_by(t.Job.locale))}


def versions(database: Database, title: str, locale: str = "", each: int = MOST) -> list[dict[str, Any]]:
    """The newest `each` jobs of a title in each locale, or in one, the oldest first.

    `number` counts them within their locale. `take` is the one that was delivered, else the newest; None before there is one.
    """
    count, newest = func.row_number().over(partition_by=t.Job.locale, order_by=t.Job.id), func.count().over(partition_by=t.Job.locale)
    known = select(t.Job.id, count.label("number"), (newest - count).label("later")).where(t.Job.title == title)
    part = (known.where(t.Job.locale == locale) if locale else known).subquery()
    query = (
        select(t.Job, t.Batch.name, t.Batch.created_at, part.c.number, t.Delivery)
        .join(part, part.c.id == t.Job.id).join(t.Batch, t.Batch.id == t.Job.batch_id).outerjoin(t.Delivery, t.Delivery.job_id == t.Job.id)
        .where(part.c.later < each).order_by(t.Job.locale, t.Job.id)
    )  # fmt: skip
    with database.begin() as session:
        rows = session.execute(query).tuples().all()
        jobs, delivered = [job.id for job, *_ in rows], [row.take_id for *_, row in rows if row]
        chosen = select(t.Take).where(t.Take.job_id.in_(jobs)).distinct(t.Take.job_id).order_by(t.Take.job_id, t.Take.id.in_(delivered).desc(), t.Take.number.desc())
        takes = {take.job_id: take for take in session.execute(chosen).scalars()}
        verdicts = {row.take_id: row for row in session.execute(select(t.Verdict).where(t.Verdict.take_id.in_([take.id for take in takes.values()]))).scalars()}
        spoken = select(t.Edge.sha256, t.Edge.source).where(t.Edge.sha256.in_([take.video for take in takes.values()]), t.Edge.role == "speech")
        speech = dict(session.execute(spoken).tuples().all())
        return [
            {
                "job": job.id, "batch": job.batch_id, "batch_name": name, "at": at, "locale": job.locale, "state": job.state, "number": number, "spec": job.spec,
                "take": _take(takes[job.id], verdicts.get(takes[job.id].id), speech) if job.id in takes else None,
                "delivered": {"url": done.url, "sha256": done.sha256, "at": done.created_at} if done else None,
            }
            for job, name, at, number, done in rows
        ]  # fmt: skip


def _take(take: t.Take, verdict: t.Verdict | None, speech: dict[str, str]) -> dict[str, Any]:
    told = take.parameters
    return {
        "take": take.id, "number": take.number, "engine": take.engine, "preset": take.preset, "video": take.video, "speech": speech.get(take.video),
        "voice": told.get("voice") or "", "code": take.code_version, "windows": told.get("windows"),
        "verdict": verdict.verdict if verdict else None, "confidence": verdict.confidence if verdict else None,
    }  # fmt: skip


def pronunciations(database: Database, title: str, locale: str) -> dict[str, dict[str, Any]]:
    """How reviewers said words of a title in a locale are said, by word: `ipa`, `actor`, `at`; the newest word of each counts, whatever job it was said of."""
    query = (
        select(t.Review.changes["lexicon"], t.Review.actor, t.Review.at)
        .join(t.Take, t.Take.id == t.Review.take_id).join(t.Job, t.Job.id == t.Take.job_id)
        .where(t.Job.title == title, t.Job.locale == locale, t.Review.changes.has_key("lexicon")).order_by(t.Review.id)
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    with database.begin() as session:
        for said, actor, at in session.execute(query):
            found |= {unicodedata.normalize("NFC", word): {"ipa": ipa.strip("/[]"), "actor": actor, "at": at} for word, ipa in said.items()}
    return dict(sorted(found.items()))


def lexicon_of(database: Database, title: str, locale: str) -> str:
    """The hash of the lexicon that the newest job of a title in a locale was given; empty where none was."""
    given = t.Job.spec["inputs"]["lexicon"]["sha256"].astext
    query = select(func.coalesce(given, "")).where(t.Job.title == title, t.Job.locale == locale).order_by(t.Job.id.desc()).limit(1)
    with database.begin() as session:
        return session.execute(query).scalar_one_or_none() or ""
