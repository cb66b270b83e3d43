"""Train the compact dense motion and renderer, self-supervised: any frame of a clip drives any other."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct import keypoints as kp
from models.avct.augment import Colour, HeadMove, View, mouth_weight, sample, to_tensor
from models.avct.dense_motion import grid
from models.avct.generator import Generator, GeneratorConfig, Rendered
from models.corpus import Corpus
from models.training.part import Options, Part, cosine, follow, set_rate
from models.training.ranks import Ranks

MOVE_RATE = 0.5
TREMBLE = 0.004  # spread of the error put on keypoints, in half sides: landmarks of other faces are no better; a fifth of it on lips


class Pairs:
    """Random augmented pairs of frames of one split."""

    def __init__(self, corpus: Corpus, size: int, seed: int) -> None:
        self.corpus, self.size = corpus, size
        tracks = [kp.from_track(np.asarray(corpus.landmarks[corpus.frames_of(c)])) for c in corpus.clips]
        self.values = np.concatenate([values for values, _ in tracks]).astype(np.float32)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Let the next batches hang on this seed alone."""
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Source and driving pictures [B, 3, S, S], and their keypoints."""
        clips = [self.corpus.clips[i] for i in self.random.integers(len(self.corpus.clips), size=count)]
        first = np.array([c.first_frame for c in clips])
        length = np.array([c.frames for c in clips])
        source = first + (self.random.random(count) * length * np.where(self.random.random(count) < 0.3, 0.1, 1.0)).astype(int)
        driving = first + (self.random.random(count) * length).astype(int)
        view, colour = View(count, self.generator), Colour(count, self.generator)
        move = HeadMove(count, self.generator, MOVE_RATE)
        points = grid(self.size, self.size, torch.zeros(1)).reshape(1, -1, 2).expand(count, -1, 2)
        seen = colour(sample(to_tensor(self.corpus.face[source]), view.place(points), self.size))
        shown = colour(sample(to_tensor(self.corpus.face[driving]), view.place(points + move.displacement(points)), self.size))
        unmoved = [view.keypoints(torch.from_numpy(self.values[frames])) for frames in (source, driving)]
        return seen, shown, self._keypoints(unmoved[0]), self._keypoints(move.keypoints(unmoved[1]))

    def _keypoints(self, values: Tensor) -> tuple[Tensor, Tensor]:
        tremble = torch.randn(values.shape, generator=self.generator) * TREMBLE
        tremble[:, : len(kp.LIPS)] *= 0.2
        values = values + tremble
        return values, torch.from_numpy(kp.jacobians_of(values.numpy()))


def pyramid_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 at full, half and quarter size, each pixel weighted by `weight` [B, 1, S, S]."""
    total = torch.zeros((), device=output.device)
    for _ in range(3):
        total = total + ((output - target).abs() * weight).mean()
        output, target, weight = (F.avg_pool2d(x, 2) for x in (output, target, weight))
    return total / 3


def edge_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 between horizontal and vertical differences."""
    across = ((output.diff(dim=-1) - target.diff(dim=-1)).abs() * weight[..., 1:]).mean()
    return across + ((output.diff(dim=-2) - target.diff(dim=-2)).abs() * weight[..., 1:, :]).mean()


def loss_of(rendered: Rendered, target: Tensor, driving: Tensor) -> Tensor:
    """Reconstruction of the composed picture, its edges, and, so that neither part idles, of the warped and the painted one."""
    mouth = mouth_weight(driving, target.shape[-1])
    weight = 1 + 5 * mouth
    return (
        pyramid_l1(rendered.picture, target, weight)
        + edge_l1(rendered.picture, target, weight)
        + 0.3 * pyramid_l1(rendered.warped, target, weight)
        + 0.3 * pyramid_l1(rendered.painted, target, 0.3 + 5 * mouth)
    )


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal to noise in dB of each picture of a batch in [0, 1]."""
    return -10 * torch.log10((output - target).square().flatten(1).mean(1).clamp_min(1e-10))


@torch.no_grad()
def gains(generator: Generator, corpus: Corpus, every: int = 9, limit: int = 12) -> dict[str, float]:
    """PSNR of true-keypoint driving over holding the first frame, whole square and mouth, mean over clips."""
    size, device = generator.config.size, next(generator.parameters()).device
    points = grid(size, size, torch.zeros(1)).reshape(1, -1, 2)
    rows = []
    for clip in corpus.clips[:limit]:
        where = np.arange(clip.first_frame + every, clip.first_frame + clip.frames, every)
        picked = [0, *(where - clip.first_frame)]
        track = kp.from_track(np.asarray(corpus.landmarks[corpus.frames_of(clip)]))
        values, jacobians = (torch.from_numpy(a[picked]).float() for a in track)
        first = sample(to_tensor(corpus.face[[clip.first_frame]]), points, size)
        target = sample(to_tensor(corpus.face[where]), points.expand(len(where), -1, 2), size)
        source = (values[:1].expand(len(where), -1, 2), jacobians[:1].expand(len(where), -1, 2, 2))
        first = first.expand(len(where), -1, -1, -1).to(device)
        held, driving = (tuple(part.to(device) for part in pair) for pair in (source, (values[1:], jacobians[1:])))
        made, first = (picture.cpu() for picture in (generator(first, generator.encode(first), held, driving).picture, first))
        rows.append([_gain(made, first, target), _gain(*(mouth_box(x, values[0]) for x in (made, first, target)))])
    whole, mouth = np.mean(rows, axis=0)
    return {"psnr_gain_db": float(whole), "mouth_psnr_gain_db": float(mouth)}


def mouth_box(pictures: Tensor, values: Tensor) -> Tensor:
    """The mouth region of pictures [B, 3, S, S] by one frame's keypoints [K, 2]: 1.6 mouth widths square."""
    size = pictures.shape[-1]
    x, y = ((values[:10].mean(0) + 1) / 2 * size).tolist()
    half = float((values[1] - values[0]).norm()) / 2 * size * 0.8
    top, left = max(0, round(y - half * 0.8)), max(0, round(x - half))
    return pictures[..., top : round(y + half * 1.2), left : round(x + half)]


def _gain(made: Tensor, held: Tensor, target: Tensor) -> float:
    return float((psnr(made, target) - psnr(held, target)).mean())


class RenderLoss(nn.Module):
    """The renderer's loss on a batch of `Pairs`."""

    def __init__(self, model: Generator) -> None:
        super().__init__()
        self.model = model

    def forward(self, seen: Tensor, shown: Tensor, *keypoints: Tensor) -> dict[str, Tensor]:
        """Pictures [B, 3, S, S]; keypoints and Jacobians of the source, then of the driving frame."""
        rendered = self.model(seen, self.model.encode(seen), keypoints[:2], keypoints[2:])
        return {"loss": loss_of(rendered, shown, keypoints[2])}


class Renderer(Part):
    """The part `renderer` of the compact preset."""

    name, clip, rate = "renderer", 1.0, 6e-4

    def __init__(self, options: Options) -> None:
        super().__init__(options, batch=8)
        self.model = Generator(GeneratorConfig())
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        self.networks = {"model": self.model, "average": self.average}
        self.optimisers = {"optimiser": torch.optim.Adam(self.model.parameters(), self.rate, betas=(0.7, 0.99))}
        self.loss: nn.Module = RenderLoss(self.model)
        self.pairs = Pairs(Corpus(options.cache, "train"), self.model.config.size, options.seed)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Pairs of frames and their keypoints."""
        self.pairs.seed(seed)
        seen, shown, source, driving = self.pairs.batch(ranks.share(self.batch))
        return seen, shown, *source, *driving

    def pace(self, portion: float) -> None:
        """A rise over 100 steps, then a cosine."""
        set_rate(self.optimisers["optimiser"], self.rate * cosine(self.step, portion, 100, 0.02))

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """A step, and the average after it."""
        row = super().update(batch)
        follow(self.average, self.model, min(0.998, self.step / (self.step + 20)))
        return row

    def check(self) -> dict[str, Any]:
        """The average's gains on people it never saw and on the speaker's held-out clips."""
        return check_gains(self.average, self.options.cache)


def check_gains(average: Generator, cache: Path) -> dict[str, Any]:
    """`gains` of a renderer on the splits that have clips."""
    model = copy.deepcopy(average).cpu()
    splits = {"unseen": Corpus(cache, "unseen"), "validation": Corpus(cache, "validation")}
    return {name: gains(model, split, every=15, limit=12 if name == "unseen" else 6) for name, split in splits.items() if split.clips}
