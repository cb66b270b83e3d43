"""A shard: some jobs of a batch, one at a time, by whoever runs this flow. Engine and scorer stay loaded between jobs.

While a job is rendered, the last one's files go to the output and the next one's inputs come into the cache. The next job is leased only once the
engine is free; the last one stays leased, and its lease renewed, until it is delivered.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from prefect import flow

from db import ledger, queries
from db.session import Database, open_database
from db.workers import me
from flows import observed, reports, shown
from flows.job import run_job
from flows.pool import pooled, slot
from infra.artifacts import Artifacts, open_artifacts
from infra.errors import StaleToken
from infra.memory import one_heap
from infra.settings import Settings, get_settings


@flow(name="dubwright-shard", flow_run_name="batch {batch_id}: {first}", persist_result=False, validate_parameters=True)
def shard(batch_id: int, jobs: list[int], first: str = "") -> dict[str, int]:
    """Work on those of the jobs that wait; returns how many ended in which state. Jobs that others hold are left to them.

    `lost`: somebody else holds the job now, or it was cancelled. Paused and draining batches end the shard after its job.
    """
    one_heap()
    settings = get_settings()
    observed.ready(settings, pooled())
    database, artifacts = open_database(settings), open_artifacts(settings)
    ended: dict[str, str] = {}
    try:
        with slot(), Beside(settings.overlap) as beside:
            while held := ledger.lease(database, batch_id, me(), settings.lease_seconds, settings.max_attempts, jobs, settings.backoff_seconds):
                beside.fetch(lambda: _ahead(database, artifacts, batch_id, jobs))
                _work(database, artifacts, settings, held, beside, ended)
        if pooled():
            reports.overdue(database, settings, batch_id)
    finally:
        database.close()
    shown.shard(batch_id, ended)
    return {state: list(ended.values()).count(state) for state in ended.values()}


class Beside:
    """What is done while a job is rendered: at most one delivery and one fetch at a time. `on`: False does both where they are asked for, or not at all."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._delivering, self._fetching = ThreadPoolExecutor(1, "deliver"), ThreadPoolExecutor(1, "fetch")
        self._last: Future[None] | None = None

    def __enter__(self) -> "Beside":
        """Waits for the last delivery at the end of the block, and raises what it raised."""
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)
        self._delivering.shutdown()
        if kind is None:
            self._settle()

    def deliver(self, call: Callable[[], None]) -> None:
        """Make a delivery beside what comes next, once the one before has ended. Raises what that one raised."""
        try:
            self._settle()
        finally:  # the job at hand is rendered: its delivery does not hang on another's
            self._last = self._delivering.submit(copy_context().run, call)
            if not self.on:
                self._settle()

    def fetch(self, call: Callable[[], None]) -> None:
        """Bring inputs into the cache; whatever keeps it from that, the job's own stage will tell."""
        if self.on:
            self._fetching.submit(call)

    def _settle(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()


def _ahead(database: Database, artifacts: Artifacts, batch_id: int, jobs: list[int]) -> None:
    from tasks.ingest import warm

    warm(artifacts, queries.next_inputs(database, batch_id, jobs))


def _work(database: Database, artifacts: Artifacts, settings: Settings, held: ledger.Lease, beside: Beside, ended: dict[str, str]) -> None:
    """Take a job as far as its delivery, which enters how it ended into `ended` later; every other end is entered now."""
    name = f"{held.title}/{held.locale}"

    def guarded(call: Callable[[], str]) -> None:
        try:
            state = call()
        except StaleToken:
            state = "lost"
        except BaseException:
            _give_back(database, held)
            raise
        if state != "delivering":
            ended[name] = state

    def deliver(call: Callable[[], str]) -> None:
        handed.append(lambda: guarded(call))

    handed: list[Callable[[], None]] = []
    guarded(lambda: run_job(database, artifacts, settings, held, deliver))
    for call in handed:
        beside.deliver(call)


def _give_back(database: Database, held: ledger.Lease) -> None:
    try:
        ledger.release(database, held)
    except Exception:  # noqa: S110 (what ended the shard is raised; the lease runs out by itself)
        pass
