"""Train the sync expert that teaches the renderer: windows of a few clips, each against every other moment and clip of its batch.

Published experts (Wav2Lip's) see one pair at a time and learn by cross entropy of the cosine. Here every window of a batch is
paired with every chunk, by the same cross entropy and by a softmax over the batch; and from both embeddings a linear layer, which
is thrown away, reads the shapes of the five mouths, so that a processor has both speak of lips within minutes. The expert never
shares weights or a gradient with the gate's scorer (DESIGN.md, decision 7).
"""

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct.train_renderer import follow
from models.corpus import MARGIN, Corpus
from models.lipmemory import runs
from models.lipmemory.config import Preset, compact
from models.lipmemory.mel import CHUNK, chunk_start
from models.lipmemory.networks import SyncExpert, lower_half
from models.lipmemory.samples import SHAPE, Samples, mel_of

CLIPS, RUN = 4, 16  # clips a batch and windows of each
SHAPED = 4.0  # how much the shapes count
READ = 8.0  # what unit vectors are multiplied by before shapes are read from them
OFFSETS = 15  # frames on each side among which the held-out figure looks for the right offset


def contrast(likeness: Tensor, scale: Tensor, run: int) -> Tensor:
    """Both losses of cosines [N, N] of all windows and chunks, in runs of one clip; a frame off is neither right nor wrong."""
    count = len(likeness)
    order = torch.arange(count)
    near = ((order[:, None] - order[None]).abs() == 1) & (order[:, None] // run == order[None] // run)
    logits = (likeness * scale).masked_fill(near, -1e4)
    softmax = (F.cross_entropy(logits, order) + F.cross_entropy(logits.T, order)) / 2
    chance = likeness.clamp(1e-4, 1 - 1e-4)
    wrong = ~(near | torch.eye(count, dtype=torch.bool))
    return softmax - chance.diagonal().log().mean() - (1 - chance[wrong]).log().mean()


def train(
    cache: Path, out: Path, seconds: float, *, preset: Preset | None = None, rate: float = 2e-3, threads: int = 1, seed: int = 5
) -> dict[str, Any]:
    """Train for a fixed time with checkpoints in `out`; goes on from one that is there. Returns the last figures."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    config = (preset or compact()).expert
    expert, scale = SyncExpert(config), nn.Parameter(torch.tensor(2.0))
    reader = nn.ModuleList(nn.Linear(config.channels, 10 * len(SHAPE)) for _ in range(2))
    average = copy.deepcopy(expert).eval()
    optimiser = torch.optim.Adam([*expert.parameters(), *reader.parameters(), scale], rate)
    kept, step, spent = out / "expert.pt", 0, 0.0
    if state := runs.load(kept):
        for module, name in ((expert, "model"), (average, "average"), (reader, "reader"), (optimiser, "optimiser")):
            module.load_state_dict(state[name])
        scale.data = state["scale"]
        step, spent = state["step"], state["spent"]
    samples, held_out = Samples(Corpus(cache, "train"), 128, seed + step), Corpus(cache, "validation")
    started = saved = time.monotonic()
    now = spent
    try:
        while (now := spent + time.monotonic() - started) < seconds:
            runs.pace(optimiser, rate, step, now / seconds)
            windows, mels, shapes = samples.windows(CLIPS, RUN)
            seen, heard = expert.see(windows), expert.hear(mels)
            read = sum((F.l1_loss(layer(x * READ), shapes) for layer, x in zip(reader, (seen, heard), strict=True)), torch.zeros(()))
            loss = contrast(seen @ heard.T, scale.exp(), RUN) + SHAPED * read
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(expert.parameters(), 1.0)
            optimiser.step()
            step += 1
            follow(average, expert, min(0.99, step / (step + 20)))
            if time.monotonic() - saved > runs.SAVE_EVERY:
                saved = time.monotonic()
                _save(kept, expert, average, reader, optimiser, scale, step, now)
                runs.log(out / "expert.log", {"step": step, "minutes": round(now / 60, 1), "loss": round(float(loss.detach()), 3), "shape": round(float(read.detach()) / 2, 3), **figures(average, held_out)})
    finally:
        _save(kept, expert, average, reader, optimiser, scale, step, now)
    return {"step": step, **figures(average, held_out)}


def _save(path: Path, expert: nn.Module, average: nn.Module, reader: nn.Module, optimiser: torch.optim.Optimizer, scale: Tensor, step: int, spent: float) -> None:
    states = {"model": expert.state_dict(), "average": average.state_dict(), "reader": reader.state_dict()}
    runs.save(path, **states, optimiser=optimiser.state_dict(), scale=scale.detach(), step=step, spent=spent)


@torch.no_grad()
def figures(expert: SyncExpert, corpus: Corpus, limit: int = 8) -> dict[str, float]:
    """On held-out clips: part of clips whose offset is within a frame, and mean cosine of windows in sync and out of it."""
    right, inside, outside = [], [], []
    edge = round(corpus.face.shape[1] * (1 - 1 / MARGIN) / 2)
    for clip in corpus.clips[:limit]:
        faces = np.asarray(corpus.face[corpus.frames_of(clip)])[..., ::-1][:, edge:-edge, edge:-edge].copy()
        halves = lower_half(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1)
        mel, count = mel_of(corpus, clip), clip.frames - 4
        chunks = [mel[:, s : s + CHUNK] for i in range(count) if (s := chunk_start(i, 0)) + CHUNK <= mel.shape[1]]
        seen = expert.see(halves.unfold(0, 5, 1).permute(0, 4, 1, 2, 3)[: len(chunks)])
        likeness = seen @ expert.hear(torch.from_numpy(np.stack(chunks))[:, None]).T
        means = [float(likeness.diagonal(offset).mean()) for offset in range(-OFFSETS, OFFSETS + 1)]
        right.append(abs(int(np.argmax(means)) - OFFSETS) <= 1)
        inside.append(means[OFFSETS])
        outside.append(float(np.mean(means)))
    named = {"offset_within_1": np.mean(right), "in_sync": np.mean(inside), "out_of_sync": np.mean(outside)}
    return {name: round(float(value), 3) for name, value in named.items()}
