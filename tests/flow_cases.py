"""What the tests of plans and flows share: a home folder of their own, small manifests, a watcher that remembers, subprocesses."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.allowed import allow
from infra.settings import Settings, get_settings
from infra.store import within
from tasks.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent
HOPPER, COLLINS = ROOT / "demo" / "portraits" / "grace_hopper.jpg", ROOT / "demo" / "portraits" / "astronaut_collins.png"
FEW = "2"  # takes of a job: tests that render need no long ladders


class Watched:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.plans: list[Any] = []
        self.steps: list[Any] = []

    def phase(self, text: str) -> None: ...
    def looked(self, done: int, total: int) -> None: ...
    def states(self, states: dict[str, int]) -> None: ...

    def planned(self, made: Any) -> None:
        assert not [step for step in self.steps if step.stage == "render"]  # errors come before any render (P22)
        self.plans.append(made)

    def step(self, step: Any) -> None:
        self.steps.append(step)


@contextmanager
def new_home() -> Iterator[Path]:
    """An empty home folder. Not pytest's: a second pytest would take Postgres's user the right to enter it."""
    from infra.postgres import stop_embedded

    folder = Path(tempfile.mkdtemp(prefix="dubwright-"))
    try:
        yield folder
    finally:
        stop_embedded()
        shutil.rmtree(folder, ignore_errors=True)


def environment(home: Path, **more: str) -> dict[str, str]:
    """A process's environment with a home folder of its own, in which its Prefect server keeps its things too."""
    known = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    return {"DUBWRIGHT_MAX_TAKES": FEW, **known, "DUBWRIGHT_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Settings with an empty home folder, for this process and its children."""
    before = dict(os.environ)
    with new_home() as home:
        os.environ["DUBWRIGHT_HOME"] = str(home)
        os.environ.setdefault("DUBWRIGHT_MAX_TAKES", FEW)
        get_settings.cache_clear()
        from flows.conductor import configure

        configure(get_settings())
        yield get_settings()
    os.environ.clear()
    os.environ.update(before)
    get_settings.cache_clear()


def write_manifest(folder: Path, jobs: list[dict[str, Any]], **rest: Any) -> Path:
    """A manifest in a folder; jobs without a portrait take Grace Hopper's."""
    tree = {"batch": "tiny", "output": str(folder / "out"), "defaults": {"portrait": str(HOPPER), "locale": "en-US"}, "jobs": jobs, **rest}
    path = folder / "manifest.json"
    path.write_text(json.dumps(tree))
    return path


def command(*arguments: str) -> list[str]:
    """`dubwright ARGUMENTS` as an argument vector for this interpreter."""
    return [sys.executable, str(ROOT / "cli.py"), *arguments]


def run(*arguments: str, home: Path, timeout: float = 420, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with a home folder; who a manifest that it runs shows has consented."""
    if arguments[0] == "run" and Path(arguments[1]).is_file():
        allow(settings_of(home, **more), Path(arguments[1]))
    return subprocess.run(command(*arguments), env=environment(home, **more), capture_output=True, text=True, timeout=timeout, check=False)


def settings_of(home: Path, **more: str) -> Settings:
    """The settings of a process that has these variables."""
    told = {name.removeprefix("DUBWRIGHT_").lower(): value for name, value in more.items() if name.startswith("DUBWRIGHT_")}
    return Settings(**{"home": home, **told})


def run_manifest(manifest: Manifest, known: Settings, watched: Any, **how: Any) -> Any:
    """Run a manifest in this process; who it shows has consented."""
    from flows.run import run_manifest as flow

    places = [within(manifest.base, getattr(row, role)) for row in manifest.jobs for role in ("portrait", "video", "audio") if getattr(row, role)]
    allow(known, *(Path(place) for place in set(places)))
    return flow(manifest, known, watched, **how)


def videos(folder: Path) -> list[str]:
    """Names of the delivered videos."""
    return sorted(path.name for path in folder.glob("*.mp4"))
