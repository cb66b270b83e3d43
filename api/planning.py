"""From a manifest to a plan, and into the ledger. Looking at inputs takes memory and processors, so few requests do it at a time."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from api.manifests import read
from api.problems import Refusal
from db import listing
from db.prices import load_prices
from db.session import Database
from flows.order import Ordered, order
from infra.artifacts import open_artifacts
from infra.errors import SetupError, StoreError
from infra.settings import Settings
from tasks.plan import Plan, Planned, plan, submit

T = TypeVar("T")
PATIENCE = 120.0  # seconds that a request waits for others that plan


class Planner:
    """Plans of one application: so many at once. The others wait their turn without holding a thread, which those who only read need."""

    def __init__(self, database: Database, settings: Settings, at_once: int = 2) -> None:
        self.database, self.settings = database, settings
        self._room = asyncio.Semaphore(at_once)

    async def in_turn(self, call: Callable[[], T]) -> T:
        """Call something in a thread when it is its turn. Raises Refusal where that takes too long."""
        try:
            await asyncio.wait_for(self._room.acquire(), PATIENCE)
        except TimeoutError as error:
            busy = SetupError("too many manifests are being looked at", code="api.busy", next_step="Send it again in a minute.")
            raise Refusal(busy, 503, {"Retry-After": "60"}) from error
        try:
            return await run_in_threadpool(call)
        finally:
            self._room.release()

    def plan(self, body: bytes, content_type: str) -> dict[str, Any]:
        """What a manifest would make; nothing is entered. Raises ManifestError with every fault."""
        manifest, _ = read(body, content_type, self.settings)
        made = plan(manifest, self.database, self.settings)
        counts = {state: len(made.of(state)) for state in ("made", "exists", "invalid")}
        told = {"batch": manifest.batch, "output": made.output, "counts": counts, "work_seconds": round(made.estimate, 1), "cost": self._cost(made)}
        return told | {"jobs": [_row(job) for job in made.jobs]}

    def submit(self, body: bytes, content_type: str) -> tuple[bool, dict[str, Any]]:
        """Enter a manifest, once, and order its work; whether this call entered it, and what is answered. Raises ManifestError with every fault."""
        manifest, tree = read(body, content_type, self.settings)
        made = plan(manifest, self.database, self.settings)
        entered = submit(made, self.database, open_artifacts(self.settings))
        kept = self._keep(made, tree)
        ordered = order(self.database, entered.batch_id, self.settings, kept)
        return entered.created, {**self._told(made, entered.batch_id, ordered), "created": entered.created, "manifest": kept}

    def _cost(self, made: Plan) -> dict[str, Any] | None:
        """Work at the default price of an hour, of a GPU where the pool's name says so; None without prices."""
        prices = load_prices(self.settings.prices)
        if prices is None:
            return None
        gpu = prices.default.gpu_hour if "gpu" in self.settings.pool else None
        return {"currency": prices.currency, "amount": round(made.estimate / 3600 * (prices.default.cpu_hour if gpu is None else gpu), 6)}

    def _told(self, made: Plan, batch_id: int, ordered: Ordered) -> dict[str, Any]:
        counts = {state: len(made.of(state)) for state in ("made", "exists", "invalid")}
        found = listing.batch(self.database, batch_id)
        told = {"batch": batch_id, "name": found["name"], "output": found["output"], "counts": counts, "jobs": found["jobs"], "work_seconds": round(made.estimate, 1)}
        return {**told, "not_made": [_row(job) for job in made.jobs if job.state != "made"], "started": ordered.started, "pool": ordered.pool, "next_step": ordered.next_step}

    def _keep(self, made: Plan, tree: dict[str, Any]) -> str:
        """Put the manifest beside the artifacts, so that `dubwright run` finds the same batch there; its place, or nothing."""
        store = open_artifacts(self.settings).store
        name = f"manifests/{made.key}.json"
        try:
            store.put(name, json.dumps(tree, default=str).encode(), content_type="application/json")
        except StoreError:
            return ""
        return store.url(name)


def _row(job: Planned) -> dict[str, Any]:
    return {
        "title": job.row.title, "locale": job.row.locale, "state": job.state, "video_seconds": round(job.seconds, 1), "work_seconds": round(job.estimate, 1),
        "error": job.error and job.error.to_dict(), "url": job.delivered and job.delivered["url"],
    }  # fmt: skip
