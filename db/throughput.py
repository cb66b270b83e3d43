"""What a batch's time went into: waiting, stages, orchestration, idle workers. From events and takes alone, in one query each."""

from typing import Any

from sqlalchemy import text

from db.session import Database

RENDERING = ("motion", "render", "score")  # stages that the networks work in
LOST = ("lease ran out", "released", "deferred", "queued again", "cancelled")  # ends of a lease whose work may be done again

# A job's leases, each until the job's next event of those that end one; one that has not ended lasts until now.
LEASES = """
WITH told AS (
    SELECT job_id, kind, at, detail->>'worker' AS worker, lead(kind) OVER job AS following, lead(at) OVER job AS until
    FROM events WHERE batch_id = :batch AND kind IN ('leased', 'delivered', 'flagged', 'failed', 'set aside', 'lease ran out', 'released', 'deferred', 'queued again', 'cancelled')
    WINDOW job AS (PARTITION BY job_id ORDER BY id)
), held AS (
    SELECT job_id, worker, at, greatest(at, coalesce(until, now())) AS until, coalesce(following, '') AS following FROM told WHERE kind = 'leased'
)"""
WORKERS = """, busy AS (
    SELECT worker, range_agg(tstzrange(at, until)) AS spans, extract(epoch FROM max(until) - min(at)) AS present FROM held GROUP BY worker
)
SELECT count(*), coalesce(sum(present), 0),
    coalesce(sum((SELECT sum(extract(epoch FROM upper(span) - lower(span))) FROM unnest(spans) span)), 0),
    (SELECT coalesce(sum(extract(epoch FROM until - at)), 0) FROM held WHERE following <> ALL(:lost)),
    (SELECT coalesce(sum(extract(epoch FROM until - at)), 0) FROM held WHERE following = ANY(:lost))
FROM busy"""
QUEUE = """, first AS (SELECT job_id, min(at) AS at FROM held GROUP BY job_id)
SELECT percentile_cont(ARRAY[0.5, 0.95, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM first.at - batches.created_at)) FROM first, batches WHERE batches.id = :batch"""
STAGES = """
WITH told AS (
    SELECT kind, at, detail, lead(kind) OVER job AS following, lead(at) OVER job AS until FROM events WHERE batch_id = :batch AND kind IN ('leased', 'take', 'judged anew', 'delivered')
    WINDOW job AS (PARTITION BY job_id ORDER BY id)
)
SELECT stage.key, sum(stage.value::float) FROM told CROSS JOIN LATERAL jsonb_each_text(CASE jsonb_typeof(detail->'spent') WHEN 'object' THEN detail->'spent' ELSE '{}' END) stage
WHERE kind = 'take' GROUP BY stage.key
UNION ALL SELECT 'deliver', sum(extract(epoch FROM until - at)) FROM told WHERE kind IN ('take', 'judged anew') AND following = 'delivered' HAVING count(*) > 0"""


def throughput(database: Database, batch_id: int) -> dict[str, Any] | None:
    """A batch's time so far; None before its first lease.

    queue_seconds: from submission to a job's first lease: `p50`, `p95`, `most`. workers: processes that held jobs; worker_seconds: from each one's
    first lease to its last end. stage_seconds: of stages that were really run, delivery included. Shares of worker_seconds: `rendering` (motion, render
    and score: on a machine with a GPU an upper bound of the time that it is busy) and `idle` (no job held). Shares of the time that jobs were held:
    `orchestration` (no stage at work) and `lost` (cut off: its work may have been done again).
    """
    asked = {"batch": batch_id}
    with database.begin() as session:
        count, present, leased, kept, lost = session.execute(text(LEASES + WORKERS), {**asked, "lost": list(LOST)}).one()
        if not count:
            return None
        queue = session.execute(text(LEASES + QUEUE), asked).scalar_one()
        stages = {name: round(float(seconds), 3) for name, seconds in session.execute(text(STAGES), asked)}
    work, rendering = sum(stages.values()), sum(stages.get(name, 0.0) for name in RENDERING)
    kept, lost, present = float(kept), float(lost), float(present)
    return {
        "queue_seconds": dict(zip(("p50", "p95", "most"), (round(float(value), 2) for value in queue), strict=True)),
        "workers": count, "worker_seconds": round(present, 2), "leased_seconds": round(float(leased), 2), "stage_seconds": dict(sorted(stages.items(), key=lambda row: -row[1])),
        "rendering": _share(rendering, present), "idle": _share(present - float(leased), present),
        "orchestration": _share(kept - work, kept), "lost": _share(lost, kept + lost),
    }  # fmt: skip


def _share(part: float, whole: float) -> float | None:
    return round(min(1.0, max(0.0, part / whole)), 4) if whole > 0 else None


def throughput_words(told: dict[str, Any] | None) -> str:
    """The same in a line; nothing where nothing was worked on yet."""
    if not told:
        return ""
    named = [f"{told[name]:.1%} {name}" for name in ("rendering", "orchestration", "idle", "lost") if told[name] is not None and (told[name] or name != "lost")]
    whole = sum(told["stage_seconds"].values())
    stages = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in told["stage_seconds"].items() if whole and seconds / whole >= 0.01)
    queue = told["queue_seconds"]
    return f"{told['workers']} worker(s): {', '.join(named)}; in the queue {queue['p50']:.0f} s (95 %: {queue['p95']:.0f} s); stages: {stages or 'none yet'}"
