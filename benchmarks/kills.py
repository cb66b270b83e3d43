"""The kill campaign: two workers on a small batch, one of them killed outright at a drawn point of a drawn stage, again and again.

    python -m benchmarks.kills --trials 200

Real Postgres (the embedded one, a fresh database a trial), a real S3 server (moto over HTTP, fresh prefixes a trial), the real stages, real
processes and SIGKILL. Workers are forked from a process that has the networks loaded and run the shard's own loop; Prefect is left out, so that
a trial takes seconds: stages are called as they are, without Prefect's retries. A worker says before and after each stage that it is there; the
campaign kills it before the drawn stage, after it, or in it, after a drawn part of the seconds that the stage took undisturbed. A new worker takes
its place, as a supervisor's would.

Counted over all trials: jobs lost (no end), delivered twice (events, rows, objects), files that differ from the undisturbed run's, and
windows rendered more than in the undisturbed run, at most and in all.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.engine import make_url

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("ingest", "consent", "speech", "faces", "motion", "render", "score", "gate", "deliver")
WHERE = ("before", "in", "after")
BUCKET = "kills"
JOBS = (  # of the demo: long enough to pass the gate, so that deliveries are killed, too
    {"title": "welcome", "locale": "en-US", "voice": "espeak:en-us+f3", "text": "Welcome to Dubwright. This picture now speaks, and every word of it was scored before you saw it."},
    {"title": "welcome", "locale": "fr-FR", "voice": "espeak:fr+f3", "text": "Bienvenue. Une seule photo et quelques phrases suffisent pour parler toutes ces langues."},
)
WINDOW, FIRST = 250, 10  # frames of a window, as tasks/render.py counts them; of which so many tell that it is being rendered
LONGEST = 900  # seconds of a trial
FORK = multiprocessing.get_context("fork")


@dataclass
class Said:
    """What a worker says: where it is in which stage of which job, and windows that it rendered."""

    pid: int
    kind: str  # before, after, window
    stage: str
    job: str


@dataclass
class Trial:
    """What came of one trial."""

    states: dict[str, str] = field(default_factory=dict)
    delivered: int = 0  # rows
    events: int = 0
    files: dict[str, str] = field(default_factory=dict)  # name: sha256
    windows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    killed: bool = False


def worker(batch: int, tell: Any) -> None:
    """Work on a batch until it has ended; say where it is. Runs in a process of its own."""
    from db import queries
    from db.session import open_database
    from db.workers import reclaim, waiting
    from flows import job
    from flows.batch import ended
    from flows.shard import shard
    from infra.settings import get_settings
    from tasks import progress

    def stage(work: Any, name: str, call: Any, *rest: Any) -> None:
        from db import ledger

        ledger.renew(work.database, work.lease, work.settings.lease_seconds)
        tell.send(Said(os.getpid(), "before", name, work.name))
        call(work, *rest)
        tell.send(Said(os.getpid(), "after", name, work.name))

    def step(told: progress.Step) -> None:
        if told.stage == "render" and told.done < told.total and told.done % WINDOW == FIRST:
            tell.send(Said(os.getpid(), "window", "render", told.job))

    job._stage = stage
    settings = get_settings()
    database = open_database(settings)
    with progress.listening(step):
        while not ended(queries.job_states(database, batch)):
            reclaim(database, batch)
            if free := waiting(database, batch):
                shard.fn(batch, free)
            time.sleep(0.2)


def load() -> None:
    """The networks, loaded once before workers are forked. Nothing is run that starts threads: those do not come along."""
    import torch

    torch.set_num_threads(1)
    from tasks import prepare, publish, takes  # noqa: F401
    from tasks.engines import engine
    from tasks.score import SyncScorer

    for name in ("avct", "lipmemory"):
        engine(name, "compact")
    SyncScorer.load()


@contextmanager
def fresh(server: str) -> Iterator[str]:
    """A database of its own; the settings of this process and its children name it, and prefixes of its own."""
    from infra.settings import get_settings

    name = f"kills_{uuid4().hex[:12]}"
    admin(server, f"CREATE DATABASE {name}")
    os.environ["DUBWRIGHT_DATABASE_URL"] = make_url(server).set(database=name).render_as_string(hide_password=False)
    os.environ["DUBWRIGHT_STORE_URL"] = f"s3://{BUCKET}/artifacts-{name}"
    os.environ["DUBWRIGHT_HOME"] = str(Path(os.environ["KILLS_HOME"]) / name)
    get_settings.cache_clear()
    try:
        yield name
    finally:
        admin(server, f"DROP DATABASE {name} WITH (FORCE)")


def admin(server: str, statement: str) -> None:
    """A statement outside of any transaction."""
    from db.session import Database

    database = Database(server)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    database.close()


def submit(name: str, tell: Any) -> None:
    """Enter the small batch and tell its number. Runs in a process of its own, as looking at a portrait starts threads."""
    from benchmarks.allowed import allow
    from db.session import open_database
    from infra.artifacts import open_artifacts
    from infra.settings import get_settings
    from tasks.manifest import check
    from tasks.plan import plan
    from tasks.plan import submit as enter

    settings = get_settings()
    portrait = ROOT / "demo" / "portraits" / "grace_hopper.jpg"
    allow(settings, portrait)
    defaults = {"portrait": str(portrait), "engine": "avct"}
    manifest = check({"batch": "kills", "output": f"s3://{BUCKET}/out-{name}/", "defaults": defaults, "jobs": list(JOBS), "ladder": {"takes": 2}}, str(ROOT))
    database = open_database(settings)
    try:
        tell.send(enter(plan(manifest, database, settings), database, open_artifacts(settings)).batch_id)
    finally:
        database.close()


def start(call: Any, given: Any) -> tuple[Any, Any]:
    """A new process, and what it says: a pipe of its own, since one that is killed as it speaks would lock a shared one."""
    hear, tell = FORK.Pipe(duplex=False)
    process = FORK.Process(target=call, args=(given, tell), daemon=True)
    process.start()
    tell.close()
    return process, hear


def trial(server: str, point: tuple[str, str, str, float] | None) -> Trial:
    """Run the batch to its end with two workers; kill the one that is at `point` (where, stage, job, seconds into it)."""
    found, begun = Trial(), {}
    with fresh(server) as name:
        entering, hear = start(submit, name)
        batch = int(hear.recv())
        entering.join()
        workers = {hear: process for process, hear in (start(worker, batch) for _ in range(2))}
        deadline = time.monotonic() + LONGEST
        while workers and time.monotonic() < deadline:
            said = heard(workers)
            if said is None:
                continue
            found.windows += said.kind == "window"
            if said.kind == "before":
                begun[said.stage, said.job] = time.monotonic()
            elif said.kind == "after":
                found.seconds[f"{said.stage} {said.job}"] = time.monotonic() - begun[said.stage, said.job]
            if point and not found.killed and (said.stage, said.job) == point[1:3] and said.kind == ("after" if point[0] == "after" else "before"):
                found.killed = kill(workers, said.pid, point[3])
                process, hear = start(worker, batch)
                workers[hear] = process
        for process in workers.values():
            process.kill()
            process.join()
        count(found, name, batch)
    return found


def heard(workers: dict[Any, Any]) -> Said | None:
    """What a worker says next; one that has ended is let go."""
    ready: list[Any] = wait(list(workers), 1.0)
    for hear in ready:
        try:
            said: Said = hear.recv()
            return said
        except EOFError:
            workers.pop(hear).join()
    return None


def kill(workers: dict[Any, Any], pid: int, after: float) -> bool:
    """SIGKILL to a worker in so many seconds."""
    time.sleep(after)
    process = next(process for process in workers.values() if process.pid == pid)
    os.kill(pid, signal.SIGKILL)
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


def count(found: Trial, name: str, batch: int) -> None:
    """What ledger and bucket hold at the end."""
    from db import queries
    from db.session import open_database
    from infra.settings import get_settings
    from infra.store import open_store, sha256_of

    settings = get_settings()
    database = open_database(settings)
    rows = queries.report(database, batch)["jobs"]
    found.states = {f"{row['title']}/{row['locale']}": row["state"] for row in rows}
    found.delivered = sum(row["delivery"] is not None for row in rows)
    with database.begin() as session:
        found.events = session.execute(text("SELECT count(*) FROM events WHERE kind = 'delivered'")).scalar_one()
    database.close()
    store = open_store(f"s3://{BUCKET}/out-{name}", settings)
    for kept in store.list():
        found.files[kept.key] = sha256_of(essence(kept.key, store.get(kept.key)))
    for row in rows:
        for take in row["takes"]:
            found.files[f"take {row['title']}/{row['locale']} {take['number']}"] = take["video"]


def essence(name: str, data: bytes) -> bytes:
    """What is the same in every trial of a delivered file: a signature differs each time, and with it the hashes that a sidecar tells."""
    if name.endswith(".mp4"):
        import av

        with av.open(io.BytesIO(data), "r") as media:
            return b"".join(bytes(packet) for packet in media.demux() if packet.size)
    if name.endswith(".json"):
        told = json.loads(data)
        return json.dumps({key: value for key, value in told.items() if key not in ("files", "lineage")}, sort_keys=True).encode()
    return data


def drawn(draw: random.Random, undisturbed: Trial, stages: list[str]) -> Iterator[tuple[str, str, str, float]]:
    """Points without end: all of them in an order by chance, again and again; how far into a stage is by chance."""
    points = [(where, *key.split(" ", 1)) for key in sorted(undisturbed.seconds) for where in WHERE if key.split(" ", 1)[0] in stages]
    while points:
        for where, stage, job in draw.sample(points, len(points)):
            yield where, stage, job, draw.uniform(0.05, 0.95) * undisturbed.seconds[f"{stage} {job}"] if where == "in" else 0.0


def run(trials: int = 200, seed: int = 20261126, stages: list[str] | None = None, echo: Any = None) -> dict[str, Any]:
    """The campaign: its figures, and what went wrong in which trial."""
    sys.path.insert(0, str(ROOT / "tests"))
    import boto3

    import servers  # type: ignore[import-not-found]  # of tests/, put on the path above
    from infra.postgres import embedded_url

    os.environ |= servers.KEYS | {"OMP_NUM_THREADS": "1", "DUBWRIGHT_BACKOFF_SECONDS": "0", "DUBWRIGHT_THREADS": "1"}
    draw, points = random.Random(seed), dict[str, int]()
    wrong, extra = list[dict[str, Any]](), list[int]()
    with tempfile.TemporaryDirectory(prefix="dubwright-kills-") as folder, servers.moto() as url:
        os.environ |= {"KILLS_HOME": folder, "DUBWRIGHT_S3_ENDPOINT_URL": url}
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        server = embedded_url(Path(folder))
        load()
        plain = trial(server, None)
        if echo:
            echo(f"undisturbed: {plain.states}, {plain.windows} windows, {len(plain.files)} files")
        lost = twice = differ = killed = 0
        for number, point in enumerate(islice(drawn(draw, plain, stages or list(STAGES)), trials)):
            made = trial(server, point)
            bad = {
                "lost": sum(state in ("queued", "running", "failed") for state in made.states.values()) + len(plain.states) - len(made.states),
                "twice": made.events - made.delivered, "differ": sum(made.files.get(name) != sha for name, sha in plain.files.items()) + len(set(made.files) - set(plain.files)),
            }  # fmt: skip
            lost, twice, differ, killed = lost + bad["lost"], twice + bad["twice"], differ + bad["differ"], killed + made.killed
            extra.append(made.windows - plain.windows)
            points[f"{point[0]} {point[1]}"] = points.get(f"{point[0]} {point[1]}", 0) + made.killed
            if any(bad.values()):
                wrong.append({"trial": number, "point": point, **bad, "states": made.states})
            if echo:
                echo(f"{number + 1}/{trials} {point[0]} {point[1]} of {point[2]}: killed {made.killed}, {bad}, windows {extra[-1]:+d}")
    figures = {
        "trials": trials, "kills": killed, "jobs lost": lost, "delivered twice": twice, "files that differ": differ,
        "extra windows, at most": max(extra, default=0), "extra windows, in all": sum(extra),
    }  # fmt: skip
    return {"figures": figures, "points": points, "wrong": wrong}


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--seed", type=int, default=20261126)
    options.add_argument("--stages", nargs="+", choices=STAGES, help="Kill in these alone.")
    given = options.parse_args()
    told = run(given.trials, given.seed, given.stages, lambda line: sys.stderr.write(line + "\n"))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    raise SystemExit(bool(told["wrong"]))


if __name__ == "__main__":
    main()
