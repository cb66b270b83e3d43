"""Softmax over masks, the sum of K+1 affine maps, and the feature sampled there times occlusion, in one pass; forward and backward.

One program takes a block of pixels of one frame. The softmax is the running one (Milakov and Gimelshein 2018): masks are read
once, nothing of size K+1 times pixels is written. Forward splits the channels into groups of programs, so that one frame fills a
GPU; each blends the masks again, which lie in its cache by then. Backward walks all channels for the flow's gradient, then the
masks again, whose shares it forms from the kept log-sum-exp. Sums over pixels for the maps' gradient go to one row a program and are
added by PyTorch; only the feature's gradient is added by atomics, and varies in its last bits from run to run on a GPU. Arithmetic
is float32 whatever the storage type, and so is the flow.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch
from kernels.sampling import around, centres, four, moved, place, scatter

GROUP = 64  # channels a program, forward


@triton.jit
def _dense_forward(
    feature, masks, maps, occlusion, out, flow, logsum, parts, channels, feature_height, feature_width, height, width, feature_step,
    HAS_OCCLUSION: tl.constexpr, CORNERS: tl.constexpr, ALIGN: tl.constexpr, BORDER: tl.constexpr,
    GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)  # large batches reach past 2**31 elements
    pixels = height * width
    at, valid, x, y = centres(pixels, height, width, CORNERS, BLOCK)
    highest = tl.full((BLOCK,), -3.0e38, tl.float32)  # finite, so that a mask of -inf is a share of 0 and not a NaN
    total = tl.zeros((BLOCK,), tl.float32)
    flow_x = tl.zeros((BLOCK,), tl.float32)
    flow_y = tl.zeros((BLOCK,), tl.float32)
    for part in range(parts):
        mask = tl.load(masks + (batch * parts + part) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        moved_x, moved_y = moved(maps + (batch * parts + part) * 6, x, y)
        above = tl.maximum(highest, mask)
        keep, weight = tl.exp(highest - above), tl.exp(mask - above)
        total = total * keep + weight
        flow_x = flow_x * keep + weight * moved_x
        flow_y = flow_y * keep + weight * moved_y
        highest = above
    flow_x, flow_y = flow_x / total, flow_y / total
    mine = valid & (tl.program_id(2) == 0)
    tl.store(flow + (batch * pixels + at) * 2, flow_x, mask=mine)
    tl.store(flow + (batch * pixels + at) * 2 + 1, flow_y, mask=mine)
    tl.store(logsum + batch * pixels + at, highest + tl.log(total), mask=mine)
    place_x, _ = place(flow_x, feature_width, ALIGN, BORDER)
    place_y, _ = place(flow_y, feature_height, ALIGN, BORDER)
    index, right, down, there = around(place_x, place_y, feature_height, feature_width, valid)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    first = tl.program_id(2) * GROUP
    for channel in range(first, tl.minimum(first + GROUP, channels)):
        a, b, c, d = four(feature + batch * feature_step + channel * feature_height * feature_width + index, feature_width, there)
        upper, lower = a + right * (b - a), c + right * (d - c)
        value = (upper + down * (lower - upper)) * share
        tl.store(out + (batch * channels + channel) * pixels + at, value.to(out.dtype.element_ty), mask=valid)


@triton.jit
def _dense_backward(
    grad, grad_flow, feature, masks, maps, occlusion, flow, logsum, grad_feature, grad_masks, grad_maps, grad_occlusion,
    parts, channels, feature_height, feature_width, height, width, feature_step,
    HAS_OCCLUSION: tl.constexpr, CORNERS: tl.constexpr, ALIGN: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)
    pixels = height * width
    at, valid, x, y = centres(pixels, height, width, CORNERS, BLOCK)
    flow_x = tl.load(flow + (batch * pixels + at) * 2, mask=valid, other=0.0)
    flow_y = tl.load(flow + (batch * pixels + at) * 2 + 1, mask=valid, other=0.0)
    place_x, slope_x = place(flow_x, feature_width, ALIGN, BORDER)
    place_y, slope_y = place(flow_y, feature_height, ALIGN, BORDER)
    index, right, down, there = around(place_x, place_y, feature_height, feature_width, valid)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    up_x = tl.zeros((BLOCK,), tl.float32)
    up_y = tl.zeros((BLOCK,), tl.float32)
    to_occlusion = tl.zeros((BLOCK,), tl.float32)
    for channel in range(channels):
        corner = batch * feature_step + channel * feature_height * feature_width + index
        a, b, c, d = four(feature + corner, feature_width, there)
        upstream = tl.load(grad + (batch * channels + channel) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        upper, lower = a + right * (b - a), c + right * (d - c)
        to_occlusion += upstream * (upper + down * (lower - upper))
        scaled = upstream * share
        up_x += scaled * ((1.0 - down) * (b - a) + down * (d - c))
        up_y += scaled * (lower - upper)
        scatter(grad_feature + corner, feature_width, there, scaled, right, down)
    if HAS_OCCLUSION:
        tl.store(grad_occlusion + batch * pixels + at, to_occlusion, mask=valid)
    up_x = up_x * slope_x + tl.load(grad_flow + (batch * pixels + at) * 2, mask=valid, other=0.0)
    up_y = up_y * slope_y + tl.load(grad_flow + (batch * pixels + at) * 2 + 1, mask=valid, other=0.0)
    level = tl.load(logsum + batch * pixels + at, mask=valid, other=0.0)
    for part in range(parts):
        mask = tl.load(masks + (batch * parts + part) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        moved_x, moved_y = moved(maps + (batch * parts + part) * 6, x, y)
        weight = tl.exp(mask - level)
        slope = weight * (up_x * (moved_x - flow_x) + up_y * (moved_y - flow_y))  # the flow is the mean of where parts move
        tl.store(grad_masks + (batch * parts + part) * pixels + at, slope.to(grad_masks.dtype.element_ty), mask=valid)
        to_x, to_y = tl.where(valid, weight * up_x, 0.0), tl.where(valid, weight * up_y, 0.0)
        row = grad_maps + ((batch * tl.num_programs(0) + tl.program_id(0)) * parts + part) * 6
        tl.store(row, tl.sum(to_x * x, 0))
        tl.store(row + 1, tl.sum(to_x * y, 0))
        tl.store(row + 2, tl.sum(to_y * x, 0))
        tl.store(row + 3, tl.sum(to_y * y, 0))
        tl.store(row + 4, tl.sum(to_x, 0))
        tl.store(row + 5, tl.sum(to_y, 0))


def _sizes(feature: Tensor, masks: Tensor) -> list[int]:
    """Parts, channels, the feature's height and width, the flow's, and the step to the next frame's feature."""
    channels, height, width = feature.shape[1:]
    return [masks.shape[1], channels, height, width, *masks.shape[2:], 0 if len(feature) == 1 else channels * height * width]


def forward(
    feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None, corners: bool, align_corners: bool, border: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Warped feature, flow, and log-sum-exp of the masks [B, h, w] (the last two float32) of contiguous tensors."""
    batch, _, height, width = masks.shape
    channels, block = feature.shape[1], launch.block(256)
    out = torch.empty(batch, channels, height, width, dtype=feature.dtype, device=feature.device)
    flow = torch.empty(batch, height, width, 2, dtype=torch.float32, device=masks.device)
    logsum = torch.empty(batch, height, width, dtype=torch.float32, device=masks.device)
    if flow.numel():
        _dense_forward[(triton.cdiv(height * width, block), batch, max(1, triton.cdiv(channels, GROUP)))](
            feature, masks, maps, masks if occlusion is None else occlusion, out, flow, logsum, *_sizes(feature, masks),
            HAS_OCCLUSION=occlusion is not None, CORNERS=corners, ALIGN=align_corners, BORDER=border, GROUP=GROUP, BLOCK=block,
        )  # fmt: skip
    return out, flow, logsum


def backward(
    grad: Tensor, grad_flow: Tensor, feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None,
    flow: Tensor, logsum: Tensor, corners: bool, align_corners: bool, border: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of feature, masks, maps and occlusion (empty without one), summed in float32 and returned in their inputs' types."""
    batch, parts, height, width = masks.shape
    block = launch.block(256)
    blocks, shade = triton.cdiv(height * width, block), masks if occlusion is None else occlusion
    to_feature = torch.zeros(feature.shape, dtype=torch.float32, device=feature.device)
    to_masks = torch.empty_like(masks)
    to_maps = torch.empty(batch, blocks, parts, 6, dtype=torch.float32, device=masks.device)
    to_occlusion = torch.empty(0 if occlusion is None else occlusion.shape, dtype=torch.float32, device=masks.device)
    if to_masks.numel():
        _dense_backward[(blocks, batch)](
            grad, grad_flow, feature, masks, maps, shade, flow, logsum, to_feature, to_masks, to_maps, to_occlusion, *_sizes(feature, masks),
            HAS_OCCLUSION=occlusion is not None, CORNERS=corners, ALIGN=align_corners, BORDER=border, BLOCK=block,
        )  # fmt: skip
    return to_feature.to(feature.dtype), to_masks, to_maps.sum(1).to(maps.dtype), to_occlusion.to(shade.dtype)
