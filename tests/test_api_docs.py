"""docs/api.md from top to bottom: its examples are sent as they stand, and between them its one short job is rendered into a bucket, told of by a webhook."""

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from standardwebhooks import Webhook

import servers
from api.sender import Sender
from api_cases import ALL, Receiver, client, serving
from db import tokens
from db.session import Database, open_database
from flow_cases import HOPPER, ROOT, allow, new_home
from infra.settings import Settings, get_settings
from infra.store import sha256_of

EXAMPLE = re.compile(r"```http\n(?P<line>\S+ \S+)\n(?P<headers>(?:[\w-]+: [^\n]*\n)*)\n?(?P<body>.*?)```\n\n```json (?P<status>\d+)\n(?P<answer>.*?)```", re.DOTALL)


@pytest.fixture(name="known")
def known_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a machine whose inputs, artifacts and deliveries lie in buckets."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with servers.moto() as store, new_home() as home:
        given = {**servers.KEYS, "DUBWRIGHT_HOME": str(home), "DUBWRIGHT_S3_ENDPOINT_URL": store, "DUBWRIGHT_STORE_URL": "s3://artifacts", "DUBWRIGHT_WEBHOOK_ALLOW": "127.0.0.1",
                 "DUBWRIGHT_MAX_TAKES": "1"}  # fmt: skip
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        get_settings.cache_clear()
        s3 = boto3.client("s3", endpoint_url=store, region_name="us-east-1")
        for name in ("portraits", "deliveries", "artifacts"):
            s3.create_bucket(Bucket=name)
        s3.put_object(Bucket="portraits", Key="amira.png", Body=HOPPER.read_bytes())
        allow(get_settings(), HOPPER)
        yield get_settings()
    get_settings.cache_clear()


def render(database: Database, known: Settings, ana: httpx.Client) -> None:
    """What an operator's `dubwright run` does, in this process; a take that fell short is approved."""
    from flows.batch import run_here
    from flows.conductor import OwnServer, configure

    configure(known)
    OwnServer(known).start().wait()
    if "flagged" in run_here(database, 1, known).values():
        take = ana.get("/v1/reviews").json()["items"][0]["takes"][0]["take"]
        assert ana.post(f"/v1/takes/{take}/review", json={"decision": "approve"}).status_code == 200
        run_here(database, 1, known)


def fits(documented: Any, answered: Any, where: str) -> None:
    """What is documented is there, of its kind; keys are all the same, except in maps whose keys are data."""
    assert isinstance(answered, type(documented)), where
    if isinstance(documented, dict):
        assert documented.keys() <= answered.keys() and (where.endswith((".files", ".links")) or answered.keys() == documented.keys()), (where, answered)
        for name, value in documented.items():
            fits(value, answered[name], f"{where}.{name}")
    elif isinstance(documented, list):
        assert len(documented) == len(answered), where
        for number, value in enumerate(documented):
            fits(value, answered[number], f"{where}.{number}")
    elif where.rpartition(".")[2] in ("state", "code", "title", "locale", "ended", "status", "started", "control", "priority", "was", "batch", "created", "queued_again"):
        assert documented == answered, where


def test_the_examples_of_the_documents_are_what_happens(known: Settings, tmp_path: Path) -> None:
    database = open_database(known)
    found = list(EXAMPLE.finditer((ROOT / "docs" / "api.md").read_text()))
    assert len(found) >= 8
    with serving(database, known) as place, client(place, database) as ana, Receiver() as receiver, Sender(database, known):
        hook = ana.post("/v1/webhooks", json={"url": receiver.url}).json()
        for example in found:
            method, path = example["line"].split()
            headers = dict(line.split(": ", 1) for line in example["headers"].splitlines())
            answer = ana.request(method, path, headers=headers, content=example["body"].encode())
            assert answer.status_code == int(example["status"]), (path, answer.text)
            fits(json.loads(example["answer"]), answer.json(), path)
            if (method, path) == ("POST", "/v1/batches"):
                render(database, known, ana)
        spec = importlib.util.spec_from_file_location("client", ROOT / "docs" / "client.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        mine = module.Dubwright(place, tokens.create(database, "client", "cms", ALL)[0])
        manifest = re.search(r"\n\n(batch: .*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
        assert manifest and mine.submit(manifest[1].encode())["batch"] == 1 and mine.wait(1)["jobs"] == {"delivered": 1}
        videos = [mine.fetch(row, tmp_path) for row in mine.results(1)]
        assert [path.name for path in videos] == ["welcome.en-US.mp4"]
        deadline = time.monotonic() + 30
        while "batch.ended" not in (told := {Webhook(hook["secret"]).verify(body, headers)["type"]: json.loads(body)["data"] for headers, body in receiver.got}) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert told["job.delivered"]["sha256"] == sha256_of(videos[0]) and told["batch.ended"]["jobs"] == {"delivered": 1}
        assert ana.get(f"/v1/lineage/{sha256_of(videos[0])}").json()["takes"][0]["delivered"] == told["job.delivered"]["url"]
    database.close()
