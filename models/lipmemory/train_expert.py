"""Train the sync expert that teaches the renderer: windows of a few clips, each against every other moment and clip of its batch.

Published experts (Wav2Lip's) see one pair at a time and learn by cross entropy of the cosine. Here every window of a batch is
paired with every chunk, by a softmax over the batch and, where embeddings end in ReLU, by the same cross entropy; and from both
embeddings a linear layer, which is thrown away, reads the shapes of the five mouths. The compact expert's embeddings are signed, and
it sees grey mouths without their light, and how they move: with the published input and end it had learned nothing in a quarter of
an hour. The expert never shares weights or a gradient with the gate's scorer (DESIGN.md, decision 7).
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.corpus import Corpus
from models.lipmemory.config import Preset, compact
from models.lipmemory.held_out import windows_of
from models.lipmemory.networks import SyncExpert
from models.lipmemory.samples import SHAPE, Samples
from models.training.loop import read
from models.training.part import Options, Part, cosine, follow, set_rate
from models.training.ranks import Ranks

CLIPS, RUN = 4, 24  # clips a batch and windows of each
PLAIN = 0.6  # share of clips that are seen and heard nearly as they were filmed
SHAPED = 1.0  # how much the shapes count
READ = 8.0  # what unit vectors are multiplied by before shapes are read from them
OFFSETS = 15  # frames on each side among which the held-out figure looks for the right offset


def contrast(likeness: Tensor, scale: Tensor, run: int, signed: bool = False) -> Tensor:
    """Both losses of cosines [N, N] of all windows and chunks, in runs of one clip; a frame off is neither right nor wrong.

    signed: cosines below 0 are there to be used, so that the softmax alone says what is right.
    """
    count = len(likeness)
    order = torch.arange(count, device=likeness.device)
    apart = (order[:, None] - order[None]).abs()
    near = (apart == 1) & (order[:, None] // run == order[None] // run)
    logits = (likeness * scale).masked_fill(near, -1e4)
    softmax = (F.cross_entropy(logits, order) + F.cross_entropy(logits.T, order)) / 2
    if signed:
        return softmax
    chance = likeness.clamp(1e-4, 1 - 1e-4)
    wrong = (~near & (apart > 0)).to(chance.dtype)
    return softmax - chance.diagonal().log().mean() - ((1 - chance).log() * wrong).sum() / wrong.sum()


class Head(nn.Module):
    """What is thrown away: the scale of likeness, and a linear layer a side that reads the shapes of five mouths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.readers = nn.ModuleList(nn.Linear(channels, 10 * len(SHAPE)) for _ in range(2))


def shape_loss(readers: nn.ModuleList, sides: tuple[Tensor, Tensor], shapes: Tensor) -> Tensor:
    """L1 of the shapes [N, 180] that linear layers read from unit vectors [N, C] of both sides, summed over them."""
    one, other = (F.l1_loss(layer(READ * side), shapes) for layer, side in zip(readers, sides, strict=True))
    return one + other


class ExpertLoss(nn.Module):
    """The expert's loss on windows of `run` consecutive ones a clip."""

    def __init__(self, expert: SyncExpert, head: Head, run: int) -> None:
        super().__init__()
        self.expert, self.head, self.run = expert, head, run

    def forward(self, windows: Tensor, mels: Tensor, shapes: Tensor) -> dict[str, Tensor]:
        """Windows [N, 5, 3, S / 2, S], the mel chunks [N, 1, 80, 16] that start with each, the mouths' shapes [N, 180]."""
        seen, heard = self.expert.see(windows), self.expert.hear(mels)
        return {"contrast": contrast(seen @ heard.T, self.head.scale.exp(), self.run, self.expert.signed), "shape": SHAPED * shape_loss(self.head.readers, (seen, heard), shapes)}


class Expert(Part):
    """The part `expert` of lipmemory."""

    name, clip, rate = "lipmemory-expert", 1.0, 1.5e-3

    def __init__(self, options: Options, *, preset: Preset | None = None) -> None:
        super().__init__(options, batch=CLIPS)
        preset = preset or compact()
        self.run = options.frames or RUN
        self.model, self.head = SyncExpert(preset.expert), Head(preset.expert.channels)
        self.average = copy.deepcopy(self.model).eval()
        self.networks = {"model": self.model, "average": self.average, "head": self.head}
        self.optimisers = {"optimiser": torch.optim.Adam([*self.model.parameters(), *self.head.parameters()], self.rate)}
        self.loss: nn.Module = ExpertLoss(self.model, self.head, self.run)
        self.samples = Samples(Corpus(options.cache, "train"), preset.model.size, options.seed)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Windows, the sound of each, and the shapes of their mouths."""
        self.samples.seed(seed)
        return self.samples.windows(ranks.share(self.batch), self.run, PLAIN)

    def begin(self, states: dict[str, Any]) -> None:
        """From another expert's networks, or with the ears of a renderer, which know how sounds look: lips are then learned sooner."""
        if "lip" not in states:
            super().begin(states)
            return
        ears = {key.removeprefix("audio."): value for key, value in states["average"].items() if key.startswith("audio.")}
        for network in (self.model, self.average):
            network.audio.load_state_dict(ears)

    def pace(self, portion: float) -> None:
        """A rise over 60 steps, then a cosine."""
        set_rate(self.optimisers["optimiser"], self.rate * cosine(self.step, portion, 60, 0.02))

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """A step, and the average after it."""
        row = super().update(batch)
        follow(self.average, self.model, min(0.99, self.step / (self.step + 20)))
        return row

    def check(self) -> dict[str, Any]:
        """How the average tells sync on held-out clips."""
        return figures(copy.deepcopy(self.average).cpu(), Corpus(self.options.cache, "validation"))


def frozen_expert(preset: Preset, path: Path) -> SyncExpert:
    """The sync expert of a checkpoint, in evaluation mode and without gradients of its own. Raises InputError where there is none."""
    expert = SyncExpert(preset.expert)
    expert.load_state_dict(read(path)["average"])
    return expert.eval().requires_grad_(False)


@torch.no_grad()
def figures(expert: SyncExpert, corpus: Corpus, limit: int = 8) -> dict[str, float]:
    """On held-out clips: part of clips whose offset is within a frame, and mean cosine of windows in sync and out of it.

    Nothing where there are no clips.
    """
    if not corpus.clips:
        return {}
    right, inside, outside = [], [], []
    for clip in corpus.clips[:limit]:
        windows, chunks = windows_of(corpus, clip)
        likeness = expert.see(windows) @ expert.hear(chunks).T
        means = [float(likeness.diagonal(offset).mean()) for offset in range(-OFFSETS, OFFSETS + 1)]
        right.append(abs(int(np.argmax(means)) - OFFSETS) <= 1)
        inside.append(means[OFFSETS])
        outside.append(float(np.mean(means)))
    named = {"offset_within_1": np.mean(right), "in_sync": np.mean(inside), "out_of_sync": np.mean(outside)}
    return {name: round(float(value), 3) for name, value in named.items()}
