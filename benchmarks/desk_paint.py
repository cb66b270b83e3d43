"""When the review desk's pages first paint on a slow link: headless Chromium, its network held to a slow 3G's rate, cold and with files kept.

`python -m benchmarks.desk_paint` fills an embedded Postgres as benchmarks/desk.py does, with fewer jobs, and serves the desk from a thread of
this process. First contentful paint is the browser's own figure, from the navigation's start; sign-in is over by then. 400 kbit/s down, 400 ms
for each round trip, which is what developer tools call slow 3G.
"""

import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rows
from benchmarks.desk import fill
from db import accounts
from db.session import open_database
from infra.artifacts import open_artifacts
from infra.settings import Settings

JOBS, VISITS = 2000, 5
KBITS, ROUND_TRIP = 400, 400  # kbit/s; ms
PLACES = {"list": "/", "take": "/takes/{}", "title": "/titles/title {}", "batch": "/batches/1"}
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def measure(jobs: int = JOBS, visits: int = VISITS) -> dict[str, list[float]]:
    """Milliseconds to the first contentful paint, by page and by whether the browser has the desk's files already."""
    import socket

    import uvicorn

    from review.app import create_desk

    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        settings = Settings(home=Path(folder))  # type: ignore[call-arg]  # every field has a default
        database = open_database(settings)
        fill(database, jobs)
        token, _ = accounts.sign_in(database, accounts.add(database, "ana", "viewer"), "benchmark")
        held = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_desk(database, open_artifacts(settings), settings), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
        thread.start()
        try:
            return visited(f"http://127.0.0.1:{held.getsockname()[1]}", token, visits)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            database.close()


def visited(address: str, token: str, visits: int) -> dict[str, list[float]]:
    """The paints of a desk at an address, by a session's cookie."""
    import shutil

    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for number in range(1, visits + 1):
            for kind, place in PLACES.items():
                context = browser.new_context(base_url=address)  # with an empty cache
                context.add_cookies([{"name": "desk", "value": token, "url": address}])
                page = context.new_page()
                link = context.new_cdp_session(page)
                link.send("Network.enable")
                link.send("Network.emulateNetworkConditions", {"offline": False, "latency": ROUND_TRIP, "downloadThroughput": KBITS * 125, "uploadThroughput": KBITS * 125})
                for state in ("cold", "kept"):
                    page.goto(place.format(number), wait_until="load", timeout=60_000)
                    while not (painted := page.evaluate(PAINTED)):  # the browser tells of it a moment later
                        page.wait_for_timeout(20)
                    found.setdefault(f"{kind}_{state}", []).append(float(painted))
                context.close()
        browser.close()
    return found


def run(jobs: int = JOBS, visits: int = VISITS) -> dict[str, Any]:
    """Measure, and keep the rows."""
    found = measure(jobs, visits)
    rows.add({f"desk_paint_{kind}": ("ms", values) for kind, values in found.items()})
    return {kind: np.percentile(values, (20, 50, 80)) for kind, values in found.items()}


if __name__ == "__main__":
    for name, quantiles in run().items():
        sys.stdout.write(f"{name:>12}" + "".join(f"{value:>9.0f}" for value in quantiles) + "  ms to the first contentful paint (p20, p50, p80)\n")
