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
from kernels.sampling import around, four, place, scatter


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
    x, _ = place(flow_x, width, ALIGN, BORDER)
    y, _ = place(flow_y, height, ALIGN, BORDER)
    index, right, down, there = around(x, y, height, width, valid)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    for channel in range(channels):
        a, b, c, d = four(feature + (batch * channels + channel) * height * width + index, width, there)
        upper, lower = a + right * (b - a), c + right * (d - c)
        value = (upper + down * (lower - upper)) * share
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
    x, slope_x = place(flow_x, width, ALIGN, BORDER)
    y, slope_y = place(flow_y, height, ALIGN, BORDER)
    index, right, down, there = around(x, y, height, width, valid)
    share = tl.full((BLOCK,), 1.0, tl.float32)
    if HAS_OCCLUSION:
        share = tl.load(occlusion + batch * pixels + at, mask=valid, other=0.0).to(tl.float32)
    sum_x = tl.zeros((BLOCK,), tl.float32)
    sum_y = tl.zeros((BLOCK,), tl.float32)
    sum_occlusion = tl.zeros((BLOCK,), tl.float32)
    for channel in range(channels):
        corner = (batch * channels + channel) * height * width + index
        a, b, c, d = four(feature + corner, width, there)
        upstream = tl.load(grad + (batch * channels + channel) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        upper, lower = a + right * (b - a), c + right * (d - c)
        sum_occlusion += upstream * (upper + down * (lower - upper))
        scaled = upstream * share
        sum_x += scaled * ((1.0 - down) * (b - a) + down * (d - c))
        sum_y += scaled * (lower - upper)
        scatter(grad_feature + corner, width, there, scaled, right, down)
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
