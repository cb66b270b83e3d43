"""Bilinear warp times occlusion, in plain PyTorch: the ground truth and the CPU path.

out[b, c, y, x] = occlusion[b, 0, y, x] * sum over the four neighbours p of flow[b, y, x] of weight(p) * feature[b, c, p],
with weight the product of 1 - |distance| along both axes. Pixel edges lie at +-1 (align_corners=False) or pixel centres do (True).
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(
    feature: Tensor, flow: Tensor, occlusion: Tensor | None = None, *, align_corners: bool = False, padding: str = "zeros"
) -> Tensor:
    """Sample feature [B, C, H, W] at flow [B, h, w, 2] (x, y in [-1, 1]), times occlusion [B, 1, h, w]: [B, C, h, w].

    padding: what lies outside: "zeros", or the nearest pixel of the "border". Half and bfloat16 are sampled in float32: their
    own sampling on a CPU rounds coordinates, and so reads and writes outside of pictures a few hundred pixels wide.
    """
    if feature.dtype in (torch.float16, torch.bfloat16):
        shade = None if occlusion is None else occlusion.float()
        return warp(feature.float(), flow.float(), shade, align_corners=align_corners, padding=padding).to(feature.dtype)
    sampled = F.grid_sample(feature, flow, mode="bilinear", padding_mode=padding, align_corners=align_corners)
    return sampled if occlusion is None else sampled * occlusion
