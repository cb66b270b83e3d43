"""The service's metrics from a real ledger; and that documents, alerts and the dashboard name metrics that there are."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from db import ledger, operations
from db.ledger import JobSpec
from db.session import Database
from flow_cases import ROOT, command, environment
from infra import metrics
from infra.metrics_page import FOLDER, Shared
from infra.settings import Settings
from ledger_cases import database, give, leased, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)
from observed_cases import parsed
from tasks import service_metrics
from tasks.service_metrics import Ledger, metrics_app

OBSERVE = ROOT / "infra" / "deploy" / "observe"
DOCS = ROOT / "docs" / "observing.md"


def change(database: Database, statement: str) -> None:  # noqa: F811
    with database.begin() as session:
        session.execute(text(statement))


def get(app: Any, method: str = "GET") -> tuple[int, str]:
    """An ASGI application's answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": method, "path": "/metrics", "headers": []}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.fixture(name="known")
def known_fixture(url: str, tmp_path: Path) -> Settings:  # noqa: F811
    (tmp_path / "prices.yaml").write_text("{currency: EUR, default: {cpu_hour: 3.6}}")
    return Settings(home=tmp_path, database_url=url, prices=tmp_path / "prices.yaml", batch_hours=1.0)  # type: ignore[arg-type]


def test_the_page_tells_how_the_service_stands(database: Database, known: Settings, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    held = leased(database)
    number = ledger.record_take(database, held, take(), verdict())
    give(database, held, number)
    change(database, "UPDATE takes SET parameters = '{\"frames\": 1500, \"fps\": 25}', seconds = '{\"render\": 100}'")
    second = ledger.submit(database, "second", "second", "out", specs(7)).batch_id
    paused = ledger.submit(database, "paused", "paused", "out", specs(2)).batch_id
    operations.steer(database, "paused", "ana", paused)
    taken = [ledger.lease(database, second, "w", 60) for _ in range(4)]
    assert all(taken)
    ledger.finish(database, taken[0], "flagged", {})  # type: ignore[arg-type]
    ledger.finish(database, taken[1], "failed", {"code": "media.unreadable"})  # type: ignore[arg-type]
    change(database, f"UPDATE jobs SET lease_expires = now() - interval '1 s' WHERE id = {taken[2].job_id}")  # type: ignore[union-attr]
    change(database, f"UPDATE jobs SET updated_at = now() - interval '300 s' WHERE state = 'queued' AND batch_id = {second}")
    change(database, "UPDATE jobs SET updated_at = now() - interval '500 s' WHERE state = 'flagged'")
    change(database, "UPDATE batches SET created_at = now() - interval '2 h'")
    change(database, f"UPDATE jobs SET not_before = now() + interval '1 h' WHERE id = (SELECT max(id) FROM jobs WHERE batch_id = {second})")
    app = metrics_app(known)
    status, body = get(app)
    found = parsed(body)
    told = {name: value for (name, labels), value in found.items() if not labels}
    assert status == 200 and told["dubwright_ledger_up"] == 1
    assert {labels[0][1]: n for (name, labels), n in found.items() if name == "dubwright_ledger_jobs" and n} == {"queued": 5, "running": 2, "delivered": 1, "flagged": 1, "failed": 1}
    assert (told["dubwright_queue_ready"], told["dubwright_queue_deferred"], told["dubwright_queue_held"]) == (2, 1, 2)
    assert 299 < told["dubwright_queue_age_seconds"] < 360 and 499 < told["dubwright_review_oldest_seconds"] < 560
    assert (told["dubwright_leases_running"], told["dubwright_leases_expired"], told["dubwright_reviews_waiting"]) == (1, 1, 1)
    assert (told["dubwright_batches_open"], told["dubwright_batches_late"], told["dubwright_deliveries_total"]) == (2, 1, 1)  # a paused one is not late
    assert found[("dubwright_failed_jobs", (("code", "media.unreadable"),))] == 1
    for by, name in (("total", "all"), ("language", "es"), ("engine", "avct"), ("batch", str(held.batch_id))):
        assert found[("dubwright_cost_per_minute", (("by", by), ("currency", "EUR"), ("name", name)))] == pytest.approx(0.1)  # 100 s at 3.6 an hour, one minute
    change(database, f"UPDATE batches SET control = 'open' WHERE id = {paused}")
    assert parsed(get(app)[1])[("dubwright_queue_held", ())] == 2  # an answer holds for some seconds, however many ask
    monkeypatch.setattr(service_metrics, "FRESH", 0.0)
    assert parsed(get(app)[1])[("dubwright_queue_held", ())] == 0
    assert get(app, "POST")[0] == 405


def test_a_ledger_that_is_slow_or_away_is_told_and_the_page_stays(database: Database, known: Settings, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(service_metrics, "READING", "-c statement_timeout=300 -c lock_timeout=300 -c default_transaction_read_only=on")
    registry = CollectorRegistry()
    registry.register(Ledger(known))
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with database.begin() as session:
            session.execute(text("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE"))
            ready.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait(60)
    found = parsed(generate_latest(registry).decode())
    done.set()
    holder.join()
    missing = {labels[0][1] for (name, labels) in found if name == "dubwright_ledger_unanswered"}
    assert missing == {"deliveries", "costs"} and found[("dubwright_ledger_up", ())] == 0 and found[("dubwright_queue_ready", ())] == 0
    away = CollectorRegistry()
    away.register(Ledger(Settings(database_url="postgresql+psycopg://nobody@127.0.0.1:9/none")))  # type: ignore[arg-type, call-arg]
    assert parsed(generate_latest(away).decode())[("dubwright_ledger_up", ())] == 0


@pytest.fixture(name="names", scope="module")
def names_fixture(server: str) -> set[str]:  # noqa: F811
    """Every metric's name, from the registries themselves; histograms and counters by the names that queries use."""
    made = Ledger(Settings(database_url=server))  # type: ignore[arg-type, call-arg]
    Database(server).migrate()
    told = [*metrics.REGISTRY.collect(), *made.collect()]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in told}
    return names | {"dubwright_workers", "dubwright_worker_deaths_total"}  # of the command `worker` (flows/workers.py)


def test_documents_list_every_metric_and_no_other(names: set[str]) -> None:
    table = [line for line in DOCS.read_text().splitlines() if line.startswith("| `dubwright_")]
    listed = [name for line in table for name in re.findall(r"`(dubwright_\w+)`", line.split(" | ")[0])]
    assert sorted(listed) == sorted(names)


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(names: set[str]) -> None:
    known = names | {f"dubwright_stage_seconds_{part}" for part in ("bucket", "sum", "count")}
    rules = yaml.safe_load((OBSERVE / "alerts.yaml").read_text())["groups"]
    for group in rules:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys() and {"summary", "description"} <= rule["annotations"].keys()
            assert rule["labels"]["severity"] in ("page", "ticket") and re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
            assert rule["expr"].count("(") == rule["expr"].count(")")
    board = json.loads((OBSERVE / "grafana.json").read_text())
    asked = [rule["expr"] for group in rules for rule in group["rules"]] + [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) > 30
    for expression in asked:
        used = set(re.findall(r"\bdubwright_\w+", expression))
        assert used and used <= known, expression
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) and all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in board["panels"])


def test_what_is_scraped_is_served_by_compose() -> None:
    compose = yaml.safe_load((OBSERVE.parent / "compose.yaml").read_text())
    scraped = yaml.safe_load((OBSERVE / "prometheus.yaml").read_text())
    assert all((OBSERVE / name).exists() for name in scraped["rule_files"])
    targets = [target for job in scraped["scrape_configs"] for row in job.get("static_configs", []) for target in row["targets"]]
    found = [(name, row["port"]) for job in scraped["scrape_configs"] for row in job.get("dns_sd_configs", []) for name in row["names"]]
    for host, port in [tuple(target.split(":")) for target in targets] + found:
        service = compose["services"][host]
        given = {**service["environment"]}
        assert str(port) in service["command"] or given.get("DUBWRIGHT_METRICS_PORT") == str(port), host
        assert given["DUBWRIGHT_METRICS_HOST"] == "0.0.0.0"


def screen(words: list[str], known: dict[str, str], rows: int = 24, columns: int = 80) -> list[str]:
    """What a command shows on a terminal of a size, line by line."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, known)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    told = b""
    try:
        while part := os.read(terminal, 65536):
            told += part
    except OSError:
        pass  # the other end is closed
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, told
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.decode()).replace("\r", "").strip("\n").split("\n")


def test_status_fits_a_terminal_and_a_pipe_gets_every_job(database: Database, url: str, tmp_path: Path) -> None:  # noqa: F811
    jobs = [JobSpec(f"key-{i}", f"lesson-{i:02d}-" + "a-long-title-" * 3, ("es-ES", "fr-FR")[i % 2], "avct", "compact", {}) for i in range(40)]
    batch = ledger.submit(database, "long", "night", "s3://deliveries/night/", jobs).batch_id
    for number in range(4):
        held = ledger.lease(database, batch, "w", 60)
        assert held is not None
        if number < 2:
            ledger.finish(database, held, "failed", {"code": "media.unreadable", "message": "it holds no sound " * 9, "next_step": "Export it again."})
        elif number == 2:
            ledger.defer(database, held, {"code": "store.unavailable", "message": "timed out"}, 6, 600.0)
    known = environment(tmp_path, DUBWRIGHT_DATABASE_URL=url, TERM="xterm")
    seen = screen(command("status", str(batch)), known)
    lines = [line.rstrip() for line in seen]
    assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 23, lines  # a line below for the prompt
    table = lines[lines.index(next(line for line in lines if line.startswith("job "))) :]
    assert max(len(line) for line in table[: table.index(next(line for line in table if line.startswith("and ")))]) <= 80
    assert [line.split()[1] for line in table[1:5]] == ["failed", "failed", "running", "queued"] and "/es-ES" in table[1] and "tried again in 10 min" in table[4]
    text = "\n".join(lines)
    assert "2 failed by media.unreadable" in text and "next: Export it again." in text and "--all shows them" in text and "37 queued" in text
    piped = subprocess.run(command("status", str(batch)), env=known, capture_output=True, text=True, check=True, timeout=120).stdout
    assert all(job.title in piped for job in jobs)


def test_counts_of_processes_that_have_ended_stay_and_what_they_held_does_not(tmp_path: Path) -> None:
    """Twice the same scrape: nothing is counted twice when files are put together."""
    code = "from infra import metrics; metrics.jobs.labels('failed').inc(2); metrics.running.inc(); metrics.stage_seconds.labels('render', 'avct').observe(3.0)"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, FOLDER: str(tmp_path)}, check=True, timeout=120)
    registry = CollectorRegistry()
    registry.register(Shared(tmp_path))
    young = tmp_path / f"counter_{os.getpid()}.db"  # a process has made its file and written nothing yet
    young.touch()
    threading.Timer(0.1, young.unlink).start()
    for _ in range(2):
        found = parsed(generate_latest(registry).decode())
        assert found[("dubwright_jobs_total", (("state", "failed"),))] == 4 and ("dubwright_jobs_running", ()) not in found
        assert found[("dubwright_stage_seconds_count", (("engine", "avct"), ("stage", "render")))] == 2
        assert found[("dubwright_stage_seconds_bucket", (("engine", "avct"), ("le", "5.0"), ("stage", "render")))] == 2
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    code = "import sys; from infra import tracing\nwith tracing.inside(tracing.start('job')) as span: span.set(a=1)\nsys.exit(bool(span.trace_id) or 'opentelemetry' in sys.modules)"
    known = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=known, check=False, timeout=120).returncode == 0
