"""Softmax over masks and the sum of K+1 affine maps in one pass over the masks, forward and backward, in float32.

One program takes a block of pixels of one picture. The softmax is the running one (Milakov and Gimelshein 2018): the masks are
read once, nothing of size K+1 times pixels is written. Backward recomputes the shares from the kept log-sum-exp; sums over
pixels for the maps' gradient go to one row a program and are added by PyTorch, so that results do not vary from run to run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch


@triton.jit
def _at(pixels, width, height, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = ((at % width) * 2 + 1).to(tl.float32) / width - 1.0
    y = ((at // width) * 2 + 1).to(tl.float32) / height - 1.0
    return at, at < pixels, x, y


@triton.jit
def _moved(maps, x, y):
    a, b, c = tl.load(maps).to(tl.float32), tl.load(maps + 1).to(tl.float32), tl.load(maps + 2).to(tl.float32)
    d, e, f = tl.load(maps + 3).to(tl.float32), tl.load(maps + 4).to(tl.float32), tl.load(maps + 5).to(tl.float32)
    return a * x + b * y + e, c * x + d * y + f


@triton.jit
def _blend_forward(masks, maps, flow, logsum, parts, height, width, BLOCK: tl.constexpr):
    batch = tl.program_id(1).to(tl.int64)
    pixels = height * width
    at, valid, x, y = _at(pixels, width, height, BLOCK)
    highest = tl.full((BLOCK,), -3.0e38, tl.float32)  # finite, so that a mask of -inf is a share of 0 and not a NaN
    total = tl.zeros((BLOCK,), tl.float32)
    flow_x = tl.zeros((BLOCK,), tl.float32)
    flow_y = tl.zeros((BLOCK,), tl.float32)
    for part in range(parts):
        mask = tl.load(masks + (batch * parts + part) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        moved_x, moved_y = _moved(maps + (batch * parts + part) * 6, x, y)
        above = tl.maximum(highest, mask)
        keep, weight = tl.exp(highest - above), tl.exp(mask - above)
        total = total * keep + weight
        flow_x = flow_x * keep + weight * moved_x
        flow_y = flow_y * keep + weight * moved_y
        highest = above
    target = flow + (batch * pixels + at) * 2
    tl.store(target, (flow_x / total).to(flow.dtype.element_ty), mask=valid)
    tl.store(target + 1, (flow_y / total).to(flow.dtype.element_ty), mask=valid)
    tl.store(logsum + batch * pixels + at, highest + tl.log(total), mask=valid)


@triton.jit
def _blend_backward(grad, masks, maps, logsum, grad_masks, grad_maps, parts, height, width, BLOCK: tl.constexpr):
    batch = tl.program_id(1).to(tl.int64)
    pixels = height * width
    at, valid, x, y = _at(pixels, width, height, BLOCK)
    up_x = tl.load(grad + (batch * pixels + at) * 2, mask=valid, other=0.0).to(tl.float32)
    up_y = tl.load(grad + (batch * pixels + at) * 2 + 1, mask=valid, other=0.0).to(tl.float32)
    level = tl.load(logsum + batch * pixels + at, mask=valid, other=0.0)
    mean = tl.zeros((BLOCK,), tl.float32)  # sum over parts of share * (upstream . moved)
    for part in range(parts):
        mask = tl.load(masks + (batch * parts + part) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        moved_x, moved_y = _moved(maps + (batch * parts + part) * 6, x, y)
        mean += tl.exp(mask - level) * (up_x * moved_x + up_y * moved_y)
    for part in range(parts):
        mask = tl.load(masks + (batch * parts + part) * pixels + at, mask=valid, other=0.0).to(tl.float32)
        moved_x, moved_y = _moved(maps + (batch * parts + part) * 6, x, y)
        share = tl.exp(mask - level)
        slope = share * (up_x * moved_x + up_y * moved_y - mean)
        tl.store(grad_masks + (batch * parts + part) * pixels + at, slope.to(grad_masks.dtype.element_ty), mask=valid)
        to_x, to_y = tl.where(valid, share * up_x, 0.0), tl.where(valid, share * up_y, 0.0)
        row = grad_maps + ((batch * tl.num_programs(0) + tl.program_id(0)) * parts + part) * 6
        tl.store(row, tl.sum(to_x * x, 0))
        tl.store(row + 1, tl.sum(to_x * y, 0))
        tl.store(row + 2, tl.sum(to_y * x, 0))
        tl.store(row + 3, tl.sum(to_y * y, 0))
        tl.store(row + 4, tl.sum(to_x, 0))
        tl.store(row + 5, tl.sum(to_y, 0))


def forward(masks: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Flow [B, h, w, 2] and log-sum-exp [B, h, w] (float32) of mask logits [B, K+1, h, w] and maps [B, K+1, 6]; contiguous."""
    batch, parts, height, width = masks.shape
    flow = torch.empty(batch, height, width, 2, dtype=masks.dtype, device=masks.device)
    logsum = torch.empty(batch, height, width, dtype=torch.float32, device=masks.device)
    size = launch.block(256)
    if flow.numel():
        _blend_forward[(triton.cdiv(height * width, size), batch)](masks, maps, flow, logsum, parts, height, width, BLOCK=size)
    return flow, logsum


def backward(grad: Tensor, masks: Tensor, maps: Tensor, logsum: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of masks and maps, in their types."""
    batch, parts, height, width = masks.shape
    size = launch.block(256)
    blocks = triton.cdiv(height * width, size)
    to_masks = torch.empty_like(masks)
    to_maps = torch.empty(batch, blocks, parts, 6, dtype=torch.float32, device=masks.device)
    if to_masks.numel():
        _blend_backward[(blocks, batch)](grad, masks, maps, logsum, to_masks, to_maps, parts, height, width, BLOCK=size)
    return to_masks, to_maps.sum(1).to(maps.dtype)
