"""The motion applied to the picture at its own resolution, painted pixels composed in: one pass, forward. Arithmetic is float32.

One program takes a block of pixels of the patch: the flow, alpha and painted pixels are upsampled where they are needed, and only
the composed patch is written. The picture is sampled bicubically (Keys 1981, a = -0.75, as OpenCV and PyTorch have it).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch
from kernels.sampling import around

BLOCK = 128  # pixels a program, one a thread: two of them and their sixteen neighbours spill on sm_90


@triton.jit
def _upsample(unit, size):
    """A place in [-1, 1] in pixels of an axis of `size`, the border repeated."""
    return tl.minimum(tl.maximum((unit + 1.0) * (size * 0.5) - 0.5, 0.0), size - 1.0)


@triton.jit
def _field(plane, index, width, right, down, there, STEP: tl.constexpr):
    """A bilinear sample of numbers that lie STEP apart."""
    corner = plane + index * STEP
    a = tl.load(corner, mask=there[0], other=0.0).to(tl.float32)
    b = tl.load(corner + STEP, mask=there[1], other=0.0).to(tl.float32)
    c = tl.load(corner + width * STEP, mask=there[2], other=0.0).to(tl.float32)
    d = tl.load(corner + width * STEP + STEP, mask=there[3], other=0.0).to(tl.float32)
    upper, lower = a + right * (b - a), c + right * (d - c)
    return upper + down * (lower - upper)


@triton.jit
def _cubic(share):
    """Weights of the pixels one before to two after a place, from its share of the next pixel."""
    back, on = 1.0 - share, share + 1.0
    before = ((-0.75 * on + 3.75) * on - 6.0) * on + 3.0
    here = (1.25 * share - 2.25) * share * share + 1.0
    after = (1.25 * back - 2.25) * back * back + 1.0
    return before, here, after, 1.0 - before - here - after


@triton.jit
def _row(plane, row, height, width, column, weights, valid):
    """One row of a bicubic sample; rows and columns outside are the border's."""
    line = plane + tl.minimum(tl.maximum(row, 0), height - 1) * width
    total = tl.load(line + tl.minimum(tl.maximum(column - 1, 0), width - 1), mask=valid, other=0.0).to(tl.float32) * weights[0]
    total += tl.load(line + tl.minimum(tl.maximum(column, 0), width - 1), mask=valid, other=0.0).to(tl.float32) * weights[1]
    total += tl.load(line + tl.minimum(tl.maximum(column + 1, 0), width - 1), mask=valid, other=0.0).to(tl.float32) * weights[2]
    total += tl.load(line + tl.minimum(tl.maximum(column + 2, 0), width - 1), mask=valid, other=0.0).to(tl.float32) * weights[3]
    return total


@triton.jit
def _picture_forward(
    picture, flow, painted, alpha, out, height, width, picture_step, flow_height, flow_width, paint_height, paint_width,
    alpha_height, alpha_width, left, top, patch_height, patch_width, centre_x, centre_y, half,
    RIM: tl.constexpr, APART: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)  # large batches reach past 2**31 elements
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pixels = patch_height * patch_width
    valid = at < pixels
    column, row = left + at % patch_width, top + at // patch_width
    unit_x = (column.to(tl.float32) + 0.5 - centre_x) / half
    unit_y = (row.to(tl.float32) + 0.5 - centre_y) / half
    ramp = tl.minimum(tl.maximum((1.0 - tl.maximum(tl.abs(unit_x), tl.abs(unit_y))) / RIM, 0.0), 1.0)
    fade = ramp * ramp * (3.0 - 2.0 * ramp)

    x, y = _upsample(unit_x, flow_width), _upsample(unit_y, flow_height)
    index, right, down, there = around(x, y, flow_height, flow_width, valid)
    field = flow + batch * flow_height * flow_width * 2
    shift_x = _field(field, index, flow_width, right, down, there, 2) - ((x * 2.0 + 1.0) / flow_width - 1.0)
    shift_y = _field(field + 1, index, flow_width, right, down, there, 2) - ((y * 2.0 + 1.0) / flow_height - 1.0)
    index, right, down, there = around(_upsample(unit_x, alpha_width), _upsample(unit_y, alpha_height), alpha_height, alpha_width, valid)
    share = _field(alpha + batch * alpha_height * alpha_width, index, alpha_width, right, down, there, 1) * fade

    # beyond a few pixels outside every place is the border
    look_x = tl.minimum(tl.maximum(column.to(tl.float32) + shift_x * half * fade, -3.0), width + 2.0)
    look_y = tl.minimum(tl.maximum(row.to(tl.float32) + shift_y * half * fade, -3.0), height + 2.0)
    whole_x, whole_y = tl.floor(look_x), tl.floor(look_y)
    across, along = _cubic(look_x - whole_x), _cubic(look_y - whole_y)
    x0, y0 = whole_x.to(tl.int32), whole_y.to(tl.int32)
    index, right, down, there = around(_upsample(unit_x, paint_width), _upsample(unit_y, paint_height), paint_height, paint_width, valid)
    for channel in tl.static_range(3):
        plane = picture + batch * picture_step + channel * height * width
        moved = _row(plane, y0 - 1, height, width, x0, across, valid) * along[0]
        moved += _row(plane, y0, height, width, x0, across, valid) * along[1]
        moved += _row(plane, y0 + 1, height, width, x0, across, valid) * along[2]
        moved += _row(plane, y0 + 2, height, width, x0, across, valid) * along[3]
        moved = tl.minimum(tl.maximum(moved, 0.0), 1.0)
        paint = _field(painted + (batch * 3 + channel) * paint_height * paint_width, index, paint_width, right, down, there, 1)
        if APART:
            tl.store(out + (batch * 7 + channel) * pixels + at, moved.to(out.dtype.element_ty), mask=valid)
            tl.store(out + (batch * 7 + 3 + channel) * pixels + at, paint.to(out.dtype.element_ty), mask=valid)
        else:
            value = moved + share * (paint - moved)
            tl.store(out + (batch * 3 + channel) * pixels + at, value.to(out.dtype.element_ty), mask=valid)
    if APART:
        tl.store(out + (batch * 7 + 6) * pixels + at, share.to(out.dtype.element_ty), mask=valid)


def forward(
    picture: Tensor, flow: Tensor, painted: Tensor, alpha: Tensor, box: list[int], square: list[float], rim: float,
    apart: bool,
) -> Tensor:  # fmt: skip
    """Launch the kernel on contiguous tensors; shapes as in the reference."""
    left, top, width, height = box
    out = torch.empty(len(flow), 7 if apart else 3, height, width, dtype=picture.dtype, device=picture.device)
    block = launch.block(BLOCK)
    if out.numel():
        _picture_forward[(triton.cdiv(height * width, block), len(flow))](
            picture, flow, painted, alpha, out, *picture.shape[2:], 0 if len(picture) == 1 else picture[0].numel(), *flow.shape[1:3],
            *painted.shape[2:], *alpha.shape[2:], left, top, height, width, square[0], square[1], square[2] / 2,
            RIM=rim, APART=apart, BLOCK=block,
        )  # fmt: skip
    return out
