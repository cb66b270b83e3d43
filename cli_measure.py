"""The verbs that train and measure: train, evaluate, calibrate, bench. cli.py adds them to the command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli_common import Json, known_settings
from console import Bars, Voice

if TYPE_CHECKING:
    from infra.settings import Settings

PORTRAITS = Path(__file__).resolve().parent / "demo" / "portraits"
GRID = Path(__file__).resolve().parent.parent / "shared" / "data" / "grid"
BENCHES = {"memory": "memory", "speed": "speed", "startup": "startup", "kernels": "kernels", "avct": "engine", "redub": "redub", "syncnet": "syncnet", "scale": "scale"}  # what: module of benchmarks/
Grid = Annotated[Path, typer.Option(help="Folder of the GRID corpus, a folder for each speaker.")]


def train(
    engine: Annotated[str, typer.Argument(help="avct, lipmemory, coherence or syncnet.", show_default=False)],
    preset: Annotated[str, typer.Option(help="For avct: compact or paper.")] = "compact",
    part: Annotated[str, typer.Option(help="avct compact: renderer, painter, transformer, audio2pose; paper: fomm, transformer, audio2pose. lipmemory: expert, renderer; coherence: estimator, generator. The first when left out.")] = "",
    hours: Annotated[float, typer.Option(help="Training time in all; a run that was stopped goes on. 0: compact two hours, paper its schedule.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Steps in all, instead of a time.")] = 0,
    batch: Annotated[int, typer.Option(help="Items a step over all processes; 0 is the part's own.")] = 0,
    frames: Annotated[int, typer.Option(help="For the paper preset's transformer and audio2pose: frames of a run; for lipmemory's expert and coherence's estimator: windows of a clip. 0 is the part's own.")] = 0,
    processes: Annotated[int, typer.Option(help="Processes on this machine; 0 is one a GPU, or one.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the run: prepared clips and checkpoints.")] = Path("training"),
    grid: Grid = GRID,
    schedule: Annotated[str, typer.Option(help="For the paper preset's fomm: avct or fomm.")] = "",
    perceptual: Annotated[Path | None, typer.Option(help="For the same: weights of VGG-19 for the perceptual loss.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint of another run to begin from.")] = None,
    seed: Annotated[int, typer.Option(help="Of all chance in the run.")] = 1,
    publish: Annotated[bool, typer.Option("--publish", help="Replace the weights in use by the result.")] = False,
    also: Annotated[list[Path] | None, typer.Option(help="Checkpoint of another run; the mean of both is published.")] = None,
    as_json: Json = False,
) -> None:
    """Train a part of an engine, or the scorer, on the GRID corpus or a folder of clips (docs/training.md)."""
    voice = Voice(as_json)
    from tasks.learn import Order, part_named

    order = Order(
        name=part_named(engine, preset, part), corpus=grid, out=out, seconds=hours * 3600, steps=steps, batch=batch, frames=frames, seed=seed,
        processes=processes, schedule=schedule, perceptual=perceptual, start=start, publish=publish, also=tuple(also or ()),
    )  # fmt: skip
    settings = known_settings()
    from flows.train import run_training

    with Bars(voice).shown() as bars:
        bars.phase("starting the conductor")
        made = run_training(order, settings, bars.step)
    voice.result({"part": order.name, "out": str(out), **made})
    voice.plain(f"trained {order.name}: {made['figures']}\ncheckpoints: {out}" + (f"\nweights: {', '.join(made['weights'])}" if made["weights"] else ""))


def evaluate(
    engine: Annotated[str, typer.Argument(help="avct, lipmemory, coherence, syncnet, gate or locales.", show_default=False)] = "",
    grid: Grid = GRID,
    clips: Annotated[int, typer.Option(help="Except for syncnet: clips to take; 0 is 16, of gate all, of --all 8.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="All engines on the same clips, in one table, with contact sheets.")] = False,
    out: Annotated[Path, typer.Option(help="For --all: folder of the contact sheets.")] = Path("evaluation"),
    ablation: Annotated[bool, typer.Option("--ablation", help="For lipmemory and coherence: train it anew without the parts that make it what it is; takes long.")] = False,
    cache: Annotated[Path | None, typer.Option(help="For --ablation: clips that were prepared before, the folder `clips` of a training run.", exists=True, file_okay=False)] = None,
    gate: Annotated[bool, typer.Option("--gate", help="For locales: render a portrait take of each and gate it; takes a while.")] = False,
    slots: Annotated[Path | None, typer.Option(help="For lipmemory: draw what phones address which slots, and the lips that they hold, into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure an engine, the scorer or the gate against clips that it never saw."""
    voice = Voice(as_json)
    known_settings()
    from infra.errors import EngineError
    from tasks.learn import corpus_at

    with Bars(voice).shown() as bars:
        bars.phase(f"evaluating {'all engines' if every else engine}; this takes minutes")
        if every:
            from benchmarks.table import run as measure_all

            tree = measure_all(corpus_at(grid), out, clips=clips or 8)
        elif engine == "gate":
            from benchmarks.gate import run as measure_gate

            tree = measure_gate(corpus_at(grid), clips=clips, climb=True)
        elif engine == "locales":
            from benchmarks import locales

            tree = locales.gated() if gate else locales.run()
        elif engine == "syncnet":
            from models.syncnet.evaluate import evaluate as measure_scorer

            tree = measure_scorer(corpus_at(grid))
        elif engine == "avct":
            from benchmarks.avct import evaluate as measure_engine

            tree = measure_engine(corpus_at(grid), sorted(p for p in PORTRAITS.iterdir() if p.suffix in (".png", ".jpg")), clips=clips or 16)
        elif engine == "lipmemory":
            from benchmarks.lipmemory import run as measure_lips

            tree = measure_lips(corpus_at(grid), clips=clips or 16, ablate=ablation, slots=slots, cache=cache)
        elif engine == "coherence":
            from benchmarks.coherence import run as measure_coherence

            tree = measure_coherence(corpus_at(grid), clips=clips or 16, ablate=ablation, cache=cache)
        else:
            raise EngineError(f"nothing is evaluated under the name {engine!r}", code="engine.unknown", next_step="Known are avct, lipmemory, coherence, syncnet, gate and locales; --all measures every engine.")
    tables = tree.pop("tables", [])
    voice.result(tree)
    for table in tables:
        voice.table(table["title"], table["columns"], table["rows"])
    if every:
        voice.plain(f"contact sheets: {out}")
        return
    voice.table("", ["figure", "value"], [[name, f"{value:.4g}"] for name, value in tree["figures"].items()])


def calibrate(
    grid: Grid = GRID,
    rate: Annotated[float, typer.Option(help="Part of wrong videos that may pass.")] = 0.05,
    ship: Annotated[bool, typer.Option("--ship", help="Write the thresholds into the package, too.")] = False,
    with_reviews: Annotated[bool, typer.Option("--with-reviews", help="Move the thresholds in use by what reviewers decided, instead.")] = False,
    chart: Annotated[Path | None, typer.Option(help="SVG file for the reliability plot; under the home folder when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Set the gate's thresholds and limits from held-out clips; the ledger keeps them with the scorer's version."""
    voice, settings = Voice(as_json), known_settings()
    if with_reviews:
        _taught(settings, voice)
        return
    from flows.calibrate import run_calibration
    from tasks.calibrate import describe
    from tasks.scored import draw_reliability

    with Bars(voice).shown() as bars:
        bars.phase("scoring held-out clips; this takes minutes")
        thresholds = run_calibration(grid, rate, ship, settings)
    drawn, chart = draw_reliability(thresholds), chart or settings.home / "reliability.svg"
    if drawn:
        chart.write_text(drawn)
    voice.result({"thresholds": thresholds.to_dict(), "chart": str(chart) if drawn else None})
    for line in describe(thresholds):
        voice.plain(line)
    voice.plain(f"reliability: {chart}" if drawn else "no reliability: too few clips")


def _taught(settings: "Settings", voice: Voice) -> None:
    from db.session import open_database
    from tasks.taught import told, with_reviews

    thresholds = with_reviews(open_database(settings))
    voice.result({"thresholds": thresholds.to_dict()})
    for line in told(thresholds):
        voice.plain(line)


def bench(
    what: Annotated[str, typer.Argument(help="memory, speed, startup, kernels, avct, redub, syncnet or scale (10,000 jobs: an hour).", show_default=False)],
    aot: Annotated[bool, typer.Option("--aot", help="kernels: compile, count and compute only; measure nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Measure this machine; results are rows in benchmarks/results.csv."""
    voice = Voice(as_json)
    known_settings()
    from importlib import import_module

    from infra.errors import EngineError

    if what not in BENCHES:
        raise EngineError(f"there is no bench {what!r}", code="bench.unknown", next_step=f"Known are {', '.join(BENCHES)}.")
    with Bars(voice).shown() as bars:
        bars.phase(f"measuring {what}")
        tree = import_module(f"benchmarks.{BENCHES[what]}").run(**({"aot": aot} if what == "kernels" else {}))
    tables = tree.pop("tables", [])
    voice.result(tree)
    for table in tables:
        voice.table(table["title"], table["columns"], table["rows"])
    if "note" in tree:
        voice.plain(tree["note"])
    voice.table("", ["figure", "value"], [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in tree["figures"].items()])


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verbs to a command; `verb` tells their errors."""
    for call in (train, evaluate, calibrate, bench):
        app.command()(verb(call))
