"""The corpus and mutants through a taker, which is started anew when it dies or hangs; what came of them, counted."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.hostile.canary import Canary
from benchmarks.hostile.corpus import Case, cases
from benchmarks.hostile.samples import mutant, sounds, stills, videos
from benchmarks.hostile.voices import whole as voice

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds for one small file on a busy machine; the guard's own limit is 60 of silence
NO_BUCKET = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "DUBWRIGHT_S3_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}  # a server that is away
Take = Callable[[dict[str, Any]], str]


@dataclass
class Tally:
    """How cases ended: by code, and what should not have happened."""

    cases: int = 0
    mutants: dict[str, int] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    crashes: int = 0
    hangs: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, name: str, end: str, ends: tuple[str, ...], seconds: float) -> None:
        """Count how one ended."""
        self.slowest = sorted([*self.slowest, (round(seconds, 2), name)], reverse=True)[:5]
        if end in ("crash", "hang"):
            self.crashes, self.hangs = self.crashes + (end == "crash"), self.hangs + (end == "hang")
            self.wrong.append(f"{name}: {end}")
        elif end.startswith("wrong") or (ends and end not in ends):
            self.wrong.append(f"{name}: {end}" + (f", not one of {', '.join(ends)}" if ends else ""))
        self.ended["wrong" if end.startswith("wrong") else end] += 1


class Taker:
    """A process of benchmarks/hostile/taken.py, in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, asked: dict[str, Any]) -> str:
        """How a request ends; `crash` and `hang` where the process does."""
        if self.process is None:
            words = [sys.executable, "-m", "benchmarks.hostile.taken", str(self.home)]
            self.process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **NO_BUCKET}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            if self._line(600.0) != "ready\n":
                raise RuntimeError("the taker does not start")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self._line(PATIENCE)
        if not line:
            end = "hang" if self.process.poll() is None else "crash"
            self.close()
            return end
        return str(json.loads(line))

    def _line(self, seconds: float) -> str:
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if not line and ready:
            self.process.wait()
        return line

    def close(self, grace: float = 0.0) -> None:
        """End it; with grace it ends by itself, and its Postgres with it."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


KINDS = ("portrait", "video", "audio", "voice", "voice_config")


def _whole(folder: Path, role: str) -> dict[str, bytes]:
    """Names and bytes of whole files of a role."""
    network, description = voice()
    makers: dict[str, Callable[[], dict[str, bytes]]] = {
        "portrait": stills, "video": lambda: videos(folder), "audio": lambda: sounds(folder), "voice": lambda: {"a.onnx": network}, "voice_config": lambda: {"a.onnx.json": description},
    }  # fmt: skip
    return makers[role]()


def mutants(folder: Path, count: int, seed: int, roles: Sequence[str] = KINDS) -> Iterator[tuple[str, Path]]:
    """(role, file) of that many mutants for each role, the roles and their kinds in turn; a file is gone when the next one comes."""
    whole = {role: _whole(folder, role) for role in roles}
    for number in range(count):
        for role, kinds in whole.items():
            name = sorted(kinds)[number % len(kinds)]
            path = folder / f"{seed}-{number}-{name}"
            path.write_bytes(mutant(kinds[name], f"{seed}/{number}/{name}"))
            yield role, path
            path.unlink()


def taken(take: Take, home: Path, count: int, seed: int, every: int, minutes: float = 1e6, roles: Sequence[str] = KINDS) -> dict[str, Any]:
    """Every so manieth case of the corpus (0: none), and mutants until so many minutes have passed, each through `take`; scratch files lie in the home folder."""
    tally, began = Tally(), time.monotonic()

    def one(case: Case) -> None:
        started = time.perf_counter()
        end = take({"do": case.do, "what": case.what})
        tally.add(case.name, end, case.ends, time.perf_counter() - started)

    scratch = Path(tempfile.mkdtemp(prefix="hostile-", dir=home))
    before = set(ROOT.iterdir())
    secrets = {f"secret.{kind}": b"secret" * 100 for kind in ("mp4", "wav", "png")}
    with Canary(scratch / "canary", secrets) as canary:
        for case in islice(cases(scratch / "corpus", canary.folder, canary.port), 0, None if every else 0, every or 1):
            one(case)
            tally.cases += 1
        for role, path in mutants(scratch, count, seed, roles):
            one(Case(f"{role}: {path.name}", "media", {"role": role, "place": str(path), "base": str(scratch)}))
            tally.mutants[role] = tally.mutants.get(role, 0) + 1
            shutil.rmtree(home / "cache" / "inputs", ignore_errors=True)
            if time.monotonic() - began > minutes * 60:
                break
        reads, requests = canary.count()
    executed = len(set(ROOT.iterdir()) - before) + sum(1 for name in ("x", "escaped") if (scratch / name).exists() or (scratch / "corpus" / name).exists())
    shutil.rmtree(scratch, ignore_errors=True)
    figures = {
        "cases": tally.cases, "mutants": sum(tally.mutants.values()), "accepted": tally.ended["accepted"], "crashes": tally.crashes, "hangs": tally.hangs, "wrong": len(tally.wrong),
        "outbound_requests": requests - tally.ended["redirect.not_followed"], "reads_outside": reads, "executions": executed, "slowest_seconds": tally.slowest[0][0] if tally.slowest else 0.0,
    }  # fmt: skip
    refused = {code: number for code, number in sorted(tally.ended.items()) if code != "accepted"}
    return {"figures": figures, "mutants_of": tally.mutants, "refused": refused, "slowest": tally.slowest, "wrong": tally.wrong[:50]}


def run(count: int, seed: int = 0, every: int = 1, minutes: float = 1e6, roles: Sequence[str] = KINDS) -> dict[str, Any]:
    """All of it with a ledger, store and cache of its own."""
    home = Path(tempfile.mkdtemp(prefix="dubwright-"))
    take = Taker(home)
    try:
        return taken(take, home, count, seed, every, minutes, roles)
    finally:
        take.close(60.0)
        shutil.rmtree(home, ignore_errors=True)
