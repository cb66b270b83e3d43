"""A batch that lives in a bucket from end to end: manifest, portraits, scripts, recordings, artifacts and deliveries over HTTP."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

import servers
from flow_cases import HOPPER, ROOT, allow, new_home, run, settings_of
from infra.store import sha256_of

MANIFEST = """
batch: night
output: s3://deliveries/spring/
defaults: {portrait: ../portraits/hopper.jpg, locale: es-ES}
jobs:
  - {title: cue, script: scripts/cue.vtt}
  - {title: take, locale: en-GB, audio: s3://catalogue/takes/mission.flac, transcript: scripts/mission.txt}
  - {title: lost, script: scripts/none.txt}
"""


@pytest.fixture(name="bucket")
def bucket_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in servers.KEYS.items():
        monkeypatch.setenv(name, value)
    with servers.moto() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        for name in ("catalogue", "deliveries", "artifacts"):
            client.create_bucket(Bucket=name)
        given = {
            "night/batch.yaml": MANIFEST.encode(),
            "night/scripts/cue.vtt": b"WEBVTT\n\n00:00.500 --> 00:02.500\nBuenas noches.\n",
            "night/scripts/mission.txt": (ROOT / "demo" / "recordings" / "mission.en-GB.txt").read_bytes(),
            "portraits/hopper.jpg": HOPPER.read_bytes(),
            "takes/mission.flac": (ROOT / "demo" / "recordings" / "mission.en-GB.flac").read_bytes(),
        }
        for key, body in given.items():
            client.put_object(Bucket="catalogue", Key=key, Body=body)
        yield url


@pytest.fixture(name="home")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


def test_a_batch_in_a_bucket_from_manifest_to_delivery(bucket: str, home: Path, tmp_path: Path) -> None:
    there = {"DUBWRIGHT_S3_ENDPOINT_URL": bucket, "DUBWRIGHT_STORE_URL": "s3://artifacts/dubwright", **servers.KEYS}
    allow(settings_of(home), HOPPER, ROOT / "demo" / "recordings" / "mission.en-GB.flac")
    done = run("run", "s3://catalogue/night/batch.yaml", "--json", home=home, **there)
    assert done.returncode == 3, done.stderr[-2000:]  # one job is lost
    told = json.loads(done.stdout)
    jobs = {job["title"]: job for job in told["jobs"]}
    assert jobs["lost"]["state"] == "failed" and "none.txt" in jobs["lost"]["error"]["message"] and jobs["lost"]["error"]["next_step"]
    assert {jobs["cue"]["state"], jobs["take"]["state"]} <= {"delivered", "flagged"}
    client = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    keys = {row["Key"] for row in client.list_objects_v2(Bucket="deliveries").get("Contents", [])}
    assert told["report_url"] == "s3://deliveries/spring/report-night.html" and "spring/report-night.html" in keys
    for job in (jobs["cue"], jobs["take"]):
        name = f"spring/{job['title']}.{'es-ES' if job['title'] == 'cue' else 'en-GB'}"
        beside = {key for key in keys if key.startswith(name)}
        assert beside == ({f"{name}.{kind}" for kind in ("mp4", "vtt", "jpg", "json")} if job["state"] == "delivered" else set())
    delivered = [job for job in jobs.values() if job["state"] == "delivered"]
    assert delivered, jobs
    for job in delivered:
        client.download_file("deliveries", job["url"].removeprefix("s3://deliveries/"), str(tmp_path / "film.mp4"))
        assert sha256_of(tmp_path / "film.mp4") == job["sha256"]
    kept = {row["Key"].rpartition("/")[2] for row in client.list_objects_v2(Bucket="artifacts").get("Contents", [])}
    assert sha256_of(HOPPER) in kept and delivered[0]["sha256"] in kept
    tree = json.loads(run("lineage", delivered[0]["url"], "--json", home=home, **there).stdout)
    assert sha256_of(HOPPER) in json.dumps(tree)
    again = json.loads(run("run", "s3://catalogue/night/batch.yaml", "--json", home=home, **there).stdout)
    assert again["rendered"] == 0 and again["batch"] == told["batch"]


@pytest.mark.parametrize(
    ("place", "extra", "code"),
    [
        ("s3://catalogue/night/none.yaml", {}, "store.missing"),
        ("s3://nowhere/batch.yaml", {}, "store.missing"),
        ("s3://catalogue/night/batch.yaml", {"DUBWRIGHT_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "store.unavailable"),
        ("s3://catalogue/night/batch.yaml", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, "store.denied"),
    ],
)
def test_a_manifest_that_no_bucket_gives_is_told_plainly(bucket: str, home: Path, place: str, extra: dict[str, str], code: str) -> None:
    there = {"DUBWRIGHT_S3_ENDPOINT_URL": bucket, **servers.KEYS, **extra}
    assert os.environ.get("AWS_PROFILE") is None
    done = run("plan", place, "--json", home=home, **there)
    told = json.loads(done.stdout)
    assert done.returncode == (2 if code == "store.missing" else 4) and told["error"]["code"] == code and told["error"]["next_step"], (done.stdout, done.stderr)
    assert not (home / "postgres").exists()  # nothing was started for it
