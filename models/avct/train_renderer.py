"""Train the compact dense motion and renderer, self-supervised: any frame of a clip drives any other."""

import copy
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct import keypoints as kp
from models.avct.augment import Colour, HeadMove, View, mouth_weight, sample, to_tensor
from models.avct.dense_motion import grid
from models.avct.generator import Generator, GeneratorConfig, Rendered
from models.corpus import Corpus

MOVE_RATE = 0.5
TREMBLE = 0.004  # spread of the error put on keypoints, in half sides: landmarks of other faces are no better; a fifth of it on lips


class Pairs:
    """Random augmented pairs of frames of one split."""

    def __init__(self, corpus: Corpus, size: int, seed: int) -> None:
        self.corpus, self.size = corpus, size
        tracks = [kp.from_track(np.asarray(corpus.landmarks[corpus.frames_of(c)])) for c in corpus.clips]
        self.values = np.concatenate([values for values, _ in tracks]).astype(np.float32)
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
    total = torch.zeros(())
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
    size = generator.config.size
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
        first = first.expand(len(where), -1, -1, -1)
        made = generator(first, generator.encode(first), source, (values[1:], jacobians[1:])).picture
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


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Let the running average come nearer to the model by 1 - decay; counters are taken over."""
    for slow, fast in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        slow.copy_(torch.lerp(slow, fast, 1 - decay) if slow.is_floating_point() else fast)


def train(cache: Path, out: Path, seconds: float, *, batch: int = 8, rate: float = 6e-4, threads: int = 1, seed: int = 1) -> dict:
    """Train for a fixed time, checkpointing to `out`; goes on from a checkpoint that is there. Returns the last figures."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    config = GeneratorConfig()
    model = Generator(config)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval()
    optimiser = torch.optim.Adam(model.parameters(), rate, betas=(0.7, 0.99))
    step, spent = 0, 0.0
    kept = out / "renderer.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    pairs = Pairs(Corpus(cache, "train"), config.size, seed + step)
    unseen, held_out = Corpus(cache, "unseen"), Corpus(cache, "validation")
    started = saved = time.monotonic()
    figures: dict = {}
    while (now := spent + time.monotonic() - started) < seconds:
        portion = now / seconds
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * portion)))
        seen, shown, source, driving = pairs.batch(batch)
        rendered = model(seen, model.encode(seen), source, driving)
        loss = loss_of(rendered, shown, driving[0])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.998, step / (step + 20))
        follow(average, model, decay)
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            _save(kept, model, average, optimiser, step, now)
            figures = _report(average, unseen, held_out, step, now, float(loss))
            with (out / "renderer.log").open("a") as log:
                log.write(json.dumps(figures) + "\n")
    _save(kept, model, average, optimiser, step, seconds)
    return _report(average, unseen, held_out, step, seconds, float("nan")) | {"config": asdict(config)}


def _report(average: Generator, unseen: Corpus, held_out: Corpus, step: int, spent: float, loss: float) -> dict:
    return {
        "step": step,
        "minutes": round(spent / 60, 1),
        "loss": round(loss, 4),
        "unseen": gains(average, unseen, every=15),
        "validation": gains(average, held_out, every=15, limit=6),
    }


def _save(path: Path, model: Generator, average: Generator, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    fresh = path.with_suffix(".new")
    torch.save(
        {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent},
        fresh,
    )
    fresh.replace(path)
