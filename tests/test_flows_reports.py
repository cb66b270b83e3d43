"""Reports of batches whose sender died: written once by whoever comes by next, and not while the sender lives."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from db import ledger, reports
from db.session import Database
from flow_cases import run
from flows.reports import overdue
from infra.settings import Settings
from ledger_cases import database, leased, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)
from observed_cases import sender


def change(database: Database, statement: str) -> None:  # noqa: F811
    with database.begin() as session:
        session.execute(text(statement))


def test_a_batch_whose_sender_died_gets_its_report_from_the_next_who_comes_by(database: Database, url: str, tmp_path: Path) -> None:  # noqa: F811
    held = leased(database)
    change(database, f"UPDATE batches SET output = '{tmp_path}'")
    number = ledger.record_take(database, held, take(), verdict("flag"))
    sender(url, held.batch_id)
    known = Settings(home=tmp_path / "home", database_url=url)  # type: ignore[arg-type]
    assert number and overdue(database, known) == []  # it has not ended
    ledger.finish(database, held, "flagged", {"code": "gate.flag", "message": "fell short", "next_step": "look"})
    other = ledger.submit(database, "other", "other", str(tmp_path), specs(1)).batch_id
    assert other
    with reports.alone(database, held.batch_id) as mine:
        assert mine and overdue(Database(url), known) == []  # somebody is at it
    done = run("status", "--json", home=tmp_path / "home", DUBWRIGHT_DATABASE_URL=url)
    told = json.loads(done.stdout)["reports"]
    page = tmp_path / "report-b.html"
    assert done.returncode == 0 and told == [{"batch": held.batch_id, "name": "b", "report": str(page)}] and "Needs review" in page.read_text() and done.stderr == ""
    assert overdue(database, known) == []  # once
    change(database, "UPDATE jobs SET updated_at = clock_timestamp(), state = 'rejected' WHERE state = 'flagged'")
    assert [row["batch"] for row in overdue(database, known)] == [held.batch_id]  # what came later is told, too


def test_a_sender_that_lives_writes_its_own_and_old_batches_are_left(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    held = leased(database)
    change(database, f"UPDATE batches SET output = '{tmp_path}'")
    ledger.finish(database, held, "failed", {"code": "x"})
    known = Settings(home=tmp_path / "home")  # type: ignore[call-arg]
    assert reports.missing(database) == []  # nobody said that he runs it: it ended under an older version
    reports.begun(database, held.batch_id)
    assert reports.missing(database) == []
    monkeypatch.setattr(reports, "QUIET", -1.0)  # a sender elsewhere of whom nothing was heard
    assert [row["batch"] for row in overdue(database, known)] == [held.batch_id] and (tmp_path / "report-b.html").exists()
    reports.begun(database, held.batch_id)
    assert reports.missing(database) == [held.batch_id]
    change(database, "UPDATE batches SET output = '/proc/nowhere'")
    assert overdue(database, known) == []  # a report that cannot be written stops nobody
