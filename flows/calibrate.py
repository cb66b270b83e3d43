"""Calibration: score held-out clips, keep the gate's thresholds. One task; the work is tasks/learn.py's."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from db.session import open_database
from flows.conductor import OwnServer
from infra.settings import Settings, get_settings
from tasks import learn
from tasks.gate import Thresholds


@flow(name="dubwright-calibrate", persist_result=False)
def calibrate(grid: Path, rate: float, ship: bool) -> Thresholds:
    """Thresholds of the shipped scorer from a corpus's held-out clips; the ledger keeps them."""
    database = open_database(get_settings())
    try:
        return task(name="calibrate", cache_policy=NO_CACHE, persist_result=False)(learn.calibrate_gate)(database, grid, rate, ship)
    finally:
        database.close()


def run_calibration(grid: Path, rate: float, ship: bool, settings: Settings) -> Thresholds:
    """The flow, with a server of its own where none is configured. Raises InputError where there are no clips, before anything starts."""
    learn.corpus_at(grid)
    OwnServer(settings).start().wait()
    return calibrate(grid, rate, ship)
