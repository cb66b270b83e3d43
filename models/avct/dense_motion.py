"""Dense motion: from source and driving keypoints to a flow and an occlusion map (FOMM, Siarohin et al. 2019, eq. 4 to 8).

B batch, K keypoints, h w size of the motion grid.
"""

import torch
from torch import Tensor, nn

from kernels.motion import dense_flow
from kernels.warp import warp
from models.avct.layers import Hourglass


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel centres of a height x width picture in [-1, 1], as [h, w, 2] (x, y), with pixel edges at +-1."""
    ys = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    xs = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)


def heatmaps(values: Tensor, height: int, width: int, variance: float) -> Tensor:
    """Gaussians about keypoints [B, K, 2] as [B, K, h, w], peak 1."""
    across = bumps(values[..., 0], width, variance)
    return bumps(values[..., 1], height, variance)[..., :, None] * across[..., None, :]


def bumps(centres: Tensor, size: int, variance: float) -> Tensor:
    """Gaussians about `centres` [...] along one axis of `size` pixels, [..., size], peak 1."""
    places = (torch.arange(size, dtype=centres.dtype, device=centres.device) * 2 + 1) / size - 1
    return torch.exp((places - centres[..., None]).square() * (-0.5 / variance))


def relative_affine(source: Tensor, driving: Tensor) -> Tensor:
    """J_s J_d^-1 of Jacobians [B, K, 2, 2] each."""
    (a, b), (c, d) = driving[..., 0, :].unbind(-1), driving[..., 1, :].unbind(-1)
    scale = 1.0 / (a * d - b * c)
    inverse = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) * scale[..., None, None]
    return source @ inverse


def sparse_motions(source: Tensor, driving: Tensor, affine: Tensor, height: int, width: int) -> Tensor:
    """T_k(z) = kp_s,k + J_s,k J_d,k^-1 (z - kp_d,k) for the background (identity) and K keypoints: [B, K+1, h, w, 2]."""
    here = grid(height, width, source)
    start = source - (affine @ driving[..., None])[..., 0]
    linear = (here.reshape(1, 1, -1, 2) @ affine.transpose(-1, -2)).reshape(*source.shape[:2], height, width, 2)
    return torch.cat([here.expand(len(source), 1, height, width, 2), linear + start[:, :, None, None]], dim=1)


class DenseMotion(nn.Module):
    """Masks over K+1 sparse motions, their weighted sum (the flow) and the occlusion map."""

    def __init__(self, keypoints: int, base: int, blocks: int, most: int, variance: float = 0.01) -> None:
        super().__init__()
        self.variance = variance
        self.hourglass = Hourglass((keypoints + 1) * 2, base, blocks, most)
        self.mask = nn.Conv2d(self.hourglass.channels, keypoints + 1, 3, padding=1)
        self.occlusion = nn.Conv2d(self.hourglass.channels, 1, 3, padding=1)

    def forward(self, small: Tensor, source: tuple[Tensor, Tensor], driving: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Flow [B, h, w, 2] and occlusion map [B, 1, h, w] in [0, 1].

        small: the source at motion size [B, 3, h, w]; source, driving: keypoints [B, K, 2] and Jacobians [B, K, 2, 2].
        """
        batch, _, height, width = small.shape
        points = source[0].shape[1]
        shift = heatmaps(driving[0], height, width, self.variance) - heatmaps(source[0], height, width, self.variance)
        shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], dim=1)
        motions = sparse_motions(source[0], driving[0], relative_affine(source[1], driving[1]), height, width)
        # K+1 warps of one picture: the motions are stacked along the height, so that it is sampled in one call
        grey = small.mean(1, keepdim=True)
        warped = warp(grey, motions.reshape(batch, -1, width, 2)).reshape(batch, points + 1, height, width)
        feature = self.hourglass(torch.cat([shift, warped], dim=1))
        flow = dense_flow(self.mask(feature), source[0], driving[0], source[1], driving[1])
        return flow, torch.sigmoid(self.occlusion(feature))
