"""A real small run as it is seen from outside: JSON logs without a secret in them, one trace a job, a page of metrics."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

import servers
from db import queries
from db.lineage import lineage
from db.session import Database
from flow_cases import command, environment, new_home, write_manifest
from observed_cases import Collector, collector, read, values

PASSWORD, NOTIFY = "plantedpassword77", "json://ops:plantedhook88@127.0.0.1:9/hook"
PLANTED = (PASSWORD, "plantedhook88", servers.KEYS["AWS_SECRET_ACCESS_KEY"])


@dataclass
class Seen:
    """What was seen of a run: its lines on standard error, its result, its spans, its last page of metrics, and its rows."""

    lines: list[str]
    told: dict[str, Any]
    collector: Collector
    metrics: dict[Any, float]
    rows: dict[str, Any]
    tree: dict[str, Any]
    traces: dict[int, str]


@pytest.fixture(name="seen", scope="module")
def seen_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One job that is rendered and one that fails, with a database that has a password, artifacts in a bucket, everything logged, everything sent."""
    from infra.postgres import embedded_url

    folder, port = tmp_path_factory.mktemp("seen"), servers.free_port()
    path = write_manifest(folder, [{"title": "one", "text": "Hello."}, {"title": "two", "text": "Hello.", "portrait": "gone.png"}], batch="seen")
    with new_home() as home, servers.moto() as s3, collector() as heard:
        os.environ.update(servers.KEYS)
        boto3.client("s3", endpoint_url=s3, region_name="us-east-1").create_bucket(Bucket="artifacts")
        url = embedded_url(home).replace("postgres:@", f"postgres:{PASSWORD}@")
        known = environment(
            home, DUBWRIGHT_LOG="debug", DUBWRIGHT_LOG_FORMAT="json", DUBWRIGHT_METRICS_PORT=str(port), DUBWRIGHT_MAX_TAKES="1", DUBWRIGHT_DATABASE_URL=url,
            DUBWRIGHT_STORE_URL="s3://artifacts", DUBWRIGHT_S3_ENDPOINT_URL=s3, DUBWRIGHT_NOTIFY=NOTIFY, OTEL_EXPORTER_OTLP_ENDPOINT=heard.url, **servers.KEYS,
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
        database.close()
        assert tree is not None
        yield Seen((folder / "log").read_text().splitlines(), told, heard, page, rows, tree, traces)


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


def test_one_trace_a_job_with_takes_and_stages_under_it(seen: Seen) -> None:
    jobs = {values(span)["title"]: span for span in seen.collector.named("job")}
    assert jobs.keys() == {"one", "two"} and jobs["one"]["traceId"] != jobs["two"]["traceId"]
    assert not any(span.get("parentSpanId") for span in jobs.values())
    mine = [span for span in seen.collector.spans if span["traceId"] == jobs["one"]["traceId"]]
    parents = {span["name"]: span.get("parentSpanId") for span in mine}
    take = next(span for span in mine if span["name"] == "take")
    assert {name for name, parent in parents.items() if parent == jobs["one"]["spanId"]} == {"ingest", "speech", "faces", "take"}
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
