"""Seconds of work and of delivered video, by batch, locale, engine and machine: what costs are made of. Prices are db/prices.py's."""

from typing import Any

from sqlalchemy import Float, cast, func, or_, select

from db import tables as t
from db.queries import SHARED
from db.session import Database


def worked(database: Database, batch_ids: list[int]) -> list[dict[str, Any]]:
    """Rows of `batch`, `locale`, `engine`, `machine` (facts of infra/telemetry.py) and `seconds` of work.

    A take counts with all its stages; what a job's takes have in common (speech, faces, tracks, cast) counts with its first take alone.
    """
    stage = func.jsonb_each_text(t.Take.seconds).table_valued("key", "value").lateral()
    query = (
        select(t.Job.batch_id, t.Job.locale, t.Take.engine, t.Take.machine, func.sum(cast(stage.c.value, Float)))
        .select_from(t.Take)
        .join(t.Job, t.Job.id == t.Take.job_id)
        .join(stage, or_(stage.c.key.not_in(SHARED), t.Take.number == 1))
        .where(t.Job.batch_id.in_(batch_ids))
        .group_by(t.Job.batch_id, t.Job.locale, t.Take.engine, t.Take.machine)
    )
    with database.begin() as session:
        return [dict(zip(("batch", "locale", "engine", "machine", "seconds"), row, strict=True)) for row in session.execute(query)]


def delivered(database: Database, batch_ids: list[int]) -> list[dict[str, Any]]:
    """Rows of `batch`, `locale`, `engine` and `seconds` of delivered video."""
    frames, rate = cast(t.Take.parameters["frames"].astext, Float), func.coalesce(cast(t.Take.parameters["fps"].astext, Float), 25.0)
    query = (
        select(t.Job.batch_id, t.Job.locale, t.Take.engine, func.coalesce(func.sum(frames / rate), 0.0))
        .select_from(t.Delivery)
        .join(t.Take, t.Take.id == t.Delivery.take_id)
        .join(t.Job, t.Job.id == t.Delivery.job_id)
        .where(t.Job.batch_id.in_(batch_ids))
        .group_by(t.Job.batch_id, t.Job.locale, t.Take.engine)
    )
    with database.begin() as session:
        return [dict(zip(("batch", "locale", "engine", "seconds"), row, strict=True)) for row in session.execute(query)]
