"""What trials of durability share (kills.py, outages.py, partition.py): real servers, a small batch, workers in processes of their own.

Real Postgres (the embedded one), a real S3 server (moto over HTTP), the real stages. Workers are forked from a process that has the networks
loaded and run the shard's own loop; Prefect is left out, so that a trial takes seconds: stages are called as they are, without its retries.
The batch is submitted once; each trial works on a copy of that database, with the store as it was then. Windows are a second long, so that a
short clip has several.

A trial of one stage need not pay for the others: it may begin with their results as the undisturbed run left them (`fresh`), as a job does that
another worker began. Results are found by the hash of what they were made from, so a stage that came out differently would find none of them.
"""

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import make_url

from benchmarks.crew import Front, start

ROOT = Path(__file__).resolve().parent.parent
BUCKET = "trials"
OUT, KEPT = f"s3://{BUCKET}/out", f"s3://{BUCKET}/artifacts"
PORTRAIT, FILM = "welcome/en-US", "film/en-US"  # long enough to pass the gate, so that deliveries are tried, too
LINES = {PORTRAIT: "Good morning. Every word of this was scored before you saw it.", FILM: "Good evening, my friends. This is it."}
FRAMES = 84  # of the film
SETTINGS = {
    "OMP_NUM_THREADS": "1", "DUBWRIGHT_THREADS": "1", "DUBWRIGHT_BACKOFF_SECONDS": "0", "DUBWRIGHT_WINDOW_SECONDS": "1", "DUBWRIGHT_VIDEO_PRESET": "ultrafast",
    "DUBWRIGHT_MAX_ATTEMPTS": "9", "DUBWRIGHT_STORE_URL": KEPT,
}  # fmt: skip


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
    """Servers, store and the submitted batch. `server` is Postgres's URL, `front` what stands before the S3 server."""

    def __init__(self, folder: Path, server: str, front: Front) -> None:
        from infra.settings import get_settings
        from infra.store import open_store

        self.folder, self.server, self.front = folder, server, front
        os.environ |= {"DUBWRIGHT_S3_ENDPOINT_URL": f"http://{front.host}:{front.port}", "DUBWRIGHT_HOME": str(folder / "home")}
        for name in ("fsync", "full_page_writes", "synchronous_commit"):  # of a server that nobody kills: a trial begins with a new database
            self.admin(f"ALTER SYSTEM SET {name} = off")
        self.admin("SELECT pg_reload_conf()")
        self.use("seeded")
        self.output, self.kept = open_store(OUT, get_settings()), open_store(KEPT, get_settings())
        self.batch, self.count = 0, 0
        self.inputs: dict[str, bytes] = {}  # objects of the store that a trial begins with: inputs alone, or with what the undisturbed run made
        self.results: dict[str, bytes] = {}
        self.videos: dict[str, str] = {}  # of each job's first take

    def use(self, name: str) -> None:
        """This process's settings, and those of its children, name a database from now on."""
        from infra.settings import get_settings

        os.environ["DUBWRIGHT_DATABASE_URL"] = make_url(self.server).set(database=name).render_as_string(hide_password=False)
        get_settings.cache_clear()

    def admin(self, statement: str) -> None:
        """A statement outside of any transaction."""
        admin(self.server, statement)

    def seed(self, names: tuple[str, ...]) -> None:
        """Submit the batch, once."""
        self.admin("CREATE DATABASE seeded")
        process, hear = start(_submit, self.folder, names)
        self.batch = int(hear.recv())
        process.join()
        self.inputs = {kept.key: self.kept.get(kept.key) for kept in self.kept.list()}

    @contextmanager
    def fresh(self, stage: str = "", job: str = "") -> Iterator[str]:
        """A copy of the submitted batch; gone afterwards with all that was made. Nothing of it is done yet or, for a stage of a job, every result
        is there but that stage's own.
        """
        self.count += 1
        name = f"trial_{self.count}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {'known' if stage else 'seeded'}")
        self.use(name)
        self._fill(self.inputs | (self.results if stage else {}))
        try:
            if stage:
                self._forget(stage, job)
            yield name
        finally:
            self.use("seeded")
            self.admin(f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(self.folder / "home" / "cache", ignore_errors=True)

    def _fill(self, wanted: dict[str, bytes]) -> None:
        """Bring both stores to where a trial begins."""
        for found in self.output.list():
            self.output.delete(found.key)
        there = {found.key for found in self.kept.list()}
        for key in there - set(wanted):
            self.kept.delete(key)
        for key in set(wanted) - there:
            self.kept.put(key, wanted[key])

    def learn(self) -> None:
        """Keep what the undisturbed run made, before its database goes."""
        with self.database() as session:
            tables = {name: session.execute(text(f"SELECT * FROM {name}")).mappings().all() for name in ("artifacts", "edges", "stage_results")}  # noqa: S608 (names of this line)
        gone = {row["sha256"] for row in tables["artifacts"] if row["marked_at"]}
        self.results = {row["key"]: self.kept.get(row["key"]) for row in tables["artifacts"] if row["sha256"] not in gone}
        now = os.environ["DUBWRIGHT_DATABASE_URL"]
        self.admin("CREATE DATABASE known TEMPLATE seeded")
        self.use("known")
        with self.database() as session:
            for name, rows in tables.items():
                for row in rows:
                    if row["sha256"] not in gone:
                        columns = ", ".join(row), ", ".join(f":{column}" for column in row)
                        session.execute(text(f"INSERT INTO {name} ({columns[0]}) VALUES ({columns[1]}) ON CONFLICT DO NOTHING"), dict(row))  # noqa: S608 (names of this ledger)
        self.use(make_url(now).database or "")

    def _forget(self, stage: str, job: str) -> None:
        """Forget a stage's results of a job, and their objects."""
        own = {"cast": ("cast", "references"), "render": ("render", "cut", "kept") if job == FILM else ("render", "cut")}.get(stage, (stage,))
        video = self.videos[job]
        near = """WITH RECURSIVE up(sha256) AS (SELECT :video UNION SELECT e.source FROM edges e JOIN up u ON e.sha256 = u.sha256)
            DELETE FROM stage_results WHERE stage = ANY(:own) AND (stage = 'kept' OR sha256 IN (SELECT sha256 FROM up UNION SELECT sha256 FROM edges WHERE source = :video))
            RETURNING sha256"""
        with self.database() as session:
            for sha in session.execute(text(near), {"video": video, "own": list(own)}).scalars():
                self.kept.delete(f"sha256/{sha[:2]}/{sha}")

    @contextmanager
    def database(self) -> Iterator[Any]:
        """A transaction in the database that is used now."""
        from db.session import Database

        database = Database(os.environ["DUBWRIGHT_DATABASE_URL"])
        try:
            with database.begin() as session:
                yield session
        finally:
            database.close()

    def rows(self, query: str) -> int:
        """A number that the ledger tells."""
        with self.database() as session:
            return int(session.execute(text(query)).scalar_one())

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
        found.files = {kept.key: sha256_of(essence(kept.key, self.output.get(kept.key))) for kept in self.output.list()}
        for row in rows:
            for take in row["takes"]:
                self.videos[f"{row['title']}/{row['locale']}"] = self.videos.get(f"{row['title']}/{row['locale']}", take["video"])
                found.files[f"take {row['title']}/{row['locale']} {take['number']}"] = take["video"]
        return found


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


def admin(server: str, statement: str) -> None:
    """A statement to a server, outside of any transaction."""
    from db.session import Database

    database = Database(server)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    database.close()


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
            front = Front(int(url.rpartition(":")[2]))
            made = Bench(Path(folder), embedded_url(Path(folder)), front)
            made.seed(jobs)
            yield made
            front.stop()
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
    import gc

    import torch

    torch.set_num_threads(1)
    import alembic.command  # noqa: F401
    import av  # noqa: F401
    import boto3.s3.transfer  # noqa: F401
    import mediapipe  # noqa: F401
    from PIL import Image

    Image.init()
    from flows import batch, job, shard  # noqa: F401
    from tasks import ingest, judge, motion, prepare, publish, render, takes  # noqa: F401
    from tasks.dubbing import redub  # noqa: F401
    from tasks.engines import engine
    from tasks.score import SyncScorer

    for name in ("avct", "lipmemory"):
        engine(name, "compact")
    SyncScorer.load()
    gc.collect()
    gc.freeze()  # else every collection of a worker would copy the pages of all of it


def _submit(folder: Path, names: tuple[str, ...], tell: Any) -> None:
    """Enter the batch and tell its number. Runs in a process of its own, as looking at pictures starts threads."""
    from benchmarks.allowed import allow
    from db.session import open_database
    from infra.artifacts import open_artifacts
    from infra.settings import get_settings
    from tasks.manifest import check
    from tasks.plan import plan, submit

    settings = get_settings()
    database = open_database(settings)
    try:
        told = {"batch": "trials", "output": f"{OUT}/", "jobs": _jobs(folder, names), "ladder": {"takes": 1}}
        (folder / "manifest.json").write_text(json.dumps(told))  # for who runs it by the command
        allow(settings, folder / "manifest.json")
        manifest = check(told, str(ROOT))
        tell.send(submit(plan(manifest, database, settings), database, open_artifacts(settings)).batch_id)
    finally:
        database.close()
