"""How long a start takes: `dubwright bench startup`. The command's help, and the embedded services on a home that is new."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import rows

ROOT = Path(__file__).parent.parent
SERVICES = """
from infra.settings import get_settings
from flows.conductor import OwnServer, configure
configure(get_settings())
server = OwnServer(get_settings()).start()
from db.session import open_database
open_database(get_settings()).close()
server.wait()
import os, sys
sys.stdout.flush()
"""


def _seconds(arguments: list[str], **environment: str) -> float:
    started = time.perf_counter()
    subprocess.run(arguments, capture_output=True, check=True, cwd=ROOT, env=os.environ | environment)
    return time.perf_counter() - started


def run(times: int = 5) -> dict[str, Any]:
    """Median seconds of `dubwright --help`, and of Postgres (new) and Prefect's server coming up, each over several runs."""
    helps = [_seconds([sys.executable, "cli.py", "--help"]) for _ in range(times)]
    services = []
    for _ in range(max(1, times // 2)):
        with tempfile.TemporaryDirectory() as home:
            services.append(_seconds([sys.executable, "-c", SERVICES], DUBWRIGHT_HOME=home))
    rows.add({"startup_help": ("s", helps), "startup_services": ("s", services)})
    return {"figures": {"startup_help_seconds": round(rows.quantiles(helps)[1], 3), "startup_services_seconds": round(rows.quantiles(services)[1], 2)}}
