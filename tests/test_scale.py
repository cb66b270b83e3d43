"""Many jobs: shards by cost and face, the queue's order, where a batch's time went, and a small honest sample of the scale benchmark."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from db import ledger, queries, workers
from db.ledger import JobSpec
from db.queries import Estimated
from db.session import Database
from db.throughput import throughput, throughput_words
from flows import batch
from flows.shard import shard
from infra.errors import DatabaseUnavailable, StaleToken
from infra.settings import Settings, get_settings
from ledger_cases import database, give, leased, row, server, specs, take, url, verdict  # noqa: F401 (some are fixtures)
from tasks.plan import Rates
from tasks.together import awaited


def costs(groups: list[list[int]], jobs: list[Estimated]) -> list[float]:
    by = {job.job: batch.cost(job) for job in jobs}
    return [sum(by[job] for job in group) for group in groups]


def test_shards_are_balanced_by_cost_longest_first_and_keep_faces_together() -> None:
    draw = random.Random(3)
    jobs = [Estimated(number, draw.uniform(4, 40), f"face {number % 23}") for number in range(600)]
    groups = batch.shards(jobs, 5.0)
    assert sorted(job for group in groups for job in group) == list(range(600))
    spent = costs(groups, jobs)
    assert spent == sorted(spent, reverse=True) and max(spent) <= 300
    assert len(groups) <= 1.15 * sum(spent) / 300 + 1  # next to none is half empty
    faces = [len({number % 23 for number in group}) for group in groups]
    assert sum(faces) / len(faces) < 2  # in order of the manifest each would hold all of them


def test_what_is_left_is_cut_smaller_so_that_workers_end_together() -> None:
    jobs = [Estimated(number, 20.0, "") for number in range(96)]  # 32 minutes
    assert len(batch.shards(jobs, 20.0)) == 2
    assert len(batch.shards(jobs, 20.0, lanes=8)) == 24
    assert len(batch.shards(jobs, 20.0, lanes=500)) == 32  # of a minute at least: a worker takes seconds to begin one
    mixed = [Estimated(0, 900.0, "a"), Estimated(1, 0.0, "a"), Estimated(2, 10.0, "b", priority=5)]
    assert batch.shards(mixed, 5.0) == [[2], [0], [1]]  # the urgent first; one that is longer than a shard is one


class Narrow:
    """A pool that takes so many shards at once."""

    def __init__(self, room: int = 2) -> None:
        self.groups: list[list[int]] = []
        self.workers, self.most = 1, room

    def lanes(self) -> int:
        return self.workers

    def room(self) -> int:
        return self.most - len(self.groups)

    def sent(self) -> list[list[int]]:
        return self.groups

    def send(self, batch_id: int, groups: list[list[int]]) -> None:
        self.groups += groups


def test_a_batch_is_sent_as_there_is_room_and_what_becomes_urgent_comes_first(database: Database, tmp_path: Path) -> None:  # noqa: F811
    jobs = [JobSpec(f"k{n}", f"t{n:02d}", "es-ES", "avct", "compact", {"estimate": 30.0, "inputs": {"portrait": {"sha256": f"{n % 2}"}}}) for n in range(12)]
    number = ledger.submit(database, "batch", "b", "out", jobs).batch_id
    known, target = Settings(home=tmp_path, shard_minutes=1.0), Narrow()
    first = queries.job_states(database, number)
    assert batch.send(database, number, known, target) == 2 and batch.send(database, number, known, target) == 0
    assert all(len(group) == 2 and len({job % 2 for job in group}) == 1 for group in target.groups)
    urgent = next(job for job in sorted(first) if not any(job in group for group in target.sent()))
    with database.begin() as session:
        session.execute(text("UPDATE jobs SET priority = 9 WHERE id = :job"), {"job": urgent})
    ended = target.groups.pop(0)
    for _ in ended:
        assert ledger.lease(database, number, "w", 60, only=ended)
    assert batch.send(database, number, known, target) == 1 and target.groups[-1] == [urgent]


def test_workers_that_join_late_get_a_part_of_what_others_hold(database: Database, tmp_path: Path) -> None:  # noqa: F811
    jobs = [JobSpec(f"k{n}", f"t{n:02d}", "es-ES", "avct", "compact", {"estimate": 30.0, "inputs": {"portrait": {"sha256": f"{n}"}}}) for n in range(24)]
    number = ledger.submit(database, "batch", "b", "out", jobs).batch_id
    known, target = Settings(home=tmp_path, shard_minutes=20.0), Narrow(room=64)
    assert batch.send(database, number, known, target) == 1 and len(target.groups[0]) == 24  # there is one worker
    assert ledger.lease(database, number, "first", 60, only=target.groups[0])
    target.workers = 4
    assert batch.send(database, number, known, target) == 3
    order, given = target.groups[0], [job for group in target.groups[1:] for job in group]
    assert len(set(given)) == len(given) and set(given) <= set(sorted(order)[12:]), "none twice, and of those that the first worker comes to last"
    assert batch.send(database, number, known, target) == 0  # every worker has a shard
    taken = []
    while held := ledger.lease(database, number, "second", 60, only=given):
        taken.append(held.job_id)
    assert sorted(taken) == sorted(given)
    while held := ledger.lease(database, number, "first", 60, only=order):
        taken.append(held.job_id)
    assert len(taken) == len(set(taken)) == 23  # each job was leased once
    target.groups = target.groups[:1]
    assert batch.send(database, number, known, target) == 0  # nothing is left to share


def test_the_next_job_is_found_without_reading_the_others(database: Database) -> None:  # noqa: F811
    number = ledger.submit(database, "many", "b", "out", specs(3000)).batch_id
    with database.begin() as session:
        session.execute(text("ANALYZE jobs"))
        query = workers.ordered(workers.select(workers.t.Job.id).where(workers.free()), number).limit(1)
        plan = "\n".join(row[0] for row in session.execute(text(f"EXPLAIN {query.compile(session.connection(), compile_kwargs={'literal_binds': True})}")))
    assert "ix_jobs_next" in plan and "Sort" not in plan


def test_a_manifest_may_hold_more_jobs_than_a_statement_takes_parameters(database: Database) -> None:  # noqa: F811
    held = leased(database)
    number = ledger.record_take(database, held, take(), verdict())
    give(database, held, number)
    assert set(queries.delivered(database, [f"none {n}" for n in range(70_000)] + [held.key])) == {held.key}
    assert [len(job["takes"]) for job in queries.report(database, held.batch_id)["jobs"]] == [1]


def test_a_batchs_time_is_told_by_what_it_went_into(database: Database) -> None:  # noqa: F811
    held = leased(database)
    assert throughput(database, held.batch_id) is not None
    taken = take()
    number = ledger.record_take(database, held, ledger.TakeRecord(**{**taken.__dict__, "spent": {"render": 6.0, "score": 2.0}}), verdict())
    give(database, held, number)
    moved = {"submitted": 0, "leased": 4, "take": 13, "delivered": 14}  # seconds after submission
    with database.begin() as session:
        session.execute(text("ALTER TABLE events DISABLE TRIGGER USER"))
        for kind, seconds in moved.items():
            session.execute(text("UPDATE events SET at = (SELECT created_at FROM batches) + make_interval(secs => :s) WHERE kind = :kind"), {"s": seconds, "kind": kind})
        session.execute(text("ALTER TABLE events ENABLE TRIGGER USER"))
    told = throughput(database, held.batch_id)
    assert told == {
        "queue_seconds": {"p50": 4.0, "p95": 4.0, "most": 4.0}, "workers": 1, "worker_seconds": 10.0, "leased_seconds": 10.0,
        "stage_seconds": {"render": 6.0, "score": 2.0, "deliver": 1.0}, "rendering": 0.8, "idle": 0.0, "orchestration": 0.1, "lost": 0.0,
    }  # fmt: skip
    assert "80.0% rendering, 10.0% orchestration" in throughput_words(told)


def test_estimates_come_from_what_jobs_alike_took_on_the_machines_in_use(database: Database) -> None:  # noqa: F811
    held = leased(database)
    for number, seconds in ((1, {"speech": 1.0, "render": 20.0}), (2, {"speech": 1.0, "render": 9.0})):
        taken = {**take(number).__dict__, "seconds": seconds, "parameters": {"frames": 250, "fps": 25}, "machine": {"processor": "new"}}
        ledger.record_take(database, held, ledger.TakeRecord(**taken), verdict("fail"))
    assert queries.worked(database) == [queries.Worked("avct", "compact", False, "new", 30.0, 10.0)]
    old = [queries.Worked("avct", "compact", False, "old", 900.0, 10.0)] * 30
    new = [queries.Worked("avct", "compact", False, "new", work, 10.0) for work in (20.0, 30.0, 90.0) * 25]
    rates = Rates([*new, *old, queries.Worked("lipmemory", "compact", True, "new", 55.0, 10.0)])
    assert rates.of("avct", "compact", video=False) == 3.0 and rates.of("lipmemory", "compact", video=True) == 5.5
    assert rates.of("lipmemory", "compact", video=False) == 3.0  # of portraits at that preset
    assert rates.of("avct", "paper", video=False) == 16.0 and Rates([]).of("avct", "compact", video=True) == 1.3


def test_what_jobs_share_is_made_by_one_and_awaited_by_the_others(database: Database) -> None:  # noqa: F811
    batch_id = ledger.submit(database, "batch", "b", "out", specs(3)).batch_id
    one, two, three = (ledger.lease(database, batch_id, "w", 60) for _ in range(3))
    assert one and two and three and ledger.claim(database, one, "k") and ledger.claim(database, one, "k")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(awaited, database, two, "k")
        with pytest.raises(TimeoutError):
            waits.result(0.2)
        ledger.record_stage(database, one, "k", "faces", row("a"), 3.0)
        assert waits.result(30) == ("a" * 64, 3.0)
    assert ledger.claim(database, one, "other") and not ledger.claim(database, three, "other")
    assert awaited(database, three, "other", longest=0.0) is None  # it waits no longer than that
    ledger.finish(database, one, "failed", {})
    assert awaited(database, three, "other") is None and not ledger.claim(database, two, "other")  # who gave up is not waited for
    with database.begin() as session:
        session.execute(text("UPDATE jobs SET lease_expires = now() - interval '1 second' WHERE id = :job"), {"job": three.job_id})
    assert awaited(database, two, "other") is None and ledger.claim(database, two, "other")  # nor who died


@pytest.fixture(name="home")
def home_fixture(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: F811
    """This process's settings name the test's database."""
    monkeypatch.setenv("DUBWRIGHT_DATABASE_URL", url)
    monkeypatch.setenv("DUBWRIGHT_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_a_job_is_delivered_while_the_next_one_is_at_work(database: Database, home: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    number = ledger.submit(database, "batch", "b", "out", specs(3)).batch_id
    begun, held_at_once = [threading.Event() for _ in range(3)], []

    def run_job(database: Database, artifacts: object, known: Settings, held: ledger.Lease, beside: Callable[[Callable[[], str]], None]) -> str:
        at = int(held.title[-1])
        begun[at].set()
        held_at_once.append(queries.state_counts(database, number)["running"])

        def deliver() -> str:
            assert at == 2 or begun[at + 1].wait(60)  # comes only if the next one is not kept waiting
            if at == 1:
                raise StaleToken("somebody else holds it")
            ledger.finish(database, held, "failed", {})
            return "failed"

        beside(deliver)
        return "delivering"

    monkeypatch.setattr("flows.shard.run_job", run_job)
    assert shard.fn(number, workers.waiting(database, number)) == {"failed": 2, "lost": 1}
    assert held_at_once[:2] == [1, 2] and max(held_at_once) <= 3  # the next is leased when the engine is free, not before


def test_a_delivery_that_cannot_be_recorded_ends_the_shard_and_gives_its_lease_back(database: Database, home: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    number = ledger.submit(database, "batch", "b", "out", specs(1)).batch_id

    def run_job(database: Database, artifacts: object, known: Settings, held: ledger.Lease, beside: Callable[[Callable[[], str]], None]) -> str:
        def deliver() -> str:
            raise DatabaseUnavailable("it does not answer")

        beside(deliver)
        return "delivering"

    monkeypatch.setattr("flows.shard.run_job", run_job)
    with pytest.raises(DatabaseUnavailable):
        shard.fn(number, workers.waiting(database, number))
    assert queries.state_counts(database, number) == {"queued": 1}


def test_the_scale_benchmark_delivers_every_job_once_and_asks_little_of_the_ledger() -> None:
    words = [sys.executable, "-m", "benchmarks.scale", "--jobs", "20", "--workers", "1", "2", "--compress", "1000", "--starts", "0"]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("DUBWRIGHT_", "PREFECT_"))}
    done = subprocess.run(words, cwd=Path(__file__).parent.parent, env=known, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)["figures"]
    assert figures["delivered"] == figures["deliveries"] == 20, figures
    assert figures["deadlocks"] == 0 and figures["queries_per_job"] < 85 and figures["transactions_per_job"] < 36, figures
