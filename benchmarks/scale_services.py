"""What the scale benchmark runs beside its workers: a Prefect server, and those who look at processors, locks and sizes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def prefect(home: Path, database: str = "") -> Iterator[str]:
    """A Prefect server of its own, on SQLite or a database that is named; its API's URL."""
    import socket
    import urllib.error
    import urllib.request

    from flows.conductor import QUIET

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    known = {**os.environ, **QUIET, "PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "WARNING"}
    known |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
    known.pop("PREFECT_API_URL", None)
    with (home / "prefect.log").open("w") as log:
        words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        server = subprocess.Popen(words, env=known, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310 (the URL above)
                    break
                except (urllib.error.URLError, OSError):
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise RuntimeError(f"Prefect's server did not start: {(home / 'prefect.log').read_text()[-500:]}") from None
                    time.sleep(0.3)
            yield url
        finally:
            server.terminate()
            server.wait(30)


class Watch(threading.Thread):
    """Looks at Postgres twenty times a second: how many of its sessions wait for a lock."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.done, self.looks, self.waits, self.sessions = url, threading.Event(), 0, 0, 0

    def run(self) -> None:
        """Look until `done`."""
        import psycopg

        query = "SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FROM pg_stat_activity WHERE datname = current_database()"
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.done.wait(0.05):
                waiting, sessions = connection.execute(query).fetchone() or (0, 0)
                self.looks, self.waits, self.sessions = self.looks + 1, self.waits + waiting, max(self.sessions, sessions)


class Processor:
    """Processor seconds of Prefect's server and of Postgres while the block of work runs; those of sessions that have ended are not in it."""

    def __init__(self) -> None:
        self.first = self._now()

    def _now(self) -> dict[str, float]:
        import psutil

        found = {"prefect": 0.0, "postgres": 0.0}
        for process in psutil.process_iter(["cmdline", "environ", "cwd"]):
            words, place = " ".join(process.info["cmdline"] or []), os.environ["DUBWRIGHT_HOME"]
            name = "prefect" if "prefect.server" in words or "prefect server" in words else "postgres" if words.startswith("postgres:") or "/postgres" in words else ""
            if name and (place in words or place in str(process.info["cwd"]) or (process.info["environ"] or {}).get("PREFECT_HOME") == os.environ["PREFECT_HOME"]):
                times = process.cpu_times()
                found[name] += times.user + times.system
        return found

    def used(self, jobs: int) -> dict[str, float]:
        """Seconds a job since the start."""
        return {f"{name}_cpu_seconds_per_job": round((now - self.first[name]) / jobs, 4) for name, now in self._now().items()}


def size(url: str) -> int:
    """Bytes of the ledger."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def transactions(url: str) -> dict[str, Any]:
    """What Postgres itself counted, and KiB and rows by table."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        commits, deadlocks = connection.execute("SELECT xact_commit, deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone() or (0, 0)
        deliveries = (connection.execute("SELECT count(*) FROM deliveries").fetchone() or (0,))[0]
        connection.execute("ANALYZE")
        found = connection.execute("SELECT relname, pg_total_relation_size(oid) / 1024, reltuples::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC")
        tables = {name: {"kib": int(kib), "rows": int(count)} for name, kib, count in found.fetchall() if count > 0}
    return {"commits": commits, "deadlocks": deadlocks, "deliveries": deliveries, "tables": tables}


def prefect_size(home: Path, database: str) -> dict[str, int]:
    """Bytes of Prefect's database and rows of its tables that grow."""
    names = ("flow_run", "flow_run_state", "task_run", "task_run_state", "events", "event_resources", "artifact")
    if database:
        import psycopg

        with psycopg.connect(database.replace("+asyncpg", ""), autocommit=True) as connection:
            total = (connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,))[0]
            return {"bytes": total, **{name: (connection.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,))[0] for name in names}}  # noqa: S608 (names above)
    import sqlite3

    time.sleep(3)  # task runs are written a little late
    with sqlite3.connect(home / "prefect" / "prefect.db", timeout=60) as connection:
        pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return {"bytes": pages * page, **{name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}}  # noqa: S608 (names above)
