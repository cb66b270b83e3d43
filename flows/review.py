"""What a review sets going: an approved take is delivered, another take is rendered, each by the flow that renders every job."""

import getpass
from typing import Any

from db import queries, reviews
from db.session import open_database
from flows.conductor import OwnServer
from flows.run import Watcher, find, finish
from infra.artifacts import Artifacts, open_artifacts
from infra.errors import LedgerError, StoreError
from infra.settings import Settings
from tasks import ladder, progress

SHOWN = ("take", "number", "engine", "verdict", "reasons", "offset", "confidence", "video", "reviews")


def pending(batch: str, settings: Settings) -> dict[str, Any]:
    """A batch's flagged jobs, each with its takes, the best first, and where their videos lie. Raises SetupError for no such batch."""
    database, artifacts = open_database(settings), open_artifacts(settings)
    try:
        rows = queries.report(database, find(database, batch))
    finally:
        database.close()
    jobs = [job for job in rows["jobs"] if job["state"] == "flagged"]
    told = [
        {name: job[name] for name in ("job", "title", "locale", "state", "error")}
        | {"takes": [_shown(take, artifacts) for take in sorted(job["takes"], key=ladder.of_row, reverse=True)]}
        for job in jobs
    ]
    return {"batch": rows["batch"], "name": rows["name"], "jobs": told, "agreement": rows["agreement"]}


def _shown(take: dict[str, Any], artifacts: Artifacts) -> dict[str, Any]:
    try:
        path = str(artifacts.path(take["video"]))
    except StoreError:
        path = ""
    prominence = ((take.get("curve") or {}).get("extra") or {}).get("prominence")
    return {**{name: take.get(name) for name in SHOWN}, "prominence": prominence, "why": take["parameters"].get("why", ""), "path": path}


def decide(take: str, wanted: list[str], reason: str, note: str, by: str, settings: Settings, watcher: Watcher) -> dict[str, Any]:
    """Record one decision on a take and do at once what it asks for. Raises LedgerError where it cannot be recorded.

    A job that it queues is worked on here; if that is cut off, `dubwright run` of its manifest goes on.
    """
    if len(wanted) != 1 or not take.isdigit():
        raise LedgerError(f"a review decides once on one take, not {' and '.join(wanted)} on {take[:40]!r}", code="review.asked", next_step="`dubwright review BATCH` lists takes with their numbers; give one with --approve, --reject REASON or --again.")
    database = open_database(settings)
    try:
        made = reviews.record(database, int(take), wanted[0], by or getpass.getuser(), reason, note)
        if made.state == "queued":
            _begin(settings, watcher)
            _shard(made.batch, [made.job], f"review {made.review}", watcher)
        watcher.phase("writing the report")
        rows, report, shared = finish(database, open_artifacts(settings), settings, made.batch)
        job = next(job for job in rows["jobs"] if job["job"] == made.job)
        told = {"review": made.review, "take": made.take, "number": made.number, "name": made.name, "decision": wanted[0], "actor": by or getpass.getuser()}
        return told | {"state": job["state"], "url": (job["delivery"] or {}).get("url", ""), "error": job["error"], "report": shared or str(report)}
    finally:
        database.close()


def go_on(settings: Settings, watcher: Watcher) -> list[str]:
    """Work on jobs that decisions queued, batch by batch, until none is left; returns their names. What another worker holds is left to it."""
    database = open_database(settings)
    told: list[str] = []
    tried: set[int] = set()
    try:
        while waiting := {job: row for job, row in reviews.queued(database).items() if job not in tried}:
            batch_id = next(iter(waiting.values()))["batch"]
            mine = [job for job, row in waiting.items() if row["batch"] == batch_id]
            tried |= set(mine)
            if not told:
                _begin(settings, watcher)
            _shard(batch_id, mine, "decisions of the review desk", watcher)
            told += [waiting[job]["name"] for job in mine]
            finish(database, open_artifacts(settings), settings, batch_id)
    finally:
        database.close()
    return told


def _begin(settings: Settings, watcher: Watcher) -> None:
    watcher.phase("starting the conductor")
    OwnServer(settings).start().wait()


def _shard(batch_id: int, jobs: list[int], why: str, watcher: Watcher) -> None:
    from flows.shard import shard

    with progress.listening(watcher.step):
        shard(batch_id, jobs, why)
