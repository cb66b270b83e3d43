"""Work that is ordered by those who do not do it: a batch that is in the ledger goes to the work pool, or waits for somebody to run it."""

import os
from dataclasses import dataclass

from db import workers
from db.operations import control_of
from db.session import Database
from infra.errors import SetupError
from infra.settings import Settings


@dataclass(frozen=True)
class Ordered:
    """Whether somebody works on a batch now, on which pool, and what to do next."""

    started: bool
    pool: str
    next_step: str


def order(database: Database, batch_id: int, settings: Settings, manifest: str = "") -> Ordered:
    """Send what waits of a batch to the work pool of the settings, where a Prefect server is named. Safe to repeat; the sweep sends what follows.

    manifest: a place from where `dubwright run` can read it. A pool that is missing, or a server that does not answer, is told and loses nothing.
    """
    if not workers.waiting(database, batch_id, most=1):
        return _not_now(database, batch_id)
    run = f"dubwright run {manifest}" if manifest else "dubwright run of its manifest"
    if not os.environ.get("PREFECT_API_URL"):
        return Ordered(False, "", f"No work pool is set up: it waits until an operator runs `{run}`.")
    from flows.conductor import configure

    configure(settings)
    try:
        return _send(database, batch_id, settings)
    except SetupError as error:
        return Ordered(False, "", f"It waits: {error.message}. {error.next_step} Then send it again, or run `{run}`.")


def _not_now(database: Database, batch_id: int) -> Ordered:
    control = control_of(database, batch_id)
    if workers.working(database, batch_id):
        return Ordered(True, "", "It is being worked on.")
    return Ordered(False, "", "Nothing waits: look at the batch's jobs." if control == "open" else f"It is {control}: resume it, or all batches.")


def _send(database: Database, batch_id: int, settings: Settings) -> Ordered:
    from flows.batch import send
    from flows.pool import Pool

    with Pool(settings.pool, settings) as pool:
        pool.connect()
        if not pool.unended(batch_id):
            workers.sent_to(database, batch_id, settings.pool)
            send(database, batch_id, settings, pool)
    return Ordered(True, settings.pool, "Ask for the batch's status, or have a webhook tell you.")
