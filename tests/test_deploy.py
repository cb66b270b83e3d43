"""`dubwright deploy` and `dubwright worker` on a real Prefect server: registered once, scheduled, watched, swept."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flow_cases import ROOT, command, environment, new_home, run, write_manifest
from flows.workers import workers
from infra.errors import SetupError
from infra.settings import Settings
from observed_cases import collector, read, sender, values
from servers import free_port
from test_flows_pool import PATIENCE, served

NIGHT = {"DUBWRIGHT_NIGHTLY_MANIFEST": "s3://manifests/night.yaml", "DUBWRIGHT_NIGHTLY_CRON": "30 2 * * *", "DUBWRIGHT_NIGHTLY_ZONE": "Asia/Tokyo"}


@pytest.fixture(name="home", scope="module")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@pytest.fixture(name="prefect", scope="module")
def prefect_fixture(home: Path) -> Iterator[dict[str, str]]:
    with served(home) as known:
        yield known


@pytest.fixture(name="heard", scope="module")
def heard_fixture() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its Apprise URL and what it was told."""
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}/hook", told
    server.shutdown()


def ask(prefect: dict[str, str], path: str, body: dict[str, Any] | None = None) -> Any:
    url = f"{prefect['PREFECT_API_URL']}/{path}"
    asked = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise TimeoutError(what)


def registered(prefect: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What a server holds, by kind and name; the same name twice is an error."""
    found = {}
    for kind in ("work_pools", "deployments", "automations"):
        rows = ask(prefect, f"{kind}/filter", {})
        found[kind] = {row["name"]: row for row in rows}
        assert len(found[kind]) == len(rows) or kind == "deployments"  # the shard flow's are called as their pools
    return found


def deploy(home: Path, prefect: dict[str, str], *words: str, **more: str) -> dict[str, Any]:
    done = run("deploy", "--json", *words, home=home, **prefect, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_deploying_twice_registers_once_and_tells_of_failures(home: Path, prefect: dict[str, str], heard: tuple[str, list[dict[str, Any]]]) -> None:
    url, told = heard
    first = {row["name"]: row["done"] for row in deploy(home, prefect)["made"]}
    before = registered(prefect)
    assert before["work_pools"].keys() == {"cpu", "gpu"} and before["automations"].keys() == {"dubwright: no heartbeat"}
    assert before["deployments"].keys() == {"nightly", "on-demand", "sweep", "train", "calibrate", "cpu", "gpu"}
    assert not before["deployments"]["nightly"]["schedules"][0]["active"] and before["deployments"]["sweep"]["schedules"][0]["active"]
    assert first["cpu"] == "made" and first["dubwright-batch/nightly"] == "made" and first["dubwright-shards"] == "64"

    again = {row["name"]: row["done"] for row in deploy(home, prefect, DUBWRIGHT_NOTIFY=url, **NIGHT)["made"]}
    after = registered(prefect)
    assert again["cpu"] == "kept" and again["dubwright-batch/nightly"] == "renewed" and again["dubwright: no heartbeat"] == "renewed"
    assert {name: row["id"] for name, row in after["deployments"].items()} == {name: row["id"] for name, row in before["deployments"].items()}
    assert after["work_pools"]["cpu"]["id"] == before["work_pools"]["cpu"]["id"]
    assert after["automations"].keys() == {f"dubwright: {name}" for name in ("no heartbeat", "failed or crashed", "late", "overdue")}
    nightly = after["deployments"]["nightly"]
    assert nightly["parameters"]["manifest"] == NIGHT["DUBWRIGHT_NIGHTLY_MANIFEST"] and nightly["work_queue_name"] == "conduct"
    schedule = nightly["schedules"][0]
    assert schedule["active"] and schedule["schedule"]["cron"] == "30 2 * * *" and schedule["schedule"]["timezone"] == "Asia/Tokyo"
    asked = {"deployments": {"id": {"any_": [nightly["id"]]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    planned = until(lambda: ask(prefect, "flow_runs/filter", asked), "a scheduled night")
    assert all(run["expected_start_time"][11:16] == "17:30" for run in planned)  # 02:30 in Tokyo

    made = ask(prefect, f"deployments/{after['deployments']['on-demand']['id']}/create_flow_run", {"parameters": {"manifest": "nowhere.yaml"}, "name": "unlucky"})
    ask(prefect, f"flow_runs/{made['id']}/set_state", {"state": {"type": "FAILED", "name": "Failed", "message": "3 failed, 9 delivered"}, "force": True})
    note = until(lambda: told, "a notification")[0]
    assert "failed" in note["title"] and "unlucky" in note["message"] and "3 failed, 9 delivered" in note["message"]


def test_the_doctor_sees_what_is_missing_on_the_server_and_registers_it(home: Path, prefect: dict[str, str]) -> None:
    if "sweep" not in registered(prefect)["deployments"]:
        deploy(home, prefect)
    sweep = registered(prefect)["deployments"]["sweep"]["id"]
    gone = urllib.request.Request(f"{prefect['PREFECT_API_URL']}/deployments/{sweep}", method="DELETE")
    urllib.request.urlopen(gone, timeout=60).close()
    code = (
        "from flows.conductor import configure; from infra.settings import get_settings; configure(get_settings()); from flows import repair\n"
        "found = list(repair._prefect(get_settings())); print(found[0].what); print(found[0].mend()); print(list(repair._prefect(get_settings())))"
    )
    known = environment(home, **prefect, DUBWRIGHT_POOL_SHARDS="7")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=known, capture_output=True, text=True, timeout=PATIENCE, check=True)
    what, mended, left = done.stdout.splitlines()
    assert "deployment dubwright-sweep/sweep" in what and "limit dubwright-shards" in what and "pool" not in what
    assert "as they should be" in mended and left == "[]" and "sweep" in registered(prefect)["deployments"]


def test_a_worker_goes_on_with_a_batch_whose_sender_died(tmp_path: Path, home: Path, prefect: dict[str, str]) -> None:
    """And what it does is seen: on Prefect's page, in its metrics, its log and its spans, from the process of the shard; the batch gets its report."""
    from db import queries
    from db.session import open_database
    from db.workers import sent_to, unended
    from infra.artifacts import open_artifacts
    from tasks.manifest import load_manifest
    from tasks.plan import plan, submit

    settings = Settings(home=home)  # type: ignore[call-arg]
    database = open_database(settings)
    made = plan(load_manifest(write_manifest(tmp_path, [{"title": "lost", "text": "Hello.", "portrait": "gone.png"}])), database, settings)
    batch = submit(made, database, open_artifacts(settings)).batch_id
    assert unended(database) == {}  # nobody sent it to a pool: it is somebody's own
    sent_to(database, batch, "cpu")
    sender(database.engine.url.render_as_string(hide_password=False), batch)
    assert unended(database) == {batch: "cpu"}
    if "sweep" not in registered(prefect)["deployments"]:
        deploy(home, prefect)
    port = free_port()
    with (home / "worker.log").open("w") as log, collector() as heard:
        seen = {"DUBWRIGHT_METRICS_PORT": str(port), "DUBWRIGHT_LOG": "info", "DUBWRIGHT_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": heard.url}
        worker = subprocess.Popen(command("worker", "--pool", "cpu"), env=environment(home, **prefect, **seen), stdout=log, stderr=log)
        try:
            sweep = registered(prefect)["deployments"]["sweep"]["id"]
            ask(prefect, f"deployments/{sweep}/create_flow_run", {})
            until(lambda: set(queries.job_states(database, batch).values()) == {"failed"} or worker.poll() is not None, "the job's end")
            assert worker.poll() is None, (home / "worker.log").read_text()[-3000:]

            def kept(key: str) -> Any:
                return until(lambda: ask(prefect, "artifacts/filter", {"artifacts": {"key": {"any_": [f"dubwright-batch-{batch}{key}"]}}}), f"the artifact {key}")[0]

            assert json.loads(kept("-shard")["data"])[0].items() >= {"job": "lost/en-US", "state": "failed"}.items()
            page = tmp_path / "out" / "report-tiny.html"
            assert page.exists() and page.as_uri() in kept("-report")["data"]
            assert "store.missing" in kept("")["data"] and f"dubwright report {batch}" in kept("-summary")["data"]
            assert unended(database) == {}
            spans = until(lambda: heard.named("job") and heard.spans, "the shard's spans")
            root, stage = heard.named("job")[0], next(span for span in spans if span["name"] == "ingest")
            assert stage["parentSpanId"] == root["spanId"] and values(root)["error"] == "store.missing" and heard.resources[0]["process.pid"] != worker.pid
            assert set(queries.traces(database, batch).values()) == {root["traceId"]}
            found = read(f"http://127.0.0.1:{port}/metrics") or {}
            assert found[("dubwright_jobs_total", (("state", "failed"),))] == 1  # of a process that has ended or is about to
            assert found[("dubwright_workers", (("pool", "cpu"), ("state", "up")))] == 2 and not [name for name, _ in found if not name.startswith("dubwright_")]
            ended = [json.loads(line) for line in (home / "worker.log").read_text().splitlines() if '"the job is failed' in line]
            assert ended and ended[0]["job"] == "lost/en-US" and ended[0]["trace_id"] == root["traceId"]
        finally:
            worker.send_signal(signal.SIGTERM)
            code = worker.wait(60)
            database.close()
    assert code == 0


def test_deploy_says_what_is_missing(home: Path) -> None:
    cases = {"setup.prefect": {}, "settings.invalid": {"PREFECT_API_URL": "http://127.0.0.1:9/api", "DUBWRIGHT_NOTIFY": "no url"}}
    for code, more in cases.items():
        done = run("deploy", "--json", home=home, **more)
        assert done.returncode in (2, 4) and json.loads(done.stdout)["error"]["code"] == code
        assert "no url" not in done.stdout + done.stderr  # it may hold a password


def test_each_worker_has_one_gpu() -> None:
    two = workers("gpu", 0, ["0", "3"], health=8080)
    assert [worker.environment for worker in two] == [{"PREFECT_WORKER_QUERY_SECONDS": "5", "CUDA_VISIBLE_DEVICES": name, "PREFECT_WORKER_WEBSERVER_PORT": str(8080 + n)} for n, name in enumerate(("0", "3"))]
    assert all(worker.words[worker.words.index("--limit") + 1] == "1" for worker in two)
    with pytest.raises(SetupError, match="2 GPUs are here for 3 workers"):
        workers("gpu", 3, ["0", "3"])
    with pytest.raises(SetupError):
        workers("gpu", 0, [])
    waiting, *shards = workers("cpu", 2, ["0"])
    assert "conduct" in waiting.words and len(shards) == 2 and all(not worker.environment["CUDA_VISIBLE_DEVICES"] for worker in [waiting, *shards])


def test_a_worker_that_dies_is_started_again() -> None:
    from flows.workers import Worker

    worker = Worker("short", ["true"], {})
    worker.look()
    first = worker.process
    assert first is not None and first.wait(30) == 0
    worker.look()  # it is seen to be gone, and waited with
    assert worker.process is None
    worker.wait = 0.0
    worker.look()
    assert worker.process is not None and worker.process.pid != first.pid
    worker.process.wait(30)
