"""What is seen of a job under way: its records' context, its spans, its counts. flows/job.py runs everything inside of these."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from db import ledger
from db.session import Database
from db.tables import TRACED
from db.workers import me
from infra import context, metrics, tracing
from infra.errors import StaleToken
from infra.settings import Settings
from tasks.stages import Made, Take, Work

NO_ENGINE = "none"  # of stages that all takes of a job share
log = logging.getLogger(__name__)
_READY: list[bool] = []  # whether this process is set up


def ready(settings: Settings, pooled: bool) -> None:
    """Set up what a process that runs shards is seen by, once: its page of metrics and, where Prefect started it (`pooled`), its logging."""
    if _READY:
        return
    _READY.append(True)
    if pooled:
        from infra.logs import quiet_native_code, set_up_logging

        if settings.log_format == "json":
            quiet_native_code(settings.home / "logs" / "native.log")
        set_up_logging(settings)
    from infra import metrics_page

    if metrics_page.FOLDER not in os.environ:  # else `dubwright worker` shows what this process counts
        metrics_page.serve(metrics.REGISTRY, settings)


class Job:
    """A job under way, as it is seen. `span` is the parent of its takes' and stages' spans."""

    def __init__(self, lease: ledger.Lease, span: tracing.Span) -> None:
        self.lease, self.span = lease, span
        self.state = "released"  # until it is said to have ended otherwise

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The block works on the job: on its making, or later and in another thread on its delivery."""
        with context.at(batch=self.lease.batch_id, job=f"{self.lease.title}/{self.lease.locale}", worker=me()), tracing.within(self.span):
            try:
                yield
            except StaleToken:
                self.state = "lost"
                metrics.lease_refused.inc()
                log.warning("the job was lost: somebody else holds it, or it was cancelled")
                raise

    def ended(self, state: str, error: Mapping[str, Any] | None) -> None:
        """How the job was put down, and the error that ended it or cut it off, as the ledger keeps it."""
        self.state, code = state, str((error or {}).get("code", ""))
        self.span.set(state=state, error=code or None)
        if error:
            self.span.fail(str(error.get("message", code)))
        if state != "queued":
            log.info("the job is %s%s", state, f" ({code})" if code else "")
            return
        metrics.outages.labels(code).inc()
        log.warning("an outage cut the job off (%s); it is tried again later", code)


@contextmanager
def job(database: Database, lease: ledger.Lease) -> Iterator[Job]:
    """A job from its lease to its end; what works on it is `inside`. One trace a job: a worker that takes it up again goes on with its first
    worker's. Raises StaleToken.
    """
    with tracing.ending(_root(database, lease)) as span:
        span.set(batch=lease.batch_id, job=lease.job_id, title=lease.title, locale=lease.locale, engine=lease.engine, preset=lease.preset, attempt=lease.attempts, worker=me())
        seen = Job(lease, span)
        metrics.running.inc()
        try:
            yield seen
        finally:
            metrics.running.dec()
            metrics.jobs.labels(seen.state).inc()


def _root(database: Database, lease: ledger.Lease) -> tracing.Span:
    """The job's span. The ledger keeps the ids of its first one, so that lineage, reports and later workers can name the trace."""
    mine = tracing.start("job")
    if not mine.trace_id:
        return mine
    kept = ledger.settle(database, lease, TRACED, {"trace_id": mine.trace_id, "span_id": mine.span_id})
    return mine if kept["span_id"] == mine.span_id else tracing.start("job", at=(kept["trace_id"], kept["span_id"]))


@contextmanager
def take(work: Work, take: Take) -> Iterator[None]:
    """The block makes or judges a take."""
    above, work.span = work.span, tracing.start("take", above=work.span)
    try:
        with context.at(take=take.number), tracing.inside(work.span) as span:
            span.set(number=take.number, engine=take.rung.engine, seed=take.seed, why=take.why, recorded=bool(take.take_id))
            yield
            span.set(verdict=take.verdict.verdict if take.verdict else None, take=take.take_id or None, **_sizes(take))
    finally:
        work.span = above


def _sizes(take: Take) -> dict[str, Any]:
    return {"frames": take.parameters.get("frames"), "windows": len(take.windows) or None, "bytes": _bytes(take.made.get("render"))}


def _bytes(made: Made | None) -> int | None:
    try:
        return made.path.stat().st_size if made else None
    except OSError:
        return None


def stage(name: str, call: Callable[..., None]) -> Callable[..., None]:
    """A stage's function, seen each time that it is tried."""
    tries = 0

    def run(work: Work, *rest: Any) -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            metrics.stage_retries.labels(name).inc()
        take: Take | None = rest[0] if rest else None
        engine = take.rung.engine if take else NO_ENGINE
        before, began = take.take_id if take else 0, time.perf_counter()
        end = "failed"
        with context.at(stage=name), tracing.inside(tracing.start(name, above=work.span)) as span:
            span.set(batch=work.lease.batch_id, engine=engine, tries=tries)
            try:
                call(work, *rest)
                made = (take.made if take else work.made).get(name)
                end = "kept" if made and not made.fresh else "made"
                span.set(kept=end == "kept", bytes=_bytes(made), seconds_of_speech=work.spec.get("seconds"), verdict=take.verdict.verdict if take and take.verdict else None)
            except StaleToken:
                end = "lost"
                raise
            finally:
                seconds = time.perf_counter() - began
                metrics.stage_seconds.labels(name, engine).observe(seconds)
                metrics.stage_ends.labels(name, end).inc()
                metrics.look_at_gpu()
                log.debug("%s: %s in %.2f s", name, end, seconds)
        if take:
            _counted(name, end, take, judged=not before)

    return run


def _counted(name: str, end: str, take: Take, judged: bool) -> None:
    engine = take.rung.engine
    if name == "render" and end == "made":
        metrics.windows.labels(engine).inc(len(take.windows))
        metrics.frames.labels(engine).inc(take.windows[-1][1] if take.windows else 0)
    if name == "gate" and judged:
        metrics.takes.labels(engine, take.verdict.verdict).inc()
