"""Training as a command: prepare the corpus once, train a part for a time, publish the result as weights with a card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from db import ledger
from db.session import Database
from infra.errors import EngineError, InputError
from tasks.gate import Thresholds, save_thresholds, thresholds_path

AVCT_PARTS = {"renderer": "compact-renderer", "transformer": "compact-transformer", "pose": "compact-audio2pose"}
FILES = {"renderer": "renderer.pt", "transformer": "transformer.pt", "pose": "audio2pose.pt", "syncnet": "syncnet.pt"}


def corpus_at(grid: Path) -> Path:
    """The corpus's folder. Raises InputError when it is not there."""
    if not any(grid.glob("s*/*")):
        step = "Give --grid FOLDER with GRID's clips, a folder for each speaker (s1, s2, ...)."
        raise InputError(f"there are no GRID clips at {grid}", code="input.no_corpus", next_step=step)
    return grid


def train_part(engine: str, part: str, seconds: float, out: Path, grid: Path, publish: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train a part of an engine, or the scorer, for so many seconds in all; returns its figures.

    A run that was stopped goes on from its checkpoint in `out`. Raises EngineError for an engine or part that does not exist.
    """
    if engine == "lipmemory":
        return _train_lipmemory(part, seconds, out, grid, publish, tell)
    name = "syncnet" if engine == "syncnet" else part
    if engine not in ("avct", "syncnet") or name not in FILES:
        known = f"avct ({', '.join(AVCT_PARTS)}), lipmemory (expert, renderer) and syncnet"
        raise EngineError(f"nothing is trained under the name {engine} {part}", code="engine.unknown", next_step=f"Known are {known}.")
    from models.corpus import prepare

    cache = out / "clips"
    tell("preparing clips")
    prepare(corpus_at(grid), cache)
    tell(f"training {engine} {name}")
    figures = _trainer(name)(cache, out, seconds)
    if publish:
        from models.publish import publish as ship

        command = f"dubwright train {engine} --part {part} --hours {seconds / 3600:g}"
        ship(out / FILES[name], engine, AVCT_PARTS.get(name, "compact"), command, figures, average=name in ("renderer", "syncnet"))
    return figures


def _train_lipmemory(part: str, seconds: float, out: Path, grid: Path, publish: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    from models.corpus import prepare
    from models.lipmemory.train import FILES as PARTS
    from models.lipmemory.train import train

    if part not in PARTS:
        raise EngineError(f"nothing is trained under the name lipmemory {part}", code="engine.unknown", next_step=f"Known are {', '.join(PARTS)}.")
    tell("preparing clips")
    prepare(corpus_at(grid), out / "clips")
    tell(f"training lipmemory {part}")
    figures = train(out / "clips", out, seconds, part=part)[part]
    if publish and part == "renderer":
        from models.publish import publish as ship

        ship(out / PARTS[part], "lipmemory", "compact", f"dubwright train lipmemory --hours {seconds / 3600:g}", figures, average=True)
    return figures


def _trainer(name: str) -> Callable[[Path, Path, float], dict[str, Any]]:
    if name == "renderer":
        from models.avct.train_renderer import train

        return train
    if name == "syncnet":
        from models.syncnet.train import train as train_scorer

        return train_scorer
    from models.avct import train_motion

    return train_motion.train_transformer if name == "transformer" else train_motion.train_pose


def calibrate_gate(database: Database, grid: Path, rate: float, ship: bool) -> Thresholds:
    """Set thresholds of the shipped scorer from the corpus's held-out clips; the ledger keeps them. Raises InputError."""
    from tasks.calibrate import calibrate

    made = calibrate(corpus_at(grid), false_pass_rate=rate)
    ledger.store_calibration(database, made.scorer, made.to_dict())
    if ship:
        save_thresholds(made, thresholds_path())
    return made
