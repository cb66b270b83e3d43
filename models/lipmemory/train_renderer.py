"""Train the renderer with its memory: sound alone, then single frames, then runs of five with every loss.

Published training has all losses from the start. On a processor more is learned sooner in three parts: the ears first, without
pictures, from the shapes of mouths (landmarks with the head taken out); then, with lips in the memory's slots, twelve frames of twelve
clips a step, by reconstruction and memory, each by one of both paths; then, by turns with these, runs of five, which the sync losses
need, by both paths, and the discriminator. The mouth's shape stays a term of the compact preset's loss: a linear layer that nothing ships of reads it
from what is drawn from.
"""

import copy
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.corpus import Corpus
from models.lipmemory import losses
from models.lipmemory.config import Preset, compact
from models.lipmemory.held_out import gains
from models.lipmemory.networks import FaceRenderer, LipEncoder, QualityDiscriminator, SyncExpert, lower_half
from models.lipmemory.networks import Renderer as Network
from models.lipmemory.samples import SHAPE, Batch, Samples
from models.lipmemory.train_expert import Expert, frozen_expert
from models.training.part import Options, Part, cosine, follow, seed_of, set_rate
from models.training.ranks import Ranks

SINGLE_RUNS, LENGTH = 12, 5  # single frames a step; frames of a run
SOUND_RUNS, RUNS = 16, 1 / 4  # sounds, and runs, a step, for each single frame
KEYED = 0.7  # of single frames, drawn by the key path
MOUTH = 14.0  # how much more the mouth counts in the reconstruction, compact alone
PLAIN = 0.8  # share of the runs of frames that are seen and heard nearly as they were filmed
SQUARES = 4.0  # how much squares count beside L1 at the end of a run, compact alone: decibels are of squares


class DrawingLoss(nn.Module, ABC):
    """What a renderer of faces pays: for sounds alone, or for pictures."""

    model: FaceRenderer
    reader: nn.Linear

    def forward(self, *batch: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Terms for a `Batch`, and what was drawn; or for mel chunks [N, 1, 80, 16] with the mouths' shapes [N, 36], nothing drawn."""
        if len(batch) == 2:
            mels, shape = batch
            return {"shape": F.l1_loss(self.reader(self.model.hear(mels)), shape)}, None
        terms, drawn = self.terms(Batch(*batch))
        return terms, drawn.detach()

    @abstractmethod
    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Every weighted term of the loss, and what was drawn."""


class RedrawLoss(DrawingLoss):
    """What the renderer and the lip encoder pay: for sounds alone, or for pictures. The judge itself is not trained here."""

    model: Network

    def __init__(
        self, preset: Preset, weights: losses.Weights, model: Network, lip: LipEncoder, reader: nn.Linear, judge: QualityDiscriminator, expert: SyncExpert | None
    ) -> None:
        super().__init__()
        self.preset, self.weights = preset, weights
        self.model, self.lip, self.reader, self.expert = model, lip, reader, expert
        self.squares = 0.0
        self.judge = (judge,)  # in a tuple: its parameters are not this module's

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Every weighted term of the loss, and what was drawn [paths * N, 3, H, S], the key path first."""
        weights, memory = self.weights, self.model.memory
        audio, skips = self.model.audio(batch.mels), self.model.look(batch.target, batch.reference)
        by_key = self.model.recall(audio)
        fused = [memory.fuse(audio, by_key.feature)]
        terms: dict[str, Tensor] = {}
        seen = self.lip(batch.windows)
        if self.preset.model.memory:
            by_value = memory.by_value(seen)
            by_lips = memory.fuse(audio, by_value.feature)
            keyed = torch.rand(len(audio), 1, device=audio.device) < KEYED
            fused = [torch.where(keyed, fused[0], by_lips)] if batch.single else [*fused, by_lips]
            terms["storage"] = weights.memory * memory.storage_loss(seen)
            terms["alignment"] = weights.memory * memory.alignment_loss(by_value.address, by_key.address)
        paths = len(fused)
        picture = self.model.draw(torch.cat(fused), [s.repeat(paths, 1, 1, 1) for s in skips], batch.reference.repeat(paths, 1, 1, 1))
        terms["reconstruction"] = paths * weights.reconstruction * self.pictured(picture.whole, batch, paths)
        if picture.moved is not None and picture.flow is not None:
            told = self.reader(torch.cat([*fused, seen]))
            terms["shape"] = weights.shape * len(told) / len(seen) * F.l1_loss(told, batch.shape.repeat(paths + 1, 1))
            apart = self.pictured(picture.painted, batch, paths, rest=0.1) + self.pictured(picture.moved, batch, paths)
            led = F.grid_sample(picture.flow.permute(0, 3, 1, 2), in_half(batch.places).repeat(paths, 1, 1)[:, :, None], align_corners=False)
            terms["flow"] = weights.flow * paths * F.l1_loss(led[..., 0].transpose(1, 2), batch.moves.repeat(paths, 1, 1))
            terms["parts"] = weights.parts * paths * weights.reconstruction * apart
        return terms | ({} if batch.single else self.judged(picture.whole, batch, weights, paths)), picture.whole

    def pictured(self, drawn: Tensor, batch: Batch, paths: int, rest: float = 1.0) -> Tensor:
        """Mean reconstruction over paths, of what the preset paints; `compact` weighs the mouth more than the rest."""
        if not self.preset.model.lower:
            return losses.reconstruction(drawn, batch.target.repeat(paths, 1, 1, 1))
        weight = rest + MOUTH * batch.mouth.repeat(paths, 1, 1, 1)
        return losses.reconstruction(drawn, lower_half(batch.target).repeat(paths, 1, 1, 1), weight, self.squares)

    def judged(self, drawn: Tensor, batch: Batch, weights: losses.Weights, paths: int) -> dict[str, Tensor]:
        """The terms of runs: both sync losses and the discriminator's, each summed over paths."""
        terms: dict[str, Tensor] = {}
        several = drawn.reshape(-1, LENGTH, *drawn.shape[1:])
        if weights.audio_visual and self.expert is not None:
            sync = losses.audio_visual(self.expert, several, batch.sync_mels.repeat(paths, 1, 1, 1))
            terms["audio_visual"] = paths * weights.audio_visual * sync
        if weights.visual_visual:
            critic = copy.deepcopy(self.lip).eval().requires_grad_(False)
            real = batch.halves[:, 2:-2].repeat(paths, 1, 1, 1, 1)
            terms["visual_visual"] = paths * weights.visual_visual * losses.visual_visual(critic, several, real)
        if weights.adversarial:
            (judge,) = self.judge
            judge.requires_grad_(False)
            terms["adversarial"] = paths * weights.adversarial * losses.adversarial(judge, drawn)
            judge.requires_grad_(True)
        return terms


def in_half(places: Tensor) -> Tensor:
    """Places of a face as places of its lower half."""
    return places * places.new_tensor([1.0, 2.0]) - places.new_tensor([0.0, 1.0])


class JudgeLoss(nn.Module):
    """What the discriminator pays for its verdicts."""

    def __init__(self, judge: QualityDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, drawn: Tensor, real: Tensor) -> Tensor:
        """Drawn and filmed faces, or lower halves of them."""
        return losses.judgement(self.judge, drawn, real)


class Begun(nn.Module):
    """What a checkpoint says beside its networks: whether the memory's slots have begun with lips."""

    filled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filled", torch.tensor(False))


class Renderer(Part):
    """The part `renderer` of lipmemory; taught by `expert`, whose checkpoint is to lie in the run's folder."""

    name, clip, rate = "lipmemory-renderer", 1.0, 1e-3
    squared = 0.9  # share of the run from which squares count
    ends = (0.2, 0.7)  # shares of the run at which sounds alone end, and at which runs of five come in by turns with single frames

    def __init__(self, options: Options, *, preset: Preset | None = None, weights: losses.Weights | None = None) -> None:
        super().__init__(options, batch=SINGLE_RUNS)
        self.preset, self.weights, self.ranks, self.portion = preset or compact(), weights or losses.Weights(), Ranks(), 0.0
        expert = frozen_expert(self.preset, options.out / f"{Expert.name}.pt") if self.weights.audio_visual else None
        self.model, self.lip, self.judge = Network(self.preset.model), LipEncoder(self.preset.model), QualityDiscriminator(self.preset.judge)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        self.reader, self.begun = nn.Linear(self.preset.model.channels, 2 * len(SHAPE)), Begun()
        self.networks = {"model": self.model, "average": self.average, "lip": self.lip, "judge": self.judge, "reader": self.reader, "begun": self.begun}
        taught = [*self.model.parameters(), *self.lip.parameters(), *self.reader.parameters()]
        self.optimisers = {
            "optimiser": torch.optim.Adam(taught, self.rate, betas=(0.5, 0.999)),
            "judging": torch.optim.Adam(self.judge.parameters(), 5 * self.rate, betas=(0.5, 0.999)),
        }
        self.redraw = RedrawLoss(self.preset, self.weights, self.model, self.lip, self.reader, self.judge, expert)
        self.loss: nn.Module = self.redraw
        self.judged: nn.Module = JudgeLoss(self.judge)
        self.samples = Samples(Corpus(options.cache, "train"), self.preset.model.size, options.seed)

    @property
    def listening(self) -> bool:
        """Whether the step to come is of sounds alone; not so where the run goes on from one that has lips in its slots."""
        return self.preset.model.blend and self.portion < self.ends[0] and not self.begun.filled

    def spread(self, ranks: Ranks) -> None:
        """Both losses have processes in common; sounds alone teach a part of the networks."""
        self.ranks = ranks
        self.loss, self.judged = ranks.spread(self.loss, in_part=True), ranks.spread(self.judged)

    def pace(self, portion: float) -> None:
        """A rise over 60 steps, then a cosine; the judge learns five times as fast."""
        self.portion = portion
        self.redraw.squares = SQUARES if portion >= self.squared else 0.0
        rate = self.rate * cosine(self.step, portion, 60, 0.02)
        set_rate(self.optimisers["optimiser"], rate)
        set_rate(self.optimisers["judging"], 5 * rate)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Sounds with mouths' shapes, then single frames, then runs of five by turns with these, as the run goes on."""
        self.samples.seed(seed)
        singles = max(2, ranks.share(self.batch))  # norms want two
        if self.listening:
            return self.samples.sounds(SOUND_RUNS * singles)
        if self.portion < self.ends[1] or self.step % 2 == 0:
            return self.samples.batch(singles, 1, PLAIN)
        return self.samples.batch(math.ceil(RUNS * singles), LENGTH, PLAIN)

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """One step of the renderer and, where it is judged, one of the discriminator; the terms of the loss."""
        if self.preset.model.blend and not self.listening and not self.begun.filled:
            self.fill()
        terms, drawn = self.loss(*batch)
        total = sum(terms.values(), torch.zeros((), device=batch[0].device))
        self.optimisers["optimiser"].zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.lip.parameters()], self.clip)
        self.optimisers["optimiser"].step()
        row = {"loss": float(total.detach())} | {name: float(term.detach()) for name, term in terms.items()}
        if "adversarial" in terms:
            verdict = self.judged(drawn, Batch(*batch).target)
            self.optimisers["judging"].zero_grad(set_to_none=True)
            verdict.backward()
            self.optimisers["judging"].step()
            row["judged"] = float(verdict.detach())
        self.step += 1
        follow(self.average, self.model, min(0.994, self.step / (self.step + 20)))
        return row

    @torch.no_grad()
    def fill(self, batches: int = 4) -> None:
        """Begin the memory with lips and their sounds (memory.py says how), of a few batches of frames, the same in all processes."""
        self.samples.seed(seed_of(self.options.seed, self.step))
        device = self.begun.filled.device
        several = [self.samples.batch(self.preset.model.slots, 1) for _ in range(batches)]
        self.model.eval()
        self.lip.train()  # its norms know no pictures yet
        sounds = torch.cat([self.model.audio(b.mels.to(device)) for b in several])
        self.model.memory.fill(sounds, torch.cat([self.lip(b.windows.to(device)) for b in several]))
        self.model.train()
        self.ranks.follow_first(self.model.memory)
        self.begun.filled.fill_(True)

    def check(self) -> dict[str, Any]:
        """The average's gains on people it never saw and on the speaker's held-out clips, as soon as it draws."""
        if self.preset.model.blend and not self.begun.filled:
            return {}
        splits = {name: Corpus(self.options.cache, name) for name in ("unseen", "validation")}
        return {name: gains(self.average, split, every=20, limit=10) for name, split in splits.items() if split.clips}
