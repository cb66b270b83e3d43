"""One job: its stages in order, each a Prefect task, then the ladder of takes. The order lives here, the work in tasks/."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from db import ledger
from db.session import Database
from infra.artifacts import Artifacts
from infra.errors import DatabaseUnavailable, InputError, StaleToken, StoreUnavailable, classify
from infra.settings import Settings
from tasks import progress
from tasks.stages import Take, Work, renewed

OUTAGES = (StoreUnavailable, DatabaseUnavailable)  # end by themselves: the job is tried again later
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
    ledger.renew(work.database, work.lease, work.settings.lease_seconds)
    limit = max(LEAST_LIMIT, LIMIT_RATE * work.spec.get("seconds", 0.0))
    made = task(
        name=name, task_run_name=f"{name} {work.name}", cache_policy=NO_CACHE, persist_result=False,
        retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=_transient, timeout_seconds=limit,
    )(call)  # fmt: skip
    made(work, *rest)


def run_job(database: Database, artifacts: Artifacts, settings: Settings, lease: ledger.Lease) -> str:
    """Take a leased job to its end: delivered, flagged or failed; `queued` where an outage cut it off. Its errors end here.

    Raises StaleToken when another worker holds it now or it was cancelled, DatabaseUnavailable when its end cannot be recorded.
    """
    name = f"{lease.title}/{lease.locale}"
    scratch = settings.cache / "work"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"job-{lease.job_id}-", dir=scratch) as folder, renewed(database, lease, settings.lease_seconds):
        work = Work(database, artifacts, settings, lease, Path(folder))
        try:
            state = _run(work)
        except (StaleToken, KeyboardInterrupt):
            raise
        except Exception as error:
            known = classify(error, name)
            if isinstance(known, OUTAGES):
                state = ledger.defer(database, lease, known.to_dict(), settings.max_outages, settings.backoff_seconds)
            else:
                ledger.finish(database, lease, "failed", known.to_dict() | _seen(work, known))
                state = "failed"
    progress.tell(name, "", state=state)
    return state


def _seen(work: Work, error: BaseException) -> dict[str, str]:
    """The picture that an input error carries, as an artifact for the report."""
    if not isinstance(error, InputError) or not error.picture:
        return {}
    return {"picture": work.artifacts.put(error.picture, "seen.png").sha256}


def _run(work: Work) -> str:
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
        _stage(work, "deliver", publish.deliver, take)
        return "delivered"
    _stage(work, "speech", prepare.speech)
    if "video" in work.inputs:
        _stage(work, "tracks", redub.track)
        _stage(work, "cast", redub.cast)
        making: list[tuple[str, Callable[..., None]]] = [("render", redub.render)]
    else:
        _stage(work, "faces", prepare.faces)
        making = [("motion", move), ("render", render)]
    for take in takes.recorded(work):
        if _ends(work, take):
            return "delivered"
    while (take := takes.next_take(work)) is not None:
        for name, call in making:
            _stage(work, name, call, take)
        if _ends(work, take):
            return "delivered"
    ledger.finish(work.database, work.lease, "flagged", publish.flagged(work))
    return "flagged"


def _ends(work: Work, take: Take) -> bool:
    """Judge a take that is rendered; whether it passed and the job is delivered."""
    from tasks import publish
    from tasks.judge import gate, score

    _stage(work, "score", score, take)
    _stage(work, "gate", gate, take)
    work.takes.append(take)
    if take.verdict.passed:
        _stage(work, "deliver", publish.deliver, take)
    return bool(take.verdict.passed)


def _refuse(work: Work) -> str:
    """A job that preflight found broken ends with the error that preflight named."""
    from tasks.faces import read_portrait

    fault = dict(work.spec["fault"])
    if "portrait" in work.inputs and fault["code"].startswith("input."):
        try:
            read_portrait(work.inputs["portrait"])
        except InputError as error:
            fault |= _seen(work, error)
    ledger.finish(work.database, work.lease, "failed", fault)
    return "failed"
