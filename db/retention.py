"""Which artifacts nothing needs any more, and their removal in steps that a crash can repeat.

1. `mark`, one transaction: results that no root reaches are marked and their stage results forgotten, so that no job finds them any more. The windows
   of a render are marked as soon as the render is kept (`spend`).
2. `remove`: a marked artifact's object is deleted under a lock on its row, which then says that it is gone. Deleting twice does no harm.

Rows of artifacts and edges stay: lineage still tells what a take was made of. A job may have found a result just before it was marked, so
its object is left until every job that was under way then has ended; what such a job recorded in between unmarks it. A stage that makes
the same bytes again unmarks the row as well, under the same lock, and puts the object anew (tasks/stages.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from db import tables as t
from db.session import Database

# Roots: deliveries; inputs of all jobs; takes of jobs that have not ended or wait for a decision; videos that somebody decided on.
KEPT = """
WITH RECURSIVE kept(sha256) AS (
    SELECT sha256 FROM deliveries
    UNION SELECT i.value->>'sha256' FROM jobs j CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(j.spec->'inputs') WHEN 'object' THEN j.spec->'inputs' ELSE '{}' END) i
    UNION SELECT x.video FROM takes x JOIN jobs j ON j.id = x.job_id WHERE j.state IN ('queued', 'running', 'flagged')
    UNION SELECT video FROM reviews
    UNION SELECT e.source FROM edges e JOIN kept k ON e.sha256 = k.sha256
)"""
UNUSED = """
    a.marked_at IS NULL AND a.created_at < now() - make_interval(secs => :age)
    AND NOT EXISTS (SELECT 1 FROM kept k WHERE k.sha256 = a.sha256)
    AND NOT EXISTS (SELECT 1 FROM stage_results s WHERE s.sha256 = a.sha256 AND s.created_at >= now() - make_interval(secs => :age))
"""
AT_ONCE = 100  # objects removed in one transaction


def unused(database: Database, age: float) -> dict[str, Any]:
    """What `mark` would mark of artifacts older than `age` seconds: `artifacts`, `bytes`, and counts by `kinds`. Changes nothing."""
    with database.begin() as session:
        rows = session.execute(text(f"{KEPT} SELECT a.kind, count(*), sum(a.size) FROM artifacts a WHERE {UNUSED} GROUP BY a.kind ORDER BY a.kind"), {"age": age}).all()  # noqa: S608 (parts of this module)
    return {"artifacts": sum(row[1] for row in rows), "bytes": int(sum(row[2] for row in rows)), "kinds": {row[0]: row[1] for row in rows}}


def mark(database: Database, age: float) -> int:
    """Mark what nothing needs and forget the stages that made it; returns how many artifacts."""
    with database.begin() as session:
        found = session.execute(text(f"{KEPT} UPDATE artifacts a SET marked_at = now() WHERE {UNUSED} RETURNING a.sha256"), {"age": age}).scalars().all()  # noqa: S608 (parts of this module)
        session.execute(text("DELETE FROM stage_results s USING artifacts a WHERE a.sha256 = s.sha256 AND a.marked_at IS NOT NULL"))
        return len(found)


def spend(session: Session, hashes: Sequence[str]) -> None:
    """Mark what served to make a result that is kept now, and forget its stages, in the transaction that keeps the result."""
    if hashes:
        session.execute(update(t.Artifact).where(t.Artifact.sha256.in_(hashes), t.Artifact.marked_at.is_(None)).values(marked_at=func.now()))
        session.execute(delete(t.StageResult).where(t.StageResult.sha256.in_(hashes)))


def remove(database: Database, delete: Callable[[str, str], None]) -> dict[str, int]:
    """Remove the objects of marked artifacts by `delete(key, sha256)`; returns `removed`, `bytes`, `kept` (needed again) and `waiting`.

    `waiting`: marked while jobs that may have found them are still at work; a later call removes them.
    """
    done = {"removed": 0, "bytes": 0, "kept": _unmark(database), "waiting": 0}
    safe = t.Artifact.marked_at < func.coalesce(select(func.min(t.Job.updated_at)).where(t.Job.state == "running").scalar_subquery(), func.now())
    marked = t.Artifact.marked_at.is_not(None) & t.Artifact.gone_at.is_(None)
    while True:
        with database.begin() as session:
            query = select(t.Artifact).where(marked, safe).order_by(t.Artifact.sha256).limit(AT_ONCE).with_for_update(skip_locked=True)
            rows = session.execute(query).scalars().all()
            for row in rows:
                delete(row.key, row.sha256)
                row.gone_at = session.execute(select(func.now())).scalar_one()
                done["removed"], done["bytes"] = done["removed"] + 1, done["bytes"] + row.size
        if not rows:
            break
    with database.begin() as session:
        done["waiting"] = session.execute(select(func.count()).select_from(t.Artifact).where(marked)).scalar_one()
    return done


def _unmark(database: Database) -> int:
    """Keep what jobs that were under way have come to need since it was marked."""
    with database.begin() as session:
        back = f"{KEPT} UPDATE artifacts a SET marked_at = NULL FROM kept k WHERE k.sha256 = a.sha256 AND a.marked_at IS NOT NULL AND a.gone_at IS NULL AND a.erasure_id IS NULL RETURNING a.sha256"  # noqa: S608 (parts of this module)
        return len(session.execute(text(back)).scalars().all())
