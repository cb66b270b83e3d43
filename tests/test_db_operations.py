"""Operators' reach into the ledger, against a real Postgres: backoff, cancellation, priorities, pause and drain, costs, collection, backup."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import costs, ledger, operations, queries, retention, workers
from db.ledger import JobSpec, Lease
from db.lineage import lineage
from db.prices import Prices, priced
from db.session import Database
from flows.collect import collect
from infra.artifacts import Artifacts
from infra.backup import dump, load
from infra.errors import LedgerError, StaleToken, StoreUnavailable
from infra.settings import Settings
from infra.store import FolderStore
from ledger_cases import database, give, leased, row, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)
from tasks.stages import Work


def change(database: Database, statement: str) -> None:  # noqa: F811
    with database.begin() as session:
        session.execute(text(statement))


def jobs(database: Database, batch: int) -> list[dict[str, object]]:  # noqa: F811
    return list(queries.report(database, batch)["jobs"])


def events(database: Database, kind: str) -> int:  # noqa: F811
    with database.begin() as session:
        return int(session.execute(text("SELECT count(*) FROM events WHERE kind = :kind"), {"kind": kind}).scalar_one())


def test_outages_and_dead_workers_make_a_job_wait_and_end(database: Database) -> None:  # noqa: F811
    held = leased(database)
    outage = {"code": "store.unavailable", "message": "it does not answer", "next_step": "wait"}
    assert ledger.defer(database, held, outage, 2, 600.0) == "queued"
    with pytest.raises(StaleToken):
        ledger.renew(database, held, 60)
    assert ledger.lease(database, held.batch_id, "w", 60) is None and workers.waiting(database, held.batch_id) == []
    told = operations.live(database)[held.batch_id]
    assert told["deferred"] == 1 and told["next_try"] and told["leases"] == 0
    change(database, "UPDATE jobs SET not_before = now() - interval '1 second'")
    again = ledger.lease(database, held.batch_id, "w", 60)
    assert again is not None and again.attempts == 1  # an outage is no dead worker
    assert ledger.defer(database, again, outage, 2, 600.0) == "failed"
    assert jobs(database, held.batch_id)[0]["error"] == outage
    assert ledger.retry(database, held.batch_id) == 1 and jobs(database, held.batch_id)[0]["outages"] == 0
    for waits in (0, 1):  # the first dead worker's job is taken at once, the second's waits
        assert ledger.lease(database, held.batch_id, "w", 60, 3, backoff=600.0)
        change(database, "UPDATE jobs SET lease_expires = now() - interval '1 second'")
        if waits:
            assert ledger.lease(database, held.batch_id, "w", 60, 3, backoff=600.0) is None
    assert jobs(database, held.batch_id)[0]["not_before"] and events(database, "lease ran out") == 2
    assert [workers.wait(times, 30.0) for times in (0, 1, 2, 3, 9)] == [0.0, 30.0, 60.0, 120.0, 900.0]


def test_cancelled_jobs_end_at_once_and_their_workers_can_write_nothing(database: Database) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(3)).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None
    assert operations.cancel(database, batch, "ana", "title-1/es-ES") == {"queued": ["title-1/es-ES"], "running": []}
    for name, code in (("title-1/es-ES", "job.ended"), ("nobody/es-ES", "job.unknown")):
        with pytest.raises(LedgerError) as told:
            operations.cancel(database, batch, "ana", name)
        assert told.value.code == code
    assert operations.cancel(database, batch, "ana") == {"queued": ["title-2/es-ES"], "running": ["title-0/es-ES"]}
    for write in (lambda: ledger.renew(database, held, 60), lambda: ledger.record_take(database, held, take(), verdict()), lambda: ledger.deliver(database, held, 1, "c" * 64, "u", {})):
        with pytest.raises(StaleToken):
            write()
    assert {job["state"] for job in jobs(database, batch)} == {"cancelled"} and events(database, "cancelled") == 3
    assert ledger.lease(database, batch, "w", 60) is None and ledger.retry(database, batch) == 0
    assert ledger.retry(database, batch, ("cancelled",)) == 3
    fresh = ledger.lease(database, batch, "w2", 60)
    assert fresh is not None and fresh.token > held.token + 1


def test_leases_go_by_priority_then_age_across_batches(database: Database) -> None:  # noqa: F811
    def submitted(key: str, *priorities: int) -> int:
        made = [JobSpec(f"{key}-{i}", f"{key}{i}", "es-ES", "avct", "compact", {}, priority) for i, priority in enumerate(priorities)]
        return ledger.submit(database, key, key, "out", made).batch_id

    first, second = submitted("a", 0, 5), submitted("b", 0, 9)
    third = submitted("c", -1)
    assert operations.prioritise(database, third, 2, "ana") == 0 and events(database, "priority") == 1
    assert submitted("a", 0, 7) == first  # the newest submission's priorities hold
    order = []
    while (held := ledger.lease(database, None, "w", 60)) is not None:
        order.append(held.title)
    assert order == ["c0", "b1", "a1", "a0", "b0"] and second
    with pytest.raises(LedgerError):
        operations.prioritise(database, first, 5000, "ana")


def test_paused_and_draining_batches_lease_nothing(database: Database) -> None:  # noqa: F811
    batch = ledger.submit(database, "batch", "b", "out", specs(2)).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None and operations.steer(database, "paused", "ana", batch) == 1
    assert ledger.lease(database, batch, "w", 60) is None and workers.waiting(database, batch) == []
    ledger.renew(database, held, 60)  # what runs goes on
    assert operations.steer(database, "draining", "ana") == 1 and operations.control_of(database, batch) == "draining"
    operations.steer(database, "open", "ana", batch)
    assert operations.control_of(database, batch) == "draining" and ledger.lease(database, batch, "w", 60) is None
    assert operations.live(database)[batch] | {"oldest_lease": 0} == {
        "control": "draining", "priority": 0, "deferred": 0, "next_try": None, "leases": 1, "oldest_lease": 0, "lapsed": 0,
    }  # fmt: skip
    operations.steer(database, "open", "ana")
    assert ledger.lease(database, batch, "w", 60) is not None
    assert [events(database, kind) for kind in ("paused", "draining", "open")] == [1, 1, 2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET state = 'queued', token = token - 1, lease_expires = NULL",
        "UPDATE jobs SET state = 'rejected', lease_expires = NULL",
        "UPDATE jobs SET not_before = now()",
        "UPDATE jobs SET state = 'delivered', lease_expires = NULL; UPDATE jobs SET state = 'queued'",
        "UPDATE batches SET control = 'asleep'",
        "INSERT INTO service (id) VALUES (2)",
        "UPDATE artifacts SET gone_at = now()",
    ],
)
def test_the_database_refuses_moves_that_are_none(database: Database, statement: str) -> None:  # noqa: F811
    leased(database)
    with pytest.raises(DBAPIError, match=r"cannot go from|violates check constraint"):
        change(database, statement)


def delivered(database: Database) -> Lease:  # noqa: F811
    """A job delivered from portrait a and speech b, with a take d that fell short and speech f of its own, all old."""
    held = leased(database)
    ledger.record_stage(database, held, "kept", "speech", row("b"), 0.5)
    ledger.record_stage(database, held, "unused", "speech", row("f"), 0.5)
    ledger.record_artifacts(database, held, [row("d", ("a", "portrait"), ("f", "speech"))])
    number = ledger.record_take(database, held, take(), verdict())
    give(database, held, number)
    change(database, "UPDATE artifacts SET created_at = now() - interval '40 days'; UPDATE stage_results SET created_at = now() - interval '40 days'")
    return held


def test_what_a_delivery_reaches_stays_and_the_rest_goes(database: Database, url: str, tmp_path: Path) -> None:  # noqa: F811
    """Also killed outright: the first removal ends its process between an object and the record of it."""
    delivered(database)
    store = FolderStore(tmp_path / "store")
    for letter in "abcdf":
        store.put(f"sha256/{letter}", letter.encode())
    artifacts = Artifacts(store, tmp_path / "cache")
    assert collect(database, artifacts, 50 * 86400.0, dry_run=True)["artifacts"] == 0
    assert collect(database, artifacts, 30 * 86400.0, dry_run=True) == {"dry_run": True, "artifacts": 2, "bytes": 2, "kinds": {"x.bin": 2}}
    code = (
        "import os, signal; from pathlib import Path; from db.session import Database; from flows.collect import collect\n"
        "from infra.artifacts import Artifacts; from infra.store import FolderStore\n"
        "class Killed(FolderStore):\n"
        "    def delete(self, key):\n        super().delete(key); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"collect(Database({url!r}), Artifacts(Killed(Path({str(tmp_path / 'store')!r})), Path({str(tmp_path / 'cache')!r})), 30 * 86400.0)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, env=os.environ, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    told = collect(database, artifacts, 30 * 86400.0)
    assert (told["removed"], told["waiting"]) == (2, 0) and [found.key for found in store.list()] == ["sha256/a", "sha256/b", "sha256/c"]
    assert ledger.find_stage(database, "unused") is None and ledger.find_stage(database, "kept") is not None
    tree = lineage(database, "d" * 64)
    assert tree is not None and {node["sha256"][0] for node in tree["made_from"]} == {"a", "f"}  # it still tells what it was made of
    with pytest.raises(DBAPIError, match="reached by a delivery"):
        change(database, "UPDATE artifacts SET marked_at = now()")


def test_what_a_job_at_work_may_have_found_waits_and_what_it_needs_stays(database: Database) -> None:  # noqa: F811
    delivered(database)
    batch = ledger.submit(database, "other", "o", "out", specs(1)).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None and retention.mark(database, 86400.0) == 2
    gone: list[str] = []
    assert retention.remove(database, lambda key, _: gone.append(key)) == {"removed": 0, "bytes": 0, "kept": 0, "waiting": 2}
    assert ledger.record_stage(database, held, "unused", "speech", row("f"), 0.5) is True  # made again: it stays, and is put anew
    ledger.finish(database, held, "failed", {})
    assert retention.remove(database, lambda key, _: gone.append(key))["removed"] == 1 and gone == ["sha256/d"]


def test_windows_go_as_soon_as_their_render_is_kept(database: Database) -> None:  # noqa: F811
    held = leased(database)
    for letter in "89":
        assert ledger.record_stage(database, held, f"window-{letter}", "window", row(letter, ("a", "portrait")), 1.0) is False
    ledger.record_stage(database, held, "render", "render", row("c", ("a", "portrait"), ("b", "speech")), 3.0, ["8" * 64, "9" * 64])
    assert ledger.find_stage(database, "window-8") is None and ledger.find_stage(database, "render") == ("c" * 64, 3.0)
    gone: list[str] = []
    assert retention.remove(database, lambda key, _: gone.append(key))["waiting"] == 2  # the job may be joining them
    assert ledger.record_stage(database, held, "window-9", "window", row("9", ("a", "portrait")), 1.0) is True  # another's render makes it again
    ledger.finish(database, held, "failed", {})
    assert retention.remove(database, lambda key, _: gone.append(key))["removed"] == 1 and gone == ["sha256/8"]
    tree = lineage(database, "c" * 64)
    assert tree is not None and {node["role"] for node in tree["made_from"]} == {"portrait", "speech"}
    stale = Lease(held.job_id, held.batch_id, held.token - 1, 1, held.title, held.locale, held.engine, held.preset, held.key, held.spec)
    with pytest.raises(StaleToken):
        ledger.record_stage(database, stale, "window-7", "window", row("7"), 1.0)


def test_a_job_cut_off_by_an_outage_waits_and_one_cancelled_stops_at_the_next_stage(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from flows import batch, job

    known = Settings(home=tmp_path, backoff_seconds=600.0)
    artifacts = Artifacts(FolderStore(tmp_path / "store"), known.cache)
    held, reached = leased(database), list[Work]()

    def outage(work: Work) -> str:
        raise StoreUnavailable("the bucket does not answer")

    monkeypatch.setattr(job, "_run", outage)
    assert job.run_job(database, artifacts, known, held) == "queued"
    row = jobs(database, held.batch_id)[0]
    assert row["state"] == "queued" and row["not_before"] and row["error"]["code"] == "store.unavailable"  # type: ignore[index]
    operations.steer(database, "draining", "ana")
    assert batch.run_here(database, held.batch_id, known) == {"queued": 1}  # it ends, and does not wait
    operations.steer(database, "open", "ana")
    change(database, "UPDATE jobs SET not_before = NULL")
    again = ledger.lease(database, held.batch_id, "w", 60)
    assert again is not None and operations.cancel(database, held.batch_id, "ana")["running"]
    with pytest.raises(StaleToken):
        job._stage(Work(database, artifacts, known, again, tmp_path), "render", lambda work: reached.append(work))
    assert reached == [] and batch.run_here(database, held.batch_id, known) == {"cancelled": 1}


def test_costs_are_recorded_seconds_at_stated_prices(database: Database) -> None:  # noqa: F811
    held = delivered(database)
    change(database, "UPDATE takes SET parameters = '{\"frames\": 750, \"fps\": 25}', seconds = '{\"speech\": 36, \"render\": 324}'")
    prices = Prices.model_validate({"currency": "EUR", "default": {"cpu_hour": 0.5}, "machines": [{"match": "H100", "cpu_hour": 1, "gpu_hour": 3}]})
    told = priced(costs.worked(database, [held.batch_id]), costs.delivered(database, [held.batch_id]), prices)
    assert told["total"] == {"spent": 0.05, "minutes": 0.5, "per_minute": 0.1}  # 360 s at 0.5 an hour, half a minute delivered
    assert told["language"] == [{"language": "es", **told["total"]}] and told["engine"][0]["engine"] == "avct" and told["batch"][0]["batch"] == held.batch_id
    assert [prices.hour(machine) for machine in ({"host": "a"}, {"gpu": "NVIDIA H100"}, {"host": "h100-7"})] == [0.5, 3.0, 1.0]


def test_a_backup_is_restored_into_an_empty_ledger_alone(database: Database, server: str, tmp_path: Path) -> None:  # noqa: F811
    delivered(database)
    source = database.engine.url.render_as_string(hide_password=False)
    assert dump(source, tmp_path / "ledger.dump") > 1000
    with pytest.raises(LedgerError, match="holds 1 batch"):
        load(source, tmp_path / "ledger.dump")
    change(database, "TRUNCATE batches CASCADE")
    load(source, tmp_path / "ledger.dump")
    assert [job["state"] for job in jobs(database, 1)] == ["delivered"] and lineage(database, "c" * 64) is not None
    with pytest.raises(DBAPIError, match="never changed"):  # its guards came with it
        change(database, "DELETE FROM events")
