"""A batch through a real Prefect server and a process worker: `run --pool`, and what it says when they are not there."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flow_cases import ROOT, new_home, run, videos, write_manifest
from flows.conductor import QUIET

PREFECT = [sys.executable, "-m", "prefect"]
PATIENCE = 180  # seconds


@pytest.fixture(name="home")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@contextmanager
def served(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on SQLite while the block runs; the environment of its clients."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    clients = {"PREFECT_API_URL": api, "PREFECT_HOME": str(home / "prefect")}
    with (home / "prefect.log").open("w") as log:
        words = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        server = subprocess.Popen(words, env=known(home, clients), stdout=log, stderr=log)
        try:
            wait_for(f"{api}/health")
            yield clients
        finally:
            ended(server)


def known(home: Path, clients: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **QUIET, **clients, "DUBWRIGHT_HOME": str(home), "OMP_NUM_THREADS": "1"}


@pytest.fixture(name="prefect")
def prefect_fixture(home: Path) -> Iterator[dict[str, str]]:
    """A server with a process pool and a worker; yields the environment of its clients."""
    with served(home) as clients, (home / "worker.log").open("w") as log:
        environment = known(home, clients)
        subprocess.run([*PREFECT, "work-pool", "create", "cpu", "--type", "process"], env=environment, check=True, capture_output=True, timeout=PATIENCE)
        worker = subprocess.Popen([*PREFECT, "worker", "start", "--pool", "cpu", "--type", "process"], env=environment, stdout=log, stderr=log)
        try:
            yield clients
        finally:
            ended(worker)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; one that does not on a busy machine is killed."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(url)


def test_a_batch_goes_through_server_and_worker(tmp_path: Path, home: Path, prefect: dict[str, str]) -> None:
    jobs = [{"title": "one", "text": "Good morning to you."}, {"title": "two", "text": "Good evening.", "portrait": "gone.png"}]
    path = write_manifest(tmp_path, jobs, batch="pooled")
    missing = run("run", str(path), "--pool", "nowhere", "--json", home=home, **prefect)
    assert missing.returncode == 4 and json.loads(missing.stdout)["error"]["code"] == "setup.pool"
    done = run("run", str(path), "--pool", "cpu", "--json", home=home, **prefect)
    assert done.returncode in (0, 3), done.stderr + (home / "worker.log").read_text()[-3000:]
    told = json.loads(done.stdout)
    states = {job["title"]: job["state"] for job in told["jobs"]}
    assert states["one"] in ("delivered", "flagged") and states["two"] == "failed"
    assert told["rendered"] >= 1
    assert len(videos(tmp_path / "out")) == (states["one"] == "delivered")


def test_a_pool_without_a_server_is_told(tmp_path: Path, home: Path) -> None:
    path = write_manifest(tmp_path, [{"title": "one", "text": "Good morning."}])
    done = run("run", str(path), "--pool", "cpu", "--json", home=home)
    assert done.returncode == 4 and json.loads(done.stdout)["error"]["code"] == "setup.prefect"
    gone = run("run", str(path), "--pool", "cpu", "--json", home=home, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert gone.returncode == 4 and json.loads(gone.stdout)["error"]["code"] == "setup.prefect"


ORDERED = """
import json, os
from db import ledger
from db.ledger import JobSpec
from db.session import open_database
from flows.order import order
from infra.settings import get_settings
settings = get_settings()
database = open_database(settings)
batch = ledger.submit(database, "ordered", "ordered", "out", [JobSpec(f"k{n}", f"t{n}", "en-US", "avct", "compact", {"estimate": 1.0}) for n in range(3)]).batch_id
address = os.environ.pop("PREFECT_API_URL")
told = [order(database, batch, settings, "kept.json")]
os.environ["PREFECT_API_URL"] = address
told.append(order(database, batch, settings, "kept.json"))
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name="cpu", type="process"))
    told += [order(database, batch, settings) for _ in range(2)]
    print(json.dumps({"told": [vars(one) for one in told], "runs": len(client.read_flow_runs())}))
"""


def test_a_batch_that_is_ordered_goes_to_the_pool_once_and_without_one_waits(home: Path) -> None:
    with served(home) as clients:
        done = subprocess.run([sys.executable, "-c", ORDERED], cwd=ROOT, env=known(home, clients), capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    alone, missing, *sent = json.loads(done.stdout)["told"]
    assert not alone["started"] and "dubwright run kept.json" in alone["next_step"]
    assert not missing["started"] and "no work pool 'cpu'" in missing["next_step"] and "dubwright deploy" in missing["next_step"]
    assert [(one["started"], one["pool"]) for one in sent] == [(True, "cpu")] * 2 and json.loads(done.stdout)["runs"] == 1
