"""What training runs share: checkpoints that are whole or absent, a running average, a learning rate by the clock."""

import json
import math
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 150.0  # seconds


def save(path: Path, **parts: Any) -> None:
    """Write a checkpoint; the one before stays whole until this one is."""
    torch.save(parts, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, or nothing where there is none."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else {}


def log(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a run's log."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def pace(optimiser: torch.optim.Optimizer, rate: float, step: int, share: float) -> None:
    """Set the learning rate for the share of the time that has passed: a short rise, then a cosine to a fiftieth."""
    for group in optimiser.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
