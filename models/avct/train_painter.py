"""Finish the renderer: closed mouths that open, seen mostly inside the lips, against a discriminator of mouths.

Most pairs of frames ask little of the painter, so it learns teeth and the dark between them late. Here sources are mostly closed
mouths, driving frames mostly open ones, and the inside of the driving lips (a polygon of landmarks) weighs most. Reconstruction
alone paints the mean of all mouths that could be meant, which is grey and soft; the discriminator makes it choose one.
"""

import copy
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.avct import keypoints as kp
from models.avct.augment import Colour, HeadMove, View, mouth_weight, sample, to_tensor
from models.avct.dense_motion import grid
from models.avct.discriminator import MouthDiscriminator, cut_mouths, discriminator_loss, generator_loss
from models.avct.generator import Generator, GeneratorConfig, Rendered
from models.avct.train_renderer import MOVE_RATE, Pairs, check_gains, edge_l1, pyramid_l1
from models.corpus import Corpus
from models.training.part import Options, Part, cosine, follow, set_rate
from models.training.ranks import Ranks

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


def balance(loss: Tensor, against: Tensor, weight: Tensor) -> float:
    """The factor by which both losses pull equally at the last layer's weight (Esser et al. 2021), at most 10."""
    first, second = (torch.autograd.grad(x, weight, retain_graph=True)[0].norm() for x in (loss, against))
    return float((first / (second + 1e-6)).clamp(max=10))


class PaintLoss(nn.Module):
    """What the renderer pays: reconstruction, and the judge's verdict on its mouths. The judge itself is not trained here."""

    def __init__(self, model: Generator, judge: MouthDiscriminator) -> None:
        super().__init__()
        self.model = model
        self.judge = (judge,)  # in a tuple: its parameters are not this module's

    def forward(
        self, heard: bool, seen: Tensor, shown: Tensor, inside: Tensor, shut: Tensor, *keypoints: Tensor
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Terms, and what the judge is to see: filmed mouths, painted ones, lips. heard: whether the judge counts yet."""
        (judge,) = self.judge
        rendered = self.model(seen, self.model.encode(seen), keypoints[:2], keypoints[2:])
        loss = painter_loss(rendered, shown, keypoints[2], inside, shut)
        lips = keypoints[2][:, : self.model.config.lip_keypoints]
        (made, there), (real, _) = cut_mouths(rendered.picture, lips), cut_mouths(shown, lips)
        judge.requires_grad_(False)
        against = generator_loss(judge(real, there), judge(made, there))
        share = ADVERSARY * balance(loss, against, self.model.paint.weight) if heard else 0.0
        return {"painted": loss, "against": share * against}, (real, made.detach(), there)


class JudgeLoss(nn.Module):
    """What the judge pays for its verdicts."""

    def __init__(self, judge: MouthDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, real: Tensor, made: Tensor, lips: Tensor) -> Tensor:
        """Filmed and painted mouths [B, 3, 48, 48] with the lips' places."""
        return discriminator_loss(self.judge(real, lips), self.judge(made, lips))


class Painter(Part):
    """The part `painter` of the compact preset: goes on from `renderer` and writes a checkpoint of the same form."""

    name, clip, rate = "painter", 1.0, 4e-4

    def __init__(self, options: Options) -> None:
        super().__init__(replace(options, start=options.start or options.out / "renderer.pt"), batch=8)
        self.model, self.judge = Generator(GeneratorConfig()), MouthDiscriminator(GeneratorConfig().lip_keypoints)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval()
        self.networks = {"model": self.model, "average": self.average, "judge": self.judge}
        self.optimisers = {
            "optimiser": torch.optim.Adam(self.model.parameters(), self.rate, betas=(0.5, 0.99)),
            "judging": torch.optim.Adam(self.judge.parameters(), 2 * self.rate, betas=(0.5, 0.99)),
        }
        self.loss: nn.Module = PaintLoss(self.model, self.judge)
        self.judged: nn.Module = JudgeLoss(self.judge)
        self.pairs = OpeningPairs(Corpus(options.cache, "train"), self.model.config.size, options.seed)

    def begin(self, states: dict[str, Any]) -> None:
        """From a renderer's average."""
        for network in (self.model, self.average):
            network.load_state_dict(states["average"])

    def spread(self, ranks: Ranks) -> None:
        """Both losses have processes in common."""
        super().spread(ranks)
        self.judged = ranks.spread(self.judged)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Pairs of frames, the inside of the lips, whether the source is closed, keypoints."""
        self.pairs.seed(seed)
        seen, shown, source, driving, inside, shut = self.pairs.batch_with_inside(ranks.share(self.batch))
        return seen, shown, inside, shut, *source, *driving

    def pace(self, portion: float) -> None:
        """A short rise, then a cosine; the judge learns twice as fast."""
        rate = self.rate * cosine(self.step, portion, 50, 0.02)
        set_rate(self.optimisers["optimiser"], rate)
        set_rate(self.optimisers["judging"], 2 * rate)

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """One step of the renderer and one of the judge; their losses."""
        terms, shown = self.loss(self.step > HEAD_START, *batch)
        total = terms["painted"] + terms["against"]
        self.optimisers["optimiser"].zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimisers["optimiser"].step()
        self.judge.requires_grad_(True)
        judged = self.judged(*shown)
        self.optimisers["judging"].zero_grad(set_to_none=True)
        judged.backward()
        self.optimisers["judging"].step()
        self.step += 1
        follow(self.average, self.model, min(0.997, self.step / (self.step + 20)))
        return {"loss": float(total.detach()), "judged": float(judged.detach())} | {name: float(term.detach()) for name, term in terms.items()}

    def check(self) -> dict[str, Any]:
        """The average's gains on people it never saw and on the speaker's held-out clips."""
        return check_gains(self.average, self.options.cache)
