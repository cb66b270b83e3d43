"""Heat-map differences and moved pictures in one pass, forward and backward. Arithmetic is float32 whatever the storage type.

One program takes a block of pixels of one frame and walks the parts: heat maps and places stay in registers, and every number of
the hourglass's input is written once. Backward sums over pixels for keypoints and maps into one row a program, which PyTorch
adds; only the picture's gradient is added by atomics, and varies in its last bits from run to run on a GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch
from kernels.sampling import around, centres, four, moved, place, scatter

NUMBERS = tl.constexpr(10)  # gradients of a part: driving x, y, source x, y (not of the background), and the map's six


@triton.jit
def _heat(points, x, y, VARIANCE: tl.constexpr):
    right, down = x - tl.load(points).to(tl.float32), y - tl.load(points + 1).to(tl.float32)
    return tl.exp((right * right + down * down) * (-0.5 / VARIANCE)), right, down


@triton.jit
def _sparse_forward(
    picture, source, driving, maps, out, parts, channels, height, width, picture_step, heat_step, warp_start, warp_step,
    VARIANCE: tl.constexpr, CORNERS: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)  # large batches reach past 2**31 elements
    pixels = height * width
    at, valid, x, y = centres(pixels, height, width, CORNERS, BLOCK)
    plane = batch * parts * (1 + channels)  # the frame's first plane
    for part in range(parts):
        shift = tl.zeros((BLOCK,), tl.float32)
        if part > 0:
            point = (batch * (parts - 1) + part - 1) * 2
            ahead, _, _ = _heat(driving + point, x, y, VARIANCE)
            behind, _, _ = _heat(source + point, x, y, VARIANCE)
            shift = ahead - behind
        tl.store(out + (plane + part * heat_step) * pixels + at, shift.to(out.dtype.element_ty), mask=valid)
        moved_x, moved_y = moved(maps + (batch * parts + part) * 6, x, y)
        place_x, _ = place(moved_x, width, ALIGN, False)
        place_y, _ = place(moved_y, height, ALIGN, False)
        index, right, down, there = around(place_x, place_y, height, width, valid)
        for channel in range(channels):
            a, b, c, d = four(picture + batch * picture_step + channel * pixels + index, width, there)
            upper, lower = a + right * (b - a), c + right * (d - c)
            value = upper + down * (lower - upper)
            own = plane + warp_start + part * warp_step + channel
            tl.store(out + own * pixels + at, value.to(out.dtype.element_ty), mask=valid)


@triton.jit
def _sparse_backward(
    grad, picture, source, driving, maps, grad_picture, grad_parts, parts, channels, height, width,
    picture_step, heat_step, warp_start, warp_step,
    VARIANCE: tl.constexpr, CORNERS: tl.constexpr, ALIGN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)
    pixels = height * width
    at, valid, x, y = centres(pixels, height, width, CORNERS, BLOCK)
    plane = batch * parts * (1 + channels)
    for part in range(parts):
        row = grad_parts + ((batch * tl.num_programs(0) + tl.program_id(0)) * parts + part) * NUMBERS
        if part > 0:
            point = (batch * (parts - 1) + part - 1) * 2
            pull = tl.load(grad + (plane + part * heat_step) * pixels + at, mask=valid, other=0.0).to(tl.float32) * (1.0 / VARIANCE)
            heat, right, down = _heat(driving + point, x, y, VARIANCE)
            tl.store(row, tl.sum(pull * heat * right, 0))
            tl.store(row + 1, tl.sum(pull * heat * down, 0))
            heat, right, down = _heat(source + point, x, y, VARIANCE)
            tl.store(row + 2, -tl.sum(pull * heat * right, 0))
            tl.store(row + 3, -tl.sum(pull * heat * down, 0))
        moved_x, moved_y = moved(maps + (batch * parts + part) * 6, x, y)
        place_x, slope_x = place(moved_x, width, ALIGN, False)
        place_y, slope_y = place(moved_y, height, ALIGN, False)
        index, right, down, there = around(place_x, place_y, height, width, valid)
        to_x = tl.zeros((BLOCK,), tl.float32)
        to_y = tl.zeros((BLOCK,), tl.float32)
        for channel in range(channels):
            corner = batch * picture_step + channel * pixels + index
            a, b, c, d = four(picture + corner, width, there)
            own = plane + warp_start + part * warp_step + channel
            pull = tl.load(grad + own * pixels + at, mask=valid, other=0.0).to(tl.float32)
            to_x += pull * ((1.0 - down) * (b - a) + down * (d - c))
            to_y += pull * ((c + right * (d - c)) - (a + right * (b - a)))
            scatter(grad_picture + corner, width, there, pull, right, down)
        to_x, to_y = to_x * slope_x, to_y * slope_y
        tl.store(row + 4, tl.sum(to_x * x, 0))
        tl.store(row + 5, tl.sum(to_x * y, 0))
        tl.store(row + 6, tl.sum(to_y * x, 0))
        tl.store(row + 7, tl.sum(to_y * y, 0))
        tl.store(row + 8, tl.sum(to_x, 0))
        tl.store(row + 9, tl.sum(to_y, 0))


def _launch(picture: Tensor, maps: Tensor, corners: bool, align_corners: bool, interleaved: bool) -> tuple[tuple[int, int], list[int], dict]:
    """Grid, sizes and constants: parts, channels, height, width, the picture's step, and which planes of the input are whose."""
    batch, parts, _ = maps.shape
    channels, height, width = picture.shape[1:]
    block = launch.block(256)
    planes = [1 + channels, 1, 1 + channels] if interleaved else [1, parts, channels]
    sizes = [parts, channels, height, width, 0 if len(picture) == 1 else channels * height * width, *planes]
    return (triton.cdiv(height * width, block), batch), sizes, {"CORNERS": corners, "ALIGN": align_corners, "BLOCK": block}


def forward(
    picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor, variance: float, corners: bool, align_corners: bool, interleaved: bool
) -> Tensor:
    """Launch the forward kernel on contiguous tensors; shapes as in the reference."""
    grid, sizes, constants = _launch(picture, maps, corners, align_corners, interleaved)
    parts, channels, height, width = sizes[:4]
    out = torch.empty(len(maps), parts * (1 + channels), height, width, dtype=picture.dtype, device=picture.device)
    if out.numel():
        _sparse_forward[grid](picture, source, driving, maps, out, *sizes, VARIANCE=variance, **constants)
    return out


def backward(
    grad: Tensor, picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor,
    variance: float, corners: bool, align_corners: bool, interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of picture, source, driving and maps, accumulated in float32 and returned in their inputs' types."""
    grid, sizes, constants = _launch(picture, maps, corners, align_corners, interleaved)
    to_picture = torch.zeros(picture.shape, dtype=torch.float32, device=picture.device)
    to_parts = torch.empty(len(maps), grid[0], sizes[0], NUMBERS.value, dtype=torch.float32, device=maps.device)
    if grad.numel():
        _sparse_backward[grid](
            grad, picture, source, driving, maps, to_picture, to_parts, *sizes, VARIANCE=variance, **constants
        )  # fmt: skip
    to_driving, to_source, to_maps = to_parts.sum(1).split((2, 2, 6), -1)
    return (
        to_picture.to(picture.dtype), to_source[:, 1:].to(source.dtype).contiguous(), to_driving[:, 1:].to(driving.dtype).contiguous(),
        to_maps.to(maps.dtype).contiguous(),
    )  # fmt: skip
