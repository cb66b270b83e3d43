"""From masks to a warped feature or picture, in plain PyTorch: the ground truth and the CPU path.

dense_warp (FOMM, eq. 7 and 8): flow(z) = sum_k softmax(mask(z))_k T_k(z), out(z) = occlusion(z) * feature(flow(z)), bilinear. Since
every T_k is affine in z, the sum is one product of masks with six numbers each.

picture_warp (DESIGN.md, decision 5), over the pixels p of a patch of the picture, u their place in the face square, |u| <= 1 inside:
moved(p) = picture(p + fade(u) * side / 2 * (flow(u) - u)), bicubic, out(p) = moved + fade(u) * alpha(u) * (painted(u) - moved), with
flow, alpha and painted pixels bilinear, borders repeated; fade rises from 0 at the square's border to 1 over `rim` of its half side
(smoothstep).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.geometry import line
from kernels.warp import reference as warping


def blend(masks: Tensor, maps: Tensor, *, corners: bool = False) -> Tensor:
    """Flow [B, h, w, 2], float32 at least, from mask logits [B, K+1, h, w] and affine maps [B, K+1, 6]."""
    batch, _, height, width = masks.shape
    wide = torch.promote_types(masks.dtype, torch.float32)  # ten bits of a place would be half a pixel of a wide picture
    share = torch.softmax(masks.to(wide), dim=1).flatten(2)  # [B, K+1, h*w]
    mean = maps.to(wide).transpose(1, 2) @ share  # [B, 6, h*w]
    a, b, c, d, e, f = mean.reshape(batch, 6, height, width).unbind(1)
    x, y = line(width, mean, corners=corners), line(height, mean, corners=corners)[:, None]
    return torch.stack([a * x + b * y + e, c * x + d * y + f], -1)


def dense_warp(
    feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None = None,
    *, corners: bool = False, align_corners: bool = False, padding: str = "zeros",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Feature [B, C, H, W] (or [1, ...] for all) at the blended flow, times occlusion [B, 1, h, w]: [B, C, h, w], and the flow.

    masks [B, K+1, h, w] are logits, maps [B, K+1, 6] six numbers each (kernels/geometry.py). corners: the grid of the flow;
    align_corners, padding: how the feature is sampled (kernels/warp).
    """
    flow = blend(masks, maps, corners=corners)
    spread = feature.expand(len(flow), -1, -1, -1)
    return warping.warp(spread, flow, occlusion, align_corners=align_corners, padding=padding), flow


def picture_warp(
    picture: Tensor, flow: Tensor, painted: Tensor, alpha: Tensor, box: list[int], square: list[float], rim: float,
    apart: bool = False,
) -> Tensor:  # fmt: skip
    """The composed patch [B, 3, height, width]; the moved picture is clamped to [0, 1] before it is blended.

    picture [B, 3, H, W] (or [1, ...] for all) and painted [B, 3, s, s] in [0, 1]; flow [B, h, w, 2]; alpha [B, 1, S, S].
    box: left, top, width and height of the patch in pixels; square: its centre x, y and side in pixels. apart: instead of
    their composition the moved picture, the painted pixels, and fade * alpha, [B, 7, height, width].
    """
    wide = torch.promote_types(picture.dtype, torch.float32)
    if picture.dtype != wide:
        return picture_warp(picture.to(wide), flow.to(wide), painted.to(wide), alpha.to(wide), box, square, rim, apart).to(picture.dtype)
    left, top, width, height = box
    xs = torch.arange(left, left + width, dtype=wide, device=picture.device)
    ys = torch.arange(top, top + height, dtype=wide, device=picture.device)
    here = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)  # [height, width, 2], the pixels' indices
    unit = (here + 0.5 - here.new_tensor(square[:2])) * (2 / square[2])
    fade = _smooth(unit, rim)
    fields = flow.permute(0, 3, 1, 2) - torch.stack(torch.meshgrid(line(flow.shape[2], flow), line(flow.shape[1], flow), indexing="xy"))
    shift = _upsampled(fields, unit).permute(0, 2, 3, 1) * (square[2] / 2)
    look = here + shift * fade[..., None]
    size = here.new_tensor([picture.shape[3], picture.shape[2]])
    moved = F.grid_sample(
        picture.expand(len(look), -1, -1, -1), (look * 2 + 1) / size - 1, mode="bicubic", padding_mode="border", align_corners=False
    )
    moved, paint, share = moved.clamp(0, 1), _upsampled(painted, unit), _upsampled(alpha, unit) * fade
    return torch.cat([moved, paint, share], 1) if apart else moved + share * (paint - moved)


def _smooth(unit: Tensor, rim: float) -> Tensor:
    ramp = ((1 - unit.abs().amax(-1)) / rim).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _upsampled(field: Tensor, unit: Tensor) -> Tensor:
    """A field [B, C, h, w] of the square at places [height, width, 2]: [B, C, height, width]."""
    return F.grid_sample(field, unit.expand(len(field), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False)
