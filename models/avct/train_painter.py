"""Finish the renderer: closed mouths that open, seen mostly inside the lips, against a discriminator of mouths.

Most pairs of frames ask little of the painter, so it learns teeth and the dark between them late. Here sources are mostly closed
mouths, driving frames mostly open ones, and the inside of the driving lips (a polygon of landmarks) weighs most. Reconstruction
alone paints the mean of all mouths that could be meant, which is grey and soft; the discriminator makes it choose one.
"""

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models.avct import keypoints as kp
from models.avct.augment import Colour, HeadMove, View, mouth_weight, sample, to_tensor
from models.avct.dense_motion import grid
from models.avct.discriminator import MouthDiscriminator, cut_mouths, discriminator_loss, generator_loss
from models.avct.generator import Generator, GeneratorConfig, Rendered
from models.avct.train_renderer import MOVE_RATE, Pairs, edge_l1, follow, gains, pyramid_l1
from models.corpus import Corpus

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
ADVERSARY = 0.5  # how hard the discriminator pulls at the last layer, against reconstruction
HEAD_START = 40  # steps in which only the discriminator listens to it
CLOSED, OPEN = 0.012, 0.04  # openings, in widths of the face


class OpeningPairs(Pairs):
    """Pairs whose source is mostly closed and whose driving frame is mostly open, with the inside of the driving lips."""

    def __init__(self, corpus: Corpus, size: int, seed: int) -> None:
        super().__init__(corpus, size, seed)
        self.opening = kp.mouth_opening(self.values)
        self.inner = np.asarray(corpus.landmarks)[:, list(INNER_LIPS), :2]

    def batch_with_inside(self, count: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor, Tensor]:
        """As `batch`, and the inside of the driving lips [B, 1, S, S], and whether the source is closed [B]."""
        clips = [self.corpus.clips[i] for i in self.random.integers(len(self.corpus.clips), size=count)]
        source = np.array([self._pick(c.first_frame, c.frames, closed=self.random.random() < 0.65) for c in clips])
        driving = np.array([self._pick(c.first_frame, c.frames, closed=None if self.random.random() < 0.3 else False) for c in clips])
        view, colour, move = View(count, self.generator), Colour(count, self.generator), HeadMove(count, self.generator, MOVE_RATE)
        points = grid(self.size, self.size, torch.zeros(1)).reshape(1, -1, 2).expand(count, -1, 2)
        seen = colour(sample(to_tensor(self.corpus.face[source]), view.place(points), self.size))
        shown = colour(sample(to_tensor(self.corpus.face[driving]), view.place(points + move.displacement(points)), self.size))
        unmoved = [view.keypoints(torch.from_numpy(self.values[frames])) for frames in (source, driving)]
        inner = torch.from_numpy(self.inner[driving])
        inner = move.keypoints((inner - view.shift[:, None]) @ torch.linalg.inv(view.matrix).transpose(1, 2))
        inside = torch.from_numpy(np.stack([polygon(p, self.size) for p in inner.numpy()]))[:, None]
        shut = torch.from_numpy(self.opening[source] < CLOSED * 1.5)
        return seen, shown, self._keypoints(unmoved[0]), self._keypoints(move.keypoints(unmoved[1])), inside, shut

    def _pick(self, first: int, frames: int, closed: bool | None) -> int:
        opening = self.opening[first : first + frames]
        wanted = np.arange(frames) if closed is None else np.flatnonzero(opening < CLOSED if closed else opening > OPEN)
        return first + int(self.random.choice(wanted) if len(wanted) else self.random.integers(frames))


def polygon(points: np.ndarray, size: int) -> np.ndarray:
    """A polygon [N, 2] in [-1, 1] as soft mask float32 [S, S]."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(((points + 1) / 2 * size - 0.5) * 16).astype(np.int32)], 1.0, shift=4, lineType=cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (3, 3), 0.8)


def painter_loss(rendered: Rendered, target: Tensor, driving: Tensor, inside: Tensor, shut: Tensor) -> Tensor:
    """Reconstruction about the mouth, inside the lips above all; where a closed mouth opens, painting is to be used."""
    mouth = mouth_weight(driving, target.shape[-1])
    weight = 1 + 4 * mouth + 12 * inside
    unused = (inside * (1 - rendered.alpha) * shut[:, None, None, None]).sum() / (inside.sum() + 1)
    return (
        pyramid_l1(rendered.picture, target, weight)
        + edge_l1(rendered.picture, target, weight)
        + 0.3 * pyramid_l1(rendered.warped, target, 1 + 5 * mouth * (1 - inside))
        + 0.5 * pyramid_l1(rendered.painted, target, 0.1 + 4 * mouth + 12 * inside)
        + 0.5 * edge_l1(rendered.painted, target, 4 * mouth + 12 * inside)
        + 0.05 * unused
    )


@dataclass
class Finishing:
    """Everything that a checkpoint of `painter.pt` holds."""

    model: Generator
    average: Generator
    judge: MouthDiscriminator
    optimiser: torch.optim.Adam
    judging: torch.optim.Adam
    step: int = 0
    spent: float = 0.0

    @classmethod
    def start(cls, out: Path, rate: float) -> "Finishing":
        """From `painter.pt` of the folder, or, where there is none, from `renderer.pt`."""
        model, judge = Generator(GeneratorConfig()), MouthDiscriminator(GeneratorConfig().lip_keypoints)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kept = out / "painter.pt"
        state = torch.load(kept if kept.exists() else out / "renderer.pt", weights_only=True)
        model.load_state_dict(state["model" if kept.exists() else "average"], strict=True)
        made = cls(
            model,
            copy.deepcopy(model).eval(),
            judge,
            torch.optim.Adam(model.parameters(), rate, betas=(0.5, 0.99)),
            torch.optim.Adam(judge.parameters(), 2 * rate, betas=(0.5, 0.99)),
        )
        if kept.exists():
            for name in ("average", "judge", "optimiser", "judging"):
                getattr(made, name).load_state_dict(state[name])
            made.step, made.spent = state["step"], state["spent"]
        return made

    def save(self, path: Path, spent: float) -> None:
        """Write a checkpoint; the one before stays whole until this one is."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "judge", "optimiser", "judging")}
        torch.save(parts | {"step": self.step, "spent": spent}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def pace(self, rate: float, share: float) -> None:
        """Set learning rates for the share of the time that has passed: a short rise, then a cosine."""
        now = rate * min(1.0, (self.step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        self.optimiser.param_groups[0]["lr"], self.judging.param_groups[0]["lr"] = now, 2 * now

    def update(self, pairs: OpeningPairs, batch: int) -> dict[str, float]:
        """One step of the renderer and one of the discriminator; their losses."""
        seen, shown, source, driving, inside, shut = pairs.batch_with_inside(batch)
        rendered = self.model(seen, self.model.encode(seen), source, driving)
        loss = painter_loss(rendered, shown, driving[0], inside, shut)
        lips = driving[0][:, : self.model.config.lip_keypoints]
        (made, there), (real, _) = cut_mouths(rendered.picture, lips), cut_mouths(shown, lips)
        self.judge.requires_grad_(False)
        against = generator_loss(self.judge(real, there), self.judge(made, there))
        share = ADVERSARY * balance(loss, against, self.model.paint.weight) if self.step > HEAD_START else 0.0
        self.optimiser.zero_grad(set_to_none=True)
        (loss + share * against).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.judge.requires_grad_(True)
        judged = discriminator_loss(self.judge(real, there), self.judge(made.detach(), there))
        self.judging.zero_grad(set_to_none=True)
        judged.backward()
        self.judging.step()
        self.step += 1
        follow(self.average, self.model, min(0.997, self.step / (self.step + 20)))
        return {"loss": float(loss.detach()), "against": float(against.detach()), "judged": float(judged.detach()), "share": float(share)}


def balance(loss: Tensor, against: Tensor, weight: Tensor) -> float:
    """The factor by which both losses pull equally at the last layer's weight (Esser et al. 2021), at most 10."""
    first, second = (torch.autograd.grad(x, weight, retain_graph=True)[0].norm() for x in (loss, against))
    return float((first / (second + 1e-6)).clamp(max=10))


def train(cache: Path, out: Path, seconds: float, *, batch: int = 8, rate: float = 4e-4, threads: int = 1, seed: int = 7) -> dict:
    """Go on from `renderer.pt` in `out` for a time and write `painter.pt`, of the same form; goes on from one that is there."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    run = Finishing.start(out, rate)
    pairs = OpeningPairs(Corpus(cache, "train"), run.model.config.size, seed + run.step)
    unseen, held_out = Corpus(cache, "unseen"), Corpus(cache, "validation")
    started = saved = time.monotonic()
    while (now := run.spent + time.monotonic() - started) < seconds:
        run.pace(rate, now / seconds)
        row: dict = run.update(pairs, batch)
        if time.monotonic() - saved > 180:
            saved = time.monotonic()
            run.save(out / "painter.pt", now)
            row |= {"step": run.step, "minutes": round(now / 60, 1), "unseen": gains(run.average, unseen, every=15)}
            row["validation"] = gains(run.average, held_out, every=15, limit=6)
            with (out / "painter.log").open("a") as log:
                log.write(json.dumps(row) + "\n")
    run.save(out / "painter.pt", seconds)
    return {"step": run.step, "unseen": gains(run.average, unseen), "validation": gains(run.average, held_out)}
