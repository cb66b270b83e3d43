"""The renderer: source features warped by the dense motion, decoded, and composed over the warped picture.

FOMM's generator paints every pixel. Here, as DESIGN.md's decision 5 asks, the warped picture is kept wherever the warp knows,
and generated pixels are blended in by a learned alpha where it cannot know: inside of the mouth, uncovered skin.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.dense_warp import dense_warp
from kernels.warp import warp
from models.avct.dense_motion import DenseMotion, bumps, grid, heatmaps
from models.avct.layers import Residual, conv_unit


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of the dense motion network and the renderer."""

    size: int = 128  # pixels a side of the picture that the networks see
    keypoints: int = 24
    motion_base: int = 40
    motion_blocks: int = 4
    motion_most: int = 128
    widths: tuple[int, int, int] = (16, 40, 80)
    residuals: int = 2
    refinements: tuple[int, int] = (2, 1)  # residual blocks after the steps up to half and to full size
    lip_keypoints: int = 10
    lip_variance: float = 0.002
    stillness: float = 0.012  # movement of keypoints, in half sides of the square, below which nothing is painted


class Source(NamedTuple):
    """What a portrait gives once for all its frames: features at full, half and quarter size, and the half-size picture."""

    full: Tensor
    half: Tensor
    quarter: Tensor
    small: Tensor


class Rendered(NamedTuple):
    """One forward pass: the composed picture, its parts, and the motion."""

    picture: Tensor  # [B, 3, S, S] in [0, 1]
    painted: Tensor  # [B, 3, S, S] generated pixels
    alpha: Tensor  # [B, 1, S, S] how much of them is used
    warped: Tensor  # [B, 3, S, S] the source moved by the flow
    flow: Tensor  # [B, S/2, S/2, 2]


class Generator(nn.Module):
    """Dense motion and renderer of one preset."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        low, middle, high = config.widths
        self.enter = conv_unit(3, low, 5)
        self.down_half = conv_unit(low, middle, 3, 2)
        self.down_quarter = conv_unit(middle, high, 3, 2)
        self.motion = DenseMotion(config.keypoints, config.motion_base, config.motion_blocks, config.motion_most)
        lips = config.lip_keypoints
        self.fuse = conv_unit(high + lips, high)
        self.residuals = nn.Sequential(*(Residual(high) for _ in range(config.residuals)))
        self.squeeze_half = conv_unit(high, middle, 1)
        self.up_half = conv_unit(2 * middle + lips, middle)
        self.refine_half = nn.Sequential(*(Residual(middle) for _ in range(config.refinements[0])))
        self.squeeze_full = conv_unit(middle, low, 1)
        self.up_full = conv_unit(2 * low, low)
        self.refine_full = nn.Sequential(*(Residual(low) for _ in range(config.refinements[1])))
        self.paint = nn.Conv2d(low, 4, 3, padding=1)

    def encode(self, picture: Tensor) -> Source:
        """Features of the source picture [B, 3, S, S] in [0, 1]; constant over a clip."""
        full = self.enter(picture)
        half = self.down_half(full)
        return Source(full, half, self.down_quarter(half), F.avg_pool2d(picture, 2))

    def forward(self, picture: Tensor, encoded: Source, source: tuple[Tensor, Tensor], driving: tuple[Tensor, Tensor]) -> Rendered:
        """Move the source to the driving keypoints. All tensors share the batch size."""
        size = self.config.size
        masks, maps, occlusion = self.motion(encoded.small, source, driving)
        lips = driving[0][:, : self.config.lip_keypoints]
        half, flow = dense_warp(encoded.half, masks, maps, occlusion)  # the motion's own size
        feature = warp(encoded.quarter, _resize_flow(flow, size // 4), F.avg_pool2d(occlusion, 2))
        feature = self.fuse(torch.cat([feature, heatmaps(lips, size // 4, size // 4, self.config.lip_variance * 2)], 1))
        feature = F.interpolate(self.squeeze_half(self.residuals(feature)), scale_factor=2, mode="nearest")
        shape = heatmaps(lips, size // 2, size // 2, self.config.lip_variance)
        feature = self.squeeze_full(self.refine_half(self.up_half(torch.cat([feature, half, shape], 1))))
        feature = F.interpolate(feature, scale_factor=2, mode="nearest")
        both = warp(torch.cat([encoded.full, picture], 1), _resize_flow(flow, size))
        made = self.paint(self.refine_full(self.up_full(torch.cat([feature, both[:, :-3]], 1))))
        painted, warped = torch.sigmoid(made[:, :3]), both[:, -3:]
        alpha = torch.sigmoid(made[:, 3:] + 5.0 * self.mouth_prior(lips, size) - 3.5)
        alpha = alpha * F.interpolate(self.moved(source[0], driving[0], size // 2), scale_factor=2, mode="bilinear")
        return Rendered(warped + alpha * (painted - warped), painted, alpha, warped, flow)

    @staticmethod
    def mouth_prior(lips: Tensor, size: int) -> Tensor:
        """A bump about the lips' keypoints [B, L, 2] as [B, 1, S, S]: where painting is to be expected, before anything is learned."""
        centre = lips.mean(1)
        reach = (lips[:, 1] - lips[:, 0]).norm(dim=-1) * 0.6
        away = (grid(size, size, lips)[None] - centre[:, None, None]).square().sum(-1)
        return torch.exp(-0.5 * (away / reach.square()[:, None, None]).square())[:, None]

    def moved(self, source: Tensor, driving: Tensor, size: int) -> Tensor:
        """How far keypoints [B, K, 2] near each place moved, as a gate [B, 1, S, S] from 0 (not at all) to 1: what has not moved
        the warp knows, and nothing is painted there.
        """
        across, down = bumps(driving[..., 0], size, 0.03), bumps(driving[..., 1], size, 0.03)
        weight = (driving - source).square().sum(-1)
        total = torch.einsum("bkh,bkw->bhw", down * weight[..., None], across)
        return (1 - torch.exp(total * (-1.0 / self.config.stillness**2)))[:, None]


def _resize_flow(flow: Tensor, size: int) -> Tensor:
    return F.interpolate(flow.permute(0, 3, 1, 2), size=(size, size), mode="bilinear").permute(0, 2, 3, 1)
