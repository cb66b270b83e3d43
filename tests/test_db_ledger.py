"""The ledger against a real Postgres: idempotent submission, leases, fencing, traceable deliveries, migrations."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import ledger, queries
from db.ledger import Lease
from db.lineage import lineage, made_from, to_openlineage
from db.session import Database
from db.tables import Base
from infra.errors import DatabaseUnavailable, StaleToken
from infra.postgres import embedded_url
from ledger_cases import database, give, leased, row, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)


def test_migrations_match_the_tables_and_go_down_and_up(database: Database) -> None:  # noqa: F811
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.migrate("base")
    with database.engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")).scalar()
    assert left == 0
    database.migrate()
    leased(database)
    database.migrate()  # once more on data: nothing is lost
    assert queries.batches(database)[0]["jobs"] == {"running": 1}


def test_eight_clients_submit_one_batch(database: Database) -> None:  # noqa: F811
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.submit(database, "same", "b", "out", specs()), range(8)))
    assert len({f.batch_id for f in found}) == 1 and sum(f.created for f in found) == 1
    assert len(queries.job_states(database, found[0].batch_id)) == 3


def test_every_job_is_leased_once(database: Database) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(20)).batch_id
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: ledger.lease(database, batch, f"w{i}", 60), range(24)))
    ids = [f.job_id for f in found if f]
    assert len(ids) == len(set(ids)) == 20


STALE: dict[str, Callable[[Database, Lease], Any]] = {
    "renew": lambda d, held: ledger.renew(d, held, 60),
    "record_artifacts": lambda d, held: ledger.record_artifacts(d, held, [row("a")]),
    "record_stage": lambda d, held: ledger.record_stage(d, held, "k", "speech", row("a"), 1.0),
    "record_take": lambda d, held: ledger.record_take(d, held, take(), verdict()),
    "claim": lambda d, held: ledger.claim(d, held, "k"),
    "rejudge": lambda d, held: ledger.rejudge(d, held, 1, verdict()),
    "settle": lambda d, held: ledger.settle(d, held, "engines", {"order": ["avct"]}),
    "deliver": lambda d, held: ledger.deliver(d, held, 1, "c" * 64, "u", {}),
    "finish": lambda d, held: ledger.finish(d, held, "failed", {}),
    "release": ledger.release,
    "defer": lambda d, held: ledger.defer(d, held, {}, 6, 0.0),
}


@pytest.mark.parametrize("call", STALE)
def test_a_worker_that_lost_its_job_can_write_nothing(database: Database, call: str) -> None:  # noqa: F811
    old = leased(database, 60)
    with database.begin() as session:
        session.execute(text("UPDATE jobs SET lease_expires = now() - interval '1 second'"))
    new = ledger.lease(database, old.batch_id, "w2", 60)
    assert new is not None and new.job_id == old.job_id and new.token > old.token
    with pytest.raises(StaleToken):
        STALE[call](database, old)
    ledger.renew(database, new, 60)


def test_the_stale_writes_are_all_that_take_a_lease() -> None:
    import inspect

    takes_lease = {n for n, f in inspect.getmembers(ledger, inspect.isfunction) if "held" in inspect.signature(f).parameters and not n.startswith("_")}
    assert takes_lease == set(STALE)


def test_a_job_whose_workers_die_is_set_aside(database: Database) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(1)).batch_id
    for _ in range(3):
        assert ledger.lease(database, batch, "w", 60, max_attempts=3)
        with database.begin() as session:
            session.execute(text("UPDATE jobs SET lease_expires = now() - interval '1 second'"))
    assert ledger.lease(database, batch, "w", 60, max_attempts=3) is None
    job = queries.report(database, batch)["jobs"][0]
    assert job["state"] == "failed" and job["error"]["code"] == "job.poison"


def test_a_delivery_is_traceable_or_refused(database: Database) -> None:  # noqa: F811
    held = leased(database)
    for bad, kind in ((take(sources=(("a", "portrait"),)), "pass"), (take(sources=(), weights=False), "pass"), (take(), "flag")):
        with database.begin() as session:
            session.execute(text("DELETE FROM edges"))
            session.execute(text("DELETE FROM take_weights"))
        number = ledger.record_take(database, held, bad, verdict(kind))
        with pytest.raises(DBAPIError, match="delivery of job"):
            give(database, held, number)
    number = ledger.record_take(database, held, take(), verdict())
    give(database, held, number, files={"video": "a.mp4"})
    with pytest.raises(StaleToken):
        give(database, held, number, "s3://out/b.mp4")


def test_an_edge_to_nowhere_is_refused(database: Database) -> None:  # noqa: F811
    held = leased(database)
    with pytest.raises(IntegrityError):
        ledger.record_artifacts(database, held, [row("d", ("9", "portrait"))])


def test_lineage_walks_back_and_forth(database: Database) -> None:  # noqa: F811
    held = leased(database)
    ledger.record_stage(database, held, "stage-key", "speech", row("b", ("a", "script")), 0.5)
    number = ledger.record_take(database, held, take(), verdict())
    give(database, held, number)
    tree = lineage(database, "c" * 64)
    assert tree is not None
    found = tree["takes"][0]
    assert found["weights"][0]["sha256"] == "e" * 64 and found["code_version"] and found["seconds"] == {"render": 2.0} and found["machine"]
    assert {n["role"] for n in tree["made_from"]} == {"portrait", "speech"} and found["delivered"] == "s3://out/a.mp4"
    assert next(n for n in tree["made_from"] if n["role"] == "speech")["stages"][0]["stage"] == "speech"
    assert {n["sha256"][0] for n in made_from(database, "a" * 64)} == {"b", "c", "1"}
    event = to_openlineage(tree)
    assert event["outputs"][0]["name"] == "c" * 64 and len(event["inputs"]) == 3
    assert lineage(database, "0" * 64) is None


def test_events_are_never_changed(database: Database) -> None:  # noqa: F811
    leased(database)
    for change in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(DBAPIError, match="never changed"), database.begin() as session:
            session.execute(text(change))


def test_a_killed_holder_loses_its_job_to_the_next(database: Database, url: str) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(1)).batch_id
    code = (
        "import sys, time; from db.session import Database; from db import ledger\n"
        f"ledger.lease(Database({url!r}), {batch}, 'victim', 2); print('leased', flush=True); time.sleep(60)\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    assert victim.stdout is not None and victim.stdout.readline().strip() == b"leased"
    victim.kill()
    victim.wait()
    assert ledger.lease(database, batch, "heir", 60) is None  # still the dead one's
    with database.begin() as session:
        session.execute(text("SELECT pg_sleep(2.1)"))
    heir = ledger.lease(database, batch, "heir", 60)
    assert heir is not None and heir.attempts == 2


def test_an_absent_server_is_named() -> None:
    with pytest.raises(DatabaseUnavailable) as told:
        Database("postgresql+psycopg://nobody@127.0.0.1:9/none").migrate()
    assert "DUBWRIGHT_DATABASE_URL" in told.value.next_step


def test_a_second_process_joins_the_embedded_server(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: F811
    home = tmp_path_factory.mktemp("a-long-name-" + "x" * 90)
    mine = embedded_url(home)
    code = f"from pathlib import Path; from infra.postgres import embedded_url; print(embedded_url(Path({str(home)!r})))"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent.parent).stdout.strip()
    assert theirs == mine
    again = Database(mine)
    again.migrate()  # the other process has ended; the server has not
    again.close()
