"""The published dense motion and renderer (FOMM's, which AVCT uses unchanged): 45,575,391 parameters at 256 px.

What depends on the source picture alone (`encode`) is computed once a clip; the published loop computes it every frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.dense_warp import dense_warp
from kernels.geometry import affine_maps
from kernels.sparse_motion import sparse_motion
from models.avct.dense_motion import Moves
from models.avct.paper.blocks import AntiAliased, ConvNorm, Hourglass, Residual
from models.avct.paper.keypoints import KEYPOINTS, Keypoints

VARIANCE = 0.01  # of the heat maps


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

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> Moves:
        """small: the source at quarter size, [B or 1, 3, 64, 64]; keypoints of both, [B, ...]."""
        maps = affine_maps(source.values, driving.values, source.jacobians, driving.jacobians)
        entered = sparse_motion(
            small, source.values, driving.values, maps,
            variance=VARIANCE, corners=True, align_corners=self.align_corners, interleaved=True,
        )  # fmt: skip
        feature = self.hourglass(entered)
        return Moves(self.mask(feature), maps, torch.sigmoid(self.occlusion(feature)))


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

    def motion(self, encoded: Source, source: Keypoints, driving: Keypoints) -> Moves:
        """What moves where for driving keypoints [B, ...]; the source's may be those of one picture."""
        source = Keypoints(source.values.expand_as(driving.values), source.jacobians.expand_as(driving.jacobians))
        return self.dense_motion_network(encoded.small, source, driving)

    def render(self, encoded: Source, moves: Moves) -> tuple[Tensor, DenseFlow]:
        """Frames [B, 3, 256, 256] in [0, 1], and the dense motion that they show."""
        feature, flow = dense_warp(encoded.feature, *moves, corners=True, align_corners=self.align_corners)
        feature = self.bottleneck(feature)
        for block in self.up_blocks:
            feature = block(feature)
        return torch.sigmoid(self.final(feature)), DenseFlow(flow, moves.occlusion)

    def forward(self, picture: Tensor, source: Keypoints, driving: Keypoints) -> tuple[Tensor, DenseFlow]:
        """Frames and their motion from source pictures [B, 3, 256, 256]."""
        encoded = self.encode(picture)
        return self.render(encoded, self.motion(encoded, source, driving))
