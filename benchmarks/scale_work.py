"""A worker of the scale benchmark: everything a shard does is real, except that the stages that compute sleep, and that files are small.

Real are the flow run that Prefect's server knows, its tasks, the lease and its renewal, every ledger query, the artifacts in the object store, the gate's
decision and the delivery's row. A sleep lasts what a recorded take's stage took (benchmarks/stage_seconds.json), over the factor that time is compressed by.
"""

import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

TAKES = Path(__file__).parent / "stage_seconds.json"
HEARTBEAT = 30  # seconds between a worker's words to Prefect that it is up
COUNTS = ("ready", "jobs", "slept", "shards", "cpu", "queries", "transactions", "ledger", "leases", "none", "lease", "slowest", "api", "events", "puts", "looks", "reads", "faces")


@functools.cache
def recorded() -> dict[str, Any]:
    """Recorded takes: `takes` with seconds by stage, `sizes` of their files in bytes, `score` and `machine` of one."""
    found: dict[str, Any] = json.loads(TAKES.read_text())
    return found


def mean_seconds() -> float:
    """Mean seconds of work of a recorded take."""
    takes = recorded()["takes"]
    return float(sum(sum(take["seconds"].values()) for take in takes) / len(takes))


class Counts:
    """What one worker counts, in memory that its parent reads."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def add(self, name: str, value: float = 1.0) -> None:
        """Count on."""
        self.shared[COUNTS.index(name)] += value

    def put(self, name: str, value: float) -> None:
        """Set a figure."""
        self.shared[COUNTS.index(name)] = value

    def read(self) -> dict[str, float]:
        """All figures as they stand."""
        return dict(zip(COUNTS, self.shared[:], strict=True))


def count(counts: Counts) -> None:
    """Count this process's queries, transactions, leases, calls to Prefect's API and events sent to it from now on."""
    import httpx
    from prefect.events.clients import PrefectEventsClient
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from db import ledger
    from db.session import Database

    event.listen(Engine, "before_cursor_execute", lambda *_: counts.add("queries"))
    event.listen(Engine, "commit", lambda *_: counts.add("transactions"))
    event.listen(Engine, "rollback", lambda *_: counts.add("transactions"))
    _sent(httpx.Client, counts)
    _sent_async(httpx.AsyncClient, counts)
    emit: Any = PrefectEventsClient._emit

    async def emitted(self: Any, told: Any) -> None:
        counts.add("events")
        await emit(self, told)

    PrefectEventsClient._emit = emitted  # type: ignore[method-assign, assignment]
    _timed(Database, counts)
    _ended(counts)
    _asked(counts)
    lease = ledger.lease

    @functools.wraps(lease)
    def leased(*given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        held = lease(*given, **named)
        seconds = time.perf_counter() - started
        counts.add("leases")
        counts.add("lease", seconds)
        counts.add("none", held is None)
        counts.put("slowest", max(seconds, counts.read()["slowest"]))
        return held

    ledger.lease = leased


def _ended(counts: Counts) -> None:
    from flows import shard

    run_job = shard.run_job

    @functools.wraps(run_job)
    def counted(*given: Any, **named: Any) -> str:
        state = run_job(*given, **named)
        counts.add("jobs")
        counts.put("cpu", time.process_time())
        return state

    shard.run_job = counted


def _asked(counts: Counts) -> None:
    """Calls of the object store. Of S3, a put is two requests with the look that follows it, a read is two."""
    from infra.store import FolderStore

    def counted(name: str, call: Any) -> Any:
        @functools.wraps(call)
        def asked(*given: Any, **named: Any) -> Any:
            counts.add(name)
            return call(*given, **named)

        return asked

    for name, method in (("puts", "put"), ("looks", "info"), ("reads", "download")):
        setattr(FolderStore, method, counted(name, getattr(FolderStore, method)))


def _sent(kind: Any, counts: Counts) -> None:
    send = kind.send

    def sent(self: Any, *given: Any, **named: Any) -> Any:
        counts.add("api")
        return send(self, *given, **named)

    kind.send = sent


def _sent_async(kind: Any, counts: Counts) -> None:
    send = kind.send

    async def sent(self: Any, *given: Any, **named: Any) -> Any:
        counts.add("api")
        return await send(self, *given, **named)

    kind.send = sent


def _timed(database: Any, counts: Counts) -> None:
    """Seconds inside of the ledger's transactions, the lease's and a renewing thread's among them."""
    from contextlib import contextmanager

    begin = database.begin

    @contextmanager
    def timed(self: Any) -> Any:
        started = time.perf_counter()
        try:
            with begin(self) as session:
                yield session
        finally:
            counts.add("ledger", time.perf_counter() - started)

    database.begin = timed


class Sleeper:
    """The seconds that a job's stages take, drawn from a recorded take by the job's key: the same ones whoever works on it.

    seconds: mean of a job uncompressed, which recorded takes are stretched to. compress: what time is divided by.
    """

    def __init__(self, seconds: float, compress: float, counts: Counts) -> None:
        self.scale, self.counts = seconds / mean_seconds() / compress, counts

    def sleep(self, key: str, stage: str) -> None:
        """Sleep as long as the stage of the job's take did."""
        takes = recorded()["takes"]
        drawn = takes[int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % len(takes)]
        seconds = drawn["seconds"].get(stage, 0.0) * self.scale
        time.sleep(seconds)
        self.counts.add("slept", seconds)


def load() -> None:
    """Import what stages import, once for all workers that are forked from here. Starts no thread."""
    import prefect.flow_engine  # noqa: F401

    from flows import batch, job, pool, shard  # noqa: F401
    from tasks import ingest, judge, motion, prepare, publish, render, takes  # noqa: F401
    from tasks.dubbing import redub  # noqa: F401


def without_networks(sleeper: Sleeper, size: int = 0) -> None:
    """Put sleeps where stages compute. What they keep, record and deliver stays, of files that are small; videos have so many bytes more."""
    import numpy as np

    from models.types import Cue, Portrait, Speech
    from tasks import deliver, engines, judge, motion, prepare, publish, render
    from tasks.marking import Marked
    from tasks.speech import SpeechTrack
    from tasks.stages import Made, Take, Work, keep
    from tasks.values import save_score, score_from

    score = score_from(recorded()["score"])
    spoken = SpeechTrack(Speech(np.zeros(160, np.float32), (), np.zeros(1, np.float32), (Cue(0.0, 1.0, "spoken"),)), np.zeros(160, np.int16), 16_000)
    weights = {name: tuple(card["sha256"] for card in recorded()["weights"] if card["engine"] == name) for name in ("avct", "lipmemory", "coherence")}

    class Stub:
        def __init__(self, name: str) -> None:
            self.weights = weights[name]

    stub = functools.cache(lambda name, preset: Stub(name))

    def stage(work: Work, name: str, asks: dict[str, Any], sources: Any, call: Callable[[Path], Any] | None = None) -> Any:
        def make(path: Path) -> None:
            sleeper.counts.add("faces", name == "faces")
            sleeper.sleep(work.lease.key, name)
            if call is None:
                path.write_text(f"{name} {json.dumps(asks)}")
            else:
                call(path)

        return keep(work, name, f"{name}.bin", asks, sources, make)

    def speech(work: Work) -> None:
        work.made["speech"] = stage(work, "speech", {"text": work.spec["text"], "locale": work.lease.locale}, ())
        work.speech = spoken

    def faces(work: Work) -> None:
        work.made["faces"] = stage(work, "faces", {"portrait": work.spec["inputs"]["portrait"]["sha256"]}, work.sources("portrait"))
        work.portrait = Portrait(np.zeros((1, 1, 3), np.uint8), np.zeros((478, 3), np.float32))

    def move(work: Work, take: Take) -> None:
        take.made["motion"] = stage(work, "motion", {"job": work.lease.key}, work.sources("speech", "faces", "portrait"))
        take.parameters = {"anchor": 0, "frames": 200, "fps": 25}

    def draw(work: Work, take: Take) -> None:
        take.windows = ((0, 200, 0.0),)
        sources = (*work.sources("portrait", "speech", "faces"), (take.made["motion"].sha256, "motion"))
        take.made["render"] = stage(work, "render", {"job": work.lease.key}, sources, lambda path: path.write_bytes(work.lease.key.encode() + bytes(size)))
        take.parameters |= {"watermark": "0" * 16}

    def sign(work: Work, take: Take, *_: Any, **__: Any) -> Made:
        video = take.made["render"]
        return stage(work, "sign", {"video": video.sha256}, ((video.sha256, "render"),), lambda path: path.write_bytes(b"signed " + video.path.read_bytes()))

    def checked(path: Path, **_: Any) -> Marked:
        return Marked(path, "0" * 16, "nobody")

    def judged(work: Work, take: Take) -> None:
        video = take.made["render"]
        take.made["score"] = stage(work, "score", {"video": video.sha256}, ((video.sha256, "render"),), lambda path: save_score(path, score))
        take.score = score

    def put(video: Marked, cues: Any, *, title: str, locale: str, output: str, facts: dict[str, Any], settings: Any, captions: Any = (), more: Any = ()) -> deliver.Delivered:
        from infra.store import open_store

        store, called = open_store(output, settings), deliver.names(title, locale)
        content = {role: video.path.read_bytes() if role == "video" else f"{title} {locale} {role}".encode() for role in deliver.ORDER}
        for role in deliver.ORDER:
            if store.info(called[role]) is None:
                store.put(called[role], content[role], if_absent=True)
        hashes = {role: hashlib.sha256(content[role]).hexdigest() for role in deliver.ORDER}
        urls = {role: store.url(called[role]) for role in deliver.ORDER}
        return deliver.Delivered(urls["video"], hashes["video"], urls, hashes)

    engines.engine = stub  # type: ignore[assignment]
    prepare.speech, prepare.faces, motion.move, render.render, judge.score, publish.put = speech, faces, move, draw, judged, put
    publish.signed, publish.checked = sign, checked  # type: ignore[assignment]


def work(given: dict[str, Any], shared: Any, stop: Any) -> None:
    """Take shards of the pool from Prefect's server, as its own worker does, and run each in this process, until `stop` is set.

    given: `pool`, `seconds`, `compress`, `environment`. Runs in a process of its own.
    """
    os.environ |= given["environment"]
    from flows.conductor import configure
    from infra.settings import get_settings

    get_settings.cache_clear()
    configure(get_settings())
    counts = Counts(shared)
    count(counts)
    without_networks(Sleeper(given["seconds"], given["compress"], counts))
    take_shards(given["pool"], counts, stop)


def take_shards(pool: str, counts: Counts, stop: Any) -> None:
    """The worker's loop: what waits in the pool, one run at a time, as `prefect worker start --limit 1`, in this process instead of a new one."""
    from datetime import UTC, datetime

    from prefect.client.orchestration import get_client
    from prefect.exceptions import Abort, PrefectHTTPStatusError
    from prefect.flow_engine import run_flow
    from prefect.states import Pending
    from prefect.utilities.engine import propose_state_sync

    from flows.shard import shard

    threading.Thread(target=_beat, args=(pool, stop), daemon=True).start()
    counts.put("ready", 1)
    with get_client(sync_client=True) as client:
        while not stop.is_set():
            try:
                found = client.get_scheduled_flow_runs_for_work_pool(pool, scheduled_before=datetime.now(UTC))
            except PrefectHTTPStatusError:
                time.sleep(1.0)  # a server at its limit, as a worker of Prefect's own would wait
                continue
            for told in found:
                try:
                    if not propose_state_sync(client, Pending(), flow_run_id=told.flow_run.id).is_pending():
                        continue
                except Abort:
                    continue  # another worker has it
                run_flow(shard, flow_run=client.read_flow_run(told.flow_run.id))
                counts.add("shards")
                break
            else:
                time.sleep(0.2)


def _beat(pool: str, stop: Any) -> None:
    """Say that this worker is up, also while it has a shard, as Prefect's own does."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        while not stop.is_set():
            with suppress(PrefectHTTPStatusError):  # a server at its limit: the next one counts
                client._client.post(f"/work_pools/{pool}/workers/heartbeat", json={"name": f"worker-{os.getpid()}", "heartbeat_interval_seconds": HEARTBEAT})
            stop.wait(HEARTBEAT)
