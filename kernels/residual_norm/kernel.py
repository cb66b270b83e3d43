"""LayerNorm of a sum in Triton, forward and backward. Arithmetic is float32 whatever the storage type.

One program takes whole rows: the sum is formed in registers and never written. Backward forms it again from the two inputs with
the kept mean and scale; a fixed number of programs walks the rows, each adds up weight's and bias's gradients of its own rows
into one row of a table, and PyTorch adds the table, so that results do not vary from run to run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 512  # elements a program holds at once, in whole rows
PROGRAMS = 1024  # at most, backward: rows of the table that PyTorch adds


@triton.jit
def _norm_forward(
    x, residual, weight, bias, out, mean, scale, rows, width, EPS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    valid = (row < rows)[:, None] & (column < width)[None, :]
    start = tl.program_id(0).to(tl.int64) * ROWS * width  # large inputs reach past 2**31 elements
    at = tl.arange(0, ROWS)[:, None] * width + column[None, :]
    total = tl.load(x + start + at, mask=valid, other=0.0).to(tl.float32)
    total += tl.load(residual + start + at, mask=valid, other=0.0).to(tl.float32)
    middle = tl.sum(total, 1) / width
    apart = tl.where(valid, total - middle[:, None], 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(apart * apart, 1) / width + EPS)
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)
    value = apart * factor[:, None] * gain[None, :] + shift[None, :]
    tl.store(out + start + at, value.to(out.dtype.element_ty), mask=valid)
    tl.store(mean + row, middle, mask=row < rows)
    tl.store(scale + row, factor, mask=row < rows)


@triton.jit
def _norm_backward(
    grad, x, residual, weight, mean, scale, grad_x, grad_weight, grad_bias, rows, width, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    column = tl.arange(0, BLOCK)
    at = tl.arange(0, ROWS)[:, None] * width + column[None, :]
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    to_weight = tl.zeros((ROWS, BLOCK), tl.float32)
    to_bias = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS)
        valid = (row < rows)[:, None] & (column < width)[None, :]
        start = tl.cast(tile, tl.int64) * ROWS * width
        total = tl.load(x + start + at, mask=valid, other=0.0).to(tl.float32)
        total += tl.load(residual + start + at, mask=valid, other=0.0).to(tl.float32)
        middle = tl.load(mean + row, mask=row < rows, other=0.0)
        factor = tl.load(scale + row, mask=row < rows, other=0.0)
        normal = tl.where(valid, (total - middle[:, None]) * factor[:, None], 0.0)
        upstream = tl.load(grad + start + at, mask=valid, other=0.0).to(tl.float32)
        slope = upstream * gain[None, :]
        along = tl.sum(slope, 1) / width
        across = tl.sum(slope * normal, 1) / width
        moved = (slope - along[:, None] - normal * across[:, None]) * factor[:, None]
        tl.store(grad_x + start + at, moved.to(grad_x.dtype.element_ty), mask=valid)
        to_weight += upstream * normal
        to_bias += upstream
    target = tl.program_id(0).to(tl.int64) * width + column
    tl.store(grad_weight + target, tl.sum(to_weight, 0), mask=column < width)
    tl.store(grad_bias + target, tl.sum(to_bias, 0), mask=column < width)


def _sizes(x: Tensor) -> tuple[int, int, dict[str, int]]:
    """Rows, width, and the constants of a launch."""
    width = x.shape[-1]
    block = triton.next_power_of_2(max(width, 1))
    constants = {"ROWS": max(1, TILE // block), "BLOCK": block, "num_warps": min(32, max(4, block // 256))}
    return x.numel() // max(width, 1), width, constants


def forward(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The norm [..., W] of contiguous x + residual [..., W], and each row's mean and 1 / deviation [...] in float32."""
    rows, width, constants = _sizes(x)
    out = torch.empty_like(x)
    mean = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    scale = torch.empty_like(mean)
    if out.numel():
        grid = (triton.cdiv(rows, constants["ROWS"]),)
        _norm_forward[grid](x, residual, weight, bias, out, mean, scale, rows, width, EPS=eps, **constants)
    return out, mean, scale


def backward(
    grad: Tensor, x: Tensor, residual: Tensor, weight: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (residual's is the same), weight and bias, in their types."""
    rows, width, constants = _sizes(x)
    programs = min(triton.cdiv(rows, constants["ROWS"]), PROGRAMS) if width else 0
    to_x = torch.empty_like(x)
    to_weight = torch.empty(programs, width, dtype=torch.float32, device=x.device)
    to_bias = torch.empty(programs, width, dtype=torch.float32, device=x.device)
    if to_x.numel():
        _norm_backward[(programs,)](
            grad, x, residual, weight, mean, scale, to_x, to_weight, to_bias, rows, width, **constants
        )  # fmt: skip
    return to_x, to_weight.sum(0).to(weight.dtype), to_bias.sum(0).to(weight.dtype)
