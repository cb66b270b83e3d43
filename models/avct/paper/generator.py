"""The published dense motion and renderer (FOMM's, which AVCT uses unchanged): 45,575,391 parameters at 256 px.

What depends on the source picture alone (`encode`) is computed once a clip; the published loop computes it every frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.warp import warp
from models.avct.dense_motion import relative_affine
from models.avct.paper.blocks import AntiAliased, ConvNorm, Hourglass, Residual, corner_grid
from models.avct.paper.keypoints import KEYPOINTS, Keypoints

VARIANCE = 0.01


class Source(NamedTuple):
    """What a source picture gives once for all its frames."""

    small: Tensor  # [1, 3, 64, 64]
    feature: Tensor  # [1, 256, 64, 64]


class DenseFlow(NamedTuple):
    """Where each place of a frame lies in the source [B, 64, 64, 2], and how much of it is seen there [B, 1, 64, 64]."""

    flow: Tensor
    occlusion: Tensor


class DenseMotion(nn.Module):
    """Masks over eleven sparse motions, and occlusion."""

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.hourglass = Hourglass((KEYPOINTS + 1) * 4, 64)
        self.mask = nn.Conv2d(self.hourglass.channels, KEYPOINTS + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.channels, 1, 7, padding=3)
        self.down = AntiAliased(3)

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> DenseFlow:
        """small: the source at quarter size, [B or 1, 3, 64, 64]; keypoints of both, [B, ...]."""
        height, width = small.shape[-2:]
        entered = sparse_input(small, source, driving, align_corners=self.align_corners)
        feature = self.hourglass(entered)
        motions = sparse_motions(source, driving, height, width)
        masks = torch.softmax(self.mask(feature), dim=1)
        return DenseFlow(torch.einsum("bkhw,bkhwc->bhwc", masks, motions), torch.sigmoid(self.occlusion(feature)))


def sparse_motions(source: Keypoints, driving: Keypoints, height: int, width: int) -> Tensor:
    """T_k(z) = kp_s,k + J_s,k J_d,k^-1 (z - kp_d,k), the background's identity first: [B, K+1, h, w, 2]."""
    here = corner_grid(height, width, source.values)
    affine = relative_affine(source.jacobians, driving.jacobians)
    away = here[None, None] - driving.values[:, :, None, None]
    moved = torch.einsum("bkij,bkhwj->bkhwi", affine, away) + source.values[:, :, None, None]
    return torch.cat([here.expand(len(moved), 1, height, width, 2), moved], dim=1)


def sparse_input(small: Tensor, source: Keypoints, driving: Keypoints, *, align_corners: bool) -> Tensor:
    """The hourglass's input [B, 4 (K+1), h, w]: for the background and each keypoint, the difference of heat maps, then the source
    moved its way.
    """
    height, width = small.shape[-2:]
    motions = sparse_motions(source, driving, height, width)
    batch, count = motions.shape[:2]
    shift = heatmap(driving.values, height, width) - heatmap(source.values, height, width)
    shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], dim=1)[:, :, None]
    pictures = small.expand(batch, -1, -1, -1).repeat_interleave(count, dim=0) if len(small) > 1 else small.expand(batch * count, -1, -1, -1)
    moved = F.grid_sample(pictures, motions.flatten(0, 1), align_corners=align_corners).reshape(batch, count, 3, height, width)
    return torch.cat([shift, moved], dim=2).flatten(1, 2)


def heatmap(values: Tensor, height: int, width: int) -> Tensor:
    """Gaussians of variance 0.01 about keypoints [B, K, 2] as [B, K, h, w], on the corner-aligned grid."""
    away = corner_grid(height, width, values)[None, None] - values[:, :, None, None]
    return torch.exp(-0.5 * away.square().sum(-1) / VARIANCE)


class Generator(nn.Module):
    """The renderer with its dense motion."""

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.dense_motion_network = DenseMotion(align_corners=align_corners)
        self.first = ConvNorm(3, 64, 7)
        self.down_blocks = nn.ModuleList([ConvNorm(64, 128, shrink=True), ConvNorm(128, 256, shrink=True)])
        self.bottleneck = nn.Sequential()
        for number in range(6):
            self.bottleneck.add_module(f"r{number}", Residual(256))
        self.up_blocks = nn.ModuleList([ConvNorm(256, 128, grow=True), ConvNorm(128, 64, grow=True)])
        self.final = nn.Conv2d(64, 3, 7, padding=3)

    def encode(self, picture: Tensor) -> Source:
        """Source pictures [B, 3, 256, 256] in [0, 1]; B may be 1 for many frames."""
        feature = self.first(picture)
        for block in self.down_blocks:
            feature = block(feature)
        return Source(self.dense_motion_network.down(picture), feature)

    def motion(self, encoded: Source, source: Keypoints, driving: Keypoints) -> DenseFlow:
        """Dense motion of driving keypoints [B, ...]; the source's may be those of one picture."""
        source = Keypoints(source.values.expand_as(driving.values), source.jacobians.expand_as(driving.jacobians))
        return self.dense_motion_network(encoded.small, source, driving)

    def render(self, encoded: Source, motion: DenseFlow) -> Tensor:
        """Frames [B, 3, 256, 256] in [0, 1]."""
        feature = encoded.feature.expand(len(motion.flow), -1, -1, -1)
        feature = self.bottleneck(warp(feature, motion.flow, motion.occlusion, align_corners=self.align_corners))
        for block in self.up_blocks:
            feature = block(feature)
        return torch.sigmoid(self.final(feature))

    def forward(self, picture: Tensor, source: Keypoints, driving: Keypoints) -> tuple[Tensor, DenseFlow]:
        """Frames and their motion from source pictures [B, 3, 256, 256]."""
        encoded = self.encode(picture)
        motion = self.motion(encoded, source, driving)
        return self.render(encoded, motion), motion
