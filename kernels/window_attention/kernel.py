"""Attention inside overlapping windows in Triton, forward, straight from the shared tokens: no window is ever written.

For every step of a window, one program takes one window and head: its few steps are one small tile. For the centre step alone,
one program takes a block of neighbouring windows of one head and walks the steps with the running softmax (Milakov and
Gimelshein 2018). Sums are float32 whatever the storage type.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch

WINDOWS = 16  # windows a program, centre step


@triton.jit
def _steps(tokens, positions, at, term, valid, HAS: tl.constexpr, UPCAST: tl.constexpr):
    found = tl.load(tokens + at, mask=valid, other=0.0)
    total = found.to(tl.float32)
    if HAS:
        total += tl.load(positions + term, mask=valid, other=0.0).to(tl.float32)
    return total if UPCAST else total.to(found.dtype)


@triton.jit
def _window_every(
    q, k, v, pq, pk, pv, out, heads, steps, width,
    SCALE: tl.constexpr, HAS_PQ: tl.constexpr, HAS_PK: tl.constexpr, HAS_PV: tl.constexpr, UPCAST: tl.constexpr,
    STEPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    window = (tl.program_id(0) // heads).to(tl.int64)  # long clips reach past 2**31 elements
    head = tl.program_id(0) % heads
    step = tl.arange(0, STEPS)
    lane = tl.arange(0, WIDTH)
    valid = (step < steps)[:, None] & (lane < width)[None, :]
    at = (step[:, None] * heads + head) * width + lane[None, :]
    start = window * heads * width
    query = _steps(q + start, pq, at, at, valid, HAS_PQ, UPCAST)
    key = _steps(k + start, pk, at, at, valid, HAS_PK, UPCAST)
    value = _steps(v + start, pv, at, at, valid, HAS_PV, UPCAST)
    score = tl.dot(query, tl.trans(key), input_precision="ieee") * SCALE
    score = tl.where((step < steps)[None, :], score, -float("inf"))
    weight = tl.exp(score - tl.max(score, 1)[:, None])
    found = tl.dot(weight.to(value.dtype), value, input_precision="ieee") / tl.sum(weight, 1)[:, None]
    tl.store(out + start * steps + at, found.to(out.dtype.element_ty), mask=valid)


@triton.jit
def _window_centre(
    q, k, v, pq, pk, pv, out, windows, heads, steps, width,
    SCALE: tl.constexpr, HAS_PQ: tl.constexpr, HAS_PK: tl.constexpr, HAS_PV: tl.constexpr,
    WINDOWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    window = tl.arange(0, WINDOWS)
    lane = tl.arange(0, WIDTH)
    valid = (block * WINDOWS + window < windows)[:, None] & (lane < width)[None, :]
    at = (window[:, None] * heads + head) * width + lane[None, :]
    term = (window * 0)[:, None] + (head * width + lane)[None, :]
    stride = heads * width  # of a step
    start = block.to(tl.int64) * WINDOWS * stride  # long clips reach past 2**31 elements
    middle = steps // 2 * stride
    query = _steps(q + start + middle, pq + middle, at, term, valid, HAS_PQ, True) * SCALE
    highest = tl.full((WINDOWS,), -3.0e38, tl.float32)
    total = tl.zeros((WINDOWS,), tl.float32)
    found = tl.zeros((WINDOWS, WIDTH), tl.float32)
    for step in range(steps):
        key = _steps(k + start + step * stride, pk + step * stride, at, term, valid, HAS_PK, True)
        value = _steps(v + start + step * stride, pv + step * stride, at, term, valid, HAS_PV, True)
        score = tl.sum(query * key, 1)
        above = tl.maximum(highest, score)
        keep, weight = tl.exp(highest - above), tl.exp(score - above)
        total = total * keep + weight
        found = found * keep[:, None] + weight[:, None] * value
        highest = above
    tl.store(out + start + at, (found / total[:, None]).to(out.dtype.element_ty), mask=valid)


def forward(
    q: Tensor, k: Tensor, v: Tensor, pq: Tensor | None, pk: Tensor | None, pv: Tensor | None, reach: int, centre: bool
) -> Tensor:
    """Launch the kernel of every step, or of the centre step, on contiguous tensors; shapes as in the reference."""
    tokens, heads, width = q.shape
    windows, steps = tokens - 2 * reach, 2 * reach + 1
    out = torch.empty(windows, *(() if centre else (steps,)), heads, width, dtype=q.dtype, device=q.device)
    if not out.numel():
        return out
    terms = [q if positions is None else positions for positions in (pq, pk, pv)]
    constants = {
        "SCALE": width**-0.5, "HAS_PQ": pq is not None, "HAS_PK": pk is not None, "HAS_PV": pv is not None,
        "WIDTH": triton.next_power_of_2(max(width, 16)),
    }  # fmt: skip
    if centre:
        grid = (triton.cdiv(windows, WINDOWS) * heads,)
        _window_centre[grid](q, k, v, *terms, out, windows, heads, steps, width, WINDOWS=WINDOWS, **constants)
    else:
        tile = triton.next_power_of_2(max(steps, 16))
        _window_every[(windows * heads,)](
            q, k, v, *terms, out, heads, steps, width, UPCAST=launch.INTERPRETED, STEPS=tile, **constants
        )  # fmt: skip
    return out
