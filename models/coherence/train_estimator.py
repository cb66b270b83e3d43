"""Train the statistics network, whose T estimates the mutual information of sound and lips: on real pairs alone.

Every window of a batch is paired with every sound (information.py says which pairs count). As in lipmemory's expert, a linear layer
that is thrown away reads the shapes of five mouths from either side: with the bound alone little is learned in a quarter of an hour.
Without --start its ears are those of lipmemory's shipped renderer, a network of this project; with it, those of another
estimator, of a lipmemory expert, or of a lipmemory renderer.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import checkpoints
from models.coherence.config import Preset, compact
from models.coherence.information import jensen_shannon, mean_over, related, runs
from models.coherence.networks import StatisticsNetwork
from models.corpus import Corpus
from models.lipmemory.held_out import windows_of
from models.lipmemory.samples import SHAPE, Samples
from models.lipmemory.train_expert import CLIPS, OFFSETS, PLAIN, RUN, shape_loss
from models.training.loop import read
from models.training.part import Options, Part, cosine, follow, set_rate
from models.training.ranks import Ranks

NAME, WEIGHTS = "coherence", "compact-estimator"
SHAPED = 0.3  # how much the shapes count
QUICK = 20.0  # how much faster scale and bias of T learn


class Readers(nn.Module):
    """What is thrown away: a linear layer a side that reads the shapes of five mouths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.Linear(channels, 10 * len(SHAPE)) for _ in range(2))


class EstimatorLoss(nn.Module):
    """What the statistics network pays on windows of `run` consecutive ones a clip."""

    def __init__(self, statistics: StatisticsNetwork, readers: Readers, run: int) -> None:
        super().__init__()
        self.statistics, self.readers, self.run = statistics, readers, run

    def forward(self, windows: Tensor, mels: Tensor, shapes: Tensor) -> dict[str, Tensor]:
        """Windows [N, 5, 3, S / 2, S], the mel chunks [N, 1, 80, 16] that start with each, the mouths' shapes [N, 180]."""
        heard, seen = self.statistics.hear(mels), self.statistics.see(windows)
        table, rows = self.statistics.table(heard, seen), runs(len(mels), self.run, mels.device)
        return {"information": -jensen_shannon(table, *related(rows, rows)), "shape": SHAPED * shape_loss(self.readers.sides, (heard, seen), shapes)}


class Estimator(Part):
    """The part `estimator` of coherence."""

    name, clip, rate = "coherence-estimator", 1.0, 1.5e-3

    def __init__(self, options: Options, *, preset: Preset | None = None) -> None:
        super().__init__(options, batch=CLIPS)
        preset = preset or compact()
        self.run = options.frames or RUN
        self.model, self.readers = StatisticsNetwork(preset.statistics, preset.model.size), Readers(preset.statistics.channels)
        if preset.name == "compact":
            self.model.audio.load_state_dict(_under(checkpoints.load("lipmemory", "compact"), "audio."))
        self.average = copy.deepcopy(self.model).eval()
        self.networks = {"model": self.model, "average": self.average, "readers": self.readers}
        level = [self.model.log_scale, self.model.bias]
        rest = [p for p in self.model.parameters() if all(p is not q for q in level)]
        self.optimisers = {
            "optimiser": torch.optim.Adam([*rest, *self.readers.parameters()], self.rate),
            "level": torch.optim.Adam(level, QUICK * self.rate),
        }
        self.loss: nn.Module = EstimatorLoss(self.model, self.readers, self.run)
        self.samples = Samples(Corpus(options.cache, "train"), preset.model.size, options.seed)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Windows, the sound of each, and the shapes of their mouths."""
        self.samples.seed(seed)
        return self.samples.windows(ranks.share(self.batch), self.run, PLAIN)

    def begin(self, states: dict[str, Any]) -> None:
        """From another estimator's networks, a lipmemory expert's, or with a lipmemory renderer's ears."""
        if "readers" in states:
            super().begin(states)
            return
        for network in (self.model, self.average):
            if "lip" in states:
                network.audio.load_state_dict(_under(states["average"], "audio."))
            else:
                network.load_state_dict(network.state_dict() | states["average"])
        if "head" in states:
            self.readers.sides.load_state_dict(_under(states["head"], "readers."))

    def pace(self, portion: float) -> None:
        """A rise over 60 steps, then a cosine."""
        rate = self.rate * cosine(self.step, portion, 60, 0.02)
        set_rate(self.optimisers["optimiser"], rate)
        set_rate(self.optimisers["level"], QUICK * rate)

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """A step, and the average after it."""
        row = super().update(batch)
        follow(self.average, self.model, min(0.99, self.step / (self.step + 20)))
        return row

    def check(self) -> dict[str, Any]:
        """What the average finds in held-out clips."""
        return figures(copy.deepcopy(self.average).cpu(), Corpus(self.options.cache, "validation"))


def _under(states: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in states.items() if key.startswith(prefix)}


def statistics_for(preset: Preset, options: Options) -> StatisticsNetwork:
    """The statistics network that a generator learns by, fixed: the run's folder's, else the shipped one. Raises InputError, WeightsError."""
    made, path = StatisticsNetwork(preset.statistics, preset.model.size), options.out / f"{Estimator.name}.pt"
    shipped = preset.name == "compact" and not path.exists() and checkpoints.place(NAME, WEIGHTS).exists()
    made.load_state_dict(checkpoints.load(NAME, WEIGHTS) if shipped else read(path)["average"])
    return made.eval().requires_grad_(False)


@torch.no_grad()
def figures(statistics: StatisticsNetwork, corpus: Corpus, limit: int = 8) -> dict[str, float]:
    """On held-out clips, each by itself: the part whose offset is within a frame, nats of windows in sync and out of it, and the
    divergence, I_JS + log 4, which is at most log 4. Nothing where there are no clips.
    """
    rows = []
    for clip in corpus.clips[:limit]:
        windows, mels = windows_of(corpus, clip)
        table, placed = statistics(mels, windows).T, runs(len(mels), len(mels))
        joint, marginal = related(placed, placed)
        means = [float(table.diagonal(offset).mean()) for offset in range(-OFFSETS, OFFSETS + 1)]
        divergence = float(jensen_shannon(table, joint, marginal)) + math.log(4)
        rows.append((abs(int(np.argmax(means)) - OFFSETS) <= 1, means[OFFSETS], float(mean_over(table, marginal)), divergence))
    names = ("offset_within_1", "nats_in_sync", "nats_out_of_sync", "divergence")
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(rows, axis=0), strict=True)} if rows else {}
