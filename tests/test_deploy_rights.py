"""Least rights: what each database role and each S3 policy of infra/deploy lets the real code do, and what it refuses."""

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, ProgrammingError

import servers
from db import accounts, consents, erasure, ledger, listing, operations, pending, queries, retention, tokens, webhooks
from db.base import Base
from db.lineage import lineage
from db.session import Database, open_database
from flow_cases import ROOT
from infra.errors import AccessDenied, AlreadyThere, LedgerError
from infra.settings import Settings
from infra.store import S3Store
from ledger_cases import database, row, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)

DEPLOY = ROOT / "infra" / "deploy"
SQL = (DEPLOY / "database" / "roles.sql").read_text()
ROLES = ("worker", "submit", "desk", "rights", "read")

# the database


@pytest.fixture
def people(database: Database, url: str) -> Iterator[dict[str, Database]]:  # noqa: F811
    """The ledger as a user of each role sees it."""
    for _ in range(2):  # safe to repeat
        with database.engine.begin() as connection:
            connection.connection.driver_connection.execute(SQL)  # type: ignore[union-attr]  # as psql sends it: no places to fill
    with database.engine.begin() as connection:
        for role in ROLES:
            if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": f"u_{role}"}).first():
                connection.execute(text(f"CREATE ROLE u_{role} LOGIN IN ROLE dubwright_{role}"))
    found = {role: Database(make_url(url).set(username=f"u_{role}").render_as_string(hide_password=False)) for role in ROLES}
    yield found
    for one in found.values():
        one.close()


def test_each_role_does_its_work(database: Database, people: dict[str, Database]) -> None:  # noqa: F811
    submit, worker, desk, rights, read = (people[role] for role in ("submit", "worker", "desk", "rights", "read"))
    webhooks.add(submit, "https://hooks.example/x", "whsec_x", "ana", [])
    tokens.create(submit, "test", "ana", ["read"])
    batch = ledger.submit(submit, "batch", "b", "out", specs(3)).batch_id
    operations.prioritise(submit, batch, 5, "ana")
    consents.add(rights, consents.Record("Ann", "public-domain", id="c-test", subjects=(("portrait", "a" * 64, "a.png"),)), "ana")

    def made(kind: str) -> tuple[ledger.Lease, int]:
        held = ledger.lease(worker, batch, "w", 60)
        assert held is not None
        ledger.renew(worker, held, 60)
        ledger.record_artifacts(worker, held, [row("a"), row("b")])
        ledger.claim(worker, held, "key")
        ledger.record_stage(worker, held, f"stage {held.job_id}", "faces", row("f", ("a", "portrait")), 0.5, ["9" * 64])
        ledger.settle(worker, held, "engines", {"order": ["avct"]})
        number = ledger.record_take(worker, held, take(), verdict(kind))
        ledger.rejudge(worker, held, number, verdict(kind))
        return held, number

    held, number = made("pass")
    ledger.record_artifacts(worker, held, [row("1", ("c", "render"))])
    ledger.deliver(worker, held, number, "1" * 64, "s3://out/a.mp4", {})
    held, number = made("flag")
    ledger.finish(worker, held, "flagged", {"code": "gate.flag"})

    accounts.add(desk, "ana", "reviewer", "correct horse battery")
    person = accounts.check(desk, "ana", "correct horse battery")
    assert person is not None
    accounts.sign_in(desk, person, "test")
    from datetime import timedelta

    pending.decide(desk, [number], pending.Wanted("approve"), person, timedelta(0))
    assert [one.state for one in pending.settle(desk)] == ["queued"]
    again = ledger.lease(worker, batch, "w", 60)
    assert again is not None and again.job_id == held.job_id
    ledger.defer(worker, again, {"code": "store.unavailable"}, 6, 30)
    assert ledger.retry(submit, batch, ("flagged",)) == 0 and operations.cancel(submit, batch, "ana", held.title + "/es-ES")["queued"]

    assert queries.report(read, batch)["jobs"][0]["state"] == "delivered" and lineage(read, "1" * 64) and listing.batches(read, None, 5)
    assert erasure.revoke(desk, "c-test", "ana", "she asked")["delivered"]
    assert retention.mark(rights, -1.0) >= 0 and retention.remove(rights, lambda key, sha256: None) is not None
    assert erasure.erase(rights, "Ann", "ana", lambda key, sha256: None)["artifacts"] > 0


REFUSED = {
    "worker": (
        "DROP TABLE jobs", "ALTER TABLE deliveries DISABLE TRIGGER ALL", "CREATE TABLE mine (x int)", "TRUNCATE events", "SET session_replication_role = replica",
        "UPDATE reviews SET decision = 'approve'", "INSERT INTO reviews (take_id, actor, decision, video, verdict) VALUES (1, 'me', 'approve', 'x', 'pass')", "DELETE FROM verdicts",
        "INSERT INTO consents (id, person, basis, entered_by) VALUES ('c-mine', 'Ann', 'synthetic', 'me')", "INSERT INTO consent_subjects (consent_id, sha256, kind, bound_by) VALUES ('c-test', 'x', 'portrait', 'me')",
        "UPDATE consents SET revoked_at = NULL", "UPDATE consents SET hold = ''", "UPDATE jobs SET spec = '{}'", "DELETE FROM deliveries", "UPDATE deliveries SET url = 'x'", "DELETE FROM delivery_consents",
        "UPDATE events SET kind = 'x'", "SELECT secret FROM webhook_endpoints", "SELECT * FROM accounts", "SELECT * FROM sessions", "SELECT digest FROM api_tokens", "UPDATE alembic_version SET version_num = 'x'",
    ),
    "submit": ("DROP TABLE jobs", "INSERT INTO deliveries (job_id, take_id, sha256, url, files) VALUES (1, 1, 'x', 'x', '{}')", "UPDATE verdicts SET verdict = 'pass'", "UPDATE reviews SET decision = 'approve'", "SELECT * FROM accounts",
               "INSERT INTO consents (id, person, basis, entered_by) VALUES ('c-mine', 'Ann', 'synthetic', 'me')", "INSERT INTO artifacts (sha256, kind, size, key) VALUES ('x', 'x', 1, 'x')"),
    "desk": ("DROP TABLE reviews", "UPDATE reviews SET decision = 'approve'", "DELETE FROM audit", "UPDATE verdicts SET verdict = 'pass'", "INSERT INTO takes (job_id, number) VALUES (1, 9)", "UPDATE jobs SET spec = '{}'",
             "INSERT INTO deliveries (job_id, take_id, sha256, url, files) VALUES (1, 1, 'x', 'x', '{}')", "INSERT INTO consents (id, person, basis, entered_by) VALUES ('c-mine', 'Ann', 'synthetic', 'me')",
             "UPDATE consents SET hold = ''", "SELECT secret FROM webhook_endpoints", "SELECT digest FROM api_tokens"),
    "rights": ("DROP TABLE consents", "DELETE FROM consents", "UPDATE consents SET person = 'x'", "UPDATE verdicts SET verdict = 'pass'", "DELETE FROM deliveries", "INSERT INTO delivery_consents (job_id, sha256, consent_id) VALUES (1, 'x', 'c-test')", "SELECT * FROM accounts"),
    "read": ("DROP TABLE jobs", "UPDATE jobs SET state = 'queued'", "INSERT INTO events (batch_id, kind, detail) VALUES (1, 'x', '{}')", "SELECT * FROM accounts", "SELECT * FROM sessions", "SELECT digest FROM api_tokens", "SELECT secret FROM webhook_endpoints", "CREATE TABLE mine (x int)"),
}  # fmt: skip


def test_each_role_is_refused_the_rest(people: dict[str, Database]) -> None:
    for role, statement in [(role, statement) for role, statements in REFUSED.items() for statement in statements]:
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), people[role].engine.begin() as connection:
            connection.execute(text(statement))


def test_what_locks_a_record_cannot_change_it_and_a_worker_does_not_migrate(database: Database, people: dict[str, Database]) -> None:  # noqa: F811
    consents.add(database, consents.Record("Ann", "synthetic", id="c-test"), "me")
    with pytest.raises(DBAPIError, match="never changed"), people["worker"].engine.begin() as connection:
        connection.execute(text("UPDATE consents SET note = 'x'"))
    known = people["worker"].engine.url.render_as_string(hide_password=False)
    open_database(Settings(database_url=known)).close()  # type: ignore[arg-type, call-arg]
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    with pytest.raises(LedgerError) as told:
        open_database(Settings(database_url=known))  # type: ignore[arg-type, call-arg]
    assert told.value.code == "ledger.rights" and "doctor --fix" in told.value.next_step


def test_every_table_is_somebodys() -> None:
    """A new table needs a line in roles.sql: without one the processes of such a database fail at it."""
    named = set(re.findall(r"\w+", re.sub(r"--.*", "", SQL)))
    assert set(Base.metadata.tables) - named == set()


# the object store

BUCKETS = ("artifacts", "inputs", "deliveries")


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """An S3 server that asks who is there: its address, and the keys of a user for each policy."""
    account = {name: os.environ.get(name) for name in servers.KEYS}
    os.environ.update(servers.KEYS)
    with servers.moto() as address:
        s3, iam = (boto3.client(name, endpoint_url=address, region_name="us-east-1") for name in ("s3", "iam"))
        for bucket in BUCKETS:
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="there", Body=b"there")
        keys = {}
        for path in (DEPLOY / "s3").glob("*.json"):
            if path.stem == "deliveries-bucket":
                continue
            iam.create_user(UserName=path.stem)
            iam.put_user_policy(UserName=path.stem, PolicyName=path.stem, PolicyDocument=filled(path))
            made = iam.create_access_key(UserName=path.stem)["AccessKey"]
            keys[path.stem] = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
        urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})).read()
        yield address, keys
    for name, value in account.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def filled(path: Path) -> str:
    """A policy for the buckets of these tests."""
    return path.read_text().replace("ARTIFACTS", "artifacts").replace("INPUTS", "inputs").replace("DELIVERIES", "deliveries")


CAN = {  # by policy and bucket: reads, writes, lists, removes
    "worker": {"artifacts": "rwl", "inputs": "rl", "deliveries": "rwl"},
    "submitter": {"artifacts": "rwl", "inputs": "rl", "deliveries": "rl"},
    "desk": {"artifacts": "rl", "inputs": "", "deliveries": ""},
    "gc": {"artifacts": "d", "inputs": "", "deliveries": ""},
}


def may(call: Any) -> bool:
    try:
        call()
    except AccessDenied:
        return False
    except AlreadyThere:
        return True
    return True


def calls_of(store: S3Store, role: str, large: Path) -> dict[str, list[Any]]:
    """What the code asks of a store, by kind."""
    return {
        "r": [lambda: store.get("there"), lambda: store.read("there", 0, 2), lambda: store.download("there", large.with_name("copy")), lambda: store.info("there")],
        "w": [lambda: store.put("small", b"x"), lambda: store.put(f"once-{role}", b"x", if_absent=True), *([lambda: store.put("big", large), lambda: store.put(f"big-{role}", large, if_absent=True)] if store.bucket == "artifacts" else [])],
        "l": [lambda: list(store.list())],
        "d": [lambda: store.delete("there-not")],
    }  # fmt: skip


@pytest.mark.parametrize("role", sorted(CAN))
def test_each_policy_lets_the_store_do_what_its_role_needs_and_no_more(guarded: tuple[str, Any], role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, keys = guarded
    for name, value in keys[role].items():
        monkeypatch.setenv(name, value)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(9 * 2**20))
    for bucket in BUCKETS:
        for kind, tried in calls_of(S3Store(bucket, "", Settings(s3_endpoint_url=address)), role, large).items():  # type: ignore[call-arg]
            assert [may(call) for call in tried] == [kind in CAN[role][bucket]] * len(tried), (role, bucket, kind)
    if role == "submitter":
        assert may(lambda: S3Store("deliveries", "spring", Settings(s3_endpoint_url=address)).put("report-spring.html", b"x", content_type="text/html"))  # type: ignore[call-arg]


def test_policies_hold_nothing_but_what_the_store_calls() -> None:
    """A call that infra/store.py learns must come into the policies; one that it forgets must go."""
    source = (ROOT / "infra" / "store.py").read_text()
    called = set(re.findall(r"_client\.(\w+)\(", source)) | set(re.findall(r'get_paginator\("(\w+)"\)', source))
    known = dict.fromkeys(("put_object", "upload_file", "create_multipart_upload", "upload_part", "complete_multipart_upload"), "s3:PutObject")
    known |= dict.fromkeys(("get_object", "download_file", "head_object", "generate_presigned_url"), "s3:GetObject")
    known |= {"abort_multipart_upload": "s3:AbortMultipartUpload", "delete_object": "s3:DeleteObject", "get_paginator": "s3:ListBucket", "list_objects_v2": "s3:ListBucket"}
    assert called - known.keys() == set()
    rules = {path.stem: json.loads(path.read_text())["Statement"] for path in (DEPLOY / "s3").glob("*.json")}
    granted = {action for name in CAN for rule in rules[name] for action in ([rule["Action"]] if isinstance(rule["Action"], str) else rule["Action"])}
    assert rules.keys() == CAN.keys() | {"deliveries-bucket"} and granted == {known[name] for name in called}
    assert all(rule["Effect"] == "Deny" for rule in rules["deliveries-bucket"])
    assert not re.search(r'"(s3:)?\*"', json.dumps([rules[name] for name in CAN]))
