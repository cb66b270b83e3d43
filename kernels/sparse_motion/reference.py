"""The hourglass's input from keypoints and a picture, in plain PyTorch: the ground truth and the CPU path (FOMM, eq. 4 and 6).

For the background k = 0 and each keypoint k: the difference of heat maps, exp(-|z - d_k|^2 / 2 v) - exp(-|z - s_k|^2 / 2 v) (zero for
the background), and the picture moved its way, picture(T_k(z)), bilinear, zero outside.
"""

import torch
from torch import Tensor

from kernels.geometry import grid, heatmaps
from kernels.warp import reference as warping


def sparse_motion(
    picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor,
    *, variance: float = 0.01, corners: bool = False, align_corners: bool = False, interleaved: bool = False,
) -> Tensor:  # fmt: skip
    """Picture [B, C, h, w] (or [1, ...] for all), keypoints [B, K, 2] of both, T_k as numbers [B, K+1, 6]: [B, (1+C) (K+1), h, w].

    interleaved: every part's difference and then its C channels, as the published hourglass takes them; otherwise all differences,
    then all channels. corners: the grid (kernels/geometry.py); align_corners: how the picture is sampled. Arithmetic is float32 at
    least.
    """
    wide = torch.promote_types(picture.dtype, torch.float32)
    if picture.dtype != wide:
        given = (tensor.to(wide) for tensor in (picture, source, driving, maps))
        modes = {"variance": variance, "corners": corners, "align_corners": align_corners, "interleaved": interleaved}
        return sparse_motion(*given, **modes).to(picture.dtype)  # type: ignore[arg-type]
    batch, parts = maps.shape[:2]
    height, width = picture.shape[2:]
    shift = heatmaps(driving, height, width, variance, corners=corners) - heatmaps(source, height, width, variance, corners=corners)
    shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], dim=1)
    motions = grid(height, width, maps, corners=corners).reshape(-1, 2) @ maps[..., :4].unflatten(-1, (2, 2)).mT + maps[..., None, 4:]
    # K+1 warps of one picture: the motions are stacked along the height, so that it is sampled in one call
    motions = motions.reshape(batch, parts * height, width, 2)
    warped = warping.warp(picture.expand(batch, -1, -1, -1), motions, align_corners=align_corners)
    warped = warped.unflatten(2, (parts, height)).transpose(1, 2)  # [B, K+1, C, h, w]
    return torch.cat([shift[:, :, None], warped], 2).flatten(1, 2) if interleaved else torch.cat([shift, warped.flatten(1, 2)], 1)
