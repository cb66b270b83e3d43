"""Upgrades with workers at work: a newer schema under this code, an older one, one that this code may no longer touch, and a table that is in use."""

import ast
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import consents, erasure, ledger, queries, session, versions
from db.consent_faces import FacePoint
from db.session import Database, open_database
from infra.errors import LedgerError
from infra.settings import Settings
from ledger_cases import database, give, leased, row, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)

JOBS = 40
NEXT = '''
"""What a next version adds, and (contract) what it takes away."""
import sqlalchemy as sa
from alembic import op
from db.versions import contract
revision, down_revision, branch_labels, depends_on = "9001", {head!r}, None, None


def upgrade():
    op.add_column("jobs", sa.Column("mood", sa.Text(), nullable=True))
    op.add_column("takes", sa.Column("stars", sa.Integer(), server_default="3", nullable=False))
    op.create_table("moods", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("job_id", sa.BigInteger(), sa.ForeignKey("jobs.id"), nullable=False))
    op.create_index("ix_jobs_mood", "jobs", ["mood"])
    {contract}


def downgrade():
    op.drop_table("moods")
    op.drop_column("takes", "stars")
    op.drop_column("jobs", "mood")
'''


def newer(folder: Path, contract: str = "") -> Path:
    """The migrations of a version after this one."""
    place = folder / f"migrations{len(contract)}"
    shutil.copytree(versions.MIGRATIONS, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "versions" / "9001_next.py").write_text(NEXT.format(head=versions.known()[-1], contract=contract))
    return place


def change(database: Database, statement: str) -> None:  # noqa: F811
    with database.begin() as opened:
        opened.execute(text(statement))


def test_a_worker_of_this_version_goes_on_while_and_after_a_newer_one_migrates(database: Database, url: str, tmp_path: Path) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(JOBS)).batch_id
    place, begun, faults = newer(tmp_path), threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while held := ledger.lease(database, batch, "w", 60):
                ledger.record_artifacts(database, held, [row("a"), row("b")])
                ledger.renew(database, held, 60)
                number = ledger.record_take(database, held, take(), verdict())
                begun.set()
                give(database, held, number, f"s3://out/{held.title}.mp4")
        except BaseException as error:
            faults.append(error)
            begun.set()

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(60)
    delivered = sum(state == "delivered" for state in queries.job_states(database, batch).values())
    Database(url).migrate(place=place)
    worker.join(120)
    assert not faults and delivered < JOBS
    assert set(queries.job_states(database, batch).values()) == {"delivered"}
    known = Settings(database_url=url)  # type: ignore[arg-type, call-arg]
    again = open_database(known)  # it is opened as it is, and worked on
    assert again.standing().ahead and not again.standing().refuses and again.standing().found == "9001"
    more = ledger.submit(again, "more", "more", "out", specs(1)).batch_id
    held = ledger.lease(again, more, "w", 60)
    assert held is not None
    ledger.finish(again, held, "failed", {"code": "x"})
    with again.begin() as opened:
        assert opened.execute(text("SELECT count(*) FROM takes WHERE stars = 3")).scalar_one() == JOBS
    Database(url).migrate(f"{versions.known()[-1]}", place)  # and back, on data
    assert open_database(known).standing().newest and len(queries.report(again, batch)["jobs"]) == JOBS


def test_a_contracted_schema_is_refused_by_older_code_and_by_it_alone(database: Database, url: str, tmp_path: Path) -> None:  # noqa: F811
    head = versions.known()[-1]
    database.migrate(place=newer(tmp_path, f"op.execute(contract({head!r}))"))
    known = Settings(database_url=url)  # type: ignore[arg-type, call-arg]
    assert open_database(known).standing().oldest == head  # this version is still allowed
    change(database, versions.contract("9001"))
    with pytest.raises(LedgerError) as told:
        open_database(known)
    assert told.value.code == "ledger.newer" and "9001" in told.value.message and head in told.value.message and "Install" in told.value.next_step
    with pytest.raises(ValueError, match="no revision"):
        versions.contract("1'; DROP TABLE jobs")


def test_an_older_schema_is_brought_up_to_date_on_data(database: Database, url: str) -> None:  # noqa: F811
    ledger.submit(database, "batch", "b", "out", specs(2))
    database.migrate("0003")
    found = database.standing()
    assert (found.found, found.behind, found.ahead) == ("0003", len(found.known) - 3, False)
    again = open_database(Settings(database_url=url))  # type: ignore[arg-type, call-arg]
    assert again.standing().newest and len(queries.report(again, 1)["jobs"]) == 2


def test_rights_go_down_and_up_on_data(database: Database) -> None:  # noqa: F811
    """What was delivered, the records it rests on and what was erased outlive a way down, of licences alone and of both; then both refuse again."""
    held = leased(database)
    number = ledger.record_take(database, held, take(), verdict())
    ledger.record_artifacts(database, held, [row("9")])
    give(database, held, number)
    face = FacePoint("8" * 64, 1.0, 0.5, 0.25)
    consents.add(database, consents.Record("Bo", "synthetic", id="c-bo", subjects=(("voice", "9" * 64, "bo.wav"), ("face", face.sha256, face.name))), "tests")
    erasure.erase(database, "Bo", "tests", lambda key, sha256: None)
    told = "SELECT to_jsonb(c)::text FROM consents c UNION ALL SELECT to_jsonb(s)::text FROM consent_subjects s UNION ALL SELECT to_jsonb(d)::text FROM delivery_consents d UNION ALL SELECT to_jsonb(e)::text FROM erasures e UNION ALL SELECT to_jsonb(v)::text FROM deliveries v UNION ALL SELECT to_jsonb(a)::text FROM artifacts a ORDER BY 1"  # fmt: skip

    def rows() -> list[str]:
        with database.begin() as opened:
            return list(opened.execute(text(told)).scalars())

    before, research = rows(), "UPDATE weights SET licence_class = 'research'"
    again = "UPDATE deliveries SET files = files"
    database.migrate("0008")
    change(database, research)
    change(database, again)  # nobody asks for licences there
    database.migrate()
    with pytest.raises(DBAPIError, match="is commercial"):
        change(database, again)
    database.migrate("0007")
    with database.begin() as opened:
        assert opened.execute(text("SELECT to_regclass('consents')")).scalar_one() is None
        assert opened.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 1
    database.migrate()
    assert rows() == before and sum("c-bo" in line for line in before) == 4
    with pytest.raises(DBAPIError, match="is commercial"):
        change(database, again)
    change(database, "UPDATE weights SET licence_class = 'open'")
    change(database, again)
    erasure.revoke(database, "c-test", "tests", "")
    with pytest.raises(DBAPIError, match="no valid consent"):
        change(database, again)
    with pytest.raises(DBAPIError, match="never changed"):
        change(database, "DELETE FROM delivery_consents")
    change(database, "INSERT INTO erasures (actor, consents, artifacts) VALUES ('tests', '[]', 0)")  # its numbers go on
    database.migrate("base")
    database.migrate()
    with database.begin() as opened:
        assert opened.execute(text("SELECT (SELECT count(*) FROM consents), (SELECT count(*) FROM delivery_consents)")).one() == (2, 0)


def test_a_migration_waits_for_a_table_in_turns_and_lets_others_through(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(session, "LOCK_SECONDS", 0.3)
    batch = ledger.submit(database, "batch", "b", "out", specs(1)).batch_id
    done, holding = threading.Event(), threading.Event()

    def hold() -> None:
        with database.begin() as opened:
            opened.execute(text("SELECT 1 FROM jobs"))
            holding.set()
            done.wait(60)

    holder, migration = threading.Thread(target=hold), threading.Thread(target=lambda: database.migrate(place=newer(tmp_path)))
    holder.start()
    assert holding.wait(60)
    migration.start()
    held = ledger.lease(database, batch, "w", 60)  # it waits behind the migration for less than a turn
    assert held is not None and migration.is_alive() and not database.standing().ahead
    done.set()
    for thread in (holder, migration):
        thread.join(60)
    assert database.standing().ahead


REMOVING = {"drop_column", "drop_table", "rename_table"}
FIRST = "0005"  # migrations from here on only expand


def removals(path: Path) -> list[str]:
    """What a migration's upgrade takes away from code that runs."""
    tree = ast.parse(path.read_text())
    upgrade = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade")
    found = []
    for call in (node for node in ast.walk(upgrade) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        words: dict[str, Any] = {word.arg: ast.unparse(word.value) for word in call.keywords}
        name = call.func.attr  # type: ignore[union-attr]
        if name in REMOVING or (name == "alter_column" and (words.get("nullable") == "False" or "new_column_name" in words or "type_" in words)):
            found.append(f"{path.name}:{call.lineno} {name}")
        for column in call.args[1:2] if name == "add_column" else ():
            given = {word.arg: ast.unparse(word.value) for word in getattr(column, "keywords", [])}
            if given.get("nullable") == "False" and "server_default" not in given:
                found.append(f"{path.name}:{call.lineno} a column that older code cannot fill")
    return found


def test_migrations_expand_or_say_that_they_contract(tmp_path: Path) -> None:
    for path in sorted((versions.MIGRATIONS / "versions").glob("*.py")):
        if path.name >= FIRST and "contract(" not in path.read_text():
            assert removals(path) == []
    bad = tmp_path / "bad.py"
    bad.write_text("def upgrade():\n    op.drop_column('jobs', 'spec')\n    op.add_column('jobs', sa.Column('x', sa.Text(), nullable=False))\n    op.alter_column('jobs', 'error', nullable=False)\n")
    assert len(removals(bad)) == 3
