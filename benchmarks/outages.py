"""Outages in the middle of a batch: what goes down comes back after a while, and the batch must end as it would have.

    python -m benchmarks.outages [--seconds 60] [--only NAME ...]

On benchmarks/trials.py: two workers, real Postgres and S3 server. `postgres stopped` and `s3 stopped` are SIGSTOP and SIGCONT, `postgres down` a real stop and
start, `s3 down` the end and start of the S3 server's front (connections are refused), `disk full` a small tmpfs that something else fills, `clock skew`
a worker under libfaketime whose clock is five minutes ahead. `conductor down` is the whole command with a real Prefect server that is killed and
started again. What cannot be tried here (no root, no tmpfs, no libfaketime) says so.

For each: jobs lost, deliveries made twice, files that differ from the undisturbed run's, windows rendered more than in it, what the ledger or the workers
told of it, and the seconds it took.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import crew, trials
from benchmarks.crew import Said
from benchmarks.kills import Point, Trial, trial
from benchmarks.trials import FILM, PORTRAIT, Bench

SECONDS = 60.0
LEASE = "20"
LONGEST = 1200
SETTINGS = {"DUBWRIGHT_LEASE_SECONDS": LEASE, "DUBWRIGHT_BACKOFF_SECONDS": "5"}
DISK = "48m"
CUT_OFF = "SELECT count(*) FROM events WHERE kind = 'deferred'"
AHEAD = 300  # seconds that a clock is ahead


class Impossible(Exception):
    """Why an outage cannot be tried on this machine."""


@dataclass
class Outage:
    """Something that goes down and comes back. at: where the batch is then; None is before it begins."""

    name: str
    at: Point | None
    down: Callable[[], None]
    up: Callable[[], None]
    told: set[str] = field(default_factory=set)


def disturb(held: Bench, plain: Trial, outage: Outage, seconds: float, of: tuple[str, str] = ("", ""), noticed: bool = False) -> dict[str, Any]:
    """Run the batch to its end while `outage` comes and goes. of: a (stage, job) all but which is done already. noticed: it stays until a job was
    cut off by it, however long that takes.
    """
    windows, since, back, started = 0, 0.0, False, time.monotonic()
    with held.fresh(*of):
        if outage.at is None:
            outage.down()
            since = time.monotonic()
        workers = {hear: process for process, hear in (crew.start(crew.worker, held.batch) for _ in range(2))}
        try:
            while workers and time.monotonic() < started + LONGEST:
                if since and not back and time.monotonic() > since + seconds and (not noticed or held.rows(CUT_OFF)):
                    outage.up()
                    back = True
                said = crew.heard(workers, 0.2)
                if said is None:
                    continue
                windows += said.kind == "window"
                outage.told |= {said.error} - {""}
                if not since and outage.at is not None and outage.at.reached(said):
                    outage.down()
                    since = time.monotonic()
        finally:
            if since and not back:
                outage.up()
            crew.stop(workers)
        ended = held.ended()
    told = outage.told | {f"{row['detail'].get('code')}" for row in ended.told if row["kind"] in ("deferred", "failed")}
    return {
        **ended.wrong(plain.ended), "came": bool(since), "windows": windows - (plain.of(Point("", *of)) if of[0] else plain.windows), "told": sorted(told), "states": ended.states,
        "leases ran out": sum(row["kind"] == "lease ran out" for row in ended.told), "deferred": sum(row["kind"] == "deferred" for row in ended.told),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def signalled(processes: Callable[[], list[int]]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Stop and go on, of some processes."""

    def send(which: signal.Signals) -> None:
        for pid in processes():
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    return lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT)


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """A small file system at a folder, and what fills and frees it. Raises Impossible."""
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], capture_output=True, check=False).returncode:  # noqa: S607
        raise Impossible("no file system can be mounted here")
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as out:
            while True:
                out.write(b"\0" * 4096)

    try:
        yield fill, lambda: filler.unlink(missing_ok=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)  # noqa: S607


def skewed(held: Bench, plain: Trial) -> dict[str, Any]:
    """A worker whose clock is ahead beside one whose clock is right. Raises Impossible."""
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        raise Impossible("libfaketime is not installed (Debian: faketime)")
    started = time.monotonic()
    with held.fresh():
        known = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME": f"+{AHEAD}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        words = [sys.executable, "-W", "ignore", "-m", "benchmarks.outages", "--worker", str(held.batch)]
        ahead = subprocess.Popen(words, env=known, cwd=trials.ROOT, stdout=subprocess.PIPE, text=True)
        assert ahead.stdout is not None
        clock = float(ahead.stdout.readline()) - time.time()
        first = ahead.stdout.readline()  # it has a job; the other one takes the next
        process, hear = crew.start(crew.worker, held.batch)
        workers = {hear: process}
        while workers and time.monotonic() < started + LONGEST:
            crew.heard(workers)
        by = [first, *ahead.communicate(timeout=LONGEST)[0].splitlines()]
        ended = held.ended()
    told = [row["kind"] for row in ended.told]
    return {
        **ended.wrong(plain.ended), "clock ahead": round(clock), "stages by the one ahead": len(by), "leases ran out": told.count("lease ran out"), "leases": told.count("leased"),
        "states": ended.states, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def conductor(held: Bench, plain: Trial, seconds: float) -> dict[str, Any]:
    """The whole command with a Prefect server of its own, which is killed in the middle of the portrait's render and started again."""
    from flows.conductor import QUIET
    from servers import free_port  # type: ignore[import-not-found]

    port, started = free_port(), time.monotonic()
    with held.fresh():
        home = held.folder / "prefect"
        known = {**os.environ, **QUIET, "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "DUBWRIGHT_OUTAGE_SECONDS": "900"}
        words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        begin = lambda: subprocess.Popen(words, env=known, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: E731
        server = begin()
        answers(port)
        manifest = held.folder / "manifest.json"
        with (held.folder / "run.log").open("w") as log:
            words_of_run = [sys.executable, "-W", "ignore", "-m", "cli", "run", str(manifest), "--json"]
            command = subprocess.Popen(words_of_run, env=known, cwd=trials.ROOT, stdout=log, stderr=log)
        until(lambda: held.rows("SELECT count(*) FROM stage_results WHERE stage = 'window'") >= 2 or command.poll() is not None)
        ended_before = command.poll() is not None
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        time.sleep(seconds)
        server = begin()
        code = command.wait(LONGEST)
        os.killpg(server.pid, signal.SIGKILL)
        ended = held.ended()
        ended.files = {name: sha for name, sha in ended.files.items() if name in plain.ended.files or not name.endswith(".html")}  # the command's own report
    said = (held.folder / "run.log").read_text()
    told = {f"{row['detail'].get('code')}" for row in ended.told if row["kind"] in ("deferred", "failed")}
    return {
        **ended.wrong(plain.ended), "came": not ended_before, "exit": code, "states": ended.states, "told": sorted(told), "waited for it": "the Prefect server does not answer" in said,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def answers(port: int) -> None:
    """Wait for a Prefect server."""
    import urllib.request

    def there() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
        return False

    until(there)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something. Raises TimeoutError."""
    deadline = time.monotonic() + LONGEST
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come about")
        time.sleep(0.3)


class Aloud:
    """A worker's pipe whose other end is a line of text."""

    def send(self, said: Said) -> None:
        """Say a stage that has ended."""
        if said.kind == "after":
            sys.stdout.write(f"{said.stage} {said.job}\n")
            sys.stdout.flush()


def outages(held: Bench) -> dict[str, Outage]:
    """Those that come and go."""
    import psutil

    from infra.postgres import _SERVERS

    server: Any = _SERVERS[(held.folder / "postgres").absolute()]
    me = psutil.Process()
    postgres = lambda: [child.pid for child in (psutil.Process(server.get_pid()), *psutil.Process(server.get_pid()).children(recursive=True))]  # noqa: E731
    s3 = lambda: [child.pid for child in me.children() if "moto.server" in child.cmdline()]  # noqa: E731
    middle = Point("window", "render", PORTRAIT, 3)
    return {
        "postgres stopped": Outage("postgres stopped", middle, *signalled(postgres)),
        "postgres down": Outage("postgres down", Point("window", "render", FILM, 2), server.stop, server.start),
        "s3 stopped": Outage("s3 stopped", Point("before", "score", FILM), *signalled(s3)),
        "s3 down": Outage("s3 down", middle, held.front.stop, held.front.start),
    }


def run(names: list[str] | None = None, seconds: float = SECONDS, jobs: tuple[str, ...] = (PORTRAIT, FILM), echo: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
    """Every outage, or those named: its figures, or why it cannot be tried here."""
    found: dict[str, Any] = {}
    with trials.bench(jobs, **SETTINGS) as held:
        plain = trial(held, None)
        tries: dict[str, Callable[[], dict[str, Any]]] = {}
        for name, outage in outages(held).items():
            tries[name] = lambda outage=outage: disturb(held, plain, outage, seconds)  # type: ignore[misc]
        tries["disk full in render"] = lambda: full(held, plain, Point("window", "render", FILM, 2), seconds)
        tries["disk full in fetch"] = lambda: full(held, plain, None, seconds)
        tries["clock skew"] = lambda: skewed(held, plain)
        tries["conductor down"] = lambda: conductor(held, plain, seconds)
        for name in names or list(tries):
            try:
                found[name] = tries[name]()
            except Impossible as reason:
                found[name] = {"left out": str(reason)}
            echo(f"{name}: {json.dumps(found[name])}")
    return found


def full(held: Bench, plain: Trial, at: Point | None, seconds: float, of: tuple[str, str] = ("", ""), noticed: bool = False) -> dict[str, Any]:
    """The disk under a worker's folder is full for so many seconds. Raises Impossible."""
    cache = held.folder / "home" / "cache"
    with small_disk(cache) as (fill, free):
        return disturb(held, plain, Outage("disk full", at, fill, free), seconds, of, noticed)


def _sleep(seconds: Any) -> None:
    """Sleep by another call than Python's, which libfaketime refuses."""
    select.select([], [], [], float(seconds))


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--only", nargs="+")
    options.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        sys.stdout.write(f"{time.time()}\n")
        sys.stdout.flush()
        time.sleep = _sleep
        trials.load()
        crew.worker(given.worker, Aloud())
        return
    told = run(given.only, given.seconds, echo=lambda line: (sys.stderr.write(line + "\n"), sys.stderr.flush()))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    raise SystemExit(any(row.get("lost") or row.get("twice") or row.get("differ") for row in told.values()))


if __name__ == "__main__":
    main()
