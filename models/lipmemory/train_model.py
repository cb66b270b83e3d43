"""Train the renderer with its memory: sound alone, then single frames, then runs of five with every loss.

Published training has all losses from the start. On a processor more is learned sooner in three parts: the ears first, without
pictures, from the shapes of mouths (landmarks with the head taken out); then, with lips in the memory's slots, twelve frames of twelve clips a step, by
reconstruction and memory, each by one of both paths; then runs of five, which the sync losses need, by both paths, and the
discriminator. The mouth's shape stays a term of the compact preset's loss: a linear layer that nothing ships of reads it from what
is drawn from.
"""

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct.train_renderer import follow
from models.corpus import MARGIN, Corpus
from models.lipmemory import losses, runs
from models.lipmemory.align import rigid, similarity
from models.lipmemory.config import Preset, compact
from models.lipmemory.mel import CHUNK, chunk_start
from models.lipmemory.networks import LipEncoder, QualityDiscriminator, Renderer, SyncExpert, lower_half
from models.lipmemory.samples import LIPS, SHAPE, Batch, Samples, mel_of

SOUNDS, SINGLES = 0.2, 0.9  # shares of the time at which sounds alone, and single frames, end
SOUND_RUNS, SINGLE_RUNS, RUNS, LENGTH = 192, 12, 2, 5
KEYED = 0.7  # of single frames, drawn by the key path
SHAPED = 0.2  # how much the mouth's shape counts, compact alone
MOUTH = 14.0  # how much more the mouth counts in the reconstruction, compact alone
PARTS = 0.2  # how much the painted pixels and the moved reference count beside the picture they make, compact alone
LED = 30.0  # how much it counts that the flow takes points of the mouth to where the reference has them, compact alone


@dataclass
class Run:
    """Everything that a checkpoint of `model.pt` holds; the expert is frozen and comes from `expert.pt`."""

    preset: Preset
    model: Renderer
    average: Renderer
    lip: LipEncoder
    judge: QualityDiscriminator
    reader: nn.Linear
    optimiser: torch.optim.Adam
    judging: torch.optim.Adam
    expert: SyncExpert | None
    step: int = 0
    spent: float = 0.0
    filled: bool = False  # whether the memory's slots have begun with lips

    @classmethod
    def start(cls, preset: Preset, out: Path, rate: float) -> "Run":
        """From `model.pt` in a folder, where there is one; `expert.pt` gives the expert, without which there is no AV-sync."""
        model, lip, judge = Renderer(preset.model), LipEncoder(preset.model), QualityDiscriminator(preset.judge)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        reader = nn.Linear(preset.model.channels, 2 * len(SHAPE))
        taught = [*model.parameters(), *lip.parameters(), *reader.parameters()]
        adam = torch.optim.Adam(taught, rate, betas=(0.5, 0.999))
        judging = torch.optim.Adam(judge.parameters(), 5 * rate, betas=(0.5, 0.999))
        run = cls(preset, model, copy.deepcopy(model).eval(), lip, judge, reader, adam, judging, frozen_expert(preset, out / "expert.pt"))
        if state := runs.load(out / "model.pt"):
            for name in _STATES:
                getattr(run, name).load_state_dict(state[name])
            run.step, run.spent, run.filled = state["step"], state["spent"], state["filled"]
        return run

    def save(self, path: Path, spent: float) -> None:
        """Write a checkpoint."""
        runs.save(path, **{name: getattr(self, name).state_dict() for name in _STATES}, step=self.step, spent=spent, filled=self.filled)

    def update(self, batch: Batch, weights: losses.Weights) -> dict[str, float]:
        """One step of the renderer and, where it is judged, one of the discriminator; the terms of the loss."""
        terms, drawn = self.terms(batch, weights)
        self._learn(sum(terms.values(), torch.zeros(())))
        if weights.adversarial:
            self.judging.zero_grad(set_to_none=True)
            losses.judgement(self.judge, drawn, batch.target).backward()
            self.judging.step()
        self._stepped()
        return {name: round(float(term.detach()), 4) for name, term in terms.items()}

    def listen(self, mels: Tensor, shape: Tensor) -> dict[str, float]:
        """One step of the ears and the memory's key path alone: the mouth's shape [N, 36] from mel chunks [N, 1, 80, 16]."""
        loss = F.l1_loss(self.reader(self.model.hear(mels)), shape)
        self._learn(loss)
        self._stepped()
        return {"shape": round(float(loss.detach()), 4)}

    @torch.no_grad()
    def fill(self, samples: Samples, batches: int = 4) -> None:
        """Begin the memory with lips and their sounds (memory.py says how), of a few batches of frames."""
        self.model.eval()
        several = [samples.batch(self.preset.model.slots, 1) for _ in range(batches)]
        self.lip.train()  # its norms know no pictures yet
        self.model.memory.fill(torch.cat([self.model.audio(b.mels) for b in several]), torch.cat([self.lip(b.windows) for b in several]))
        self.model.train()
        self.filled = True

    def _learn(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.lip.parameters()], 1.0)
        self.optimiser.step()

    def _stepped(self) -> None:
        self.step += 1
        follow(self.average, self.model, min(0.994, self.step / (self.step + 20)))

    def terms(self, batch: Batch, weights: losses.Weights) -> tuple[dict[str, Tensor], Tensor]:
        """Every weighted term of the loss, and what was drawn [paths * N, 3, H, S], the key path first."""
        audio, skips = self.model.audio(batch.mels), self.model.look(batch.target, batch.reference)
        by_key = self.model.recall(audio)
        fused = [self.model.memory.fuse(audio, by_key.feature)]
        single = len(batch.target) == len(batch.sync_mels)
        terms: dict[str, Tensor] = {}
        seen = self.lip(batch.windows)
        if self.preset.model.memory:
            by_value = self.model.memory.by_value(seen)
            by_lips = self.model.memory.fuse(audio, by_value.feature)
            fused = [torch.where(torch.rand(len(audio), 1) < KEYED, fused[0], by_lips)] if single else [*fused, by_lips]
            memory = self.model.memory
            terms["storage"] = weights.memory * memory.storage_loss(seen)
            terms["alignment"] = weights.memory * memory.alignment_loss(by_value.address, by_key.address)
        paths = len(fused)
        picture = self.model.draw(torch.cat(fused), [s.repeat(paths, 1, 1, 1) for s in skips], batch.reference.repeat(paths, 1, 1, 1))
        terms["reconstruction"] = paths * weights.reconstruction * self.pictured(picture.whole, batch, paths)
        if picture.moved is not None and picture.flow is not None:
            told = self.reader(torch.cat([*fused, seen]))
            terms["shape"] = SHAPED * len(told) / len(seen) * F.l1_loss(told, batch.shape.repeat(paths + 1, 1))
            apart = self.pictured(picture.painted, batch, paths, rest=0.1) + self.pictured(picture.moved, batch, paths)
            led = F.grid_sample(picture.flow.permute(0, 3, 1, 2), _in_half(batch.places).repeat(paths, 1, 1)[:, :, None], align_corners=False)
            terms["flow"] = LED * paths * F.l1_loss(led[..., 0].transpose(1, 2), batch.moves.repeat(paths, 1, 1))
            terms["parts"] = PARTS * paths * weights.reconstruction * apart
        terms |= self.judged(picture.whole, batch, weights, paths)
        return terms, picture.whole

    def pictured(self, drawn: Tensor, batch: Batch, paths: int, rest: float = 1.0) -> Tensor:
        """Mean reconstruction over paths, of what the preset paints; `compact` weighs the mouth more than the rest."""
        if not self.preset.model.lower:
            return losses.reconstruction(drawn, batch.target.repeat(paths, 1, 1, 1))
        weight = rest + MOUTH * batch.mouth.repeat(paths, 1, 1, 1)
        return losses.reconstruction(drawn, lower_half(batch.target).repeat(paths, 1, 1, 1), weight)

    def judged(self, drawn: Tensor, batch: Batch, weights: losses.Weights, paths: int) -> dict[str, Tensor]:
        """The terms of runs: both sync losses and the discriminator's, each summed over paths."""
        terms: dict[str, Tensor] = {}
        length = len(batch.target) // len(batch.sync_mels)
        if length == LENGTH:
            several = drawn.reshape(-1, length, *drawn.shape[1:])
            if weights.audio_visual and self.expert is not None:
                sync = losses.audio_visual(self.expert, several, batch.sync_mels.repeat(paths, 1, 1, 1))
                terms["audio_visual"] = paths * weights.audio_visual * sync
            if weights.visual_visual:
                critic = copy.deepcopy(self.lip).eval().requires_grad_(False)
                real = batch.halves[:, 2:-2].repeat(paths, 1, 1, 1, 1)
                terms["visual_visual"] = paths * weights.visual_visual * losses.visual_visual(critic, several, real)
        if weights.adversarial:
            self.judge.requires_grad_(False)
            terms["adversarial"] = paths * weights.adversarial * losses.adversarial(self.judge, drawn)
            self.judge.requires_grad_(True)
        return terms


def _in_half(places: Tensor) -> Tensor:
    """Places of a face as places of its lower half."""
    return places * torch.tensor([1.0, 2.0]) - torch.tensor([0.0, 1.0])


_STATES = ("model", "average", "lip", "judge", "reader", "optimiser", "judging")


def frozen_expert(preset: Preset, path: Path) -> SyncExpert | None:
    """The sync expert of a checkpoint, in evaluation mode and without gradients of its own; None where there is none."""
    if not (state := runs.load(path)):
        return None
    expert = SyncExpert(preset.expert)
    expert.load_state_dict(state["average"])
    return expert.eval().requires_grad_(False)


def train(
    cache: Path,
    out: Path,
    seconds: float,
    *,
    preset: Preset | None = None,
    weights: losses.Weights | None = None,
    rate: float = 1e-3,
    threads: int = 1,
    seed: int = 1,
    steps: int | None = None,
) -> dict[str, Any]:
    """Train for a fixed time, or for `steps`, with checkpoints in `out`; goes on from one that is there. Returns the last figures."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    run, weights = Run.start(preset or compact(), out, rate), weights or losses.Weights()
    samples = Samples(Corpus(cache, "train"), run.model.config.size, seed + run.step)
    held_out = {name: Corpus(cache, name) for name in ("validation", "unseen")}
    started = saved = time.monotonic()
    now = run.spent
    try:
        while (now := run.spent + time.monotonic() - started) < seconds and (steps is None or run.step < steps):
            share = now / seconds if steps is None else run.step / steps
            runs.pace(run.optimiser, rate, run.step, share)
            runs.pace(run.judging, 5 * rate, run.step, share)
            if share < SOUNDS and run.preset.model.blend:
                row: dict[str, Any] = run.listen(*samples.sounds(SOUND_RUNS))
            elif share < SINGLES:
                if run.preset.model.blend and not run.filled:
                    run.fill(samples)
                row = run.update(samples.batch(SINGLE_RUNS, 1), replace(weights, adversarial=0.0))
            else:
                row = run.update(samples.batch(RUNS, LENGTH), weights)
            if time.monotonic() - saved > runs.SAVE_EVERY:
                saved = time.monotonic()
                run.save(out / "model.pt", now)
                drawn = share >= SOUNDS
                found = {name: gains(run.average, split, every=20, limit=5) for name, split in held_out.items()} if drawn else {}
                runs.log(out / "model.log", {"step": run.step, "minutes": round(now / 60, 1), **row, **found})
    finally:
        run.save(out / "model.pt", now)
    return {"step": run.step} | {name: gains(run.average, split, limit=40) for name, split in held_out.items()}


@torch.no_grad()
def gains(model: Renderer, corpus: Corpus, every: int = 9, limit: int = 12) -> dict[str, float]:
    """PSNR in dB of the key path over holding the first frame, of the face square and of the mouth, mean over clips.

    Drawn lower halves are put under the real upper halves, as a re-dub does.
    """
    found = []
    for clip in corpus.clips[:limit]:
        where = np.arange(every, clip.frames, every)
        made, held, target = rendered(model, corpus, clip, where)
        box = _mouth_box(np.asarray(corpus.landmarks[clip.first_frame]), made.shape[-1])
        found.append([_gain(made, held, target), _gain(*(x[..., box[0] : box[1], box[2] : box[3]] for x in (made, held, target)))])
    whole, mouth = np.mean(found, axis=0)
    return {"psnr_gain_db": round(float(whole), 3), "mouth_psnr_gain_db": round(float(mouth), 3)}


def rendered(model: Renderer, corpus: Corpus, clip: Any, where: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of a cached clip drawn from its first one, that first one held, and the real ones, each [N, 3, S, S] in [-1, 1]."""
    size = model.config.size
    edge = round(corpus.face.shape[1] * (1 - 1 / MARGIN) / 2)
    marks = rigid(np.asarray(corpus.landmarks[corpus.frames_of(clip)]))
    faces = np.asarray(corpus.face[clip.first_frame + where])[..., ::-1].copy()
    target = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1)[..., edge : edge + size, edge : edge + size]
    first = torch.from_numpy(np.asarray(corpus.face[[clip.first_frame]])[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    change = torch.from_numpy(similarity(marks[where], np.repeat(marks[:1], len(where), 0))).float()
    flow = F.affine_grid(change, [len(where), 3, size, size], align_corners=False) / MARGIN
    moved = F.grid_sample(first.expand(len(where), -1, -1, -1), flow, padding_mode="border", align_corners=False)
    mel = mel_of(corpus, clip)
    starts = [min(chunk_start(int(i)), mel.shape[1] - CHUNK) for i in where]
    mels = torch.from_numpy(np.stack([mel[:, s : s + CHUNK] for s in starts]))[:, None]
    made = lower_half(model(mels, target, moved))
    held = first[..., edge : edge + size, edge : edge + size].expand(len(where), -1, -1, -1)
    return torch.cat([target[:, :, : size // 2], made], 2), held, target


def _mouth_box(landmarks: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the mouth region: 1.6 mouth widths wide, as tall; unit landmarks of a face square."""
    lips = (landmarks[list(LIPS), :2] + 1) / 2 * size
    (x, y), half = lips.mean(0), 0.8 * float(np.linalg.norm(lips[0] - lips[1]))
    return int(y - 0.8 * half), int(y + 1.2 * half), int(x - half), int(x + half)


def _gain(made: Tensor, held: Tensor, target: Tensor) -> float:
    return float((_psnr(made, target) - _psnr(held, target)).mean())


def _psnr(made: Tensor, target: Tensor) -> Tensor:
    return -10 * torch.log10(((made - target) / 2).square().flatten(1).mean(1).clamp_min(1e-10))
