"""Training samples: runs of frames of one clip with the sound that each hears, and a reference frame from elsewhere in the clip.

Published: 5 target frames with 2 more on each side, so that each has the five-frame window that the lip encoder sees (SEEDS.md
3.1). Faces are the clip's face square at 128 pixels. What `compact` adds, for faces and voices never heard: one random view and
appearance a run, a random voice, and references brought to their targets by what speech does not move.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.avct.augment import View, uniform
from models.avct.dense_motion import grid
from models.corpus import MARGIN, Clip, Corpus
from models.lipmemory.align import rigid, similarity
from models.lipmemory.mel import CHUNK, REACH, chunk_start, levelled, mel_columns

AROUND = 2  # frames on each side of a target that the lip encoder sees
LIPS = (61, 291, 0, 17, 13, 14, 78, 308)  # the first two are the corners
SHAPE = (*LIPS, 40, 270, 91, 321, 82, 312, 87, 317, 152, 199)  # whose places, with the head taken out, are a mouth's shape
OPEN = 0.5  # how often targets are chosen for an open mouth, and references for a closed one
TREMBLE = 0.006  # spread, in half sides, of the error put on where references are brought


class Batch(NamedTuple):
    """G runs of L targets. Pictures BGR in [-1, 1]; lower halves are [64, 128]."""

    target: Tensor  # [G * L, 3, S, S]
    reference: Tensor  # [G * L, 3, S, S]
    halves: Tensor  # [G, L + 4, 3, S / 2, S] lower halves of the targets and of two frames on each side
    mels: Tensor  # [G * L, 1, 80, 16]
    sync_mels: Tensor  # [G, 1, 80, 16] that start with each run's first target
    mouth: Tensor  # [G * L, 1, S / 2, S] a bump about the lips, 0 to 1
    shape: Tensor  # [G * L, 36] the mouth's shape, in units of its spread
    places: Tensor  # [G * L, 18, 2] where points of the mouth are in the targets, in half sides
    moves: Tensor  # [G * L, 18, 2] what takes them to where they are in the references

    @property
    def single(self) -> bool:
        """Whether runs are of one frame."""
        return len(self.target) == len(self.sync_mels)

    @property
    def windows(self) -> Tensor:
        """What the lip encoder sees of each target: [G * L, 3, 5, S / 2, S]."""
        return self.halves.unfold(1, 2 * AROUND + 1, 1).permute(0, 1, 2, 5, 3, 4).flatten(0, 1)


class Samples:
    """Random batches of one split."""

    def __init__(self, corpus: Corpus, size: int, seed: int) -> None:
        self.corpus, self.size = corpus, size
        self.seed(seed)
        self.mels = [mel_of(corpus, clip) for clip in corpus.clips]
        marks = corpus.landmarks[: sum(clip.frames for clip in corpus.clips)]
        self.rigid, self.lips = rigid(marks), torch.from_numpy(marks[:, list(SHAPE), :2])
        self.opening = (self.lips[:, 4] - self.lips[:, 5]).norm(dim=-1).numpy()
        self.shape = mouth_shapes(self.rigid, self.lips.double().numpy())
        self.points = grid(size, size, torch.zeros(1)).reshape(1, -1, 2)

    def seed(self, seed: int) -> None:
        """Let the next batches hang on this seed alone."""
        self.random, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def batch(self, runs: int, length: int, plain: float = 0.0) -> Batch:
        """`runs` runs of `length` consecutive targets; plain: the share of them that is seen and heard nearly as it was filmed."""
        picks = self.random.integers(len(self.corpus.clips), size=runs)
        clips = [self.corpus.clips[i] for i in picks]
        start = np.array([self._open(c, length) for c in clips])
        away = np.array([self._closed(c) for c in clips])
        frames = np.array([c.first_frame for c in clips])[:, None] + start[:, None] + np.arange(-AROUND, length + AROUND)
        targets = frames[:, AROUND:-AROUND]
        source = np.array([c.first_frame for c in clips]) + away
        kept = torch.rand(runs, generator=self.generator) < plain
        view, look = calm(View(runs, self.generator), kept), Look(runs, self.generator, kept)
        placed = view.place(self.points.expand(runs, -1, -1))  # [G, S * S, 2]
        half = placed.shape[1] // 2
        halves = self._see(frames, placed[:, half:].repeat_interleave(frames.shape[1], 0), look)
        uppers = self._see(targets, placed[:, :half].repeat_interleave(length, 0), look)
        whole = torch.cat([uppers, halves[:, AROUND : AROUND + length]], 3).flatten(0, 1)
        sources = np.repeat(source[:, None], length, 1)
        change = self._changes(targets, sources)
        moved = placed.repeat_interleave(length, 0) @ change[..., :2].transpose(1, 2) + change[:, None, :, 2]
        reference = self._see(sources, moved, look).flatten(0, 1)
        voice = Voice(runs, self.generator, kept)
        heard = torch.stack([self._heard(i, s, length) for i, s in zip(picks, start, strict=True)])
        sync = torch.stack([self._chunk(i, chunk_start(int(s), 0)) for i, s in zip(picks, start, strict=True)])[:, None]
        both = voice(torch.cat([heard, sync], 1))
        inverse = torch.linalg.inv(view.matrix).transpose(1, 2).repeat_interleave(length, 0)
        shift = view.shift.repeat_interleave(length, 0)[:, None]
        places = (self.lips[targets.ravel()] - shift) @ inverse
        there = (self.lips[sources.ravel()] - change[:, None, :, 2]) @ torch.linalg.inv(change[..., :2]).transpose(1, 2)
        return Batch(
            target=whole,
            reference=reference,
            halves=halves,
            mels=both[:, :length].reshape(-1, 1, *heard.shape[-2:]),
            sync_mels=both[:, length:],
            mouth=bump(places[:, : len(LIPS)], self.size),
            shape=self.shape[targets.ravel()],
            places=places,
            moves=(there - shift) @ inverse - places,
        )

    def _open(self, clip: Clip, length: int) -> int:
        """Where a run of targets starts; every other one where the mouth is more open than it mostly is."""
        low, high = AROUND, clip.frames - AROUND - length
        opening = self.opening[clip.first_frame + low : clip.first_frame + high]
        wanted = np.flatnonzero(opening > np.median(opening)) if self.random.random() < OPEN else np.arange(0)
        return low + int(self.random.choice(wanted) if len(wanted) else self.random.integers(high - low))

    def _closed(self, clip: Clip) -> int:
        """A frame for reference; every other one of those whose mouth is most closed, as at work."""
        opening = self.opening[clip.first_frame : clip.first_frame + clip.frames]
        wanted = np.argsort(opening)[: max(1, clip.frames // 4)] if self.random.random() < OPEN else np.arange(clip.frames)
        return int(self.random.choice(wanted))

    def sounds(self, count: int) -> tuple[Tensor, Tensor]:
        """Mel chunks [N, 1, 80, 16] of random frames and their mouths' shapes [N, 36], without pictures."""
        picks = self.random.integers(len(self.corpus.clips), size=count)
        frames = [int(self.random.integers(self.corpus.clips[i].frames)) for i in picks]
        heard = torch.stack([self._chunk(i, chunk_start(f)) for i, f in zip(picks, frames, strict=True)])[:, None]
        rows = [self.corpus.clips[i].first_frame + f for i, f in zip(picks, frames, strict=True)]
        return Voice(count, self.generator)(heard), self.shape[rows]

    def windows(self, runs: int, length: int, plain: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """For the sync expert: `length` windows of five lower halves from each run [G * L, 5, 3, S / 2, S], the mel chunks
        [G * L, 1, 80, 16] that start with each, and the five mouths' shapes [G * L, 180].
        """
        picks = self.random.choice(len(self.corpus.clips), runs, replace=len(self.corpus.clips) < runs)
        clips = [self.corpus.clips[i] for i in picks]
        start = np.array([self.random.integers(0, c.frames - length - 2 * AROUND + 1) for c in clips])
        frames = np.array([c.first_frame for c in clips])[:, None] + start[:, None] + np.arange(length + 2 * AROUND)
        kept = torch.rand(runs, generator=self.generator) < plain
        view, look, voice = calm(View(runs, self.generator), kept), Look(runs, self.generator, kept), Voice(runs, self.generator, kept)
        placed = view.place(self.points[:, self.points.shape[1] // 2 :].expand(runs, -1, -1))
        halves = self._see(frames, placed.repeat_interleave(frames.shape[1], 0), look)
        seen = halves.unfold(1, 2 * AROUND + 1, 1).permute(0, 1, 5, 2, 3, 4).flatten(0, 1)
        steps = np.arange(length)
        heard = torch.stack([torch.stack([self._chunk(i, chunk_start(int(s + t), 0)) for t in steps]) for i, s in zip(picks, start, strict=True)])
        shapes = self.shape[frames.ravel()].reshape(*frames.shape, -1).unfold(1, 2 * AROUND + 1, 1).flatten(0, 1).flatten(1)
        return seen, voice(heard).flatten(0, 1)[:, None], shapes

    def _see(self, frames: np.ndarray, points: Tensor, look: "Look") -> Tensor:
        """Frames [G, n] looked up at points [G * n, h * S, 2] of their clips' squares: [G, n, 3, h, S] in [-1, 1]."""
        faces = torch.from_numpy(self.corpus.face[frames.ravel()][..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        where = (points / MARGIN).reshape(len(faces), -1, self.size, 2)
        seen = F.grid_sample(faces, where, mode="bilinear", padding_mode="border", align_corners=False)
        return look(seen.reshape(*frames.shape, *seen.shape[1:])) * 2 - 1

    def _changes(self, targets: np.ndarray, sources: np.ndarray) -> Tensor:
        """What takes places of the targets' squares [G, L] to those of the references' squares: [G * L, 2, 3]."""
        change = torch.from_numpy(similarity(self.rigid[targets.ravel()], self.rigid[sources.ravel()])).float()
        slip = torch.randn(targets.shape[0], 2, generator=self.generator) * TREMBLE
        change[..., 2] += slip.repeat_interleave(targets.shape[1], 0)
        return change

    def _chunk(self, clip: int, column: int) -> Tensor:
        mel = self.mels[clip]
        column = min(column, mel.shape[1] - CHUNK)
        return torch.from_numpy(mel[:, column : column + CHUNK].copy())

    def _heard(self, clip: int, start: int, length: int) -> Tensor:
        return torch.stack([self._chunk(clip, chunk_start(int(start) + i)) for i in range(length)])


def mouth_shapes(still: np.ndarray, marks: np.ndarray) -> Tensor:
    """Where points [F, K, 2] are when what speech does not move [F, 16, 2] is where it is on average: [F, 2 K], one spread each."""
    change = similarity(still, np.broadcast_to(still.mean(0), still.shape))
    placed = np.einsum("fij,fkj->fki", change[..., :2], marks) + change[:, None, :, 2]
    flat = placed.reshape(len(placed), -1)
    return torch.from_numpy((flat - flat.mean(0)) / (flat.std(0) + 1e-6)).float()


def mel_of(corpus: Corpus, clip: Clip) -> np.ndarray:
    """A clip's mel columns [80, columns] at one loudness."""
    return mel_columns(levelled(corpus.wave_of(clip).astype(np.float32) / 32768))


def bump(lips: Tensor, size: int) -> Tensor:
    """Where errors count more, [N, 1, S / 2, S]: 1 about the lips [N, 8, 2] of each face, fading to 0."""
    centre = lips.mean(1)[:, None, None]
    reach = (lips[:, 1] - lips[:, 0]).norm(dim=-1)[:, None, None] * 0.75
    away = grid(size, size, lips)[None, size // 2 :] - centre
    return torch.exp(-0.5 * (away.square().sum(-1) / reach.square()).pow(2))[:, None]


def calm(view: View, kept: Tensor) -> View:
    """A view [G] whose kept ones [G] are never mirrored, and turned, scaled and moved by a tenth of what others are."""
    mirror = torch.stack([torch.where(view.flipped, -1.0, 1.0), torch.ones(len(kept))], -1)[:, None]
    small = torch.eye(2) + 0.1 * (view.matrix * mirror - torch.eye(2))
    view.matrix = torch.where(kept[:, None, None], small, view.matrix)
    view.shift = torch.where(kept[:, None], 0.1 * view.shift, view.shift)
    view.flipped = view.flipped & ~kept
    return view


class Look:
    """A random appearance shared by all pictures of a run: colour matrix, curve, gain, bias. Runs that are kept [G] stay as they are."""

    def __init__(self, count: int, generator: torch.Generator, kept: Tensor | None = None) -> None:
        self.kept = torch.zeros(count, dtype=torch.bool) if kept is None else kept
        strength = torch.rand(count, 1, 1, generator=generator)
        mix = torch.eye(3) + (torch.rand(count, 3, 3, generator=generator) - 0.5) * 0.6 * strength
        self.matrix = mix / mix.sum(-1, keepdim=True)
        self.gamma = torch.exp(uniform(generator, count, 0.5))[:, None, None, None, None]
        self.gain = torch.exp(uniform(generator, count, 0.3))[:, None, None, None, None]
        self.bias = uniform(generator, count, 0.1)[:, None, None, None, None]

    def __call__(self, pictures: Tensor) -> Tensor:
        """Change pictures [G, n, 3, H, W] in [0, 1]."""
        mixed = torch.einsum("gij,gnjhw->gnihw", self.matrix, pictures).clamp(1e-3, 1).pow(self.gamma)
        changed = ((mixed - 0.5) * self.gain + 0.5 + self.bias).clamp(0, 1)
        return torch.where(self.kept[:, None, None, None, None], pictures, changed)


class Voice:
    """A random voice and room for each run: bands shifted and stretched, tilt, gain, and a floor of noise or of silence."""

    def __init__(self, count: int, generator: torch.Generator, kept: Tensor | None = None) -> None:
        self.stretch, self.shift = uniform(generator, count, 0.08), uniform(generator, count, 0.08)
        self.tilt, self.gain = uniform(generator, count, 0.5), uniform(generator, count, 0.4)
        self.floor = torch.rand(count, generator=generator).square() * 2.5 - REACH
        self.plain = torch.rand(count, generator=generator) < 0.4
        self.plain = self.plain if kept is None else self.plain | kept
        self.gate = torch.rand(count, generator=generator) < 0.3  # silence as a gate or a synthetic voice leaves it

    def __call__(self, mels: Tensor) -> Tensor:
        """Change mels [G, n, 80, 16]."""
        count, _, bands, steps = mels.shape
        line = (torch.arange(bands) * 2 + 1) / bands - 1
        across = (torch.arange(steps) * 2 + 1) / steps - 1
        warped = line * (1 + self.stretch[:, None]) + self.shift[:, None]
        where = torch.stack([across.expand(count, bands, -1), warped[..., None].expand(-1, -1, steps)], -1)
        heard = F.grid_sample(mels, where, mode="bilinear", padding_mode="border", align_corners=False)
        heard = heard + self.gain[:, None, None, None] + self.tilt[:, None, None, None] * line[:, None]
        floor = self.floor[:, None, None, None]
        noisy = torch.logaddexp(heard * 1.4, floor * 1.4) / 1.4  # 1.4 nepers a unit: 12.5 dB
        changed = torch.where(self.gate[:, None, None, None], torch.where(heard < floor, -REACH, heard), noisy)
        return torch.where(self.plain[:, None, None, None], mels, changed).clamp(-REACH, REACH)
