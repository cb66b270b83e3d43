"""What the sampling kernels share, in Triton: places of pixels, where a coordinate falls in a picture, the four pixels about it.

Imported by kernel.py files alone. All of it is float32; a place that falls outside keeps its index in int32.
"""

import triton
import triton.language as tl


@triton.jit
def centres(pixels, height, width, CORNERS: tl.constexpr, BLOCK: tl.constexpr):
    """A program's pixels, which of them there are, and their centres (x, y)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column, row = at % width, at // width
    if CORNERS:
        x = (column * 2).to(tl.float32) / tl.maximum(width - 1, 1) - 1.0
        y = (row * 2).to(tl.float32) / tl.maximum(height - 1, 1) - 1.0
    else:
        x = (column * 2 + 1).to(tl.float32) / width - 1.0
        y = (row * 2 + 1).to(tl.float32) / height - 1.0
    return at, at < pixels, x, y


@triton.jit
def moved(maps, x, y):
    """Where the affine map whose six numbers lie at `maps` takes (x, y)."""
    a, b, c = tl.load(maps).to(tl.float32), tl.load(maps + 1).to(tl.float32), tl.load(maps + 2).to(tl.float32)
    d, e, f = tl.load(maps + 3).to(tl.float32), tl.load(maps + 4).to(tl.float32), tl.load(maps + 5).to(tl.float32)
    return a * x + b * y + e, c * x + d * y + f


@triton.jit
def place(coordinate, size, ALIGN: tl.constexpr, BORDER: tl.constexpr):
    """A coordinate in [-1, 1] in pixels of an axis of `size`, and its slope; grid_sample's align_corners and padding."""
    if ALIGN:
        scale = (size - 1) * 0.5
        found = (coordinate + 1.0) * scale
    else:
        scale = size * 0.5
        found = (coordinate + 1.0) * scale - 0.5
    slope = coordinate * 0.0 + scale
    if BORDER:
        inside = (found > 0.0) & (found < size - 1.0)
        slope = tl.where(inside, slope, 0.0)
        found = tl.minimum(tl.maximum(found, 0.0), size - 1.0)
    else:
        # one pixel outside is as good as any: all four neighbours count as zero, and the index stays in the range of int32
        found = tl.minimum(tl.maximum(found, -2.0), size + 1.0)
    return found, slope


@triton.jit
def around(x, y, height, width, valid):
    """For places in pixels: the upper left neighbour's index, the shares of right and lower ones, and which of the four are there."""
    left, top = tl.floor(x), tl.floor(y)
    x0, y0 = left.to(tl.int32), top.to(tl.int32)
    in_left, in_right = (x0 >= 0) & (x0 < width) & valid, (x0 + 1 >= 0) & (x0 + 1 < width) & valid
    in_top, in_bottom = (y0 >= 0) & (y0 < height), (y0 + 1 >= 0) & (y0 + 1 < height)
    there = in_left & in_top, in_right & in_top, in_left & in_bottom, in_right & in_bottom
    return y0 * width + x0, x - left, y - top, there


@triton.jit
def four(plane, width, there):
    """The four neighbours' values; outside there is zero."""
    a = tl.load(plane, mask=there[0], other=0.0).to(tl.float32)
    b = tl.load(plane + 1, mask=there[1], other=0.0).to(tl.float32)
    c = tl.load(plane + width, mask=there[2], other=0.0).to(tl.float32)
    d = tl.load(plane + width + 1, mask=there[3], other=0.0).to(tl.float32)
    return a, b, c, d


@triton.jit
def scatter(plane, width, there, value, right, down):
    """Add a value's gradient to the four neighbours by their shares; atomics."""
    tl.atomic_add(plane, value * (1.0 - right) * (1.0 - down), mask=there[0])
    tl.atomic_add(plane + 1, value * right * (1.0 - down), mask=there[1])
    tl.atomic_add(plane + width, value * (1.0 - right) * down, mask=there[2])
    tl.atomic_add(plane + width + 1, value * right * down, mask=there[3])
