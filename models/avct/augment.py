"""Pairs of frames for the renderer, changed so that one still-headed speaker teaches faces and poses never seen.

Appearance: colour matrices, curves and lighting shared by both frames of a pair. Geometry: one affine view shared by both, and
for the driving frame a movement of the head alone that fades to nothing at the border, as it does at work.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.avct.dense_motion import grid
from models.avct.keypoints import MIRROR
from models.corpus import MARGIN


def affine(angle: Tensor, zoom: Tensor, stretch: Tensor, shear: Tensor) -> Tensor:
    """2x2 matrices [B, 2, 2]: rotation (rad), zoom, ratio of width to height, shear."""
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    one = torch.ones_like(zoom)
    form = torch.stack([torch.stack([zoom * stretch, shear], -1), torch.stack([0 * one, zoom / stretch], -1)], -2)
    return turn @ form


def uniform(generator: torch.Generator, count: int, reach: float) -> Tensor:
    """`count` values in [-reach, reach]."""
    return (torch.rand(count, generator=generator) * 2 - 1) * reach


def head_mask(points: Tensor) -> Tensor:
    """How much of the head's own movement a point [..., 2] of the square takes part in: 1 about the head, less in the corners."""
    radius = (points + torch.tensor([0.0, 0.05])).norm(dim=-1)
    ramp = ((1.2 - radius) / 0.32).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


class View:
    """A random view of a batch of frames: z in the output square looks at `place(z)` in the clip's square."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        self.matrix = affine(
            uniform(generator, count, 0.2),
            torch.exp(uniform(generator, count, 0.12)),
            torch.exp(uniform(generator, count, 0.1)),
            uniform(generator, count, 0.08),
        )
        self.matrix = self.matrix * torch.stack([flip, torch.ones(count)], -1)[:, None, :]
        self.shift = torch.stack([uniform(generator, count, 0.08), uniform(generator, count, 0.08)], -1)
        self.flipped = flip < 0

    def place(self, points: Tensor) -> Tensor:
        """Output points [B, N, 2] to points of the clip's square."""
        return points @ self.matrix.transpose(1, 2) + self.shift[:, None]

    def keypoints(self, values: Tensor) -> Tensor:
        """The clip's keypoints [B, K, 2] as this view shows them, sides named anew when mirrored."""
        values = (values - self.shift[:, None]) @ torch.linalg.inv(self.matrix).transpose(1, 2)
        return torch.where(self.flipped[:, None, None], values[:, list(MIRROR)], values)


class HeadMove:
    """A movement of the head within the square: z looks at z + mask(z) ((A - I)(z - c) + t)."""

    def __init__(self, count: int, generator: torch.Generator, rate: float) -> None:
        active = (torch.rand(count, generator=generator) < rate).float()
        self.matrix = affine(
            uniform(generator, count, 0.12) * active,
            torch.exp(uniform(generator, count, 0.06) * active),
            torch.exp(uniform(generator, count, 0.05) * active),
            uniform(generator, count, 0.06) * active,
        )
        self.shift = torch.stack([uniform(generator, count, 0.07), uniform(generator, count, 0.05)], -1) * active[:, None]
        self.centre = torch.tensor([0.0, 0.5])

    def displacement(self, points: Tensor) -> Tensor:
        """What is added to points [B, N, 2]."""
        turned = (points - self.centre) @ (self.matrix - torch.eye(2)).transpose(1, 2) + self.shift[:, None]
        return turned * head_mask(points)[..., None]

    def keypoints(self, values: Tensor) -> Tensor:
        """Where points [B, K, 2] of the unmoved view land: z + displacement(z) = value, solved by fixed point."""
        landed = values
        for _ in range(8):
            landed = values - self.displacement(landed)
        return landed


def sample(frames: Tensor, points: Tensor, size: int) -> Tensor:
    """Look up cached frames [B, 3, 160, 160] at points [B, size*size, 2] of their clips' squares."""
    looked = (points / MARGIN).reshape(len(frames), size, size, 2)
    return F.grid_sample(frames, looked, mode="bilinear", padding_mode="border", align_corners=False)


class Colour:
    """A random appearance shared by both frames of each pair: colour matrix, curve, lighting ramp, blur."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        strength = torch.rand(count, 1, 1, generator=generator)
        mix = torch.eye(3) + (torch.rand(count, 3, 3, generator=generator) - 0.5) * 0.7 * strength
        grey = (torch.rand(count, 1, 1, generator=generator) < 0.15).float()
        self.matrix = mix / mix.sum(-1, keepdim=True) * (1 - grey) + grey / 3
        self.gamma = torch.exp(uniform(generator, count, 0.6))[:, None, None, None]
        self.gain = torch.exp(uniform(generator, count, 0.35))[:, None, None, None]
        self.bias = uniform(generator, count, 0.12)[:, None, None, None]
        slope = torch.stack([uniform(generator, count, 0.3), uniform(generator, count, 0.3)], -1)
        self.slope = slope[:, None, None, :]
        self.blur = torch.rand(count, generator=generator) < 0.2

    def __call__(self, pictures: Tensor) -> Tensor:
        """Change pictures [B, 3, S, S] in [0, 1]."""
        out = torch.einsum("bij,bjhw->bihw", self.matrix, pictures).clamp(1e-3, 1).pow(self.gamma)
        ramp = (grid(out.shape[-2], out.shape[-1], out)[None] * self.slope).sum(-1)[:, None]
        out = ((out - 0.5) * self.gain + 0.5 + self.bias) * (1 + ramp)
        soft = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return torch.where(self.blur[:, None, None, None], soft, out).clamp(0, 1)


def to_tensor(frames: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0


def mouth_weight(values: Tensor, size: int) -> Tensor:
    """Where errors count more, [B, 1, S, S]: a bump over the mouth of keypoints [B, K, 2], 0 to 1."""
    centre = values[:, :10].mean(1)[:, None, None]
    reach = (values[:, 1] - values[:, 0]).norm(dim=-1)[:, None, None] * 0.75
    away = grid(size, size, values)[None] - centre
    return torch.exp(-0.5 * (away.square().sum(-1) / reach.square()).pow(2))[:, None]
