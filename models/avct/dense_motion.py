"""Dense motion: from source and driving keypoints to masks over sparse motions, and an occlusion map (FOMM, Siarohin et al. 2019,
eq. 4 to 8). What the masks weigh becomes a flow where a feature is warped (kernels/dense_warp).

B batch, K keypoints, h w size of the motion grid.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.geometry import affine_maps, bumps, grid, heatmaps
from kernels.sparse_motion import sparse_motion
from models.avct.layers import Hourglass

__all__ = ["DenseMotion", "Moves", "bumps", "grid", "heatmaps"]


class Moves(NamedTuple):
    """Mask logits [B, K+1, h, w] over sparse motions [B, K+1, 6] (six numbers each), and the occlusion map [B, 1, h, w] in [0, 1]."""

    masks: Tensor
    maps: Tensor
    occlusion: Tensor


class DenseMotion(nn.Module):
    """Masks over K+1 sparse motions and the occlusion map."""

    def __init__(self, keypoints: int, base: int, blocks: int, most: int, variance: float = 0.01) -> None:
        super().__init__()
        self.variance = variance
        self.hourglass = Hourglass((keypoints + 1) * 2, base, blocks, most)
        self.mask = nn.Conv2d(self.hourglass.channels, keypoints + 1, 3, padding=1)
        self.occlusion = nn.Conv2d(self.hourglass.channels, 1, 3, padding=1)

    def forward(self, small: Tensor, source: tuple[Tensor, Tensor], driving: tuple[Tensor, Tensor]) -> Moves:
        """What moves where.

        small: the source at motion size [B, 3, h, w]; source, driving: keypoints [B, K, 2] and Jacobians [B, K, 2, 2].
        """
        maps = affine_maps(source[0], driving[0], source[1], driving[1])
        entered = sparse_motion(small.mean(1, keepdim=True), source[0], driving[0], maps, variance=self.variance)
        feature = self.hourglass(entered)
        return Moves(self.mask(feature), maps, torch.sigmoid(self.occlusion(feature)))
