"""From masks and keypoints to a dense flow, in plain PyTorch: the ground truth and the CPU path (FOMM, eq. 4 and 6).

flow(z) = sum_k softmax(mask(z))_k T_k(z), with T_0(z) = z and T_k(z) = s_k + J_s,k J_d,k^-1 (z - d_k). Since every T_k is affine in
z, its constant and linear parts are formed once per keypoint and the sum is one product of masks with six numbers each.
"""

import torch
from torch import Tensor


def affine_maps(source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor) -> tuple[Tensor, Tensor]:
    """T_k as matrix [B, K+1, 2, 2] and shift [B, K+1, 2], the background (identity) first."""
    (a, b), (c, d) = driving_jacobians[..., 0, :].unbind(-1), driving_jacobians[..., 1, :].unbind(-1)
    inverse = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2) / (a * d - b * c)[..., None, None]
    matrix = source_jacobians @ inverse
    shift = source - (matrix @ driving[..., None])[..., 0]
    one = torch.eye(2, dtype=matrix.dtype, device=matrix.device).expand(len(matrix), 1, 2, 2)
    return torch.cat([one, matrix], 1), torch.cat([torch.zeros_like(shift[:, :1]), shift], 1)


def numbers(source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor) -> Tensor:
    """T_k as six numbers [B, K+1, 6]: a, b, c, d, e, f of x' = a x + b y + e, y' = c x + d y + f."""
    matrix, shift = affine_maps(source, driving, source_jacobians, driving_jacobians)
    return torch.cat([matrix.flatten(2), shift], -1)


def dense_flow(masks: Tensor, source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor) -> Tensor:
    """Flow [B, h, w, 2] from mask logits [B, K+1, h, w], keypoints [B, K, 2] and Jacobians [B, K, 2, 2] of source and driving."""
    return blend(masks, numbers(source, driving, source_jacobians, driving_jacobians))


def blend(masks: Tensor, maps: Tensor) -> Tensor:
    """Flow [B, h, w, 2] from mask logits [B, K+1, h, w] and affine maps [B, K+1, 6]."""
    batch, _, height, width = masks.shape
    share = torch.softmax(masks, dim=1).flatten(2)  # [B, K+1, h*w]
    mean = maps.transpose(1, 2) @ share  # [B, 6, h*w]
    ys = (torch.arange(height, dtype=masks.dtype, device=masks.device) * 2 + 1) / height - 1
    xs = (torch.arange(width, dtype=masks.dtype, device=masks.device) * 2 + 1) / width - 1
    a, b, c, d, e, f = mean.reshape(batch, 6, height, width).unbind(1)
    x, y = xs[None, None, :], ys[None, :, None]
    return torch.stack([a * x + b * y + e, c * x + d * y + f], -1)
