"""A shard: some jobs of a batch, one at a time, by whoever runs this flow. Engine and scorer stay loaded between jobs."""

from prefect import flow

from db import ledger
from db.session import Database, open_database
from db.workers import me
from flows import observed, reports, shown
from flows.job import run_job
from flows.pool import pooled, slot
from infra.artifacts import Artifacts, open_artifacts
from infra.errors import StaleToken
from infra.settings import Settings, get_settings


@flow(name="dubwright-shard", flow_run_name="batch {batch_id}: {first}", persist_result=False, validate_parameters=True)
def shard(batch_id: int, jobs: list[int], first: str = "") -> dict[str, int]:
    """Work on those of the jobs that wait; returns how many ended in which state. Jobs that others hold are left to them.

    `lost`: somebody else holds the job now, or it was cancelled. Paused and draining batches end the shard after its job.
    """
    settings = get_settings()
    observed.ready(settings, pooled())
    database, artifacts = open_database(settings), open_artifacts(settings)
    ended: dict[str, str] = {}
    try:
        with slot():
            while held := ledger.lease(database, batch_id, me(), settings.lease_seconds, settings.max_attempts, jobs, settings.backoff_seconds):
                ended[f"{held.title}/{held.locale}"] = _work(database, artifacts, settings, held)
        if pooled():
            reports.overdue(database, settings, batch_id)
    finally:
        database.close()
    shown.shard(batch_id, ended)
    return {state: list(ended.values()).count(state) for state in ended.values()}


def _work(database: Database, artifacts: Artifacts, settings: Settings, held: ledger.Lease) -> str:
    try:
        return run_job(database, artifacts, settings, held)
    except StaleToken:
        return "lost"
    except BaseException:
        _give_back(database, held)
        raise


def _give_back(database: Database, held: ledger.Lease) -> None:
    try:
        ledger.release(database, held)
    except Exception:  # noqa: S110 (what ended the shard is raised; the lease runs out by itself)
        pass
