"""A real small run as it is seen from outside: logs, traces, metrics; no secret in anything that is left of it, and nothing reached beyond this machine."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from sqlalchemy import text

import servers
from db import queries, tokens
from db.base import Base
from db.lineage import lineage
from db.session import Database
from flow_cases import allow, command, environment, new_home, settings_of, write_manifest
from observed_cases import Collector, collector, read, values

PASSWORD, NOTIFY = "plantedpassword77", "json://ops:plantedhook88@127.0.0.1:9/hook"
SEALING, OIDC = "cGxhbnRlZC13ZWJob29rLWtleS0zMi1ieXRlcy0xMjM=", "plantedopenid99"
PLANTED = (PASSWORD, "plantedhook88", servers.KEYS["AWS_SECRET_ACCESS_KEY"], SEALING, OIDC)
# Python reads it at its start, the Prefect server's process and every other child alike: what is asked for beyond loopback is written down and refused.
GUARD = """
import os, socket
HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
def told(what, to):
    with open(os.environ["REACHED"], "a") as file:
        file.write(f"{what} {to}\\n")
    raise OSError(101, "Network is unreachable")
def guarded(name):
    real = getattr(socket.socket, name)
    def call(self, *given):
        to = given[-1]
        if self.family != socket.AF_UNIX and isinstance(to, tuple) and to[0] not in HERE:
            told(name, to)
        return real(self, *given)
    setattr(socket.socket, name, call)
for name in ("connect", "connect_ex", "sendto"):
    guarded(name)
look = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: look(host, *rest, **more) if host in HERE or isinstance(host, bytes) and host in (b"localhost", b"127.0.0.1") else told("look up", host)
"""


@dataclass
class Seen:
    """What was seen of a run: its lines on standard error, its result, its spans, its last page of metrics, and its rows. left: all that it left, by what it is."""

    lines: list[str]
    told: dict[str, Any]
    collector: Collector
    metrics: dict[Any, float]
    rows: dict[str, Any]
    tree: dict[str, Any]
    traces: dict[int, str]
    left: dict[str, bytes]
    reached: str


def left_of(home: Path, database: Database, told: dict[str, Any], heard: Collector, page: str, known: dict[str, str]) -> dict[str, bytes]:
    """Every row of the ledger, Prefect's own files (parameters, results, states), reports, sidecars, metrics, spans, and what the API answers."""
    from fastapi.testclient import TestClient

    from api.app import create_api

    found = {"result": json.dumps(told).encode(), "metrics": page.encode(), "spans": json.dumps([heard.spans, heard.resources]).encode()}
    with database.begin() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(text(f"SELECT to_jsonb(r)::text FROM {table.name} r")).scalars().all()
            found[f"rows of {table.name}"] = "\n".join(rows).encode()
    for folder in (home / "prefect", home / "logs", home / "reports", Path(told["report"]).parent):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".mp4":
                found[f"file {path.name}"] = path.read_bytes()
    secret, _ = tokens.create(database, "test", "ana", ["read", "operate", "review"])
    batch = told["batch"]
    with TestClient(create_api(database, settings_of(home, **known)), headers={"Authorization": f"Bearer {secret}"}) as client:
        for path in ("/v1/batches", f"/v1/batches/{batch}", f"/v1/batches/{batch}/deliveries", "/v1/jobs", "/v1/jobs/1", "/v1/jobs/2", "/v1/service", "/v1/reviews", "/v1/nothing", "/openapi.json"):
            found[f"answer of {path}"] = client.get(path).content
    return found


@pytest.fixture(name="seen", scope="module")
def seen_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One job that is rendered and one that fails, with a database that has a password, artifacts in a bucket, everything logged, everything sent."""
    from infra.postgres import embedded_url

    folder, port = tmp_path_factory.mktemp("seen"), servers.free_port()
    path = write_manifest(folder, [{"title": "one", "text": "Hello."}, {"title": "two", "text": "Hello.", "portrait": "gone.png"}], batch="seen")
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    (folder / "reached").touch()
    with new_home() as home, servers.moto() as s3, collector() as heard:
        os.environ.update(servers.KEYS)
        boto3.client("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(Bucket="artifacts")
        url = embedded_url(home).replace("postgres:@", f"postgres:{PASSWORD}@")
        more = {"DUBWRIGHT_NOTIFY": NOTIFY, "DUBWRIGHT_DATABASE_URL": url, "DUBWRIGHT_WEBHOOK_KEY": SEALING, "DUBWRIGHT_OIDC_CLIENT_SECRET": OIDC}
        more |= {"DUBWRIGHT_STORE_URL": "s3://artifacts", "DUBWRIGHT_S3_ENDPOINT_URL": s3}
        allow(settings_of(home, **more), path)
        known = environment(
            home, PYTHONPATH=str(folder / "guard"), REACHED=str(folder / "reached"), DUBWRIGHT_LOG="debug", DUBWRIGHT_LOG_FORMAT="json", DUBWRIGHT_METRICS_PORT=str(port), DUBWRIGHT_MAX_TAKES="1",
            **more, OTEL_EXPORTER_OTLP_ENDPOINT=heard.url, **servers.KEYS,
        )  # fmt: skip
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command("run", str(path), "--json"), env=known, stdout=subprocess.PIPE, stderr=log, text=True)
            page: dict[Any, float] = {}
            deadline = time.monotonic() + 1200
            while process.poll() is None:
                page = read(f"http://127.0.0.1:{port}/metrics") or page
                time.sleep(0.2)
                if time.monotonic() > deadline:
                    process.kill()
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        database = Database(url)
        rows = queries.report(database, told["batch"])
        tree, traces = lineage(database, rows["jobs"][0]["takes"][0]["video"]), queries.traces(database, told["batch"])
        raw = "\n".join(f"{name} {value}" for name, value in page.items())
        left = left_of(home, database, told, heard, raw, more)
        database.close()
        assert tree is not None
        yield Seen((folder / "log").read_text().splitlines(), told, heard, page, rows, tree, traces, left, (folder / "reached").read_text())


def test_every_line_is_json_that_says_what_was_worked_on_and_holds_no_secret(seen: Seen) -> None:
    assert not [line for line in seen.lines if not line.startswith("{")]
    records = [json.loads(line) for line in seen.lines]
    ours = [row for row in records if row["logger"].startswith("flows.observed")]
    rendered = next(row for row in ours if row.get("stage") == "render")
    assert {"time", "level", "message", "batch", "job", "take", "worker", "trace_id", "span_id"} <= rendered.keys()
    assert (rendered["batch"], rendered["job"], rendered["take"]) == (seen.told["batch"], "one/en-US", 1)
    assert {row["job"] for row in ours if row["message"].startswith("the job is")} == {"one/en-US", "two/en-US"}
    assert len(records) > 50 and {row["level"] for row in records} >= {"DEBUG", "INFO"}  # others' records, too
    for secret in PLANTED:
        assert not [line for line in seen.lines if secret in line]


def test_no_secret_is_left_anywhere(seen: Seen) -> None:
    """Rows, Prefect's database, reports, metrics, spans, answers of the API: the secrets that the run was given are in none of them."""
    kinds = {name.split(" ")[0] for name in seen.left}
    assert kinds == {"result", "metrics", "spans", "rows", "file", "answer"} and sum(map(len, seen.left.values())) > 100_000
    assert b"one" in seen.left["rows of jobs"] and any(".db" in name and b"render one/en-US" in data for name, data in seen.left.items()), sorted(seen.left)
    forms = {form.encode() for secret in PLANTED for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("="))}
    assert {(name, form) for name, data in seen.left.items() for form in forms if form in data} == set()


def test_nothing_is_reached_beyond_this_machine(seen: Seen, tmp_path: Path) -> None:
    """P16, of a whole run: engine, ledger, store, Prefect's server and all that they started."""
    assert seen.told["counts"] and seen.rows["jobs"][0]["takes"] and seen.reached == ""
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    told = tmp_path / "reached"
    surroundings = os.environ | {"PYTHONPATH": str(tmp_path), "REACHED": str(told)}
    subprocess.run([sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 2)"], env=surroundings, capture_output=True, check=False)
    assert "192.0.2.1" in told.read_text()  # the guard sees what there is


def test_one_trace_a_job_with_takes_and_stages_under_it(seen: Seen) -> None:
    jobs = {values(span)["title"]: span for span in seen.collector.named("job")}
    assert jobs.keys() == {"one", "two"} and jobs["one"]["traceId"] != jobs["two"]["traceId"]
    assert not any(span.get("parentSpanId") for span in jobs.values())
    mine = [span for span in seen.collector.spans if span["traceId"] == jobs["one"]["traceId"]]
    parents = {span["name"]: span.get("parentSpanId") for span in mine}
    take = next(span for span in mine if span["name"] == "take")
    assert {name for name, parent in parents.items() if parent == jobs["one"]["spanId"]} == {"ingest", "consent", "speech", "faces", "take"}
    assert {name for name, parent in parents.items() if parent == take["spanId"]} >= {"motion", "render", "score", "gate"}
    row = seen.rows["jobs"][0]
    told = values(take)
    assert told["engine"] == "avct" and told["verdict"] == row["takes"][0]["verdict"] and told["take"] == row["takes"][0]["take"]
    assert told["frames"] == row["takes"][0]["parameters"]["frames"] and told["bytes"] > 1000
    assert values(jobs["one"])["batch"] == seen.told["batch"] and values(jobs["one"])["state"] == row["state"]
    assert values(jobs["two"])["error"] == "store.missing" and jobs["two"]["status"]["code"] in (2, "STATUS_CODE_ERROR")
    assert all(int(span["endTimeUnixNano"]) > int(span["startTimeUnixNano"]) for span in mine)
    assert seen.collector.resources[0]["service.name"] == "dubwright"


def test_the_ledger_names_the_trace(seen: Seen) -> None:
    spans = {values(span)["title"]: span["traceId"] for span in seen.collector.named("job")}
    assert {job["title"]: seen.traces[job["job"]] for job in seen.rows["jobs"]} == spans
    assert seen.tree["takes"][0]["trace_id"] == spans["one"] and spans["one"] in Path(seen.told["report"]).read_text()


def test_a_run_counts_what_it_does(seen: Seen) -> None:
    found = seen.metrics
    takes = seen.rows["jobs"][0]["takes"]
    assert found[("dubwright_takes_total", (("engine", "avct"), ("verdict", takes[0]["verdict"])))] == 1
    assert found[("dubwright_frames_total", (("engine", "avct"),))] == takes[0]["parameters"]["frames"]
    assert found[("dubwright_stage_seconds_count", (("engine", "avct"), ("stage", "render")))] == 1
    assert found[("dubwright_stage_ends_total", (("end", "made"), ("stage", "render")))] == 1
    assert abs(found[("dubwright_stage_seconds_sum", (("engine", "avct"), ("stage", "render")))] - takes[0]["seconds"]["render"]) < 2.0
    assert ("dubwright_jobs_running", ()) in found
