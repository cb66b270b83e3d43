"""The training loop: steps until a budget is spent, checkpoints that a run goes on from, a log of figures.

Chance in a step comes from the run's seed, the step's number and the process's alone, and a schedule from the step's number or
the run's clock. So a checkpoint needs no random state: a run that was stopped goes on as if it had not been.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infra.errors import EngineError, InputError
from models.training.part import Part, seed_of
from models.training.ranks import Ranks

SAVE_SECONDS = 180.0  # between checkpoints
TELL_SECONDS = 2.0  # between words to whoever watches
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may spend in all, with what it goes on from; 0 is no limit."""

    seconds: float = 0.0
    steps: int = 0

    def portion(self, step: int, spent: float) -> float:
        """How much is spent after so many steps and seconds, 1 and above when the run is over."""
        return max(step / self.steps if self.steps else 0.0, spent / self.seconds if self.seconds else 0.0)


def fit(
    part: Part, budget: Budget, ranks: Ranks | None = None, tell: Tell = lambda row: None, *, save_seconds: float = SAVE_SECONDS
) -> dict[str, Any]:
    """Train a part until the budget is spent; goes on from its checkpoint in the run's folder. Returns the last figures.

    tell: called in the first process with the step, how much of the run is over, and the losses, now and then. Raises EngineError where a loss is no number,
    ValueError for a budget without limit.
    """
    if not budget.steps and not budget.seconds:
        raise ValueError("a budget of steps or of seconds is needed")
    ranks = ranks or Ranks()
    path = part.options.out / f"{part.name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    part.to(ranks.device)
    spent = restore(part, path, ranks.device)
    part.spread(ranks)
    started = saved = told = time.monotonic()
    row: dict[str, Any] = {}
    while True:
        now = ranks.agreed(spent + time.monotonic() - started)
        portion = budget.portion(part.step, now)
        if portion >= 1:
            break
        seed = seed_of(part.options.seed, part.step, ranks.rank)
        torch.manual_seed(seed)
        part.pace(portion)
        row = part.update(tuple(tensor.to(ranks.device) for tensor in part.draw(seed, ranks)))
        if not math.isfinite(row["loss"]):
            step = "The checkpoint before it stands. Go on from it with another --seed, or begin anew with a larger --batch."
            raise EngineError(f"the loss of {part.name} is {row['loss']} after {part.step} steps", code="training.diverged", next_step=step)
        if ranks.first and time.monotonic() - saved >= save_seconds:
            save(part, path, now)
            _log(part, now, row)
            saved = time.monotonic()
        if ranks.first and time.monotonic() - told >= TELL_SECONDS:
            tell({"step": part.step, "steps": budget.steps, "portion": round(min(portion, 1.0), 4), **row})
            told = time.monotonic()
    drift = ranks.drift(part.networks[name] for name in part.networks)
    if not ranks.first:
        return {}
    save(part, path, now)
    return _log(part, now, row) | ({"processes": ranks.size, "drift": drift} if ranks.size > 1 else {})


def _log(part: Part, spent: float, row: dict[str, Any]) -> dict[str, Any]:
    figures = {"step": part.step, "minutes": round(spent / 60, 1)} | {name: round(value, 5) for name, value in row.items()} | part.check()
    with (part.options.out / f"{part.name}.log").open("a") as log:
        log.write(json.dumps(figures) + "\n")
    return figures


def save(part: Part, path: Path, spent: float) -> None:
    """Write a checkpoint: networks, optimisers, steps, seconds, seed. The one before stays whole until this one is."""
    held: dict[str, Any] = {**part.networks, **part.optimisers}
    fresh = path.with_suffix(".new")
    torch.save({name: thing.state_dict() for name, thing in held.items()} | {"step": part.step, "spent": spent, "seed": part.options.seed}, fresh)
    fresh.replace(path)


def restore(part: Part, path: Path, device: torch.device) -> float:
    """Let a part go on from its checkpoint, or begin from `start` where it has none; returns the seconds spent."""
    if not path.exists():
        if part.options.start is not None:
            part.begin(read(part.options.start, device))
        return 0.0
    states = read(path, device)
    held: dict[str, Any] = {**part.networks, **part.optimisers}
    for name, thing in held.items():
        thing.load_state_dict(states[name])
    part.step = states["step"]
    return float(states["spent"])


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint's contents. Raises InputError where there is none."""
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint {path}", code="training.no_checkpoint", next_step="Train the part that makes it first, or correct the path.") from error
