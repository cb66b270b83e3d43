"""The service's metrics, from the ledger: how all batches stand, whatever worker, host or pool they are on. docs/observing.md lists them.

A scrape costs a few short queries, and no more than one such round in some seconds however many scrape. A ledger that does not answer is
a metric of its own, not an error: the page is there when it is needed most.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from db import gauges
from db.prices import PARTS, costs_of
from db.session import Database
from infra.errors import DubwrightError
from infra.settings import Settings, get_settings

FRESH = 5.0  # seconds that an answer is given again
TIMEOUT = 2000  # milliseconds that one query may take
READING = f"-c statement_timeout={TIMEOUT} -c lock_timeout={TIMEOUT} -c default_transaction_read_only=on"
Family = GaugeMetricFamily | CounterMetricFamily


class Ledger(Collector):
    """What a ledger shows of the service."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.settings, self._database = settings, database
        self._lock = threading.Lock()
        self._found: list[Family] = []
        self._at = float("-inf")

    def describe(self) -> list[Any]:
        """Nothing: registering asks the ledger nothing."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics, no older than some seconds."""
        with self._lock:
            if time.monotonic() - self._at > FRESH:
                self._found = list(self._look())
                self._at = time.monotonic()
            yield from self._found

    def _look(self) -> Iterator[Family]:
        missing = []
        for name, look in (*GROUPS.items(), ("batches", _batches), ("costs", _costs)):
            try:
                yield from look(self._open(), self.settings)
            except DubwrightError:
                missing.append(name)
            except Exception:  # a table that is not there yet, a query that took too long: the others are still told
                missing.append(name)
        yield GaugeMetricFamily("dubwright_ledger_up", "Whether the ledger answered all that it was asked, 1 or 0", value=float(not missing))
        failed = GaugeMetricFamily("dubwright_ledger_unanswered", "Groups of metrics that are missing: the ledger did not answer within 2 s", labels=["group"])
        for name in missing:
            failed.add_metric([name], 1.0)
        yield failed

    def _open(self) -> Database:
        if self._database is None:
            from infra.postgres import embedded_url

            self._database = Database(self.settings.database_url.get_secret_value() or embedded_url(self.settings.home), READING)
        return self._database


Look = Callable[[Database, Settings], Iterator[Family]]


def _rows(name: str) -> Callable[[Database], gauges.Rows]:
    def rows(database: Database) -> gauges.Rows:
        with database.begin() as session:
            return gauges.GROUPS[name](session)

    return rows


def _group(name: str, *families: tuple[str, str, str], label: str = "") -> Look:
    """Gauges of a group's rows: (metric, help, the rows' column), with one label where a group has several rows."""

    def look(database: Database, settings: Settings) -> Iterator[Family]:
        rows = _rows(name)(database)
        for metric, text, column in families:
            made = GaugeMetricFamily(metric, text, labels=[label] if label else [])
            for row in rows:
                if row[column] is not None:
                    made.add_metric([row[label]] if label else [], float(row[column]))
            yield made

    return look


def _deliveries(database: Database, settings: Settings) -> Iterator[Family]:
    row = _rows("deliveries")(database)[0]
    yield CounterMetricFamily("dubwright_deliveries", "Deliveries of all batches", value=float(row["count"]))
    age = GaugeMetricFamily("dubwright_last_delivery_age_seconds", "Seconds since the newest delivery; absent where there is none")
    if row["newest"] is not None:
        age.add_metric([], row["newest"])
    yield age


def _batches(database: Database, settings: Settings) -> Iterator[Family]:
    with database.begin() as session:
        row = gauges.batches(session, settings.batch_hours)[0]
    yield GaugeMetricFamily("dubwright_batches_open", "Batches with jobs that have not ended", value=float(row["open"]))
    yield GaugeMetricFamily("dubwright_batches_late", "Of these, batches that nobody paused and that have been under way for more than DUBWRIGHT_BATCH_HOURS", value=float(row["late"]))


def _costs(database: Database, settings: Settings) -> Iterator[Family]:
    with database.begin() as session:
        newest = gauges.newest(session)
    told = costs_of(database, newest, settings)
    about = f" of the newest {gauges.NEWEST} batches, in all and by batch, language and engine"
    spent = GaugeMetricFamily("dubwright_cost_spent", f"Money spent on takes{about}", labels=["by", "name", "currency"])
    minutes = GaugeMetricFamily("dubwright_cost_minutes", f"Minutes of delivered video{about}", labels=["by", "name"])
    each = GaugeMetricFamily("dubwright_cost_per_minute", f"Money for a finished minute{about}; absent where nothing was delivered", labels=["by", "name", "currency"])
    for part in ("total", *PARTS) if told else ():
        assert told is not None
        for row in [told[part]] if part == "total" else told[part]:
            name = str(row.get(part, "all"))
            spent.add_metric([part, name, told["currency"]], row["spent"])
            minutes.add_metric([part, name], row["minutes"])
            if row["per_minute"] is not None:
                each.add_metric([part, name, told["currency"]], row["per_minute"])
    yield from (spent, minutes, each)


GROUPS: dict[str, Look] = {
    "states": _group("states", ("dubwright_ledger_jobs", "Jobs of all batches, by state", "count"), label="state"),
    "queue": _group(
        "queue",
        ("dubwright_queue_ready", "Jobs that could be leased now", "ready"),
        ("dubwright_queue_age_seconds", "Seconds that the oldest of these has waited; 0 where there is none", "age"),
        ("dubwright_queue_deferred", "Jobs that wait out a fault", "deferred"),
        ("dubwright_queue_held", "Waiting jobs of batches that are paused or draining", "held"),
    ),
    "leases": _group(
        "leases",
        ("dubwright_leases_running", "Leases that hold", "running"),
        ("dubwright_leases_expired", "Leases that ran out and whose jobs nobody took up yet", "expired"),
        ("dubwright_lease_oldest_seconds", "Seconds since the oldest running job was leased; 0 where there is none", "oldest"),
    ),
    "reviews": _group(
        "reviews",
        ("dubwright_reviews_waiting", "Flagged jobs that wait for a person", "waiting"),
        ("dubwright_review_oldest_seconds", "Seconds since the oldest of these was flagged; 0 where there is none", "oldest"),
    ),
    "deliveries": _deliveries,
    "failures": _group("failures", ("dubwright_failed_jobs", f"Failed jobs of the newest {gauges.NEWEST} batches, by error code", "count"), label="code"),
    "size": _group("size", ("dubwright_ledger_bytes", "Bytes that the ledger takes in Postgres", "bytes")),
}


def registry(settings: Settings | None = None) -> CollectorRegistry:
    """The service's metrics, as a registry of their own."""
    made = CollectorRegistry()
    made.register(Ledger(settings or get_settings()))
    return made


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def metrics_app(settings: Settings | None = None) -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """An ASGI application that answers GET with the service's metrics at whatever path it is mounted; queries run in a thread.

    As in `app.mount("/metrics", metrics_app())`. It has no login: keep it among those who scrape.
    """
    shown = registry(settings)

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        import anyio
        from prometheus_client.exposition import choose_encoder

        known = {name.decode().lower(): value.decode() for name, value in scope.get("headers", [])}
        write, kind = choose_encoder(known.get("accept", ""))
        body = b"" if scope["method"] not in ("GET", "HEAD") else await anyio.to_thread.run_sync(write, shown)
        await send({"type": "http.response.start", "status": 200 if body else 405, "headers": [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
