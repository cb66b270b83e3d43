"""What trials of durability share (kills.py, outages.py, partition.py): real servers, a small batch, workers in processes of their own.

Real Postgres (the embedded one), a real S3 server (moto over HTTP), the real stages. Workers are forked from a process that has the networks
loaded and run the shard's own loop; Prefect is left out, so that a trial takes seconds: stages are called as they are, without its retries.
The batch is submitted once; each trial works on a copy of that database, with the store as it was then. Windows are a second long, so that a
short clip has several.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import make_url

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "trials"
OUT, KEPT = f"s3://{BUCKET}/out", f"s3://{BUCKET}/artifacts"
PORTRAIT, FILM = "welcome/en-US", "film/en-US"  # long enough to pass the gate, so that deliveries are tried, too
LINES = {PORTRAIT: "Good morning. Every word of this was scored before you saw it.", FILM: "Good evening, my friends. This is it."}
FRAMES = 84  # of the film
WINDOW = 25  # pictures of a window
SETTINGS = {
    "OMP_NUM_THREADS": "1", "DUBWRIGHT_THREADS": "1", "DUBWRIGHT_BACKOFF_SECONDS": "0", "DUBWRIGHT_WINDOW_SECONDS": "1", "DUBWRIGHT_VIDEO_PRESET": "ultrafast",
    "DUBWRIGHT_MAX_ATTEMPTS": "9", "DUBWRIGHT_STORE_URL": KEPT,
}  # fmt: skip
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Said:
    """What a worker says: where it is in which stage of which job. number: of windows begun, or objects put, in the stage; error: what ended it."""

    pid: int
    kind: str  # before, after, window, put, ended
    stage: str = ""
    job: str = ""
    number: int = 0
    error: str = ""


@dataclass
class Ended:
    """How a batch ended: states of jobs, rows and events of deliveries, hashes of files and of takes' videos, errors on the way."""

    states: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    events: int = 0
    files: dict[str, str] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    def wrong(self, plain: "Ended") -> dict[str, int]:
        """Jobs lost, deliveries made twice and files that differ from those of the undisturbed run."""
        lost = sum(state in ("queued", "running", "failed") for state in self.states.values()) + len(plain.states) - len(self.states)
        changed = sum(self.files.get(name) != sha for name, sha in plain.files.items()) + len(set(self.files) - set(plain.files))
        return {"lost": lost, "twice": self.events - self.rows, "differ": changed}


class Bench:
    """Servers, store and the submitted batch. `server` is Postgres's URL, `s3` the S3 server's process."""

    def __init__(self, folder: Path, server: str, url: str, s3: Any) -> None:
        from infra.settings import get_settings
        from infra.store import open_store

        self.folder, self.server, self.url, self.s3 = folder, server, url, s3
        os.environ |= {"DUBWRIGHT_S3_ENDPOINT_URL": url, "DUBWRIGHT_HOME": str(folder / "home")}
        self.use("seeded")
        self.output, self.kept = open_store(OUT, get_settings()), open_store(KEPT, get_settings())
        self.batch, self.count = 0, 0
        self.inputs: set[str] = set()

    def use(self, name: str) -> None:
        """This process's settings, and those of its children, name a database from now on."""
        from infra.settings import get_settings

        os.environ["DUBWRIGHT_DATABASE_URL"] = make_url(self.server).set(database=name).render_as_string(hide_password=False)
        get_settings.cache_clear()

    def admin(self, statement: str) -> None:
        """A statement outside of any transaction."""
        from db.session import Database

        database = Database(self.server)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
        database.close()

    def seed(self, names: tuple[str, ...]) -> None:
        """Submit the batch, once."""
        self.admin("CREATE DATABASE seeded")
        process, hear = start(_submit, self.folder, names)
        self.batch = int(hear.recv())
        process.join()
        self.inputs = {kept.key for kept in self.kept.list()}

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A copy of the submitted batch, with nothing done yet; gone afterwards with all that was made."""
        self.count += 1
        name = f"trial_{self.count}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE seeded")
        self.use(name)
        try:
            yield name
        finally:
            self.use("seeded")
            self.admin(f"DROP DATABASE {name} WITH (FORCE)")
            for store, keep in ((self.output, set[str]()), (self.kept, self.inputs)):
                for found in store.list():
                    if found.key not in keep:
                        store.delete(found.key)
            shutil.rmtree(self.folder / "home" / "cache", ignore_errors=True)

    def ended(self) -> Ended:
        """What ledger and bucket hold now."""
        from db import queries
        from db.session import Database
        from infra.settings import get_settings
        from infra.store import sha256_of

        found, database = Ended(), Database(get_settings().database_url.get_secret_value())
        rows = queries.report(database, self.batch)["jobs"]
        found.states = {f"{row['title']}/{row['locale']}": row["state"] for row in rows}
        found.rows = sum(row["delivery"] is not None for row in rows)
        with database.begin() as session:
            found.events = session.execute(text("SELECT count(*) FROM events WHERE kind = 'delivered'")).scalar_one()
            found.told = [row._asdict() for row in session.execute(text("SELECT kind, detail FROM events ORDER BY id"))]
        database.close()
        found.files = {kept.key: sha256_of(self.output.get(kept.key)) for kept in self.output.list()}
        for row in rows:
            for take in row["takes"]:
                found.files[f"take {row['title']}/{row['locale']} {take['number']}"] = take["video"]
        return found


@contextmanager
def bench(jobs: tuple[str, ...] = (PORTRAIT, FILM), **settings: str) -> Iterator[Bench]:
    """Servers, networks and a submitted batch, while the block runs."""
    sys.path.insert(0, str(ROOT / "tests"))
    import boto3

    import servers  # type: ignore[import-not-found]  # of tests/, put on the path above
    from infra.postgres import embedded_url, stop_embedded
    from infra.settings import get_settings

    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="dubwright-trials-", ignore_cleanup_errors=True) as folder, servers.moto() as url:
        os.environ |= servers.KEYS | SETTINGS | settings
        try:
            get_settings.cache_clear()
            boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
            load()
            made = Bench(Path(folder), embedded_url(Path(folder)), url, None)
            made.seed(jobs)
            yield made
        finally:
            stop_embedded()
            os.environ.clear()
            os.environ |= before
            get_settings.cache_clear()


def _jobs(folder: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The batch's jobs, with a small portrait and a short film of its person."""
    import cv2

    import redub_cases  # type: ignore[import-not-found]

    picture = cv2.imread(str(ROOT / "demo" / "portraits" / "grace_hopper.jpg"))
    assert picture is not None
    cv2.imwrite(str(folder / "portrait.png"), cv2.resize(picture, (256, 300), interpolation=cv2.INTER_AREA))
    redub_cases.COUNT = FRAMES
    redub_cases.scene(folder / "film.mp4")
    given = {PORTRAIT: {"portrait": str(folder / "portrait.png"), "engine": "avct", "voice": "espeak:en-us+f3"}, FILM: {"video": str(folder / "film.mp4"), "engine": "lipmemory"}}
    return [{"title": name.split("/")[0], "locale": "en-US", "text": LINES[name], **given[name]} for name in names]


def load() -> None:
    """Everything heavy, loaded once before workers are forked. Nothing is run that starts threads: those do not come along."""
    import torch

    torch.set_num_threads(1)
    import mediapipe  # noqa: F401

    from flows import batch, job, shard  # noqa: F401
    from tasks import ingest, judge, motion, prepare, publish, render, takes  # noqa: F401
    from tasks.dubbing import redub  # noqa: F401
    from tasks.engines import engine
    from tasks.score import SyncScorer

    for name in ("avct", "lipmemory"):
        engine(name, "compact")
    SyncScorer.load()


def _submit(folder: Path, names: tuple[str, ...], tell: Any) -> None:
    """Enter the batch and tell its number. Runs in a process of its own, as looking at pictures starts threads."""
    from db.session import open_database
    from infra.artifacts import open_artifacts
    from infra.settings import get_settings
    from tasks.manifest import check
    from tasks.plan import plan, submit

    settings = get_settings()
    database = open_database(settings)
    try:
        manifest = check({"batch": "trials", "output": f"{OUT}/", "jobs": _jobs(folder, names), "ladder": {"takes": 1}}, str(ROOT))
        tell.send(submit(plan(manifest, database, settings), database, open_artifacts(settings)).batch_id)
    finally:
        database.close()


def start(call: Any, *given: Any) -> tuple[Any, Any]:
    """A new process, and what it says: a pipe of its own, since one that is killed as it speaks would lock a shared one."""
    hear, tell = FORK.Pipe(duplex=False)
    process = FORK.Process(target=call, args=(*given, tell), daemon=True)
    process.start()
    tell.close()
    return process, hear


def heard(workers: dict[Any, Any], seconds: float = 1.0) -> Said | None:
    """What a worker says next; one that has ended is let go."""
    ready: list[Any] = wait(list(workers), seconds)
    for hear in ready:
        try:
            said: Said = hear.recv()
            return said
        except EOFError:
            workers.pop(hear).join()
    return None


def worker(batch: int, tell: Any) -> None:
    """Work on a batch until it has ended, whatever goes down in between; say where it is. Runs in a process of its own."""
    from db import queries
    from db.session import open_database
    from db.workers import reclaim, waiting
    from flows.batch import ended
    from flows.shard import shard
    from infra.errors import DubwrightError
    from infra.settings import get_settings
    from tasks import progress

    _speak(tell)
    settings = get_settings()
    with progress.listening(_Windows(tell)):
        while True:
            try:
                database = open_database(settings)
                while not ended(queries.job_states(database, batch)):
                    reclaim(database, batch)
                    if free := waiting(database, batch):
                        shard.fn(batch, free)
                    time.sleep(0.2)
                return
            except DubwrightError as error:  # an outage: a supervisor would start it again
                tell.send(Said(os.getpid(), "ended", error=f"{error.code}: {error.message}"))
                time.sleep(0.5)


class _Windows:
    """Says each window that begins."""

    def __init__(self, tell: Any) -> None:
        self.tell = tell

    def __call__(self, told: Any) -> None:
        if told.stage == "render" and told.done % WINDOW == 1:
            self.tell.send(Said(os.getpid(), "window", "render", told.job, told.done // WINDOW + 1))


def _speak(tell: Any) -> None:
    """Stages of this process say when they begin and end, and deliveries each object that they put."""
    from db import ledger
    from flows import job
    from infra.store import S3Store

    here: dict[str, Any] = {"stage": "", "job": "", "put": 0}
    put = S3Store.put

    def stage(work: Any, name: str, call: Any, *rest: Any) -> None:
        ledger.renew(work.database, work.lease, work.settings.lease_seconds)
        here.update(stage=name, job=work.name, put=0)
        tell.send(Said(os.getpid(), "before", name, work.name))
        call(work, *rest)
        tell.send(Said(os.getpid(), "after", name, work.name))

    def said(store: Any, *given: Any, **how: Any) -> Any:
        made = put(store, *given, **how)
        if here["stage"] == "deliver":
            here["put"] += 1
            tell.send(Said(os.getpid(), "put", "deliver", here["job"], here["put"]))
        return made

    job._stage = stage
    S3Store.put = said  # type: ignore[assignment, method-assign]


def stop(workers: dict[Any, Any]) -> None:
    """End what still runs."""
    for process in workers.values():
        with suppress(OSError):
            process.kill()
        process.join()
