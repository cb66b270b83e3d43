"""Webhooks against a real Postgres and real receivers: nothing is lost, nothing is believed, every message has one id; calls go nowhere inside."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from api.sender import Sender
from api.webhooks import add, rotate
from api_cases import Receiver
from db import ledger, operations, outbox, reviews, tokens, webhooks
from db.session import Database
from flow_cases import ROOT, run
from infra import outbound
from infra.errors import AccessError, LedgerError
from infra.outbound import Allowed, OutboundError
from infra.settings import Settings
from ledger_cases import database, give, leased, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)

SHORT = 1.5  # seconds


def settings(**rest: Any) -> Settings:
    return Settings(**{"webhook_allow": "127.0.0.0/8", "webhook_seconds": SHORT, **rest})


def endpoint(database: Database, to: str, *kinds: str, known: Settings | None = None, batch: str = "") -> dict[str, Any]:  # noqa: F811
    return add(database, known or settings(), to, "ana", list(kinds), batch)


def now_due(database: Database) -> None:  # noqa: F811
    """Let the time pass that a delivery waits for."""
    with database.begin() as session:
        session.execute(text("UPDATE webhook_deliveries SET next_at = now(), claimed_until = NULL; UPDATE webhook_endpoints SET rest_until = NULL"))


def kinds(database: Database) -> list[str]:  # noqa: F811
    return [row["kind"] for row in reversed(webhooks.log(database, limit=200))]


def test_every_end_of_a_job_and_of_a_batch_goes_out_once(database: Database) -> None:  # noqa: F811
    made = endpoint(database, "http://127.0.0.1:9/")
    endpoint(database, "http://127.0.0.1:9/", "batch.ended", batch="spring*")
    held = leased(database)
    number = ledger.record_take(database, held, take(), verdict("flag"))
    ledger.finish(database, held, "flagged", {"code": "gate.flag", "message": "fell short"})
    reviews.record(database, number, "approve", "ana")
    held = ledger.lease(database, held.batch_id, "w", 60) or held
    give(database, held, number)
    other = ledger.submit(database, "other", "spring-1", "out", specs(3)).batch_id
    ledger.finish(database, ledger.lease(database, other, "w", 60) or held, "failed", {"code": "x.y", "message": "it broke"})
    operations.cancel(database, other, "bo")
    ledger.submit(database, "nothing", "spring-2", "out", [])
    assert kinds(database) == [
        "job.flagged", "batch.ended", "review.decided", "job.delivered", "batch.ended", "job.failed",
        "job.cancelled", "job.cancelled", "batch.ended", "batch.ended", "batch.ended", "batch.ended",
    ]  # fmt: skip
    assert [row["webhook"] for row in webhooks.log(database)].count(made["webhook"]) == 10
    with database.begin() as session:
        for kind, names in webhooks.KINDS.items():  # the trigger and Python agree
            assert all(session.execute(text("SELECT webhook_kind(:name)"), {"name": name}).scalar_one() == kind for name in names)
        told = session.execute(text("SELECT detail FROM events WHERE kind = 'ended' ORDER BY id")).scalars().all()
    assert told[2:] == [{"jobs": {"failed": 1, "cancelled": 2}}, {"jobs": {}}]


def test_a_batch_whose_last_jobs_end_at_once_ends_once(database: Database) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(8)).batch_id
    leases = [held for _ in range(8) if (held := ledger.lease(database, batch, "w", 60))]
    together = threading.Barrier(8)

    def end(held: ledger.Lease) -> None:
        together.wait()
        ledger.finish(database, held, "failed", {"code": "x.y"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, leases))
    first, second = Database(database.engine.url.render_as_string(hide_password=False)), database
    pair = ledger.submit(database, "pair", "b", "out", specs(2)).batch_id
    with first.engine.connect() as one, second.engine.connect() as two:  # neither sees the other's end before its own commit
        for connection, position in ((one, 0), (two, 1)):
            connection.execute(text("UPDATE jobs SET state = 'cancelled' WHERE batch_id = :b AND position = :p"), {"b": pair, "p": position})
            connection.execute(text("INSERT INTO events (batch_id, kind, detail) VALUES (:b, 'cancelled', '{}')"), {"b": pair})
        one.commit()
        two.commit()
    first.close()
    with database.begin() as session:
        assert [tuple(r) for r in session.execute(text("SELECT batch_id, count(*) FROM events WHERE kind = 'ended' GROUP BY 1 ORDER BY 1"))] == [(batch, 1), (pair, 1)]


def test_a_receiver_that_fails_three_times_gets_one_message_that_the_library_verifies(database: Database) -> None:  # noqa: F811
    with Receiver(lambda number: (500 if number < 4 else 200, {})) as receiver:
        made = endpoint(database, receiver.url, "job.failed")
        ledger.finish(database, leased(database), "failed", {"code": "x.y", "message": "it broke", "next_step": "mend it"})
        sender = Sender(database, settings())
        for expected in ("pending", "pending", "pending", "delivered"):
            assert sender.drain() == {expected: 1}
            assert sender.one() is None  # it waits
            now_due(database)
        assert sender.drain() == {}
    assert len(receiver.got) == 4 and len({headers["webhook-id"] for headers, _ in receiver.got}) == 1 and len({body for _, body in receiver.got}) == 1
    headers, body = receiver.got[-1]
    told = Webhook(made["secret"]).verify(body, headers)
    assert told["type"] == "job.failed" and told["data"]["error"] == {"code": "x.y", "message": "it broke", "next_step": "mend it"}
    assert (told["data"]["title"], told["data"]["locale"], told["data"]["batch_name"]) == ("title-0", "es-ES", "b")
    with pytest.raises(Exception, match="signature"):
        Webhook(webhooks.new_secret()).verify(body, headers)
    logged = webhooks.log(database, made["webhook"])[0]
    assert [(one["number"], one["status"]) for one in logged["tries"]] == [(1, 500), (2, 500), (3, 500), (4, 200)] and logged["state"] == "delivered"
    assert webhooks.every(database)[0]["failures"] == 0


def test_waits_grow_and_end_after_a_day() -> None:
    waits = [min(outbox.wait(number) for _ in range(200)) for number in range(1, 20)]
    assert waits == sorted(waits[:8]) + waits[8:] and waits[0] >= 4 and max(outbox.wait(19) for _ in range(200)) <= 1.2 * outbox.LONGEST_WAIT
    assert len({round(outbox.wait(5), 3) for _ in range(20)}) > 10  # jitter
    spent, tries = 0.0, 1
    while spent < 24 * 3600:
        spent, tries = spent + outbox.wait(tries), tries + 1
    assert 12 <= tries <= 19


@pytest.mark.parametrize("kind", ["hangs", "drips", "redirects", "is away"])
def test_receivers_that_misbehave_are_noted_and_left(database: Database, kind: str) -> None:  # noqa: F811
    away = socket.socket()
    away.bind(("127.0.0.1", 0))

    def drip(number: int) -> tuple[int, dict[str, str]]:
        time.sleep(SHORT * 2)
        return 200, {}

    with Receiver(drip if kind == "hangs" else lambda number: (302, {"Location": "http://169.254.169.254/latest/meta-data/"})) as receiver:
        place = f"http://127.0.0.1:{away.getsockname()[1]}/" if kind == "is away" else receiver.url
        if kind == "drips":
            away.listen()
            threading.Thread(target=_dripping, args=(away,), daemon=True).start()
            place = f"http://127.0.0.1:{away.getsockname()[1]}/"
        made = endpoint(database, place)
        webhooks.test(database, made["webhook"])
        began = time.monotonic()
        assert Sender(database, settings()).drain() == {"pending": 1}
        assert time.monotonic() - began < 3 * SHORT
    away.close()
    tried = webhooks.log(database)[0]["tries"][0]
    code = {"hangs": "outbound.slow", "drips": "outbound.slow", "is away": "outbound.connect", "redirects": "redirects are not followed"}[kind]
    assert tried["note"].startswith(code) and tried["status"] == (302 if kind == "redirects" else None)
    assert len(receiver.got) == (1 if kind in ("hangs", "redirects") else 0)


def _dripping(listening: socket.socket) -> None:
    line, _ = listening.accept()
    with line:
        try:
            line.recv(65536)
            line.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(100):
                line.sendall(b"z")
                time.sleep(0.1)
        except OSError:
            pass


def test_a_sender_killed_between_answer_and_record_sends_the_same_message_again(database: Database, tmp_path: Path) -> None:  # noqa: F811
    sender: list[subprocess.Popen[bytes]] = []

    def kill(number: int) -> tuple[int, dict[str, str]]:
        if number == 1:
            sender[0].send_signal(signal.SIGKILL)
            sender[0].wait()
        return 200, {}

    with Receiver(kill) as receiver:
        made = endpoint(database, receiver.url, "job.failed")
        ledger.finish(database, leased(database), "failed", {"code": "x.y"})
        known = {**os.environ, "DUBWRIGHT_HOME": str(tmp_path), "DUBWRIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False)}
        words = [sys.executable, str(ROOT / "cli.py"), "webhooks", "deliver", "--once"]
        sender.append(subprocess.Popen(words, env={**known, "DUBWRIGHT_WEBHOOK_ALLOW": "127.0.0.1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert sender[0].wait(60) == -signal.SIGKILL
        logged = webhooks.log(database)[0]
        assert (logged["state"], logged["tries"]) == ("pending", [])  # nothing is known of what it sent
        second = Sender(database, settings())
        assert second.one() is None  # claimed until the dead sender's time is over
        now_due(database)
        assert second.drain() == {"delivered": 1}
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == 2 and len(set(ids)) == 1
    assert Webhook(made["secret"]).verify(receiver.got[1][1], receiver.got[1][0])


def test_many_senders_send_each_message_once(database: Database) -> None:  # noqa: F811
    with Receiver() as receiver:
        endpoint(database, receiver.url, "job.cancelled")
        batch = ledger.submit(database, "batch", "b", "out", specs(40)).batch_id
        operations.cancel(database, batch, "ana")
        both = [Sender(database, settings()).start() for _ in range(2)]
        deadline = time.monotonic() + 30
        while webhooks.every(database)[0]["deliveries"] != {"delivered": 40} and time.monotonic() < deadline:
            time.sleep(0.1)
        for sender in both:
            sender.stop()
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == len(set(ids)) == 40


def test_after_a_day_an_endpoint_is_disabled_and_a_replay_brings_what_it_missed(database: Database) -> None:  # noqa: F811
    answers = [500]
    with Receiver(lambda number: (answers[0], {})) as receiver:
        held = leased(database)
        ledger.finish(database, held, "failed", {"code": "x.y"})  # before there is an endpoint
        made = endpoint(database, receiver.url)
        number = made["webhook"]
        ledger.retry(database, held.batch_id)
        operations.cancel(database, held.batch_id, "ana")
        sender = Sender(database, settings())
        sender.drain()
        with database.begin() as session:
            session.execute(text("UPDATE webhook_deliveries SET tried_since = now() - interval '25 hours'"))
        now_due(database)
        assert sender.one() == "given up"
        row = webhooks.every(database)[0]
        assert not row["active"] and "24 hours" in row["note"]
        ledger.retry(database, held.batch_id, ("cancelled",))
        operations.cancel(database, held.batch_id, "bo")  # while it is disabled
        assert sender.one() is None
        with pytest.raises(LedgerError) as disabled:
            webhooks.test(database, number)
        assert disabled.value.code == "webhook.disabled"
        webhooks.activate(database, number)
        answers[0] = 200
        assert sender.drain()["delivered"] >= 1
        assert webhooks.replay(database, number, since=datetime.now(UTC) - timedelta(hours=1)) == 6
        sender.drain()
        first = receiver.got[0][0]["webhook-id"]
        assert {row["state"] for row in webhooks.log(database)} == {"delivered"} and len(webhooks.log(database)) == 6
        assert webhooks.replay(database, number, message=first) == 1 and sender.drain() == {"delivered": 1}
        assert receiver.got[-1][0]["webhook-id"] == first
        answers[0] = 410
        webhooks.test(database, number)
        assert sender.drain() == {"given up": 1} and "410" in webhooks.every(database)[0]["note"]
    for arguments, code in (({"message": "msg_none"}, "webhook.disabled"), ({}, "webhook.asked")):
        with pytest.raises(LedgerError) as wrong:
            webhooks.replay(database, number, **arguments)
        assert wrong.value.code == code
    webhooks.remove(database, number)
    with pytest.raises(LedgerError):
        webhooks.activate(database, number)
    assert webhooks.every(database) == [] and len(webhooks.log(database)) == 7


def test_two_secrets_are_valid_for_a_day_and_are_sealed_where_a_key_is_given(database: Database) -> None:  # noqa: F811
    from cryptography.fernet import Fernet

    sealed = settings(webhook_key=Fernet.generate_key().decode())
    with Receiver() as receiver:
        made = endpoint(database, receiver.url, known=sealed)
        fresh = rotate(database, sealed, made["webhook"])["secret"]
        with database.begin() as session:
            stored = session.execute(text("SELECT secret, previous_secret FROM webhook_endpoints")).one()
        assert all(value.startswith("fernet:") and made["secret"] not in value and fresh not in value for value in stored)
        webhooks.test(database, made["webhook"])
        assert Sender(database, sealed).drain() == {"delivered": 1}
        headers, body = receiver.got[0]
        assert Webhook(made["secret"]).verify(body, headers) == Webhook(fresh).verify(body, headers)
        with database.begin() as session:
            session.execute(text("UPDATE webhook_endpoints SET previous_until = now() - interval '1 second'"))
        webhooks.test(database, made["webhook"])
        assert Sender(database, settings(webhook_key=f"{Fernet.generate_key().decode()} {sealed.webhook_key.get_secret_value()}")).drain() == {"delivered": 1}
        assert receiver.got[1][0]["webhook-signature"].count("v1,") == 1 and Webhook(fresh).verify(receiver.got[1][1], receiver.got[1][0])
        webhooks.test(database, made["webhook"])
        assert Sender(database, settings()).drain() == {"pending": 1} and len(receiver.got) == 2
        assert webhooks.log(database)[0]["tries"][0]["note"].startswith("webhook.key")


def test_the_tables_go_down_and_up_on_data_and_replay_brings_messages_back(database: Database) -> None:  # noqa: F811
    endpoint(database, "http://127.0.0.1:9/")
    held = leased(database)
    ledger.finish(database, held, "failed", {"code": "x.y"})
    with database.begin() as session:
        before = session.execute(text("SELECT string_agg(e::text, ' ' ORDER BY id) FROM events e")).scalar_one()
    database.migrate("0004")
    ledger.retry(database, held.batch_id)  # code of before works on
    database.migrate()
    with database.begin() as session:
        assert session.execute(text("SELECT string_agg(e::text, ' ' ORDER BY id) FROM events e")).scalar_one().startswith(before)
    number = endpoint(database, "http://127.0.0.1:9/")["webhook"]
    operations.cancel(database, held.batch_id, "ana")
    assert kinds(database) == ["job.cancelled", "batch.ended"]
    assert webhooks.replay(database, number, since=datetime.now(UTC) - timedelta(hours=1)) == 2 and kinds(database)[2:] == ["job.failed", "batch.ended"]


def test_the_verbs_of_tokens_and_webhooks(database: Database, tmp_path: Path) -> None:  # noqa: F811
    known = {"DUBWRIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False), "DUBWRIGHT_WEBHOOK_ALLOW": "127.0.0.1"}

    def told(*words: str, code: int = 0) -> dict[str, Any]:
        done = run(*words, "--json", home=tmp_path, **known)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    made = told("token", "create", "cms", "--scope", "read", "--scope", "submit", "--owner", "ana")
    assert made["scopes"] == ["read", "submit"] and tokens.caller(database, made["secret"]).owner == "ana"
    listed = run("token", "list", home=tmp_path, **known)
    assert "cms" in listed.stdout and made["secret"].rpartition("_")[2] not in listed.stdout + listed.stderr
    assert told("token", "revoke", made["token"])["revoked_at"]
    with pytest.raises(AccessError):
        tokens.caller(database, made["secret"])
    for name, owner, scopes, code in (("x", "ana", ["all"], "scope"), ("x", "ana", [], "scope"), ("x", " ", ["read"], "owner")):
        with pytest.raises(LedgerError) as wrong:
            tokens.create(database, name, owner, scopes)
        assert wrong.value.code == f"token.{code}"
    assert told("webhooks", "add", "https://10.0.0.1/", code=2)["error"]["code"] == "outbound.refused"
    with Receiver() as receiver:
        hook = told("webhooks", "add", receiver.url, "--kind", "job.failed")
        assert told("webhooks", "test", str(hook["webhook"]))["state"] == "delivered"
        assert Webhook(hook["secret"]).verify(receiver.got[0][1], receiver.got[0][0])["type"] == "webhook.test"
        ledger.finish(database, leased(database), "failed", {"code": "x.y"})
        assert told("webhooks", "deliver", "--once")["messages"] == {"delivered": 1}
    assert [row["state"] for row in told("webhooks", "log")["messages"]] == ["delivered", "delivered"]


REFUSED = (
    "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://10.1.2.3/", "https://192.168.0.1/", "https://172.16.0.9/", "https://169.254.169.254/latest",
    "https://100.100.100.200/", "https://168.63.129.16/", "https://0.0.0.0/", "https://224.0.0.1/", "https://[fe80::1]/", "https://[fd00:ec2::254]/", "https://2130706433/",
    "https://0x7f.1/", "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[2002:a9fe:a9fe::1]/", "https://255.255.255.255/",
    "http://8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "https://user:pw@8.8.8.8/", "https://8.8.8.8/#a", "https:///x", "https://8.8.8.8/a b", "https://8.8.8.8:99999/",
    "https://8.8.8.8/\r\nX: y", "https://ex\u00e4mple.com/", "gopher://8.8.8.8/", "//8.8.8.8/", "https://127.0.0.1./",
)  # fmt: skip


@pytest.mark.parametrize("place", REFUSED, ids=ascii)
def test_urls_that_lead_inside_are_refused(place: str) -> None:
    with pytest.raises(OutboundError) as refused:
        outbound.judge(place, Allowed.read("10.9.0.0/16 inner.example"))
    assert refused.value.code in ("outbound.refused", "outbound.lookup") and refused.value.next_step


def test_what_is_listed_may_be_called_and_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outbound.judge("https://8.8.8.8/x?y=1", Allowed()).address == "8.8.8.8"
    assert outbound.judge("http://10.9.1.1:8080/", Allowed.read("10.9.0.0/16")).port == 8080
    assert outbound.judge("http://LOCALHOST/", Allowed.read("localhost")).host == "localhost"
    looked: list[str] = []
    answers = ["127.0.0.1", "169.254.169.254"]  # a name that stands for another address at the second look

    def look(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        looked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[min(len(looked), 2) - 1], port))]

    with Receiver() as receiver:
        place, called = receiver.url.replace("127.0.0.1", "shifting.example"), socket.create_connection

        def connect(address: tuple[str, int], *rest: Any, **more: Any) -> socket.socket:
            assert address[0] == "127.0.0.1"
            line = socket.socket()
            line.settimeout(5)
            line.connect(address)
            return line

        monkeypatch.setattr(socket, "getaddrinfo", look)
        monkeypatch.setattr(socket, "create_connection", connect)
        assert outbound.post(place, b"{}", {}, Allowed.read("127.0.0.1"), 5).status == 204
        monkeypatch.setattr(socket, "create_connection", called)
        assert looked == ["shifting.example"] and receiver.got[0][0]["host"].startswith("shifting.example:")
        with pytest.raises(OutboundError, match="169"):
            outbound.post(place, b"{}", {}, Allowed.read("127.0.0.1"), 5)
    mixed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: mixed)
    with pytest.raises(OutboundError, match=r"10\.0\.0\.1"):
        outbound.judge("https://mixed.example/", Allowed())


@pytest.fixture(name="certificate")
def certificate_fixture(tmp_path: Path) -> Iterator[Path]:
    """A certificate for `localhost`, signed by itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "both.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    yield path


def test_https_is_verified_against_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
        place, allowed = f"https://localhost:{receiver.server.server_port}/hook", Allowed.read("127.0.0.0/8 ::1 localhost")
        with pytest.raises(OutboundError, match="certificate"):
            outbound.post(place, b"{}", {}, allowed, 5)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert outbound.post(place, json.dumps({"a": 1}).encode(), {}, allowed, 5).status == 204
        with pytest.raises(OutboundError, match="certificate"):
            outbound.post(place.replace("localhost", "127.0.0.1"), b"{}", {}, allowed, 5)
        assert len(receiver.got) == 1
