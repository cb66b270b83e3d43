"""What the training loop asks of a part: its networks, a batch, an update, figures. And what parts share: paces and running averages."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.training.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where a run reads and writes, and what a user may set of it."""

    cache: Path  # prepared clips (models/corpus.py)
    out: Path  # checkpoints and logs
    batch: int = 0  # items a step over all processes; 0 is the part's own
    frames: int = 0  # consecutive ones of a clip in a step, where the part takes runs; 0 is its own
    seed: int = 1
    start: Path | None = None  # another run's checkpoint whose networks a new run begins from
    schedule: str = ""  # for the paper preset's `fomm`: `avct` or `fomm`
    perceptual: Path | None = None  # for the same: weights of VGG-19


class Part(ABC):
    """A part in training. The loop owns processes, clock, checkpoints and log; `step` counts the updates that were made.

    `networks` and `optimisers` are what a checkpoint holds, under their names. `loss` holds the networks that are trained; its
    forward pass takes a batch and gives weighted terms by name, and is what processes share.
    """

    name: str  # of the checkpoint
    clip = 0.0  # longest gradient, 0 for any
    length = 0  # steps of the schedule; 0 where time decides

    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    loss: nn.Module

    def __init__(self, options: Options, batch: int) -> None:
        self.options = options
        self.batch = options.batch or batch
        self.step = 0
        torch.manual_seed(options.seed)  # all processes begin alike, with what none of them shares later (averages), too

    @abstractmethod
    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """This process's items of the next step, on the CPU; all chance comes from the seed."""

    @abstractmethod
    def pace(self, portion: float) -> None:
        """Set learning rates for the step to come; portion: how much of the run is over, 0 to 1."""

    def check(self) -> dict[str, Any]:
        """Figures on held-out clips; asked of the first process."""
        return {}

    def begin(self, states: dict[str, Any]) -> None:
        """Take another run's networks, as far as it has them."""
        for name, network in self.networks.items():
            if name in states:
                network.load_state_dict(states[name])

    def to(self, device: torch.device) -> None:
        """Move everything; before anything is restored."""
        for module in (*self.networks.values(), self.loss):
            module.to(device)

    def spread(self, ranks: Ranks) -> None:
        """Share the update among processes."""
        self.loss = ranks.spread(self.loss)

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """One step on a batch; its loss and the terms of it."""
        terms = self.loss(*batch)
        total = sum(terms.values(), torch.zeros((), device=batch[0].device))
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        total.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.loss.parameters(), self.clip)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1
        parts = {name: float(term.detach()) for name, term in terms.items()} if len(terms) > 1 else {}
        return {"loss": float(total.detach())} | parts


def cosine(step: int, portion: float, warm: int, least: float) -> float:
    """Part of the full learning rate: a straight rise over `warm` steps, half a cosine down to `least` over the whole run."""
    return min(1.0, (step + 1) / warm) * (least + (1 - least) * 0.5 * (1 + math.cos(math.pi * portion)))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let an optimiser learn at a rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def seed_of(*words: int) -> int:
    """A seed that hangs on whole numbers and on nothing else."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def at_rest(*networks: nn.Module) -> Iterator[None]:
    """Networks as they are at work, while the block runs: no dropout, no statistics of the batch, no gradients."""
    for network in networks:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for network in networks:
            network.train()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Let a running average come nearer to the model by 1 - decay; counters are taken over."""
    for slow, fast in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        slow.copy_(torch.lerp(slow, fast, 1 - decay) if slow.is_floating_point() else fast)
