"""One job: its stages in order, each a Prefect task, then the ladder of takes. The order lives here, the work in tasks/."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from db import ledger
from db.session import Database
from db.workers import OWNER, me
from flows import observed
from flows.conductor import away
from infra.artifacts import Artifacts
from infra.errors import (
    ConductorUnavailable,
    DatabaseUnavailable,
    DiskFull,
    InputError,
    StaleToken,
    StoreUnavailable,
    VoiceUnavailable,
    classify,
)
from infra.settings import Settings
from tasks import progress
from tasks.stages import Take, Work, renewed

OUTAGES = (StoreUnavailable, DatabaseUnavailable, ConductorUnavailable, DiskFull, VoiceUnavailable)  # end by themselves, or on another machine: the job is tried again later
Beside = Callable[[Callable[[], str]], None]
LEAST_LIMIT, LIMIT_RATE = 900, 60  # seconds that a stage may take: at least, and for a second of speech


def _transient(task: Any, run: Any, state: Any) -> bool:
    """Whether a stage failed by an outage, which the next try may not meet."""
    try:
        state.result()
    except OUTAGES:
        return True
    except Exception:
        return False
    return False


def _stage(work: Work, name: str, call: Callable[..., None], *rest: Any) -> None:
    """Run a stage as a Prefect task: tried again after an outage, ended when it hangs. Raises StaleToken before a job that is lost or cancelled."""
    work.hold()
    limit = max(LEAST_LIMIT, LIMIT_RATE * work.spec.get("seconds", 0.0))

    seen = observed.stage(name, call)

    def stage() -> None:  # without arguments: Prefect would walk through all that a take holds, for each stage again
        seen(work, *rest)

    stage.__qualname__ = name  # Prefect numbers the runs of a name, and a delivery may run beside the next job's stages
    task(
        name=name, task_run_name=f"{name} {work.name}", cache_policy=NO_CACHE, persist_result=False,
        retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=_transient, timeout_seconds=limit,
    )(stage)()  # fmt: skip


def run_job(database: Database, artifacts: Artifacts, settings: Settings, lease: ledger.Lease, beside: Beside | None = None) -> str:
    """Take a leased job to its end: delivered, flagged or failed; `queued` where an outage cut it off. Its errors end here.

    beside: is given the delivery of a take that passed, a call that returns the job's end, to be made while the next job is worked on; the lease
    is renewed until then, and `delivering` comes back. Raises StaleToken when another worker holds the job now or it was cancelled,
    DatabaseUnavailable when its end cannot be recorded.
    """
    work = Work(database, artifacts, settings, lease, settings.cache / "work")
    with ExitStack() as held:
        seen = held.enter_context(observed.job(database, lease))
        work.span = seen.span

        def make() -> str | Take:
            work.folder.mkdir(parents=True, exist_ok=True)
            work.folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=f"job-{lease.job_id}-", dir=work.folder)))
            (work.folder / OWNER).write_text(me())
            held.enter_context(renewed(database, lease, settings.lease_seconds))
            return _run(work)

        made = _ending(work, seen, make)
        if isinstance(made, str):
            return made
        take, kept = made, held.pop_all()

    def deliver() -> str:
        with kept:
            return str(_ending(work, seen, lambda: _delivered(work, take)))

    if beside is None:
        return deliver()
    beside(deliver)
    return "delivering"


def _ending(work: Work, seen: observed.Job, call: Callable[[], str | Take]) -> str | Take:
    """The job's end by a call, or by the error that it raises; a take that is to be delivered is no end."""
    fault = work.spec.get("fault")
    with seen.inside():
        try:
            made = call()
        except (StaleToken, KeyboardInterrupt):
            raise
        except Exception as error:
            known, lease, settings = away(error) or classify(error, work.name), work.lease, work.settings
            known.job, fault = known.job or work.name, known.to_dict()
            if isinstance(known, OUTAGES):
                made = ledger.defer(work.database, lease, fault, settings.max_outages, settings.backoff_seconds)
            else:
                ledger.finish(work.database, lease, "failed", fault | _seen(work.artifacts, known))
                made = "failed"
        if isinstance(made, str):
            seen.ended(made, fault if made in ("failed", "queued") else None)
            progress.tell(work.name, "", state=made)
    return made


def _delivered(work: Work, take: Take) -> str:
    from tasks import publish

    _stage(work, "deliver", publish.deliver, take)
    return "delivered"


def _seen(artifacts: Artifacts, error: BaseException) -> dict[str, str]:
    """The picture that an input error carries, as an artifact for the report."""
    if not isinstance(error, InputError) or not error.picture:
        return {}
    return {"picture": artifacts.put(error.picture, "seen.png").sha256}


def _run(work: Work) -> str | Take:
    """The take that is to be delivered, or the end of a job that has none."""
    from tasks import consent, prepare, publish, takes
    from tasks.dubbing import redub
    from tasks.ingest import ingest
    from tasks.motion import move
    from tasks.render import render

    _stage(work, "ingest", ingest)
    if work.spec.get("fault"):
        return _refuse(work)
    _stage(work, "consent", consent.check)
    if (take := takes.approved(work)) is not None:
        return take
    _stage(work, "speech", prepare.speech)
    if "video" in work.inputs:
        _stage(work, "tracks", redub.track)
        _stage(work, "cast", redub.cast)
        _stage(work, "consent", consent.faces)  # of whose lips they are
        making: list[tuple[str, Callable[..., None]]] = [("render", redub.render)]
    else:
        _stage(work, "faces", prepare.faces)
        making = [("motion", move), ("render", render)]
    for take in takes.recorded(work):
        with observed.take(work, take):
            if _passes(work, take):
                return take
    while (take := takes.next_take(work)) is not None:
        with observed.take(work, take):
            for name, call in making:
                _stage(work, name, call, take)
            if _passes(work, take):
                return take
    ledger.finish(work.database, work.lease, "flagged", publish.flagged(work))
    return "flagged"


def _passes(work: Work, take: Take) -> bool:
    """Judge a take that is rendered; whether it may be delivered."""
    from tasks.judge import gate, score

    _stage(work, "score", score, take)
    _stage(work, "gate", gate, take)
    work.takes.append(take)
    return bool(take.verdict.passed)


def _refuse(work: Work) -> str:
    """A job that preflight found broken ends with the error that preflight named."""
    from tasks.faces import read_portrait

    fault = dict(work.spec["fault"])
    if "portrait" in work.inputs and fault["code"].startswith("input."):
        try:
            read_portrait(work.inputs["portrait"])
        except InputError as error:
            fault |= _seen(work.artifacts, error)
    ledger.finish(work.database, work.lease, "failed", fault)
    return "failed"
