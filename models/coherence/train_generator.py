"""Train the generator: single frames for reconstruction, by turns with runs of five for information and the frame discriminator.

Asymmetric: the statistics network learns from real pairs alone, beforehand (`--part estimator`) and, where the settings say so, on; the
generator is paid for the information of (sound, drawn frames) under a network that its gradient does not reach. `symmetric` lets that
network learn from drawn frames, too. A compact generator begins, without --start, from lipmemory's shipped renderer, a network of this
project, whose memory one linear layer takes the place of.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import checkpoints
from models.coherence import attention
from models.coherence.config import Preset, compact
from models.coherence.information import RunningMean, bound, related, runs
from models.coherence.losses import Settings, adversarial, judgement
from models.coherence.networks import FrameDiscriminator, StatisticsNetwork, become
from models.coherence.networks import Generator as Network
from models.coherence.train_estimator import statistics_for
from models.corpus import Clip, Corpus
from models.lipmemory.config import compact as lipmemory_compact
from models.lipmemory.held_out import gains, rendered, windows_of
from models.lipmemory.losses import reconstruction
from models.lipmemory.networks import Renderer, lower_half
from models.lipmemory.samples import AROUND, SHAPE, Batch, Samples
from models.lipmemory.train_renderer import DrawingLoss, in_half
from models.training.part import Options, Part, cosine, follow, seed_of, set_rate
from models.training.ranks import Ranks

SINGLES, RUNS, LENGTH = 12, 3, 5  # single frames a step; runs a step and frames of each
JUDGING = 2.5  # how much faster than the generator its discriminator learns
PLAIN = 0.8  # share of runs and frames that are seen and heard nearly as they were filmed
FITTED = 1024  # sounds that the fusion is fitted to


def real_pairs(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Real windows [N, 5, 3, S / 2, S] of a batch of runs, the mel chunk [N, 1, 80, 16] that starts with each, and their rows [N, 2].

    A target hears what starts a frame before it, so its chunk is that of the window that starts there.
    """
    groups, length = len(batch.halves), batch.halves.shape[1] - 2 * AROUND
    windows = batch.halves.unfold(1, 5, 1).permute(0, 1, 5, 2, 3, 4)[:, AROUND - 1 :]
    chunks = batch.mels.unflatten(0, (groups, length))[:, : windows.shape[1]]
    return windows.flatten(0, 1), chunks.flatten(0, 1), runs(groups * windows.shape[1], windows.shape[1], batch.mels.device)


def drawn_pairs(batch: Batch, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Drawn windows [G, 5, 3, S / 2, S] of a batch of runs of five, every mel chunk of the batch [5 G, 1, 80, 16], and rows of both."""
    groups = len(batch.halves)
    windows = lower_half(drawn).unflatten(0, (groups, LENGTH))
    at = torch.stack([torch.arange(groups, device=drawn.device), torch.ones(groups, dtype=torch.long, device=drawn.device)], 1)
    return windows, batch.mels, runs(len(batch.mels), LENGTH, drawn.device), at


def informed(statistics: StatisticsNetwork, kind: str, batch: Batch, drawn: Tensor) -> Tensor:
    """I of real sounds and drawn frames [5 G, 3, H, S], by a bound of information.py."""
    windows, mels, sounds, at = drawn_pairs(batch, drawn)
    return bound(kind, statistics(mels, windows), related(sounds, at))


class GeneratorLoss(DrawingLoss):
    """What the generator pays. Neither the discriminator nor the statistics network is trained here."""

    model: Network

    def __init__(
        self, preset: Preset, settings: Settings, model: Network, reader: nn.Linear, judge: FrameDiscriminator, statistics: StatisticsNetwork | None
    ) -> None:
        super().__init__()
        self.preset, self.settings, self.model, self.reader = preset, settings, model, reader
        self.others = (judge, statistics)  # in a tuple: their parameters are not this module's
        self.portion = 0.0

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Every weighted term of the loss, and what was drawn [N, 3, H, S]."""
        settings, told = self.settings, self.model.hear(batch.mels)
        seen = attention.faded(batch.reference, batch.places + batch.moves, self.portion) if settings.attention else batch.reference
        picture = self.model.draw(told, self.model.look(batch.target, seen), batch.reference)
        terms = {"reconstruction": settings.reconstruction * self.pictured(picture.whole, batch)}
        if picture.moved is not None and picture.flow is not None:
            terms["shape"] = settings.shape * F.l1_loss(self.reader(told), batch.shape)
            led = F.grid_sample(picture.flow.permute(0, 3, 1, 2), in_half(batch.places)[:, :, None], align_corners=False)
            terms["flow"] = settings.flow * F.l1_loss(led[..., 0].transpose(1, 2), batch.moves)
            apart = self.pictured(picture.painted, batch) + self.pictured(picture.moved, batch)
            terms["parts"] = settings.parts * settings.reconstruction * apart
        return terms | ({} if batch.single else self.judged(picture.whole, batch)), picture.whole

    def pictured(self, drawn: Tensor, batch: Batch) -> Tensor:
        """L_rec of what the preset paints, the mouth weighted as attention has it by now."""
        target = lower_half(batch.target) if self.preset.model.lower else batch.target
        squares = self.settings.squares if self.portion >= 0.9 else 0.0
        if not self.settings.attention:
            return reconstruction(drawn, target, None, squares)
        weight = 1 + attention.emphasis(self.portion) * batch.mouth
        if not self.preset.model.lower:
            weight = torch.cat([torch.ones_like(weight), weight], 2)
        return reconstruction(drawn, target, weight, squares)

    def judged(self, drawn: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms of runs: the discriminator's, and the information of sound and drawn frames."""
        judge, statistics = self.others
        terms: dict[str, Tensor] = {}
        if self.settings.adversarial:
            with fixed(judge):
                terms["adversarial"] = self.settings.adversarial * adversarial(judge, drawn, batch.mels)
        if statistics is not None:
            with fixed(statistics):
                terms["information"] = -self.settings.mutual * informed(statistics, self.settings.information, batch, drawn)
        return terms


class JudgeLoss(nn.Module):
    """What the frame discriminator pays; a frame's other sound is that of another run."""

    def __init__(self, judge: FrameDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, drawn: Tensor, *batch: Tensor) -> Tensor:
        """Frames drawn [N, 3, H, S] for a `Batch` of runs."""
        several = Batch(*batch)
        return judgement(self.judge, drawn, several.target, several.mels, several.mels.roll(LENGTH, 0))


class StatisticsLoss(nn.Module):
    """What the statistics network pays while it goes on learning: for real pairs, and where training is symmetric for drawn ones."""

    def __init__(self, statistics: StatisticsNetwork, settings: Settings) -> None:
        super().__init__()
        self.statistics, self.settings = statistics, settings
        self.means = nn.ModuleList(RunningMean() for _ in range(2))

    def forward(self, drawn: Tensor, *batch: Tensor) -> Tensor:
        """Minus the bound. drawn [N, 3, H, S] is looked at in symmetric training alone."""
        several, kind = Batch(*batch), self.settings.information
        windows, mels, rows = real_pairs(several)
        paid = -bound(kind, self.statistics(mels, windows), related(rows, rows), self.means[0])  # type: ignore[arg-type]
        if not self.settings.symmetric:
            return paid
        windows, mels, sounds, at = drawn_pairs(several, drawn)
        return paid - bound(kind, self.statistics(mels, windows), related(sounds, at), self.means[1])  # type: ignore[arg-type]


@contextmanager
def fixed(network: nn.Module) -> Iterator[None]:
    """A network whose parameters take no gradient from what the block builds; what it looks at does."""
    learning = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)


class Generator(Part):
    """The part `generator` of coherence; taught by `estimator`, the run's folder's or the shipped one."""

    name, clip, rate = "coherence-generator", 1.0, 4e-4
    ends = (0.0, 0.1)  # shares of the run at which sounds alone end, and at which runs of five come in by turns with single frames

    def __init__(self, options: Options, *, preset: Preset | None = None, settings: Settings | None = None) -> None:
        super().__init__(options, batch=SINGLES)
        self.preset, self.settings, self.ranks, self.portion = preset or compact(), settings or Settings(), Ranks(), 0.0
        self.samples = Samples(Corpus(options.cache, "train"), self.preset.model.size, options.seed)
        self.statistics = statistics_for(self.preset, options) if self.settings.information else None
        self.model, self.judge = Network(self.preset.model), FrameDiscriminator(self.preset.judge, self.preset.model.size)
        self.reader = nn.Linear(self.preset.model.channels, 2 * len(SHAPE))
        if self.preset.name == "compact" and options.start is None and not (options.out / f"{self.name}.pt").exists():
            self.as_lipmemory()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        self.networks = {"model": self.model, "average": self.average, "reader": self.reader, "judge": self.judge}
        self.optimisers = {
            "optimiser": torch.optim.Adam([*self.model.parameters(), *self.reader.parameters()], self.rate, betas=(0.5, 0.999)),
            "judging": torch.optim.Adam(self.judge.parameters(), JUDGING * self.rate, betas=(0.5, 0.999)),
        }
        self.redraw = GeneratorLoss(self.preset, self.settings, self.model, self.reader, self.judge, self.statistics)
        self.loss: nn.Module = self.redraw
        self.judged: nn.Module = JudgeLoss(self.judge)
        self.estimated: nn.Module | None = None
        if self.statistics is not None and self.settings.learning:
            self.estimated = StatisticsLoss(self.statistics, self.settings)
            self.statistics.requires_grad_(True)
            self.networks["estimated"] = self.estimated
            self.optimisers["estimating"] = torch.optim.Adam(self.statistics.parameters(), self.rate)

    def as_lipmemory(self) -> None:
        """Begin as lipmemory's shipped renderer, and with a reader of mouths' shapes that knows what it draws from."""
        other = Renderer(lipmemory_compact().model)
        other.load_state_dict(checkpoints.load("lipmemory", "compact"))
        self.samples.seed(seed_of(self.options.seed, FITTED))
        mels, shapes = self.samples.sounds(FITTED)
        self.model.eval().begin(other, mels)
        with torch.no_grad():
            become(self.reader, self.model.hear(mels), shapes, 1.0)
        self.model.train()

    def to(self, device: torch.device) -> None:
        """What teaches goes along."""
        super().to(device)
        for module in (self.statistics, self.judge):
            if module is not None:
                module.to(device)

    def spread(self, ranks: Ranks) -> None:
        """All losses have processes in common; sounds alone, and frames without their judges, teach a part of the networks."""
        self.ranks = ranks
        self.loss, self.judged = ranks.spread(self.loss, in_part=True), ranks.spread(self.judged)
        if self.estimated is not None:
            self.estimated = ranks.spread(self.estimated)

    def pace(self, portion: float) -> None:
        """A rise over 60 steps, then a cosine; attention follows its own schedule."""
        self.portion = self.redraw.portion = portion
        rate = self.rate * cosine(self.step, portion, 60, 0.02)
        set_rate(self.optimisers["optimiser"], rate)
        set_rate(self.optimisers["judging"], JUDGING * rate)
        if "estimating" in self.optimisers:
            set_rate(self.optimisers["estimating"], 0.25 * rate)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Sounds with mouths' shapes at first, where the run has such a part; single frames; runs of five by turns with these."""
        self.samples.seed(seed)
        singles = max(2, ranks.share(self.batch))
        if self.portion < self.ends[0]:
            return self.samples.sounds(16 * singles)
        if self.portion < self.ends[1] or self.step % 2 == 0:
            return self.samples.batch(singles, 1, PLAIN)
        return self.samples.batch(max(2, round(RUNS * singles / SINGLES)), LENGTH, PLAIN)

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """One step of the generator and, on runs, one of the discriminator and of a statistics network that goes on learning."""
        terms, drawn = self.loss(*batch)
        total = sum(terms.values(), torch.zeros((), device=batch[0].device))
        row = {"loss": self.stepped("optimiser", total)} | {name: float(term.detach()) for name, term in terms.items()}
        if drawn is not None and not Batch(*batch).single:
            if self.settings.adversarial:
                row["judged"] = self.stepped("judging", self.judged(drawn, *batch))
            if self.estimated is not None:
                row["estimated"] = self.stepped("estimating", self.estimated(drawn, *batch))
        self.step += 1
        follow(self.average, self.model, min(0.994, self.step / (self.step + 20)))
        return row

    def stepped(self, name: str, loss: Tensor) -> float:
        """Let one optimiser follow a loss, with gradients no longer than `clip`; the loss."""
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], self.clip)
        optimiser.step()
        return float(loss.detach())

    def check(self) -> dict[str, Any]:
        """The average's gains on people it never saw and on held-out clips, and nats of its lips beside those of real ones."""
        splits = {name: Corpus(self.options.cache, name) for name in ("unseen", "validation")}
        found: dict[str, Any] = {name: gains(self.average, split, every=20, limit=10) for name, split in splits.items() if split.clips}
        if self.statistics is not None and splits["validation"].clips:
            several = [nats(self.statistics, self.average, splits["validation"], clip) for clip in splits["validation"].clips[:2]]
            found |= {name: round(float(np.mean([row[name] for row in several])), 3) for name in several[0]}
        return found


@torch.no_grad()
def nats(statistics: StatisticsNetwork, model: Network, corpus: Corpus, clip: Clip) -> dict[str, float]:
    """Mean T of a cached clip's windows with their sound, as filmed and as drawn."""
    statistics, where = copy.deepcopy(statistics).cpu(), np.arange(1, clip.frames)
    windows, mels = windows_of(corpus, clip)
    made = torch.cat([lower_half(rendered(copy.deepcopy(model).cpu(), corpus, clip, part)[0]) for part in np.array_split(where, 4)])
    shown = made.unfold(0, 5, 1).permute(0, 4, 1, 2, 3)[: len(mels) - 1]
    return {
        "real_nats": float(statistics(mels, windows).diagonal().mean()),
        "made_nats": float(statistics(mels[1:], shown).diagonal().mean()),
    }
