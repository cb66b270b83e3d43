"""What it is worth that a worker delivers a job, and fetches the next one's inputs, while it renders another.

    python -m benchmarks.overlap

One worker's shard, once with DUBWRIGHT_OVERLAP and once without, by turns. Real: Postgres, an S3 server (moto over HTTP, behind a proxy that makes every answer
late), fetches, uploads of results and deliveries, of the sizes that recorded takes have. Not real: stages that compute sleep for a tenth of what recorded takes
took, stretched to `--seconds` a job before. Stages are called as they are, without Prefect.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from uuid import uuid4

from sqlalchemy.engine import make_url

from benchmarks import scale_work, trials
from benchmarks.scale_work import COUNTS, Counts, Sleeper

COMPRESS = 10.0
BUCKET = "overlap"


@contextmanager
def late(url: str, seconds: float) -> Iterator[str]:
    """The server behind a proxy whose answers come so many seconds late."""
    target = urlparse(url)
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_serve, args=(door, (target.hostname, target.port), seconds), daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


def _serve(door: socket.socket, target: Any, seconds: float) -> None:
    while True:
        try:
            client, _ = door.accept()
        except OSError:
            return
        server, asked = socket.create_connection(target), threading.Event()
        threading.Thread(target=_pump, args=(client, server, asked.set), daemon=True).start()
        threading.Thread(target=_pump, args=(server, client, lambda asked=asked: _wait(asked, seconds)), daemon=True).start()


def _wait(asked: threading.Event, seconds: float) -> None:
    """Wait before the first bytes of an answer."""
    if asked.is_set():
        asked.clear()
        time.sleep(seconds)


def _pump(source: socket.socket, sink: socket.socket, before: Any) -> None:
    try:
        while data := source.recv(65536):
            before()
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()


def run(jobs: int = 8, rounds: int = 3, latency: float = 0.1, seconds: float = 20.0, echo: Any = None) -> dict[str, Any]:
    """Figures: median seconds of the shard each way, and the median of their ratios, round by round."""
    sys.path.insert(0, str(trials.ROOT / "tests"))
    import boto3

    import servers  # type: ignore[import-not-found]  # of tests/, put on the path above
    from flows import job
    from infra.postgres import embedded_url

    def plainly(work: Any, name: str, call: Any, *rest: Any) -> None:
        call(work, *rest)

    job._stage = plainly
    scale_work.without_networks(Sleeper(seconds, COMPRESS, Counts([0.0] * len(COUNTS))), scale_work.recorded()["sizes"]["render.mp4"])
    os.environ |= servers.KEYS | {"DUBWRIGHT_THREADS": "1"}
    found: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="dubwright-overlap-") as folder, servers.moto() as url, late(url, latency) as slow:
        os.environ |= {"DUBWRIGHT_S3_ENDPOINT_URL": slow}
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        server = embedded_url(Path(folder))
        for number in range(rounds):
            for on in (True, False) if number % 2 else (False, True):
                found[on].append(_shard(server, Path(folder), jobs, on))
                if echo:
                    echo(f"round {number + 1}, overlap {on}: {found[on][-1]:.2f} s")
    ratios = [one / other for one, other in zip(found[True], found[False], strict=True)]
    named = {True: "overlap_seconds", False: "one_after_another_seconds"}
    return {"figures": {named[on]: round(statistics.median(values), 2) for on, values in found.items()} | {"overlap_ratio": round(statistics.median(ratios), 3)}, "ratios": [round(ratio, 3) for ratio in ratios]}


@contextmanager
def _fresh(server: str, folder: Path) -> Iterator[str]:
    """A database, a prefix of the store and a home folder of their own; the settings of this process name them."""
    from infra.settings import get_settings

    name = f"overlap_{uuid4().hex[:12]}"
    trials.admin(server, f"CREATE DATABASE {name}")
    os.environ["DUBWRIGHT_DATABASE_URL"] = make_url(server).set(database=name).render_as_string(hide_password=False)
    os.environ |= {"DUBWRIGHT_STORE_URL": f"s3://{BUCKET}/artifacts-{name}", "DUBWRIGHT_HOME": str(folder / name)}
    get_settings.cache_clear()
    try:
        yield name
    finally:
        trials.admin(server, f"DROP DATABASE {name} WITH (FORCE)")


def _shard(server: str, folder: Path, jobs: int, on: bool) -> float:
    """Seconds of a shard of new jobs, each with a portrait of its own, by a worker whose cache is empty."""
    from benchmarks.allowed import allow
    from benchmarks.scale import manifest_of
    from db.session import open_database
    from db.workers import waiting
    from flows.shard import shard
    from infra.artifacts import open_artifacts
    from infra.settings import get_settings
    from tasks.manifest import check
    from tasks.plan import plan, submit

    os.environ["DUBWRIGHT_OVERLAP"] = str(on)
    with _fresh(server, folder) as name:
        tree = manifest_of(folder, jobs) | {"output": f"s3://{BUCKET}/out-{name}/"}
        for number, row in enumerate(tree["jobs"]):
            row["portrait"] = f"{number}.png"
        settings = get_settings()
        allow(settings, *folder.glob("*.png"))
        database = open_database(settings)
        batch = submit(plan(check(tree, str(folder)), database, settings), database, open_artifacts(settings)).batch_id
        begun = time.perf_counter()
        ended = shard.fn(batch, waiting(database, batch))
        spent = time.perf_counter() - begun
        database.close()
    assert ended == {"delivered": jobs}, ended
    return spent


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--latency", type=float, default=0.1, help="Seconds that every answer of the store is late.")
    options.add_argument("--seconds", type=float, default=20.0, help="Mean seconds of a job before a tenth is taken.")
    given = options.parse_args()
    told = run(given.jobs, given.rounds, given.latency, given.seconds, lambda line: sys.stderr.write(line + "\n"))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
