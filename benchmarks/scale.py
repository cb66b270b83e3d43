"""Ten thousand jobs through the real machinery, rendering replaced by sleeps: what orchestration costs, and what grows.

    python -m benchmarks.scale --jobs 10000 --workers 1 2 4 8
    python -m benchmarks.scale --model           # what a million jobs on 500 GPUs need (docs/scale.md)
    python -m benchmarks.scale --record          # stage_seconds.json anew, from the takes of the ledger that the settings name

Real: the manifest, plan and submission, Postgres, the object store (a folder), Prefect's server, the pool's shards as flow runs of a deployment, stages as their
tasks, leases, renewals, records, the gate, deliveries. Not real: what a stage computes is a sleep that lasts what a recorded take's stage took, stretched so
that the mean job is `--seconds`, over `--compress`; files are a few bytes; and a worker runs its shards in one process, since starting one for each
(measured by `--starts`, and counted in) is not compressed. One batch holds all jobs; workers join it in steps, and each step is measured by itself.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import scale_model, scale_work
from benchmarks.scale_services import Processor, Watch, prefect, prefect_size, size, transactions
from benchmarks.scale_work import COUNTS, Counts
from flows.workers import LOOKS

ROOT = Path(__file__).resolve().parent.parent
KEPT = Path(__file__).parent / "scale.json"
POOL = "scale"
START = "import prefect.flow_engine; from flows.shard import shard; from flows.run import _warm; _warm({('avct', 'compact')})"
LOCALES = ("en-US", "es-ES", "fr-FR", "de-DE", "hi-IN")
PORTRAITS = 20
FRESH = multiprocessing.get_context("forkserver")


def manifest_of(folder: Path, jobs: int) -> dict[str, Any]:
    """A manifest of so many jobs: sentences of their own in five locales, spread over twenty portraits (one picture, saved twenty times)."""
    from PIL import Image

    picture = Image.open(ROOT / "demo" / "portraits" / "grace_hopper.jpg").convert("RGB")
    for number in range(min(PORTRAITS, jobs)):
        picture.save(folder / f"{number}.png", compress_level=1, pnginfo=_named(number))
    return {
        "batch": "scale", "output": str(folder / "out"), "defaults": {"engine": "avct"},
        "jobs": [
            {"title": f"title-{number:06d}", "locale": LOCALES[number % 5], "portrait": f"{number // 5 % min(PORTRAITS, jobs)}.png", "text": f"This is what is said in number {number}."}
            for number in range(jobs)
        ],
    }  # fmt: skip


def _named(number: int) -> Any:
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("number", str(number))
    return told


class Workers:
    """Worker processes that join one after another, and their figures added up."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.stop = given, FRESH.Event()
        self.made: list[tuple[Any, Any]] = []

    def grow(self, count: int) -> None:
        """Start workers until there are so many, and wait until each has begun to look for shards."""
        while len(self.made) < count:
            shared = FRESH.Array("d", len(COUNTS))
            process = FRESH.Process(target=scale_work.work, args=(self.given, shared, self.stop), daemon=True)
            process.start()
            self.made.append((process, shared))
        deadline = time.monotonic() + 180
        while any(not Counts(shared).read()["ready"] for _, shared in self.made):
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError("workers did not begin")
            time.sleep(0.1)

    def warm(self, quota: int) -> None:
        """Wait until each has ended a job, or so many are done in all: what a process takes to begin is measured by itself."""
        while any(not Counts(shared).read()["jobs"] for _, shared in self.made) and self.read()["jobs"] < quota:
            self.check()
            time.sleep(0.05)

    def read(self) -> dict[str, float]:
        """Sums over workers, of `slowest` the most."""
        found = [Counts(shared).read() for _, shared in self.made]
        return {name: max(row[name] for row in found) if name == "slowest" else sum(row[name] for row in found) for name in COUNTS}

    def check(self) -> None:
        """Raise RuntimeError where one has died."""
        if any(process.exitcode not in (None, 0) for process, _ in self.made):
            raise RuntimeError("a worker died; its last words are above")

    def end(self) -> None:
        """Have them end."""
        self.stop.set()
        for process, _ in self.made:
            process.join(30)
            if process.is_alive():
                process.kill()


def run(
    jobs: int = 10_000, workers: tuple[int, ...] = (1, 2, 4, 8), seconds: float = 20.0, compress: float = 100.0, starts: int = 2, database: str = "", echo: Any = None
) -> dict[str, Any]:
    """The benchmark: `figures`, and `steps` by number of workers. database: Prefect's, as a SQLAlchemy URL; SQLite when left out."""
    say = echo or (lambda line: None)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="dubwright-scale-") as name, prefect(Path(name), database) as api:
        home = Path(name)
        os.environ |= {"DUBWRIGHT_HOME": name, "PREFECT_API_URL": api, "PREFECT_HOME": str(home / "prefect"), "OMP_NUM_THREADS": "1", "DUBWRIGHT_THREADS": "1"}
        try:
            return _measured(home, jobs, tuple(sorted(workers)), seconds, compress, starts, database, say)
        finally:
            _leave(before)


def _leave(before: dict[str, str]) -> None:
    from infra.postgres import stop_embedded
    from infra.settings import get_settings

    stop_embedded()
    os.environ.clear()
    os.environ.update(before)
    get_settings.cache_clear()


def _measured(home: Path, jobs: int, workers: tuple[int, ...], seconds: float, compress: float, starts: int, database: str, say: Any) -> dict[str, Any]:
    from db import queries
    from db.session import open_database
    from flows import batch
    from flows.conductor import configure
    from infra.settings import get_settings

    get_settings.cache_clear()
    configure(settings := get_settings())
    FRESH.set_forkserver_preload(["benchmarks.scale_load"])
    ledger = open_database(settings)
    plain = ledger.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    sizes, loads = [size(plain)], os.getloadavg()
    _pool()
    begun = time.perf_counter()
    number = submitted(home, jobs, seconds, ledger, settings)
    figures: dict[str, Any] = {"jobs": jobs, "seconds_a_job": seconds, "compress": compress, "submit_seconds": round(time.perf_counter() - begun, 2)}
    say(f"submitted {jobs} jobs in {figures['submit_seconds']} s")
    sizes.append(size(plain))
    grown = [prefect_size(home, database)]
    own = Counts([0.0] * len(COUNTS))
    scale_work.count(own)
    watch = Watch(plain)
    watch.start()
    team = Workers({"pool": POOL, "seconds": seconds, "compress": compress, "environment": _ours()})
    sender = threading.Thread(target=batch.run_in_pool, args=(ledger, number, settings, POOL), daemon=True)
    try:
        team.grow(workers[0])
        processes = Processor()
        sender.start()
        steps = [_step(team, count, quota, own, say) for count, quota in quotas(jobs, workers)]
        while sender.is_alive():
            team.check()
            sender.join(1.0)
        figures |= processes.used(jobs)
    finally:
        team.end()
        watch.done.set()
    sizes.append(size(plain))
    grown.append(prefect_size(home, database))
    counts = queries.batches(ledger)[0]["jobs"]
    ledger.close()
    total, told = team.read(), transactions(plain)
    figures |= {
        "delivered": counts.get("delivered", 0), "deliveries": told["deliveries"], "shards": int(total["shards"]),
        "queries_per_job": round(total["queries"] / jobs, 1), "transactions_per_job": round(total["transactions"] / jobs, 1),
        "ledger_seconds_per_job": round(total["ledger"] / jobs, 4), "lease_ms": round(1000 * total["lease"] / max(1, total["leases"]), 2), "lease_slowest_ms": round(1000 * total["slowest"], 1),
        "leases_for_none_per_job": round(total["none"] / jobs, 3), "sessions_waiting_for_locks": round(watch.waits / max(1, watch.looks), 4), "sessions": watch.sessions, "deadlocks": told["deadlocks"],
        "sender_queries": int(own.read()["queries"]), "sender_api_calls": int(own.read()["api"]),
        "store_requests_per_job": round((total["puts"] + total["looks"] + 2 * total["reads"]) / jobs, 1), "faces_made_per_portrait": round(total["faces"] / min(PORTRAITS, jobs), 2),
        "api_calls_per_job": round(total["api"] / jobs, 2), "prefect_events_per_job": round(total["events"] / jobs, 1),
        "ledger_kib_per_job": round((sizes[2] - sizes[0]) / jobs / 1024, 2), "prefect_kib_per_job": round((grown[1]["bytes"] - grown[0]["bytes"]) / jobs / 1024, 2),
        "prefect_rows_per_job": {name: round((grown[1][name] - grown[0][name]) / jobs, 2) for name in grown[1] if name != "bytes"},
    }  # fmt: skip
    figures |= {"load": [round(loads[0], 1), round(os.getloadavg()[0], 1)], "start_cpu_seconds": starting(starts), "cores": os.cpu_count()}
    return {"figures": figures | shares(steps, seconds, figures["start_cpu_seconds"], settings.shard_minutes), "steps": steps, "ledger_tables": told["tables"]}


def _ours() -> dict[str, str]:
    return {name: os.environ[name] for name in ("DUBWRIGHT_HOME", "PREFECT_API_URL", "PREFECT_HOME", "OMP_NUM_THREADS", "DUBWRIGHT_THREADS")}


def _pool() -> None:
    """The work pool and the limit of shards, as `dubwright deploy` makes them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.pool import SHARDS

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        client.upsert_global_concurrency_limit_by_name(SHARDS, 64)


def submitted(home: Path, jobs: int, seconds: float, ledger: Any, settings: Any) -> int:
    """Enter the batch as `run` does; its number. Estimates are what a job takes uncompressed, so that shards hold as many jobs as they would."""
    from benchmarks.allowed import allow
    from infra.artifacts import open_artifacts
    from tasks.manifest import check
    from tasks.plan import plan, submit

    tree = manifest_of(home, jobs)
    allow(settings, *home.glob("*.png"))
    made = plan(check(tree, str(home)), ledger, settings)
    assert len(made.of("made")) == jobs, made.of("invalid")[:1]
    for job in made.jobs:
        job.estimate = seconds
    return submit(made, ledger, open_artifacts(settings)).batch_id


def quotas(jobs: int, workers: tuple[int, ...]) -> list[tuple[int, int]]:
    """How many jobs have ended when each step ends: as many in a step as it has workers; the last step ends before workers run out of shards."""
    found, done = [], 0
    for count in workers:
        share = round(jobs * count / sum(workers))
        done += share
        found.append((count, done if count != workers[-1] else done - min(share // 3, 20 * count)))
    return found


def _step(team: Workers, count: int, quota: int, own: Counts, say: Any) -> dict[str, float]:
    """So many workers until so many jobs have ended in all; what each job cost meanwhile."""
    team.grow(count)
    team.warm(quota)
    first, begun = team.read(), time.perf_counter()
    while (last := team.read())["jobs"] < quota:
        team.check()
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    gone = {name: last[name] - first[name] for name in COUNTS}
    jobs = max(1.0, gone["jobs"])
    step = {
        "workers": count, "jobs": int(gone["jobs"]), "seconds": round(seconds, 2), "jobs_per_second": round(gone["jobs"] / seconds, 3), "work_per_second": round(gone["slept"] / seconds, 4),
        "orchestration_seconds_per_job": round((seconds * count - gone["slept"]) / jobs, 4), "worker_cpu_seconds_per_job": round(gone["cpu"] / jobs, 4),
        "ledger_seconds_per_job": round(gone["ledger"] / jobs, 4), "lease_ms": round(1000 * gone["lease"] / max(1.0, gone["leases"]), 2), "queries_per_job": round(gone["queries"] / jobs, 1),
    }  # fmt: skip
    say(json.dumps(step))
    return step


def shares(steps: list[dict[str, float]], seconds: float, start: float, minutes: float) -> dict[str, float]:
    """Speed-ups over one worker, and orchestration's share of a worker's wall time were nothing compressed.

    share = own / (own + seconds), where own = a job's wall time beside its stages, with one worker, + (start of a shard's process + half the time between two looks
    of a worker) / jobs of a shard.
    """
    one = steps[0]
    found = {f"speedup_{int(step['workers'])}": round(step["work_per_second"] / one["work_per_second"] * one["workers"], 3) for step in steps[1:]}
    own = one["orchestration_seconds_per_job"]
    begin = (start + float(LOOKS) / 2) / max(1.0, minutes * 60 / seconds)
    return found | {
        "orchestration_seconds_per_job": own, "start_seconds_per_job": round(begin, 4), "orchestration_share": round((own + begin) / (own + begin + seconds), 5),
        "worker_cpu_seconds_per_job": one["worker_cpu_seconds_per_job"],
        "orchestration_share_of_processor": round((one["worker_cpu_seconds_per_job"] + begin) / (one["worker_cpu_seconds_per_job"] + begin + seconds), 5),
    }  # fmt: skip


def starting(times: int) -> float:
    """Processor seconds of a new process until its engine and scorer are loaded: the least of so many. What a pool pays for each shard."""
    import resource

    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(found, default=0.0), 2)


def record() -> int:
    """Write stage_seconds.json from the newest takes of the ledger that the settings name; how many."""
    from sqlalchemy import select

    from db import tables as t
    from db.session import open_database
    from models import checkpoints

    database = open_database()
    with database.begin() as session:
        takes = session.execute(select(t.Take).order_by(t.Take.id.desc()).limit(100)).scalars().all()
        curve = session.execute(select(t.Verdict.curve).where(t.Verdict.verdict == "pass").order_by(t.Verdict.take_id.desc()).limit(1)).scalar_one()
        kept: dict[str, list[int]] = {}
        for kind, bytes_ in session.execute(select(t.Artifact.kind, t.Artifact.size)):
            kept.setdefault(kind, []).append(bytes_)
        rows_ = [{"engine": take.engine, "preset": take.preset, "frames": take.parameters.get("frames", 0), "seconds": take.seconds} for take in reversed(takes)]
        machine = takes[0].machine
    tree = {
        "told": "seconds that the stages of real takes took, from a ledger, by: python -m benchmarks.scale --record", "machine": {name: machine[name] for name in ("processor", "cores")},
        "takes": rows_, "sizes": {kind: sorted(found)[len(found) // 2] for kind, found in sorted(kept.items())},
        "weights": [{"engine": card.engine, "sha256": card.sha256} for card in checkpoints.cards()], "score": curve,
    }  # fmt: skip
    scale_work.TAKES.write_text(json.dumps(tree, indent=1) + "\n")
    database.close()
    return len(rows_)


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    options.add_argument("--seconds", type=float, default=20.0, help="Mean seconds of a job, were nothing compressed.")
    options.add_argument("--compress", type=float, default=100.0, help="What sleeps are divided by.")
    options.add_argument("--starts", type=int, default=2, help="New processes whose start is measured.")
    options.add_argument("--prefect-database", default="", help="SQLAlchemy URL of an empty Postgres database for Prefect's server; SQLite when left out.")
    options.add_argument("--keep", action="store_true", help="Keep the figures in scale.json, which the model stands on.")
    options.add_argument("--model", action="store_true", help="Print what a larger installation needs, from scale.json, instead.")
    options.add_argument("--million", type=float, default=1.0, help="For --model: millions of jobs.")
    options.add_argument("--gpus", type=int, default=500, help="For --model: GPUs, a worker each.")
    options.add_argument("--record", action="store_true", help="Write stage_seconds.json from the ledger's takes instead.")
    given = options.parse_args()
    if given.record:
        sys.stdout.write(f"{record()} takes\n")
        return
    if given.model:
        sys.stdout.write(scale_model.told(json.loads(KEPT.read_text()), given.million * 1e6, given.gpus, given.seconds) + "\n")
        return
    told = run(given.jobs, tuple(given.workers), given.seconds, given.compress, given.starts, given.prefect_database, echo=lambda line: sys.stderr.write(line + "\n"))
    if given.keep:
        KEPT.write_text(json.dumps(told, indent=1) + "\n")
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    raise SystemExit(told["figures"]["delivered"] != given.jobs)


if __name__ == "__main__":
    main()
