"""Two workers on two hosts, one of which is cut off from Postgres and the object store in the middle of its job, and comes back.

    python -m benchmarks.partition [--seconds 180] [--lease 30]

Each worker has a network namespace and a host name of its own, and reaches both servers over a pair of virtual interfaces; the cut takes one of them
down. Meanwhile its lease runs out and the other worker takes its job and ends it. After the network is back the first one goes on where it stood, and
then tries everything that a worker may do to a job, under the lease that it held: all of it must be refused. Needs root; says so where that is missing.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import crew, trials
from benchmarks.crew import Front, Said
from benchmarks.kills import Point, Trial, trial
from benchmarks.trials import PORTRAIT, Bench

SECONDS, LEASE = 180.0, 30
LONGEST = 1800
NEW_NETWORK, NEW_NAMES = 0x40000000, 0x04000000  # CLONE_NEWNET, CLONE_NEWUTS
CUT = Point("window", "render", PORTRAIT, 3)


class Impossible(Exception):
    """Why this machine cannot be two."""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise Impossible(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def hosts(names: tuple[str, ...]) -> Iterator[None]:
    """A namespace for each name, joined to this one by interfaces `NAMEo` here (10.213.N.1) and `NAMEi` there (10.213.N.2). Raises Impossible."""
    try:
        for number, name in enumerate(names, 1):
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i", "netns", name)
            _ip("addr", "add", f"10.213.{number}.1/24", "dev", f"{name}o")
            _ip("link", "set", f"{name}o", "up")
            _ip("-n", name, "addr", "add", f"10.213.{number}.2/24", "dev", f"{name}i")
            _ip("-n", name, "link", "set", f"{name}i", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield
    except FileNotFoundError as error:
        raise Impossible("there is no ip (Debian: iproute2)") from error
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)  # noqa: S607
            subprocess.run(["ip", "link", "del", f"{name}o"], capture_output=True, check=False)  # noqa: S607


def move_to(name: str) -> None:
    """Put this process on a host: its network and its name."""
    system = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}") as space:
        if system.setns(space.fileno(), NEW_NETWORK) or system.unshare(NEW_NAMES) or system.sethostname(name.encode(), len(name)):
            raise OSError(ctypes.get_errno(), "the process cannot move")


def host(name: str, number: int, ports: tuple[int, int], batch: int, tell: Any) -> None:
    """A worker on a host; at the end it says what becomes of writes under the first lease that it held. Runs in a process of its own."""
    from sqlalchemy.engine import make_url

    from flows import job
    from infra.settings import get_settings

    move_to(name)
    here = f"10.213.{number}.1"
    url = make_url(os.environ["DUBWRIGHT_DATABASE_URL"]).set(host=here, port=ports[0], query={})
    os.environ |= {
        "DUBWRIGHT_DATABASE_URL": url.render_as_string(hide_password=False), "DUBWRIGHT_S3_ENDPOINT_URL": f"http://{here}:{ports[1]}",
        "DUBWRIGHT_HOME": f"{os.environ['DUBWRIGHT_HOME']}/{name}",
    }  # fmt: skip
    get_settings.cache_clear()
    leases: list[Any] = []
    run = job.run_job

    def watched(database: Any, artifacts: Any, settings: Any, lease: Any, beside: Any = None) -> str:
        leases.append(lease)
        try:
            return run(database, artifacts, settings, lease)
        except BaseException as error:
            tell.send(Said(os.getpid(), "cut off", job=f"{lease.title}/{lease.locale}", error=f"{type(error).__name__}: {error}"))
            raise

    from flows import shard

    shard.run_job = watched
    crew.worker(batch, tell)
    tell.send(Said(os.getpid(), "refused", job=name, error=json.dumps(attempts(leases[0]) if leases else {})))


def attempts(lease: Any) -> dict[str, str]:
    """What the ledger and the output say to each write under a lease: the code of the refusal, or 'accepted'."""
    from db import ledger, queries
    from db.ledger import ArtifactRow, TakeRecord, VerdictRecord
    from db.session import open_database
    from infra.errors import DubwrightError
    from infra.settings import get_settings
    from infra.store import open_store
    from tasks.deliver import names

    settings = get_settings()
    database = open_database(settings)
    row = ArtifactRow("0" * 64, "x.bin", 1, "sha256/00")
    verdict = VerdictRecord("pass", (), "f" * 64, {}, 0, 1.0, 0.2)
    take = TakeRecord(9, "avct", "compact", {}, "0", {}, {}, row, ())
    known = queries.takes_of(database, lease.job_id)[0]["take"]
    output = open_store(lease.spec["output"], settings)
    calls: dict[str, Callable[[], Any]] = {
        "renew": lambda: ledger.renew(database, lease, 60), "artifacts": lambda: ledger.record_artifacts(database, lease, [row]),
        "stage": lambda: ledger.record_stage(database, lease, "key", "window", row, 1.0), "take": lambda: ledger.record_take(database, lease, take, verdict),
        "verdict": lambda: ledger.rejudge(database, lease, known, verdict), "settle": lambda: ledger.settle(database, lease, "engines", {}),
        "delivery": lambda: ledger.deliver(database, lease, known, "0" * 64, "s3://x", {}), "finish": lambda: ledger.finish(database, lease, "failed", {}),
        "release": lambda: ledger.release(database, lease), "defer": lambda: ledger.defer(database, lease, {}, 3, 1.0),
        "object": lambda: output.put(names(lease.title, lease.locale)["video"], b"other bytes", if_absent=True),
    }  # fmt: skip
    told = {}
    for name, call in calls.items():
        try:
            call()
            told[name] = "accepted"
        except DubwrightError as error:
            told[name] = error.code
    database.close()
    return told


def split(held: Bench, plain: Trial, socket: str, seconds: float, of: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Run the batch on two hosts; cut the one off that renders the portrait, for so many seconds. of: a (stage, job) all but which is done already."""
    names = ("dwone", "dwtwo")
    said: list[Said] = []
    cut, healed, victim, started = 0.0, False, 0, time.monotonic()
    with held.fresh(*of), hosts(names):
        fronts = Front(socket, "0.0.0.0"), Front(held.front.port, "0.0.0.0")  # noqa: S104 (of namespaces that end with this)
        workers: dict[Any, Any] = {}
        try:
            for number, name in enumerate(names, 1):
                process, hear = crew.start(host, name, number, (fronts[0].port, fronts[1].port), held.batch)
                workers[hear] = process
            order = [process.pid for process in workers.values()]
            while workers and time.monotonic() < started + LONGEST:
                if cut and not healed and time.monotonic() > cut + seconds:
                    _ip("link", "set", f"{names[victim]}o", "up")
                    healed = True
                if (one := crew.heard(workers, 0.2)) is None:
                    continue
                said.append(one)
                if not cut and CUT.reached(one):
                    victim = order.index(one.pid)
                    _ip("link", "set", f"{names[victim]}o", "down")
                    cut = time.monotonic()
        finally:
            crew.stop(workers)
            for front in fronts:
                front.stop()
        ended = held.ended()
    answers = {one.job: json.loads(one.error) for one in said if one.kind == "refused"}.get(names[victim], {})
    by_other = [one for one in said if one.kind == "after" and one.job == PORTRAIT and one.pid != order[victim]]
    return {
        **ended.wrong(plain.ended), "cut": bool(cut), "states": ended.states, "answers under the old lease": answers,
        "refused": sum(code in ("ledger.stale_token", "store.already_there") for code in answers.values()), "tried": len(answers),
        "told by the one cut off": sorted({one.error for one in said if one.kind in ("cut off", "ended") and one.pid == order[victim]}),
        "stages by the other": [one.stage for one in by_other], "leases ran out": sum(row["kind"] == "lease ran out" for row in ended.told),
        "windows": sum(one.kind == "window" for one in said) - (plain.of(Point("", *of)) if of[0] else plain.windows), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def run(seconds: float = SECONDS, lease: int = LEASE) -> dict[str, Any]:
    """The partition's figures, or why it cannot be tried here."""
    from sqlalchemy.engine import make_url

    try:
        with hosts(("dwtry",)):
            pass
    except Impossible as reason:
        return {"left out": str(reason)}
    with trials.bench(DUBWRIGHT_LEASE_SECONDS=str(lease)) as held:
        return split(held, trial(held, None), f"{make_url(held.server).query['host']}/.s.PGSQL.5432", seconds)


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--lease", type=int, default=LEASE)
    given = options.parse_args()
    told = run(given.seconds, given.lease)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    raise SystemExit(bool(told.get("lost") or told.get("twice") or told.get("differ") or told.get("refused") != told.get("tried")))


if __name__ == "__main__":
    main()
