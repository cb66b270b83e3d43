"""What sparse_motion and dense_warp have in common, in plain PyTorch: places of pixels, Gaussians about keypoints, affine maps.

Pixels' centres lie at (2 i + 1) / n - 1 along an axis of n, so that the picture's edges are -1 and 1; in the published networks
(corners=True) at 2 i / (n - 1) - 1, so that the outer pixels' centres are.
"""

import torch
from torch import Tensor


def line(size: int, like: Tensor, *, corners: bool = False) -> Tensor:
    """Centres of `size` pixels along an axis, [size], of like's type and device."""
    steps = torch.arange(size, dtype=like.dtype, device=like.device) * 2
    return steps / max(size - 1, 1) - 1 if corners else (steps + 1) / size - 1


def grid(height: int, width: int, like: Tensor, *, corners: bool = False) -> Tensor:
    """Centres of the pixels of a height x width picture, as [h, w, 2] (x, y)."""
    lines = line(width, like, corners=corners), line(height, like, corners=corners)
    return torch.stack(torch.meshgrid(*lines, indexing="xy"), dim=-1)


def bumps(centres: Tensor, size: int, variance: float, *, corners: bool = False) -> Tensor:
    """Gaussians about `centres` [...] along one axis of `size` pixels, [..., size], peak 1."""
    return torch.exp((line(size, centres, corners=corners) - centres[..., None]).square() * (-0.5 / variance))


def heatmaps(values: Tensor, height: int, width: int, variance: float, *, corners: bool = False) -> Tensor:
    """Gaussians about keypoints [B, K, 2] as [B, K, h, w], peak 1."""
    across = bumps(values[..., 0], width, variance, corners=corners)
    return bumps(values[..., 1], height, variance, corners=corners)[..., :, None] * across[..., None, :]


def affine_maps(source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor) -> Tensor:
    """The K+1 sparse motions as six numbers each, the background's identity first: [B, K+1, 6].

    T_k(z) = s_k + J_s,k J_d,k^-1 (z - d_k) (FOMM, Siarohin et al. 2019, eq. 4) is x' = a x + b y + e, y' = c x + d y + f.
    Keypoints [B, K, 2] and Jacobians [B, K, 2, 2] of source and driving; the source's may be one for all, [1, ...].
    """
    (a, b), (c, d) = driving_jacobians[..., 0, :].unbind(-1), driving_jacobians[..., 1, :].unbind(-1)
    inverse = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / (a * d - b * c)[..., None, None]
    matrix = source_jacobians @ inverse
    shift = source - (matrix @ driving[..., None])[..., 0]
    identity = torch.tensor([1.0, 0, 0, 1, 0, 0], dtype=matrix.dtype, device=matrix.device).expand(len(matrix), 1, 6)
    return torch.cat([identity, torch.cat([matrix.flatten(2), shift], -1)], 1)
