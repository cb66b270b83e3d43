"""Train keypoint detector, dense motion and generator of the preset `paper` together, self-supervised: one frame of a clip drives another."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infra.errors import InputError
from models.avct.augment import to_tensor
from models.avct.paper import schedule
from models.avct.paper.clips import Order, SquareClips
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector
from models.avct.paper.losses import Deformation, Reconstruction, Vgg19, equivariance
from models.avct.paper.schedule import Epochs, FommTraining
from models.training.part import Options, Part, at_rest, set_rate
from models.training.ranks import Ranks

SCHEDULES = {"avct": schedule.avct, "fomm": schedule.fomm}
JITTER = 0.1  # of brightness, contrast and saturation, the same in both frames of a pair
CHECKED = 8  # held-out clips that are looked at


class FommLoss(nn.Module):
    """Reconstruction of the driving frame from the source, and equivariance of its keypoints."""

    def __init__(self, detector: KeypointDetector, generator: Generator, config: FommTraining, vgg: Vgg19 | None) -> None:
        super().__init__()
        self.detector, self.generator, self.config = detector, generator, config
        self.reconstruction = Reconstruction(config, vgg)

    def forward(self, source: Tensor, driving: Tensor, affine: Tensor, bends: Tensor) -> dict[str, Tensor]:
        """Frames [B, 3, S, S] of the same clips, and a deformation for each."""
        (at_source, _), (at_driving, _) = self.detector(source), self.detector(driving)
        made, _ = self.generator(source, at_source, at_driving)
        deformation = Deformation(affine, bends)
        moved, _ = self.detector(deformation.pictures(driving, align_corners=self.config.align_corners))
        value, jacobian = equivariance(at_driving, moved, deformation)
        return {
            "reconstruction": self.reconstruction(made, driving),
            "equivariance_value": self.config.equivariance_value * value,
            "equivariance_jacobian": self.config.equivariance_jacobian * jacobian,
        }


class Fomm(Part):
    """The part `fomm` of the preset `paper`.

    The published code has a third optimiser, the discriminator's, which has nothing to do at the published GAN weight of 0; it is
    left out.
    """

    name = "paper-fomm"

    def __init__(self, options: Options, config: FommTraining | None = None) -> None:
        self.config = config or _schedule(options.schedule)
        super().__init__(options, batch=self.config.batch)
        self.clips = SquareClips(options.cache, "train", self.config.size)
        self.order = Order(len(self.clips), self.config.repeats, options.seed)
        self.epochs = Epochs(
            items=self.order.items, batch=self.batch, epochs=self.config.epochs, rate=self.config.rate, milestones=self.config.milestones
        )
        self.length = self.epochs.steps
        self.detector, self.generator = KeypointDetector(), Generator(align_corners=self.config.align_corners)
        self.networks = {"detector": self.detector, "generator": self.generator}
        self.optimisers = {
            f"optimiser_{name}": torch.optim.Adam(network.parameters(), self.config.rate, betas=self.config.betas)
            for name, network in self.networks.items()
        }
        vgg = Vgg19.load(options.perceptual) if options.perceptual else None
        if vgg is None:
            logging.getLogger(__name__).warning("no weights of VGG-19 are given (--perceptual): an L1 of pixels stands in for the perceptual loss")
        self.loss: nn.Module = FommLoss(self.detector, self.generator, self.config, vgg)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Two frames of each clip, mirrored and coloured alike, and a deformation for each."""
        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        clips = self.order.of(self.step, ranks.share(self.batch), ranks.rank, ranks.size)
        pairs = np.stack([self._pair(clip, random) for clip in clips])  # [B, 2, S, S, 3]
        both = jitter(to_tensor(pairs.reshape(-1, *pairs.shape[2:])), random, len(clips))
        count, points = len(clips), self.config.bend_points**2
        affine = torch.eye(2, 3) + torch.randn(count, 2, 3, generator=generator) * self.config.affine_spread
        bends = torch.randn(count, points, generator=generator) * self.config.bend_spread
        return both[0::2], both[1::2], affine, bends

    def _pair(self, clip: int, random: np.random.Generator) -> np.ndarray:
        pair = self.clips.pictures(clip, random.choice(self.clips.frames(clip), 2, replace=self.clips.frames(clip) < 2))
        return pair[:, :, ::-1] if random.random() < 0.5 else pair

    def pace(self, portion: float) -> None:
        """The schedule's rate at this step, whatever the budget."""
        for optimiser in self.optimisers.values():
            set_rate(optimiser, self.epochs.rate_at(self.step))

    def check(self) -> dict[str, Any]:
        """Gain in PSNR over holding the first frame, mean over held-out clips: each one's first frame driven by a later one."""
        clips = SquareClips(self.options.cache, "validation", self.config.size)
        if not len(clips):
            return {}
        device = next(self.generator.parameters()).device
        gains = []
        with at_rest(self.detector, self.generator):
            for clip in range(min(CHECKED, len(clips))):
                first, later = to_tensor(clips.pictures(clip, np.array([0, clips.frames(clip) * 2 // 3]))).to(device).split(1)
                made, _ = self.generator(first, self.detector(first)[0], self.detector(later)[0])
                gains.append(10 * torch.log10((first - later).square().mean() / (made - later).square().mean()))
        return {"psnr_gain_db": float(torch.stack(gains).mean())}


def _schedule(name: str) -> FommTraining:
    if (name or "avct") not in SCHEDULES:
        raise InputError(f"there is no schedule {name!r}", code="training.schedule", next_step=f"Known are {' and '.join(SCHEDULES)}.")
    return SCHEDULES[name or "avct"]()


def jitter(pictures: Tensor, random: np.random.Generator, pairs: int) -> Tensor:
    """Pairs of pictures [2 pairs, 3, S, S] in [0, 1] in another light: brightness, contrast and saturation within a tenth."""
    factors = torch.from_numpy(random.uniform(1 - JITTER, 1 + JITTER, (3, pairs)).astype(np.float32).repeat(2, axis=1))
    light, contrast, colour = factors[..., None, None, None]
    pictures = pictures * light
    pictures = pictures.mean((1, 2, 3), keepdim=True).lerp(pictures, contrast)
    return pictures.mean(1, keepdim=True).lerp(pictures, colour).clamp(0, 1)
