"""Train the compact scorer: InfoNCE over windows of several clips, the hard negatives being other moments of the same clip.

A second term asks of every second which of the offsets -15..+15 is right, which is what the scorer is for. Shipped weights
learn from one speaker, so every batch is changed hard in appearance and in sound; no engine ever sees the scorer's gradient
(DESIGN.md, decision 7).
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.corpus import MARGIN, Corpus
from models.syncnet.network import FRAMES, MELS, SIZE, SyncConfig, SyncNetwork, cut_windows, log_mels
from models.syncnet.protocol import REACH, SECOND, Curve, figures_of
from models.syncnet.scorer import SyncScorer
from models.training.part import Options, Part, cosine, follow, set_rate
from models.training.ranks import Ranks

RUN = 40  # consecutive windows of one clip in a batch
AVERAGED = 0.995  # decay of the running average of the weights, which is what ships


class Windows:
    """Augmented runs of windows of one split."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self.corpus = corpus
        self.mels = {c.name: log_mels(corpus.wave_of(c).astype(np.float32) / 32768, c.frames * 4) for c in corpus.clips}
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Let the next batches hang on this seed alone."""
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, clips: int) -> tuple[Tensor, Tensor]:
        """Mouths [clips * RUN, 5, 64, 64] and mels [clips * RUN, 20, 40] of matching windows, runs in time order."""
        mouths, mels = [], []
        usable = [c for c in self.corpus.clips if c.frames >= RUN + FRAMES]
        for i in self.random.choice(len(usable), clips, replace=False):
            clip = usable[i]
            start = int(self.random.integers(0, clip.frames - RUN - FRAMES + 2))
            first = clip.first_frame + start
            mouths.append(torch.from_numpy(np.array(self.corpus.mouth[first : first + RUN + FRAMES - 1])[self.jitter()]))
            rows = self.mels[clip.name][start * 4 : (start + RUN + FRAMES - 1) * 4]
            mels.append(torch.from_numpy(rows))
        seen = change_mouths(torch.stack(mouths).float() / 255.0, self.generator)
        heard = change_mels(torch.stack(mels), self.generator)
        return cut_windows(seen, heard)

    def jitter(self) -> np.ndarray:
        """Frame numbers of a run, now and then one shown twice, as videos of other frame rates do on our clock."""
        steps = np.arange(RUN + FRAMES - 1)
        if self.random.random() < 0.2:
            repeated = self.random.random(len(steps)) < self.random.uniform(0.03, 0.2)
            steps[1:] -= repeated[1:]
        return steps


def spread(generator: torch.Generator, count: int, reach: float) -> Tensor:
    """`count` values in [-reach, reach], shaped [count, 1, 1, 1]."""
    return ((torch.rand(count, generator=generator) * 2 - 1) * reach)[:, None, None, None]


def change_mouths(runs: Tensor, generator: torch.Generator) -> Tensor:
    """Runs of cached mouths [N, T, 96, 96] in [0, 1] to [N, T, 64, 64]: each with another view, shape, light, focus, noise."""
    count = len(runs)
    line = (torch.arange(SIZE) * 2 + 1) / SIZE - 1
    base = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None].expand(count, -1, -1, -1)
    angle, zoom, ratio = (spread(generator, count, r) for r in (0.25, 0.2, 0.12))
    turned = torch.stack(
        [
            base[..., 0] * angle[..., 0].cos() - base[..., 1] * angle[..., 0].sin(),
            base[..., 0] * angle[..., 0].sin() + base[..., 1] * angle[..., 0].cos(),
        ],
        -1,
    ) * torch.cat([(zoom + ratio).exp(), (zoom - ratio).exp()], -1)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)[:, None, None]
    shift = torch.cat([spread(generator, count, 0.16), spread(generator, count, 0.16)], -1)
    bend = F.interpolate(
        (torch.rand(count, 2, 5, 5, generator=generator) - 0.5) * 0.28, size=(SIZE, SIZE), mode="bicubic", align_corners=True
    )
    places = (turned + shift + bend.permute(0, 2, 3, 1)) * torch.stack([flip, torch.ones_like(flip)], -1) / MARGIN
    seen = F.grid_sample(runs, places, mode="bilinear", padding_mode="border", align_corners=False)
    light = F.interpolate(
        (torch.rand(count, 1, 3, 3, generator=generator) - 0.5) * 0.9, size=(SIZE, SIZE), mode="bicubic", align_corners=True
    )
    seen = seen.clamp_min(1e-3) ** spread(generator, count, 0.7).exp() * (1 + light) + spread(generator, count, 0.15)
    seen = ((seen - 0.5) * spread(generator, count, 0.4).exp() + 0.5).clamp(0, 1)
    seen = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < 0.3, _coarse(seen, 2), seen)
    seen = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < 0.1, _coarse(seen, 3), seen)
    dark = torch.rand(count, 1, 1, 1, generator=generator) < 0.08
    seen = torch.where(dark, 1 - seen, seen)
    noise = torch.randn(seen.shape, generator=generator) * torch.rand(count, 1, 1, 1, generator=generator) * 0.04
    return _patches(seen + noise, generator)


def _coarse(pictures: Tensor, factor: int) -> Tensor:
    small = F.avg_pool2d(pictures, factor, ceil_mode=True)
    return F.interpolate(small, size=pictures.shape[-2:], mode="bilinear")


def _patches(seen: Tensor, generator: torch.Generator) -> Tensor:
    corners = (torch.rand(len(seen), 3, generator=generator) * torch.tensor([SIZE, SIZE, 18.0])).int().tolist()
    for run, (left, top, side) in zip(seen, corners, strict=True):
        run[:, top : top + side, left : left + side] = 0.5
    return seen


def change_mels(runs: Tensor, generator: torch.Generator) -> Tensor:
    """Runs of log mels [N, R, 40]: voice (bands shifted and stretched), room and line (tilt, bumps), noise and gain changed."""
    count, rows = runs.shape[:2]
    line = (torch.arange(MELS) * 2 + 1) / MELS - 1
    warp = line * (1 + spread(generator, count, 0.12)[..., 0, 0]) + spread(generator, count, 0.14)[..., 0, 0]
    times = (torch.arange(rows) * 2 + 1) / rows - 1
    places = torch.stack([warp[:, None].expand(-1, rows, -1), times[None, :, None].expand(count, -1, MELS)], -1)
    heard = F.grid_sample(runs[:, None], places, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    bumps = F.interpolate(
        (torch.rand(count, 1, 6, generator=generator) - 0.5) * 1.2, size=MELS, mode="linear", align_corners=True
    )
    heard = heard + bumps + spread(generator, count, 0.4)[..., 0]
    heard = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.25, _reverberate(heard, generator), heard)
    floor = torch.rand(count, 1, 1, generator=generator) * 2.6 - 2.6
    heard = torch.where(
        torch.rand(count, 1, 1, generator=generator) < 0.6, torch.logaddexp(heard * 4.6, floor * 4.6) / 4.6, heard
    )
    soft = F.avg_pool1d(F.pad(heard.transpose(1, 2), (1, 1), mode="replicate"), 3, 1).transpose(1, 2)
    heard = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.25, soft, heard)
    return heard + torch.randn(heard.shape, generator=generator) * 0.08


def _reverberate(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Log mels [N, R, 40] with a decaying tail of up to 0.3 s, mixed by power (levels are in units of 20 dB)."""
    power = 10 ** (2 * (levels - 1))
    decay = torch.exp(-torch.arange(29, -1, -1) / (2 + 8 * torch.rand(len(levels), 1, generator=generator)))  # [N, 30]
    tail = F.conv1d(F.pad(power.permute(2, 0, 1), (29, 0)), decay[:, None], groups=len(levels)).permute(1, 2, 0)
    return torch.log10(power + 0.15 * torch.rand(len(levels), 1, 1, generator=generator) * tail + 1e-8) / 2 + 1


def contrast(network: SyncNetwork, seen: Tensor, heard: Tensor) -> Tensor:
    """Symmetric InfoNCE over all windows of a batch, and the offset of every second; one frame off is neither right nor wrong."""
    likeness = network.see(seen) @ network.hear(heard).T * network.scale.exp()
    count = len(likeness)
    order = torch.arange(count, device=seen.device)
    near = ((order[:, None] - order[None]).abs() == 1) & (order[:, None] // RUN == order[None] // RUN)
    masked = likeness.masked_fill(near, -1e4)
    runs = torch.stack([likeness[i : i + RUN, i : i + RUN] for i in range(0, count, RUN)])
    return (F.cross_entropy(masked, order) + F.cross_entropy(masked.T, order)) / 2 + 0.5 * offsets_of_seconds(runs)


def offsets_of_seconds(likeness: Tensor) -> Tensor:
    """Cross entropy of each second's right offset, from the likeness [N, RUN, RUN] of windows to sounds of the same run."""
    seconds = RUN - SECOND + 1
    logits = likeness.new_full((len(likeness), seconds, 2 * REACH + 1), -1e4)
    for offset in range(-REACH, REACH + 1):
        if abs(offset) == 1:
            continue
        means = F.avg_pool1d(torch.diagonal(likeness, offset, 1, 2)[:, None], SECOND, 1)[:, 0]  # [N, seconds - |offset|]
        first = max(0, -offset)
        logits[:, first : first + means.shape[1], offset + REACH] = means
    return F.cross_entropy(logits.flatten(0, 1) * 2, torch.full((len(likeness) * seconds,), REACH, device=likeness.device))


def curves(network: SyncNetwork, corpus: Corpus, limit: int | None = None) -> list[Curve]:
    """The distance curves of a split's clips as they are, with the network as it is at work."""
    scorer = SyncScorer(network, "in training")
    return [
        scorer.curve(corpus.mouth[corpus.frames_of(c)], corpus.wave_of(c).astype(np.float32) / 32768)
        for c in corpus.clips[:limit]
    ]


class ContrastLoss(nn.Module):
    """The scorer's loss on a batch of `Windows`; negatives are those of this process's batch."""

    def __init__(self, network: SyncNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, seen: Tensor, heard: Tensor) -> dict[str, Tensor]:
        """Mouths and mels of matching windows."""
        return {"loss": contrast(self.network, seen, heard)}


class Scorer(Part):
    """The scorer in training; its running average is what ships."""

    name, clip, rate = "syncnet", 1.0, 1.5e-3

    def __init__(self, options: Options) -> None:
        super().__init__(options, batch=6)
        self.network = SyncNetwork(SyncConfig())
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.networks = {"model": self.network, "average": self.average}
        self.optimisers = {"optimiser": torch.optim.AdamW(self.network.parameters(), self.rate, weight_decay=0.02)}
        self.loss: nn.Module = ContrastLoss(self.network)
        self.data = Windows(Corpus(options.cache, "train"), options.seed)

    def begin(self, states: dict[str, Any]) -> None:
        """From another run's model, not its average."""
        for network in (self.network, self.average):
            network.load_state_dict(states["model"])

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Runs of some clips."""
        self.data.seed(seed)
        return self.data.batch(ranks.share(self.batch))

    def pace(self, portion: float) -> None:
        """A rise over 200 steps, then a cosine."""
        set_rate(self.optimisers["optimiser"], self.rate * cosine(self.step, portion, 200, 0.01))

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """A step, and the average after it."""
        row = super().update(batch)
        follow(self.average, self.network, min(AVERAGED, self.step / (self.step + 20)))
        return row

    def check(self) -> dict[str, Any]:
        """The average's figures on the speaker's held-out clips and on people it never saw."""
        network = copy.deepcopy(self.average).cpu()
        splits = {name: Corpus(self.options.cache, name) for name in ("validation", "unseen")}
        return {name: figures_of(curves(network, split), network.temperature) for name, split in splits.items() if split.clips}
