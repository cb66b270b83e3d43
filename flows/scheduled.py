"""What deployments start: a batch from its manifest, by night or on demand, and the sweep that goes on with batches whose sender died."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from db import workers
from db.session import open_database
from flows import observed, reports, shown
from flows.batch import send
from flows.pool import Pool, pooled
from flows.run import run_manifest
from infra.settings import get_settings
from tasks.manifest import load_manifest
from tasks.plan import Plan
from tasks.progress import Step


class Logged:
    """Watches a run that nobody looks at: what matters goes to the log."""

    def __init__(self) -> None:
        self.log = logging.getLogger(__name__)

    def phase(self, text: str) -> None:
        """Something that takes a while begins."""
        self.log.info(text)

    def looked(self, done: int, total: int) -> None:
        """Nothing to tell of a single input."""

    def planned(self, made: Plan) -> None:
        """Jobs that cannot work are told before anything is rendered."""
        for job in made.of("invalid"):
            self.log.warning("%s cannot be made: %s", job.name, job.error)

    def step(self, step: Step) -> None:
        """A job ended."""
        if step.state:
            self.log.info("%s %s", step.job, step.state)

    def states(self, states: dict[str, int]) -> None:
        """The ledger shows where jobs stand."""


@flow(name="dubwright-batch", flow_run_name="{manifest}", persist_result=False)
def batch(manifest: str, pool: str = "", output: str = "", name: str = "", retry: bool = False) -> State[Any]:
    """Bring every job of a manifest to its end on a work pool; no pool renders here. Ends as failed where a job failed, so that somebody is told.

    Delivered jobs are not made again, failed ones are tried again: the same manifest may come every night.
    """
    settings = get_settings()
    observed.ready(settings, pooled())
    settings.home.mkdir(parents=True, exist_ok=True)
    done = run_manifest(load_manifest(manifest, output=output, batch=name), settings, Logged(), pool=pool, retry=retry)
    shown.batch(done.rows, done.report_url or str(done.report))
    told, states = shown.summary(done.rows), {job["state"] for job in done.rows["jobs"]}
    if "failed" in states:
        return Failed(message=told)
    return Completed(message=told, name="Flagged" if "flagged" in states else None)


@flow(name="dubwright-sweep", flow_run_name="sweep", persist_result=False)
def sweep() -> State[Any]:
    """Send what waits of batches that were sent to a work pool and of which no shard is under way; how many shards, by batch.

    Leases that ran out count as waiting. A sender that is alive does the same; a shard that comes second finds nothing to lease. Batches that
    ended after their sender died get their reports, and where a job of such a batch failed this ends as failed: the sender can tell nobody.
    """
    settings = get_settings()
    observed.ready(settings, pooled())
    database = open_database(settings)
    sent: dict[int, int] = {}
    try:
        for batch_id, name in workers.unended(database).items():
            workers.reclaim(database, batch_id)
            with Pool(name, settings) as pool:
                if not workers.waiting(database, batch_id, most=1) or pool.unended(batch_id):
                    continue
                pool.connect()
                sent[batch_id] = send(database, batch_id, settings, pool)
        written = reports.overdue(database, settings)
    finally:
        database.close()
    told = "; ".join(f"{shown.summary(row['rows'])}: {row['report']}" for row in written)
    if any(job["state"] == "failed" for row in written for job in row["rows"]["jobs"]):
        return Failed(message=told)
    return Completed(message=told or None, data=sent)
