"""Training as a command: prepare the corpus once, train a part here or in several processes, publish it as weights with cards."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db import ledger
from db.session import Database
from infra.errors import DubwrightError, EngineError, InputError
from infra.version import ROOT
from tasks import progress
from tasks.gate import Thresholds, save_thresholds, thresholds_path

if TYPE_CHECKING:
    from models.training.part import Part
    from models.training.ranks import Ranks

Tell = Callable[[dict[str, Any]], None]
COMPACT_HOURS = 2.0  # of a part of a preset that has no schedule, where nothing else is said
PAPER_FACE = 256  # pixels a side of the faces that are prepared for it


@dataclass(frozen=True)
class Trained:
    """A part: the class that trains it, and which networks of its checkpoint become which weights."""

    module: str
    kind: str
    weights: dict[str, str]
    spoken: bool = False  # it needs the clips' phones


PARTS = {
    "avct/compact/renderer": Trained("models.avct.train_renderer", "Renderer", {"average": "compact-renderer"}),
    "avct/compact/painter": Trained("models.avct.train_painter", "Painter", {"average": "compact-renderer"}),
    "avct/compact/transformer": Trained("models.avct.train_motion", "Transformer", {"model": "compact-transformer"}, spoken=True),
    "avct/compact/audio2pose": Trained("models.avct.train_motion", "Pose", {"model": "compact-audio2pose"}, spoken=True),
    "avct/paper/fomm": Trained("models.avct.paper.train_fomm", "Fomm", {"detector": "paper-detector", "generator": "paper-generator"}),
    "avct/paper/transformer": Trained("models.avct.paper.train_transformer", "Transformer", {"model": "paper-transformer"}, spoken=True),
    "avct/paper/audio2pose": Trained("models.avct.paper.train_audio2pose", "Pose", {"model": "paper-audio2pose"}),
    "lipmemory/compact/expert": Trained("models.lipmemory.train_expert", "Expert", {}),
    "lipmemory/compact/renderer": Trained("models.lipmemory.train_renderer", "Renderer", {"average": "compact"}),
    "coherence/compact/estimator": Trained("models.coherence.train_estimator", "Estimator", {"average": "compact-estimator"}),
    "coherence/compact/generator": Trained("models.coherence.train_generator", "Generator", {"average": "compact"}),
    "syncnet/compact/scorer": Trained("models.syncnet.train", "Scorer", {"average": "compact"}),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to train, from what, where to, and how far. `steps` and `seconds` count in all, with what is gone on from; 0: see `budget`."""

    name: str  # a key of PARTS
    corpus: Path
    out: Path
    seconds: float = 0.0
    steps: int = 0
    batch: int = 0
    frames: int = 0
    seed: int = 1
    processes: int = 0  # on this machine; 0 is one a GPU, or one
    schedule: str = ""
    perceptual: Path | None = None
    start: Path | None = None
    publish: bool = False
    also: tuple[Path, ...] = ()

    def arguments(self) -> list[str]:
        """The order as `tasks.rank` reads it, but for the part's name."""
        given = {"corpus": self.corpus.absolute(), "out": self.out.absolute(), "seconds": self.seconds, "steps": self.steps, "batch": self.batch, "frames": self.frames, "seed": self.seed, "schedule": self.schedule}
        paths = {"perceptual": self.perceptual, "start": self.start}
        given |= {name: path.absolute() for name, path in paths.items() if path is not None}
        return [word for name, value in given.items() if value not in ("", 0) for word in (f"--{name}", str(value))]

    def command(self) -> str:
        """The order as a person gives it."""
        engine, preset, part = self.name.split("/")
        words = ["dubwright train", engine]
        words += [f"--preset {preset}"] if engine == "avct" else []
        words += [f"--part {part}"] if engine != "syncnet" else []
        numbers = {"hours": self.seconds / 3600, "steps": self.steps, "batch": self.batch, "frames": self.frames, "processes": self.processes}
        words += [f"--{name} {value:g}" for name, value in numbers.items() if value]
        words += [f"--schedule {self.schedule}"] if self.schedule else []
        words += [f"--{name} {path.name}" for name, path in (("perceptual", self.perceptual), ("start", self.start)) if path]
        return " ".join(words + [f"--also {path.name}" for path in self.also])


def part_named(engine: str, preset: str, part: str) -> str:
    """The name of a part in PARTS; without a part, the first of its preset. Raises EngineError for what does not exist."""
    found = [name for name in PARTS if name.startswith(f"{engine}/{preset}/") and (not part or name.endswith(f"/{part}"))]
    if not found:
        known = ", ".join(name.replace("syncnet/compact/scorer", "syncnet") for name in PARTS)
        raise EngineError(f"nothing is trained under the name {engine} {preset} {part}".rstrip(), code="engine.unknown", next_step=f"Known are {known}.")
    return found[0]


def corpus_at(grid: Path) -> Path:
    """The corpus's folder. Raises InputError when no clips are there."""
    from models.corpus import MEDIA

    if not any(path.suffix.lower() in MEDIA for path in (*grid.glob("*"), *grid.glob("*/*"))):
        step = "Give --grid FOLDER with GRID's clips, a folder for each speaker (s1, s2, ...), or with clips of your own (docs/training.md)."
        raise InputError(f"there are no clips at {grid}", code="input.no_corpus", next_step=step)
    return grid


def check(order: Order) -> None:
    """Raise InputError where a run would find no clips, before anything is started."""
    if not (order.out / "clips" / "train" / "index.json").exists():
        corpus_at(order.corpus)


def prepare(order: Order) -> None:
    """Fill the run's cache of clips, and their phones where the part needs them; what is there is left alone. Raises InputError."""
    from models.avct.transcripts import write_phones
    from models.corpus import FACE_SIZE
    from models.corpus import prepare as fill

    check(order)
    cache = order.out / "clips"
    fill(order.corpus, cache, face_size=PAPER_FACE if "/paper/" in order.name else FACE_SIZE)
    if PARTS[order.name].spoken:
        write_phones(order.corpus, cache)


def train(order: Order) -> dict[str, Any]:
    """Train a part from its prepared cache; its last figures. In several processes where that is asked for, or where several GPUs are."""
    import torch

    def tell(row: dict[str, Any]) -> None:
        progress.tell(order.name, f"loss {row['loss']:.4f}, {row['portion']:.1%} of the run", row["step"], row["steps"])

    processes = order.processes or max(1, torch.cuda.device_count())
    if processes > 1:
        return launch([order.name], order, processes, tell)[order.name]
    from models.training.ranks import joined

    with joined() as ranks:
        return train_as(order, ranks, tell)


def part_of(order: Order) -> "Part":
    """The part that an order names, ready to be trained. Raises InputError where what it learns from is not there."""
    from models.training.part import Options

    options = Options(
        cache=order.out / "clips", out=order.out, batch=order.batch, frames=order.frames, seed=order.seed,
        start=order.start, schedule=order.schedule, perceptual=order.perceptual,
    )  # fmt: skip
    trained = PARTS[order.name]
    return getattr(import_module(trained.module), trained.kind)(options)  # type: ignore[no-any-return]


def train_as(order: Order, ranks: "Ranks", tell: Tell) -> dict[str, Any]:
    """Train a part as one of the processes that do; figures in the first of them."""
    from models.training.loop import Budget, fit

    part = part_of(order)
    seconds, steps = order.seconds, order.steps
    if not seconds and not steps:
        seconds, steps = (0.0, part.length) if part.length else (COMPACT_HOURS * 3600, 0)
    return fit(part, Budget(seconds=seconds, steps=steps), ranks, tell)


def launch(names: Sequence[str], order: Order, processes: int, tell: Tell) -> dict[str, dict[str, Any]]:
    """Train parts one after another, as the order says, by torchrun in several processes of this machine; figures by name.

    What the first process tells is told. Raises what it raised.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    arguments = [*torchrun, "-m", "tasks.rank", *names, *order.arguments()]
    order.out.mkdir(parents=True, exist_ok=True)
    log = order.out / "torchrun.log"
    surroundings = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, "PYTHONUNBUFFERED": "1"}  # they are all on this machine
    with log.open("w") as errors, subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=surroundings) as running:
        try:
            figures = listen(running, tell)
        finally:
            running.terminate()  # torchrun ends its processes; nothing to do where all have ended
    if figures.keys() != set(names):
        raise EngineError(f"training ended without a result (exit code {running.returncode}): {cause(log)}", code="training.failed", next_step=f"Look into {log}.")
    return figures


def cause(log: Path) -> str:
    """The first line of torchrun's log that names an error, else its last one: what else there is follows from it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "Error" in line and not line.startswith("Traceback")), lines[-1] if lines else "its log is empty")[-300:]


def listen(running: "subprocess.Popen[str]", tell: Tell) -> dict[str, dict[str, Any]]:
    """What the first process says, line by line, until all have ended; its figures by part, none where one failed.

    Raises what the first process raised.
    """
    figures = {}
    for line in running.stdout or ():
        if not line.startswith("{"):
            continue
        told = json.loads(line)
        if "error" in told:
            raise DubwrightError(told["error"]["message"], code=told["error"]["code"], next_step=told["error"]["next_step"])
        if "figures" in told:
            figures[told["part"]] = told["figures"]
        else:
            tell(told)
    return figures if running.wait() == 0 else {}


def publish(order: Order, figures: dict[str, Any]) -> list[str]:
    """Write a trained part's networks as weights with cards; their names."""
    from models.publish import publish as ship

    engine, preset, _ = order.name.split("/")
    trained = PARTS[order.name]
    file = getattr(import_module(trained.module), trained.kind).name
    config = {"align_corners": True} if preset == "paper" else {}
    cards = [
        ship(order.out / f"{file}.pt", network, engine, preset, name, order.command(), figures, order.corpus, also=order.also, config=config)
        for network, name in trained.weights.items()
    ]
    return [card.name for card in cards]


def calibrate_gate(database: Database, grid: Path, rate: float, ship: bool) -> Thresholds:
    """Set thresholds of the shipped scorer from the corpus's held-out clips; the ledger keeps them. Raises InputError."""
    from tasks.calibrate import calibrate

    made = calibrate(corpus_at(grid), false_pass_rate=rate)
    ledger.store_calibration(database, made.scorer, made.to_dict())
    if ship:
        save_thresholds(made, thresholds_path())
    return made
