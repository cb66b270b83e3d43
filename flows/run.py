"""From a manifest to a finished batch: plan, submit once, run what waits, write the report. What `run` and `demo` stand on."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from db import ledger, queries, reports
from db.lineage import lineage
from db.prices import costs_of
from db.session import Database, open_database
from db.throughput import throughput
from flows.conductor import OwnServer
from infra.artifacts import Artifacts, open_artifacts
from infra.errors import SetupError, StoreError
from infra.settings import Settings, get_settings
from infra.store import open_store
from tasks import progress
from tasks.deliver import slug
from tasks.doctor import ffmpeg_works
from tasks.manifest import Manifest
from tasks.plan import Plan, plan, submit


class Watcher(Protocol):
    """Who is told how a run goes."""

    def phase(self, text: str) -> None:
        """Something that takes a while begins."""

    def looked(self, done: int, total: int) -> None:
        """So many of the inputs have been looked at."""

    def planned(self, made: Plan) -> None:
        """The plan stands; its invalid jobs are known before anything is rendered."""

    def step(self, step: progress.Step) -> None:
        """A stage of a job in this process went on."""

    def states(self, states: dict[str, int]) -> None:
        """How many of the batch's jobs stand where."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: the plan, the batch's rows as a report shows them, how many takes were made now, where the report lies."""

    plan: Plan
    batch_id: int
    rows: dict[str, Any]
    rendered: int
    report: Path
    report_url: str  # of the copy beside deliveries in a bucket
    figures: dict[str, float] = field(default_factory=dict)


def run_manifest(manifest: Manifest, settings: Settings, watcher: Watcher, *, pool: str = "", retry: bool = False) -> Outcome:
    """Bring every job of a manifest to its end. Safe to repeat, to kill, and to run from several places at once.

    pool: name of a Prefect work pool that does the work; empty does it here. retry: flagged jobs are judged anew and cancelled ones made, too. Failed
    jobs of an earlier run always are tried again.
    """
    watcher.phase("starting the ledger")
    database, artifacts = open_database(settings), open_artifacts(settings)
    try:
        watcher.phase("looking at the inputs")
        made = plan(manifest, database, settings, watcher.looked)
        watcher.planned(made)
        watcher.phase("keeping the inputs")
        entered = submit(made, database, artifacts)
        if not entered.created:
            ledger.retry(database, entered.batch_id, ("failed", "flagged", "cancelled") if retry else ("failed",))
        reports.begun(database, entered.batch_id)
        rendered = _work(database, entered.batch_id, settings, watcher, pool)
        watcher.phase("writing the report")
        rows, report, url = finish(database, artifacts, settings, entered.batch_id)
        return Outcome(made, entered.batch_id, rows, rendered, report, url, figures_of(rows))
    finally:
        database.close()


def _work(database: Database, batch_id: int, settings: Settings, watcher: Watcher, pool: str) -> int:
    from flows import batch

    states = queries.state_counts(database, batch_id)
    watcher.states(states)
    if batch.ended(states):
        return 0
    before = queries.take_count(database, batch_id)
    if pool:
        batch.run_in_pool(database, batch_id, settings, pool, watcher.states)
        return queries.take_count(database, batch_id) - before
    ffmpeg_works()
    watcher.phase("loading the engine and starting the conductor")
    server = OwnServer(settings).start()
    _warm(_engines(database, batch_id))
    server.wait()
    with progress.listening(watcher.step):
        batch.run_here(database, batch_id, settings)
    return queries.take_count(database, batch_id) - before


def _engines(database: Database, batch_id: int) -> set[tuple[str, str]]:
    """What the batch's jobs that can work are rendered by first, as far as that is known before they start."""
    from tasks.ladder import DEFAULT_ORDER

    first = {video: DEFAULT_ORDER["video" if video else "portrait"][0] for video in (True, False)}
    return {(first[video] if name == "auto" else name, preset) for name, preset, video in queries.engines_asked(database, batch_id)}


def _warm(engines: set[tuple[str, str]]) -> None:
    """Import the heavy parts and load the weights while the server starts."""
    from tasks.engines import engine
    from tasks.score import SyncScorer

    for name, preset in engines:
        engine(name, preset)
    SyncScorer.load()


def report_path(rows: dict[str, Any], settings: Settings) -> Path:
    """Where a batch's report lies: beside the deliveries in a folder, or under the home folder for a bucket."""
    name = f"report-{slug(rows['name'])}.html"
    output = str(rows["output"])
    return settings.home / "reports" / f"{rows['batch']}-{name}" if output.startswith("s3://") else Path(output) / name


def finish(database: Database, artifacts: Artifacts, settings: Settings, batch_id: int) -> tuple[dict[str, Any], Path, str]:
    """Write a batch's report where it belongs and keep that it is written; its rows, its place, and the URL of its copy in a bucket."""
    as_of = reports.now(database)
    rows = queries.report(database, batch_id) | {"costs": costs_of(database, [batch_id], settings)}
    path = write(database, artifacts, rows, report_path(rows, settings))
    url = share(rows, path, settings)
    reports.written(database, batch_id, url or str(path), as_of)
    return rows, path, url


def share(rows: dict[str, Any], report: Path, settings: Settings) -> str:
    """Put the report beside deliveries that went to a bucket; its URL, or nothing where they lie in a folder, as the report does.

    A bucket that refuses it loses nothing: the report is in the home folder, and the log says so.
    """
    output = str(rows["output"])
    if not output.startswith("s3://"):
        return ""
    store, name = open_store(output, settings), f"report-{slug(rows['name'])}.html"
    try:
        store.put(name, report, content_type="text/html")
    except StoreError as error:
        logging.getLogger(__name__).warning("the report is not put at %s: %s", store.url(name), error)
        return ""
    return store.url(name)


def write(database: Database, artifacts: Artifacts, rows: dict[str, Any], path: Path) -> Path:
    """Write a batch's report with the lineage of its takes; the rows' jobs get the ids of their traces."""
    traces = queries.traces(database, rows["batch"])
    for job in rows["jobs"]:
        job["trace_id"] = traces.get(job["job"], "")
    from tasks.report import write_report

    videos = [take["video"] for job in rows["jobs"] for take in job["takes"]]
    trees = {video: tree for video in videos if (tree := lineage(database, video))}
    more = {"costs": costs_of(database, [rows["batch"]], get_settings()), "throughput": throughput(database, rows["batch"])}
    return write_report({**more, **rows}, artifacts, path, trees)


def figures_of(rows: dict[str, Any]) -> dict[str, float]:
    """`seconds_per_video_second`: all stages' seconds over seconds of video, of the takes after the batch's first (which loads)."""
    takes = sorted((take for job in rows["jobs"] for take in job["takes"]), key=lambda take: take["take"])[1:]
    frames = sum(take["parameters"].get("frames", 0) for take in takes)
    if not frames:
        return {}
    seconds = sum(sum(take["seconds"].values()) for take in takes)
    return {"seconds_per_video_second": round(seconds / (frames / 25), 3), "video_seconds": round(frames / 25, 2)}


def find(database: Database, batch: str) -> int:
    """A batch by number or name, or the newest. Raises SetupError when there is none."""
    found = queries.find_batch(database, batch)
    if found is None:
        raise SetupError(f"there is no batch {batch!r}" if batch else "there is no batch yet", code="batch.missing", next_step="`dubwright status` lists batches; `dubwright demo` makes one.")
    return found
