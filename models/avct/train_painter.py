"""Finish the renderer's painting: closed mouths that open, seen mostly inside the lips. The dense motion stands still meanwhile.

Most pairs of frames ask little of the painter, so it learns teeth and the dark between them late. Here sources are mostly closed
mouths, driving frames mostly open ones, and the inside of the driving lips (a polygon of landmarks) weighs most.
"""

import copy
import json
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models.avct import keypoints as kp
from models.avct.augment import Colour, HeadMove, View, mouth_weight, sample, to_tensor
from models.avct.dense_motion import grid
from models.avct.generator import Generator, GeneratorConfig, Rendered
from models.avct.train_renderer import MOVE_RATE, Pairs, edge_l1, gains, pyramid_l1
from models.corpus import Corpus

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
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
    weight = 0.5 + 4 * mouth + 16 * inside
    unused = (inside * (1 - rendered.alpha) * shut[:, None, None, None]).sum() / (inside.sum() + 1)
    return (
        pyramid_l1(rendered.picture, target, weight)
        + edge_l1(rendered.picture, target, weight)
        + 0.7 * pyramid_l1(rendered.painted, target, 0.1 + 4 * mouth + 16 * inside)
        + 0.7 * edge_l1(rendered.painted, target, 4 * mouth + 16 * inside)
        + 0.05 * unused
    )


def train(cache: Path, out: Path, seconds: float, *, batch: int = 8, rate: float = 1e-3, threads: int = 1, seed: int = 7) -> dict:
    """Go on from `renderer.pt` in `out` for a time and write `painter.pt`, of the same form; dense motion is not changed."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = Generator(GeneratorConfig())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(torch.load(out / "renderer.pt", weights_only=True)["average"])
    average = copy.deepcopy(model).eval()
    model.motion.requires_grad_(False)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate, betas=(0.8, 0.99))
    pairs = OpeningPairs(Corpus(cache, "train"), model.config.size, seed)
    unseen, held_out = Corpus(cache, "unseen"), Corpus(cache, "validation")
    started = saved = time.monotonic()
    step = 0
    while (now := time.monotonic() - started) < seconds:
        model.motion.eval()
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * now / seconds)))
        seen, shown, source, driving, inside, shut = pairs.batch_with_inside(batch)
        loss = painter_loss(model(seen, model.encode(seen), source, driving), shown, driving[0], inside, shut)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.995, step / (step + 20))
        with torch.no_grad():
            for slow, fast in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                slow.copy_(torch.lerp(slow, fast, 1 - decay) if slow.is_floating_point() else fast)
        if time.monotonic() - saved > 150:
            saved = time.monotonic()
            row = {"step": step, "minutes": round(now / 60, 1), "loss": round(float(loss.detach()), 4), "unseen": gains(average, unseen, every=15)}
            row["validation"] = gains(average, held_out, every=15, limit=6)
            torch.save({"model": model.state_dict(), "average": average.state_dict(), "step": step}, out / "painter.pt")
            with (out / "painter.log").open("a") as log:
                log.write(json.dumps(row) + "\n")
    torch.save({"model": model.state_dict(), "average": average.state_dict(), "step": step}, out / "painter.pt")
    return {"step": step, "unseen": gains(average, unseen), "validation": gains(average, held_out)}
