"""The warp in Triton, forward and backward. Arithmetic is float32 whatever the storage type.

One program takes a block of output pixels of one picture and walks the channels: coordinates, weights and occlusion are computed
once and stay in registers. Backward scatters into the feature's gradient with atomics and reduces the flow's and the
occlusion's over channels in the same walk. The atomics make the feature's gradient, and it alone, vary in its last bits from run
to run on a GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch


@triton.jit
def _place(coordinate, size, ALIGN: tl.constexpr, BORDER: tl.constexpr):
    if ALIGN:
        scale = (size - 1) * 0.5
        place = (coordinate + 1.0) * scale
    else:
        scale = size * 0.5
        place = (coordinate + 1.0) * scale - 0.5
    slope = coordinate * 0.0 + scale
    if BORDER:
        inside = (place > 0.0) & (place < size - 1.0)
        slope = tl.where(inside, slope, 0.0)
        place = tl.minimum(tl.maximum(place, 0.0), size - 1.0)
    else:
        # one pixel outside is as good as any: all four neighbours count as zero, and the index stays in the range of int32
        place = tl.minimum(tl.maximum(place, -2.0), size + 1.0)
    return place, slope


@triton.jit
def _warp_forward(
    feature, flow, occlusion, out, channels, height, width, pixels,
    HAS_OCCLUSION: tl.constexpr, ALIGN: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)  # large batches reach past 2**31 elements
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = at < pixels
    flow_x = tl.load(flow + (batch * pixels + at) * 2, mask=valid, other=0.0).to(tl.float32)
    flow_y = tl.load(flow + (batch * pixels + at) * 2 + 1, mask=valid, other=0.0).to(tl.float32)
    x, _ = _place(flow_x, width, ALIGN, BORDER)
    y, _ = _place(flow_y, height, ALIGN, BORDER)
    left, top = tl.floor(x), tl.floor(y)
    right_share, bottom_share = x - left, y - top
    x0, y0 = left.to(tl.int32), top.to(tl.int32)
    in_left, in_right = (x0 >= 0) & (x0 < width) & valid, (x0 + 1 >= 0) & (x0 + 1 < width) & valid
    in_top, in_bottom = (y0 >= 0) & (y0 < height), (y0 + 1 >= 0) & (y0 + 1 < height)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    for channel in range(channels):
        base = feature + (batch * channels + channel) * height * width + y0 * width + x0
        a = tl.load(base, mask=in_left & in_top, other=0.0).to(tl.float32)
        b = tl.load(base + 1, mask=in_right & in_top, other=0.0).to(tl.float32)
        c = tl.load(base + width, mask=in_left & in_bottom, other=0.0).to(tl.float32)
        d = tl.load(base + width + 1, mask=in_right & in_bottom, other=0.0).to(tl.float32)
        upper, lower = a + right_share * (b - a), c + right_share * (d - c)
        value = (upper + bottom_share * (lower - upper)) * share
        tl.store(out + (batch * channels + channel) * pixels + at, value.to(out.dtype.element_ty), mask=valid)


@triton.jit
def _warp_backward(
    grad, feature, flow, occlusion, grad_feature, grad_flow, grad_occlusion, channels, height, width, pixels,
    HAS_OCCLUSION: tl.constexpr, ALIGN: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)  # large batches reach past 2**31 elements
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = at < pixels
    flow_x = tl.load(flow + (batch * pixels + at) * 2, mask=valid, other=0.0).to(tl.float32)
    flow_y = tl.load(flow + (batch * pixels + at) * 2 + 1, mask=valid, other=0.0).to(tl.float32)
    x, slope_x = _place(flow_x, width, ALIGN, BORDER)
    y, slope_y = _place(flow_y, height, ALIGN, BORDER)
    left, top = tl.floor(x), tl.floor(y)
    right_share, bottom_share = x - left, y - top
    x0, y0 = left.to(tl.int32), top.to(tl.int32)
    in_left, in_right = (x0 >= 0) & (x0 < width) & valid, (x0 + 1 >= 0) & (x0 + 1 < width) & valid
    in_top, in_bottom = (y0 >= 0) & (y0 < height), (y0 + 1 >= 0) & (y0 + 1 < height)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    sum_x = tl.zeros((BLOCK,), tl.float32)
    sum_y = tl.zeros((BLOCK,), tl.float32)
    sum_occlusion = tl.zeros((BLOCK,), tl.float32)
    for channel in range(channels):
        plane = (batch * channels + channel) * height * width + y0 * width + x0
        a = tl.load(feature + plane, mask=in_left & in_top, other=0.0).to(tl.float32)
        b = tl.load(feature + plane + 1, mask=in_right & in_top, other=0.0).to(tl.float32)
        c = tl.load(feature + plane + width, mask=in_left & in_bottom, other=0.0).to(tl.float32)
        d = tl.load(feature + plane + width + 1, mask=in_right & in_bottom, other=0.0).to(tl.float32)
        upstream = tl.load(grad + (batch * channels + channel) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        upper, lower = a + right_share * (b - a), c + right_share * (d - c)
        sum_occlusion += upstream * (upper + bottom_share * (lower - upper))
        scaled = upstream * share
        sum_x += scaled * ((1.0 - bottom_share) * (b - a) + bottom_share * (d - c))
        sum_y += scaled * (lower - upper)
        target = grad_feature + plane
        tl.atomic_add(target, scaled * (1.0 - right_share) * (1.0 - bottom_share), mask=in_left & in_top)
        tl.atomic_add(target + 1, scaled * right_share * (1.0 - bottom_share), mask=in_right & in_top)
        tl.atomic_add(target + width, scaled * (1.0 - right_share) * bottom_share, mask=in_left & in_bottom)
        tl.atomic_add(target + width + 1, scaled * right_share * bottom_share, mask=in_right & in_bottom)
    tl.store(grad_flow + (batch * pixels + at) * 2, sum_x * slope_x, mask=valid)
    tl.store(grad_flow + (batch * pixels + at) * 2 + 1, sum_y * slope_y, mask=valid)
    if HAS_OCCLUSION:
        tl.store(grad_occlusion + batch * pixels + at, sum_occlusion, mask=valid)


def forward(feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, border: bool) -> Tensor:
    """Launch the forward kernel on contiguous tensors; shapes as in the reference."""
    batch, channels, height, width = feature.shape
    out = torch.empty(batch, channels, *flow.shape[1:3], dtype=feature.dtype, device=feature.device)
    pixels, block = flow.shape[1] * flow.shape[2], launch.block(256)
    if out.numel():
        _warp_forward[(triton.cdiv(pixels, block), batch)](
            feature, flow, flow if occlusion is None else occlusion, out, channels, height, width, pixels,
            HAS_OCCLUSION=occlusion is not None, ALIGN=align_corners, BORDER=border, BLOCK=block,
        )  # fmt: skip
    return out


def backward(
    grad: Tensor, feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, border: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of feature, flow and occlusion (empty without one), accumulated in float32 and returned in their inputs' types."""
    batch, channels, height, width = feature.shape
    to_feature = torch.zeros(feature.shape, dtype=torch.float32, device=feature.device)
    to_flow = torch.empty(flow.shape, dtype=torch.float32, device=flow.device)
    shade = flow if occlusion is None else occlusion
    to_occlusion = torch.empty(0 if occlusion is None else occlusion.shape, dtype=torch.float32, device=flow.device)
    pixels, block = flow.shape[1] * flow.shape[2], launch.block(256)
    if to_flow.numel():
        _warp_backward[(triton.cdiv(pixels, block), batch)](
            grad, feature, flow, shade, to_feature, to_flow, to_occlusion, channels, height, width, pixels,
            HAS_OCCLUSION=occlusion is not None, ALIGN=align_corners, BORDER=border, BLOCK=block,
        )  # fmt: skip
    return to_feature.to(feature.dtype), to_flow.to(flow.dtype), to_occlusion.to(shade.dtype)
