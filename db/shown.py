"""What the desk's pages of a take and of a batch show, each in a few indexed queries."""

from typing import Any

from sqlalchemy import func, select

from db import queries, reviews
from db import tables as t
from db.session import Database


def take(database: Database, take_id: int) -> dict[str, Any] | None:
    """A take with its job, batch, all takes of the job and what was decided on them; None for one that is not there."""
    with database.begin() as session:
        found = session.execute(
            select(t.Job, t.Batch.name).join(t.Take, t.Take.job_id == t.Job.id).join(t.Batch, t.Batch.id == t.Job.batch_id).where(t.Take.id == take_id)
        ).one_or_none()
        if found is None:
            return None
        job, batch = found
        url = session.execute(select(t.Delivery.url).where(t.Delivery.job_id == job.id)).scalar_one_or_none()
    takes = queries.takes_of(database, job.id)
    return {
        "job": job.id, "batch": job.batch_id, "batch_name": batch, "title": job.title, "locale": job.locale, "state": job.state, "error": job.error,
        "spec": job.spec, "url": url, "takes": takes, "take": next(row for row in takes if row["take"] == take_id),
        "reviews": list(reversed(reviews.of_job(database, job.id))),
    }  # fmt: skip


def windows(database: Database, take_id: int) -> list[tuple[int, int]]:
    """(first picture, last + 1) of a take's windows, in order."""
    with database.begin() as session:
        return list(session.execute(select(t.Window.first_frame, t.Window.last_frame).where(t.Window.take_id == take_id).order_by(t.Window.number)).tuples())


def made_from(database: Database, sha256: str) -> dict[str, tuple[str, str]]:
    """(hash, kind) of what an artifact was made from, by role."""
    query = select(t.Edge.role, t.Artifact.sha256, t.Artifact.kind).join(t.Artifact, t.Artifact.sha256 == t.Edge.source).where(t.Edge.sha256 == sha256)
    with database.begin() as session:
        return {role: (source, kind) for role, source, kind in session.execute(query)}


def batch(database: Database, batch_id: int) -> dict[str, Any] | None:
    """A batch: jobs by state, what failed by cause, its newest deliveries, seconds of work and of video; None for one that is not there."""
    of = t.Job.batch_id == batch_id
    with database.begin() as session:
        row = session.get(t.Batch, batch_id)
        if row is None:
            return None
        states = dict(session.execute(select(t.Job.state, func.count()).where(of).group_by(t.Job.state)).tuples().all())
        cause = t.Job.error["code"].astext
        causes = session.execute(
            select(t.Job.state, cause, func.count(), func.min(t.Job.error["message"].astext), func.min(t.Job.error["next_step"].astext))
            .where(of, t.Job.state.in_(("failed", "rejected", "cancelled", "flagged")), cause.is_not(None)).group_by(t.Job.state, cause).order_by(func.count().desc()).limit(50)
        ).all()  # fmt: skip
        done = session.execute(
            select(t.Job.title, t.Job.locale, t.Delivery.url, t.Delivery.sha256, t.Delivery.created_at, t.Delivery.take_id)
            .join(t.Delivery, t.Delivery.job_id == t.Job.id).where(of).order_by(t.Delivery.created_at.desc()).limit(50)
        ).all()  # fmt: skip
        return {
            "batch": batch_id, "name": row.name, "output": row.output, "created_at": row.created_at, "control": row.control, "priority": row.priority, "states": states,
            "causes": [dict(zip(("state", "code", "count", "message", "next_step"), cells, strict=True)) for cells in causes],
            "delivered": [dict(zip(("title", "locale", "url", "sha256", "at", "take"), cells, strict=True)) for cells in done],
        }  # fmt: skip


def figures(database: Database) -> dict[str, Any]:
    """Verdicts of takes, and seconds that decisions took, by locale and by engine; decisions by day."""
    with database.begin() as session:
        counts = session.execute(
            select(t.Job.locale, t.Take.engine, t.Verdict.verdict, func.count())
            .join(t.Take, t.Take.id == t.Verdict.take_id).join(t.Job, t.Job.id == t.Take.job_id).group_by(t.Job.locale, t.Take.engine, t.Verdict.verdict)
        ).all()  # fmt: skip
        middle = func.percentile_cont(0.5).within_group(t.Review.seconds)
        took = select(t.Review).where(t.Review.seconds.is_not(None)).subquery()
        timed = {
            name: [
                (value, float(seconds), count)
                for value, seconds, count in session.execute(
                    select(column, func.percentile_cont(0.5).within_group(took.c.seconds), func.count())
                    .select_from(took).join(t.Take, t.Take.id == took.c.take_id).join(t.Job, t.Job.id == t.Take.job_id).group_by(column).order_by(column)
                )
            ]
            for name, column in (("locale", t.Job.locale), ("engine", t.Take.engine))
        }  # fmt: skip
        whole = session.execute(select(middle, func.count()).where(t.Review.seconds.is_not(None))).one()
        day = func.date_trunc("day", t.Review.at, "UTC")
        days = session.execute(select(day, t.Review.decision, func.count()).where(t.Review.at > func.now() - func.make_interval(0, 0, 0, 30)).group_by(day, t.Review.decision).order_by(day)).all()
    return {
        "takes": [{"locale": locale, "engine": engine, "verdict": verdict, "count": count} for locale, engine, verdict, count in counts],
        "seconds": timed | {"all": None if whole[0] is None else float(whole[0]), "decisions": whole[1]},
        "days": [{"day": at.date().isoformat(), "decision": decision, "count": count} for at, decision, count in days],
    }
