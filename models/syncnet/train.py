"""Train the compact scorer: InfoNCE over windows of several clips, the hard negatives being other moments of the same clip.

Shipped weights learn from one speaker, so every batch is changed hard in appearance and in sound; no engine ever sees
the scorer's gradient (DESIGN.md, decision 7).
"""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.corpus import MARGIN, Corpus
from models.syncnet.network import FRAMES, MELS, ROWS, SIZE, SyncConfig, SyncNetwork, log_mels
from models.syncnet.protocol import Curve, auc, curve_of

RUN = 28  # consecutive windows of one clip in a batch


class Windows:
    """Augmented runs of windows of one split."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self.corpus = corpus
        self.mels = {c.name: log_mels(corpus.wave_of(c).astype(np.float32) / 32768, c.frames * 4) for c in corpus.clips}
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
            mouths.append(torch.from_numpy(np.asarray(self.corpus.mouth[first : first + RUN + FRAMES - 1])))
            rows = self.mels[clip.name][start * 4 : (start + RUN + FRAMES - 1) * 4]
            mels.append(torch.from_numpy(rows))
        seen = change_mouths(torch.stack(mouths).float() / 255.0, self.generator)
        heard = change_mels(torch.stack(mels), self.generator)
        return cut_windows(seen, heard)


def cut_windows(mouths: Tensor, mels: Tensor) -> tuple[Tensor, Tensor]:
    """Runs [N, T, 64, 64] and [N, 4 T, 40] to windows [N * (T - 4), 5, 64, 64] and [N * (T - 4), 20, 40]."""
    seen = mouths.unfold(1, FRAMES, 1).permute(0, 1, 4, 2, 3).reshape(-1, FRAMES, *mouths.shape[-2:])
    heard = mels.unfold(1, ROWS, 4).permute(0, 1, 3, 2).reshape(-1, ROWS, MELS)
    return seen, heard


def spread(generator: torch.Generator, count: int, reach: float) -> Tensor:
    """`count` values in [-reach, reach], shaped [count, 1, 1, 1]."""
    return ((torch.rand(count, generator=generator) * 2 - 1) * reach)[:, None, None, None]


def change_mouths(runs: Tensor, generator: torch.Generator) -> Tensor:
    """Runs of cached mouths [N, T, 96, 96] in [0, 1] to [N, T, 64, 64]: view, face shape, light, focus and noise of each run changed."""
    count, steps = runs.shape[:2]
    line = (torch.arange(SIZE) * 2 + 1) / SIZE - 1
    base = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None].expand(count, -1, -1, -1)
    angle, zoom, ratio = (spread(generator, count, r) for r in (0.25, 0.2, 0.12))
    turned = torch.stack(
        [base[..., 0] * angle[..., 0].cos() - base[..., 1] * angle[..., 0].sin(), base[..., 0] * angle[..., 0].sin() + base[..., 1] * angle[..., 0].cos()],
        -1,
    ) * torch.cat([(zoom + ratio).exp(), (zoom - ratio).exp()], -1)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)[:, None, None]
    shift = torch.cat([spread(generator, count, 0.16), spread(generator, count, 0.16)], -1)
    bend = F.interpolate((torch.rand(count, 2, 5, 5, generator=generator) - 0.5) * 0.28, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
    places = (turned + shift + bend.permute(0, 2, 3, 1)) * torch.stack([flip, torch.ones_like(flip)], -1) / MARGIN
    seen = F.grid_sample(runs, places, mode="bilinear", padding_mode="border", align_corners=False)
    light = F.interpolate((torch.rand(count, 1, 3, 3, generator=generator) - 0.5) * 0.9, size=(SIZE, SIZE), mode="bicubic", align_corners=True)
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
    bumps = F.interpolate((torch.rand(count, 1, 6, generator=generator) - 0.5) * 1.2, size=MELS, mode="linear", align_corners=True)
    heard = heard + bumps + spread(generator, count, 0.4)[..., 0]
    floor = torch.rand(count, 1, 1, generator=generator) * 2.6 - 2.6
    heard = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.6, torch.logaddexp(heard * 4.6, floor * 4.6) / 4.6, heard)
    soft = F.avg_pool1d(F.pad(heard.transpose(1, 2), (1, 1), mode="replicate"), 3, 1).transpose(1, 2)
    heard = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.25, soft, heard)
    return heard + torch.randn(heard.shape, generator=generator) * 0.08


def contrast(network: SyncNetwork, seen: Tensor, heard: Tensor) -> Tensor:
    """Symmetric InfoNCE over all windows of a batch; the neighbours one frame off are neither right nor wrong."""
    likeness = network.see(seen) @ network.hear(heard).T * network.scale.exp()
    count = len(likeness)
    order = torch.arange(count)
    near = ((order[:, None] - order[None]).abs() == 1) & (order[:, None] // RUN == order[None] // RUN)
    likeness = likeness.masked_fill(near, -1e4)
    return (F.cross_entropy(likeness, order) + F.cross_entropy(likeness.T, order)) / 2


@torch.no_grad()
def curves(network: SyncNetwork, corpus: Corpus, limit: int | None = None) -> list[Curve]:
    """The distance curves of a split's clips as they are."""
    network.eval()
    size = round(corpus.mouth.shape[-1] / MARGIN)
    edge = (corpus.mouth.shape[-1] - size) // 2
    found = []
    for clip in corpus.clips[:limit]:
        mouths = torch.from_numpy(np.asarray(corpus.mouth[corpus.frames_of(clip)])).float()[:, None] / 255.0
        mouths = F.interpolate(mouths[:, :, edge : edge + size, edge : edge + size], size=(SIZE, SIZE), mode="bilinear", antialias=True)
        mels = torch.from_numpy(log_mels(corpus.wave_of(clip).astype(np.float32) / 32768, clip.frames * 4))
        seen, heard = cut_windows(mouths[:, 0][None], mels[None])
        found.append(curve_of(network.see(seen).numpy(), network.hear(heard).numpy()))
    network.train()
    return found


def figures_of(found: list[Curve]) -> dict[str, float]:
    """`offset_within_1` and `auc_1s` of clips that are in sync."""
    within = np.mean([abs(c.offset) <= 1 for c in found])
    return {"offset_within_1": float(within), "auc_1s": auc(found)}


def train(cache: Path, out: Path, seconds: float, *, clips: int = 8, rate: float = 1.5e-3, threads: int = 1, seed: int = 1) -> dict:
    """Train for a fixed time with checkpoints in `out`; goes on from one that is there. Returns the last figures."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    network = SyncNetwork(SyncConfig())
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    kept, step, spent = out / "syncnet.pt", 0, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    data = Windows(Corpus(cache, "train"), seed + step)
    unseen, held_out = Corpus(cache, "unseen"), Corpus(cache, "validation")
    started = saved = time.monotonic()
    while (now := spent + time.monotonic() - started) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * now / seconds)))
        loss = contrast(network, *data.batch(clips))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            _keep(kept, network, optimiser, step, now)
            row = {"step": step, "minutes": round(now / 60, 1), "loss": float(loss)}
            row |= {"unseen": figures_of(curves(network, unseen)), "validation": figures_of(curves(network, held_out, 30))}
            with (out / "syncnet.log").open("a") as log:
                log.write(json.dumps(row) + "\n")
    _keep(kept, network, optimiser, step, seconds)
    return {"step": step, "unseen": figures_of(curves(network, unseen)), "validation": figures_of(curves(network, held_out))}


def _keep(path: Path, network: SyncNetwork, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    fresh = path.with_suffix(".new")
    torch.save({"model": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent}, fresh)
    fresh.replace(path)
