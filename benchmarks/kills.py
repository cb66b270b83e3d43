"""The kill campaign: two workers on a small batch, one of them killed outright at a drawn point of a drawn stage, again and again.

    python -m benchmarks.kills --trials 200

A portrait that speaks and a film that is dubbed anew, on benchmarks/trials.py: real Postgres, a real S3 server, real processes and SIGKILL. A
worker says before and after each stage that it is there, when a window begins and when it has put an object at the output; the campaign kills it
before the drawn stage, after it, in it after a drawn part of the seconds that the stage took undisturbed, in a drawn window, or after a drawn
object of a delivery. A new worker takes its place, as a supervisor's would.

Every twentieth trial begins with nothing done; the others with the results of all stages but the one that is killed, so that they cost no more than it.

Counted over all trials: jobs lost (no end), delivered twice (events, rows, objects), files that differ from the undisturbed run's, and
windows rendered more than in the undisturbed run, at most and in all.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from benchmarks import crew, trials
from benchmarks.crew import Said
from benchmarks.trials import Bench, Ended

STAGES = ("ingest", "consent", "speech", "faces", "motion", "tracks", "cast", "render", "score", "gate", "deliver")
OBJECTS = 4  # that a delivery puts
LONGEST = 900  # seconds of a trial
WHOLE = 20  # one trial of so many begins with nothing done
SAYS = {"before": "before", "in": "before", "after": "after", "window": "window", "put": "put"}


@dataclass(frozen=True)
class Point:
    """Where a worker is killed: before, in or after a stage of a job, in window `number`, after object `number`; `after` so many seconds."""

    where: str
    stage: str
    job: str
    number: int = 0
    after: float = 0.0

    def reached(self, said: Said) -> bool:
        """Whether the worker that says this is there."""
        return (said.kind, said.stage, said.job, said.number) == (SAYS.get(self.where, ""), self.stage, self.job, self.number)

    def __str__(self) -> str:
        return f"{self.where}{f' {self.number}' if self.number else ''} {'of' if self.number else ''} {self.stage} of {self.job}"


@dataclass
class Trial:
    """What came of one trial. seconds: of each stage and window, undisturbed ones."""

    ended: Ended = field(default_factory=Ended)
    windows: int = 0
    killed: bool = False
    seconds: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def of(self, point: Point) -> int:
        """Windows that are rendered where all stages but the point's are done: its job's, or none."""
        return sum(stage == "render" == point.stage and job == point.job and number > 0 for stage, job, number in self.seconds)


def trial(held: Bench, point: Point | None, whole: bool = True) -> Trial:
    """Run the batch to its end with two workers; kill the one that is at `point`. whole: nothing is done yet; else all but the point's stage is."""
    found = Trial()
    begun: dict[tuple[str, str, int], float] = {}
    with held.fresh() if whole or point is None else held.fresh(point.stage, point.job):
        workers = {hear: process for process, hear in (crew.start(crew.worker, held.batch) for _ in range(2))}
        deadline = time.monotonic() + LONGEST
        while workers and time.monotonic() < deadline:
            said = crew.heard(workers)
            if said is None:
                continue
            found.windows += said.kind == "window"
            if said.kind in ("before", "window"):
                begun[said.stage, said.job, said.number] = time.monotonic()
            elif said.kind == "after":
                found.seconds |= {key: time.monotonic() - at for key, at in begun.items() if key[:2] == (said.stage, said.job)}
            if point and not found.killed and point.reached(said):
                found.killed = kill(workers, said.pid, point.after)
                process, hear = crew.start(crew.worker, held.batch)
                workers[hear] = process
        crew.stop(workers)
        found.ended = held.ended()
        if point is None:
            held.learn()
    return found


def kill(workers: dict[Any, Any], pid: int, after: float) -> bool:
    """SIGKILL to a worker in so many seconds."""
    time.sleep(after)
    process = next(process for process in workers.values() if process.pid == pid)
    os.kill(pid, signal.SIGKILL)
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


def drawn(draw: random.Random, plain: Trial, stages: Iterable[str]) -> Iterator[Point]:
    """Points without end: all of them in an order by chance, again and again; how far into a stage or window is by chance."""
    points: list[tuple[str, str, str, int]] = []
    for stage, job, window in sorted(plain.seconds):
        if stage in stages and window:
            points.append(("window", stage, job, window))
        elif stage in stages:
            points += [(where, stage, job, 0) for where in ("before", "in", "after")]
            points += [("put", stage, job, number) for number in range(1, OBJECTS + 1) if stage == "deliver"]
    while points:
        for where, stage, job, number in draw.sample(points, len(points)):
            lasts = plain.seconds[stage, job, number] / (1 + number) if where == "window" else plain.seconds[stage, job, 0]
            yield Point(where, stage, job, number, draw.uniform(0.05, 0.95) * lasts if where in ("in", "window") else 0.0)


def run(count: int = 200, seed: int = 20261126, stages: Iterable[str] = STAGES, span: tuple[int, int] = (1, 1 << 30), echo: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
    """The campaign: its figures, and what went wrong in which trial. span: the first and last trial of it that are made here; several may run at once."""
    with trials.bench() as held:
        plain = trial(held, None)
        echo(f"undisturbed: {plain.ended.states}, {plain.windows} windows, {len(plain.ended.files)} files")
        if set(plain.ended.states.values()) - {"delivered", "flagged"}:
            raise RuntimeError(f"the undisturbed run did not end well: {[row['detail'] for row in plain.ended.told if row['kind'] == 'failed']}")
        points = enumerate(islice(drawn(random.Random(seed), plain, stages), count), 1)
        return campaign(held, plain, [(number, point) for number, point in points if span[0] <= number <= span[1]], echo)


def campaign(held: Bench, plain: Trial, points: list[tuple[int, Point]], echo: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
    """A trial for each numbered point: figures, and what went wrong in which trial."""
    wrong, extra, killed, begun, hit = list[dict[str, Any]](), list[int](), 0, 0, dict[str, int]()
    sums, started = {"lost": 0, "twice": 0, "differ": 0}, time.monotonic()
    for number, point in points:
        whole = number % WHOLE == 0
        made = trial(held, point, whole)
        bad = made.ended.wrong(plain.ended)
        sums, killed, begun = {name: sums[name] + bad[name] for name in sums}, killed + made.killed, begun + whole
        extra.append(made.windows - (plain.windows if whole else plain.of(point)))
        hit[f"{point.where} {point.stage}"] = hit.get(f"{point.where} {point.stage}", 0) + made.killed
        if any(bad.values()) or extra[-1] > 1:
            wrong.append({"trial": number, "point": str(point), **bad, "windows": extra[-1], "states": made.ended.states})
        spent = (time.monotonic() - started) / len(extra)
        echo(f"{number} {point}: killed {made.killed}, {bad}, windows {extra[-1]:+d}{', from nothing' if whole else ''}, {spent:.1f} s a trial")
    figures = {
        "trials": len(extra), "kills": killed, "jobs lost": sums["lost"], "delivered twice": sums["twice"], "files that differ": sums["differ"],
        "of them from nothing": begun, "extra windows, at most": max(extra, default=0), "extra windows, in all": sum(extra), "windows undisturbed": plain.windows,
    }  # fmt: skip
    return {"figures": figures, "states": plain.ended.states, "points": dict(sorted(hit.items())), "wrong": wrong}


def main() -> None:
    """Run as a command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--seed", type=int, default=20261126)
    options.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="Kill in these alone.")
    options.add_argument("--span", type=int, nargs=2, default=(1, 1 << 30), help="First and last trial of the campaign that are made here; several may run at once.")
    given = options.parse_args()
    told = run(given.trials, given.seed, given.stages, span=tuple(given.span), echo=lambda line: (sys.stderr.write(line + "\n"), sys.stderr.flush()))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    raise SystemExit(bool(told["wrong"]))


if __name__ == "__main__":
    main()
