"""`dubwright worker`: Prefect's own process workers on this machine, one shard at a time each, one GPU each, started again when they die."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from db.workers import OWNER, me
from infra.errors import SetupError
from infra.settings import Settings

CONDUCT = "conduct"  # the queue of runs that wait for others; see prefect.yaml
BATCHES = 16  # runs of that queue at once
LOOKS = "5"  # seconds between a worker's looks for a shard, instead of 10; a GPU has nothing to do meanwhile
PAUSE, LEAST, MOST = 0.5, 2.0, 60.0  # seconds between looks, and until a dead worker is started again: at first, at most


@dataclass
class Worker:
    """One worker's command and environment, and its process while it runs."""

    name: str
    words: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    wait: float = LEAST
    begun: float = field(default=float("-inf"))
    died: int = 0

    def look(self) -> None:
        """Start it when it does not run; one that dies soon after its start is given longer and longer."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self.wait = LEAST if now - self.begun > MOST else min(MOST, self.wait * 2)
            self.process = None
            self.died += 1
        if self.process is None and now - self.begun >= self.wait:
            self.begun = now
            # its standard error is ours, not the file that native code writes to (infra/logs.py)
            self.process = subprocess.Popen(self.words, env={**os.environ, **self.environment}, stderr=sys.stderr, start_new_session=True)

    def stop(self, signum: int) -> None:
        """Pass a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)


def devices() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, without loading torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30).stdout  # noqa: S607 (found as the driver installs it)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, line in enumerate(row for row in listed.splitlines() if row.startswith("GPU "))]


def workers(pool: str, count: int, gpus: list[str], health: int = 0) -> list[Worker]:
    """The workers of a pool on this machine. count: 0 is one a GPU for the pool `gpu`, else one. health: port of the first one's health check; others take the next.

    The pool `cpu` gets one more, for batches that wait for others' work. Raises SetupError for more workers than GPUs in the pool `gpu`.
    """
    count = count or (len(gpus) if pool == "gpu" else 1)
    if pool == "gpu" and not 0 < count <= len(gpus):
        step = "Start as many workers as there are GPUs or fewer; `--pool cpu` works without."
        raise SetupError(f"{len(gpus)} GPUs are here for {max(1, count)} workers; each has one to itself", code="setup.gpu", next_step=step)
    made = []
    if pool == "cpu":
        made.append(_worker(pool, CONDUCT, BATCHES, {"CUDA_VISIBLE_DEVICES": ""}))
    for number in range(count):
        alone = {"CUDA_VISIBLE_DEVICES": gpus[number] if pool == "gpu" else ""} if pool in ("cpu", "gpu") else {}
        made.append(_worker(pool, "default", 1, alone, f"-{number}"))
    for number, worker in enumerate(made if health else []):
        worker.words.append("--with-healthcheck")
        worker.environment["PREFECT_WORKER_WEBSERVER_PORT"] = str(health + number)
    return made


def _worker(pool: str, queue: str, limit: int, environment: dict[str, str], number: str = "") -> Worker:
    name = f"{socket.gethostname()}-{pool}-{queue}{number}"
    words = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--pool", pool, "--type", "process", "--work-queue", queue, "--limit", str(limit), "--name", name]
    often = {} if "PREFECT_WORKER_QUERY_SECONDS" in os.environ else {"PREFECT_WORKER_QUERY_SECONDS": LOOKS}
    return Worker(name, [*words, "--no-create-pool-if-not-found"], often | environment)


def check(pool: str) -> None:
    """Raise SetupError where the pool is not there or is not worked on by processes."""
    from flows.pool import Pool
    from infra.settings import get_settings

    kind = Pool(pool, get_settings()).kind()
    if kind != "process":
        step = f"prefect worker start --pool {pool}, with prefect-kubernetes installed; infra/deploy/kubernetes/jobs does it in a cluster."
        raise SetupError(f"the work pool {pool} is of type {kind}: its jobs are not processes of this machine", code="setup.pool", next_step=step)


@contextmanager
def counted(made: list[Worker], pool: str, settings: Settings) -> Iterator[str]:
    """What these workers and the shards that they start count is shown while the block runs; the page's address, empty where DUBWRIGHT_METRICS_PORT is 0.

    Each process counts into a file of its own, in a folder that it inherits the name of (infra/metrics_page.py): a shard is a process of minutes.
    """
    if not settings.metrics_port:
        yield ""
        return
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from infra import metrics_page

    class Supervised:
        def collect(self) -> Iterator[object]:
            running = [worker.process for worker in made]
            alive = sum(process is not None and process.poll() is None for process in running)
            up = GaugeMetricFamily("dubwright_workers", "Workers of this command, by whether they run", labels=["pool", "state"])
            up.add_metric([pool, "up"], alive)
            up.add_metric([pool, "down"], len(made) - alive)
            died = CounterMetricFamily("dubwright_worker_deaths", "Workers of this command that died and were started again", labels=["pool"])
            died.add_metric([pool], sum(worker.died for worker in made))
            yield from (up, died)

    scratch = settings.cache / "work"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="metrics-", dir=scratch) as folder:
        (Path(folder) / OWNER).write_text(me())
        for worker in made:
            worker.environment[metrics_page.FOLDER] = folder
        registry = CollectorRegistry()
        registry.register(metrics_page.Shared(Path(folder)))
        registry.register(Supervised())  # type: ignore[arg-type]  # all that a registry asks of it
        port = metrics_page.serve(registry, settings)
        yield f"http://{settings.metrics_host}:{port}/metrics" if port else ""


def supervise(made: list[Worker]) -> None:
    """Keep workers running until SIGTERM or SIGINT, which they get too; then wait for them. A second signal ends them at once."""
    stops: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        stops.append(signum)
        for worker in made:
            worker.stop(signal.SIGTERM if len(stops) == 1 else signal.SIGKILL)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not stops:
            for worker in made:
                worker.look()
            time.sleep(PAUSE)
        for worker in made:
            if worker.process is not None:
                worker.process.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
