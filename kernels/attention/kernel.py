"""Multi-head attention in Triton, forward and backward, with the running softmax (Milakov and Gimelshein 2018; Dao et al. 2022).

Forward: one program takes a block of queries of one head and walks the keys; scores are never written. Backward recomputes the
shares from the kept log-sum-exp: once for each query's mean of upstream . value, which the rounded output would give too
coarsely; once with a program for each block of queries (their gradient); and once for each block of keys (the keys' and values').
Nothing is added across programs, so results do not vary from run to run. Sums are float32 whatever the storage type.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import launch

SHORT = 16  # rows of a tile, where its sequence is no longer
LONG = {4: (16, 16), 2: (32, 16)}  # else, by bytes a number: rows of a program's own tile and of those it walks
LONG_NARROW = {4: (32, 16), 2: (32, 32)}  # the same for heads of up to 64 numbers


@triton.jit
def _tile(base, row, rows, width, UPCAST: tl.constexpr, WIDTH: tl.constexpr):
    lane = tl.arange(0, WIDTH)
    found = tl.load(base + row[:, None] * width + lane[None, :], mask=(row < rows)[:, None] & (lane < width)[None, :], other=0.0)
    return found.to(tl.float32) if UPCAST else found


@triton.jit
def _put(base, value, row, rows, width, WIDTH: tl.constexpr):
    lane = tl.arange(0, WIDTH)
    valid = (row < rows)[:, None] & (lane < width)[None, :]
    tl.store(base + row[:, None] * width + lane[None, :], value.to(base.dtype.element_ty), mask=valid)


@triton.jit
def _scores(left, right, seen, row, column, queries, keys, SCALE: tl.constexpr, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr):
    visible = (row < queries) & (column < keys)  # [queries, 1] and [1, keys], or the other way round
    if CAUSAL:
        visible = visible & (column <= row)
    if HAS_MASK:
        visible = visible & (tl.load(seen + column, mask=column < keys, other=0) != 0)
    return tl.where(visible, tl.dot(left, tl.trans(right), input_precision="ieee") * SCALE, -float("inf"))


@triton.jit
def _asked(q, grad, logsum, pair, row, queries, width, UPCAST: tl.constexpr, WIDTH: tl.constexpr):
    """A block of queries, their upstream gradients and their kept log-sum-exp."""
    level = tl.load(logsum + pair * queries + row, mask=row < queries, other=0.0)
    query = _tile(q + pair * queries * width, row, queries, width, UPCAST, WIDTH)
    upstream = _tile(grad + pair * queries * width, row, queries, width, UPCAST, WIDTH)
    return query, upstream, tl.where(level > -3.0e38, level, 0.0)  # a query that sees nothing: its scores are -inf already


@triton.jit
def _attention_forward(
    q, k, v, seen, out, logsum, heads, queries, keys, width,
    SCALE: tl.constexpr, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(queries, ROWS)
    pair = (tl.program_id(0) // blocks).to(tl.int64)  # picture and head; large batches reach past 2**31 elements
    sees = seen + pair // heads * keys
    first = tl.program_id(0) % blocks * ROWS
    row = first + tl.arange(0, ROWS)
    query = _tile(q + pair * queries * width, row, queries, width, UPCAST, WIDTH)
    highest = tl.full((ROWS,), -3.0e38, tl.float32)  # finite, so that a hidden key's -inf is a share of 0 and not a NaN
    total = tl.zeros((ROWS,), tl.float32)
    found = tl.zeros((ROWS, WIDTH), tl.float32)
    last = tl.minimum(keys, first + ROWS) if CAUSAL else keys
    for start in range(0, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        key = _tile(k + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        value = _tile(v + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        score = _scores(query, key, sees, row[:, None], column[None, :], queries, keys, SCALE, HAS_MASK, CAUSAL)
        above = tl.maximum(highest, tl.max(score, 1))
        keep = tl.exp(highest - above)
        weight = tl.exp(score - above[:, None])
        total = total * keep + tl.sum(weight, 1)
        found = found * keep[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        highest = above
    whole = tl.where(total > 0.0, total, 1.0)
    _put(out + pair * queries * width, found / whole[:, None], row, queries, width, WIDTH)
    level = tl.where(total > 0.0, highest + tl.log(whole), -float("inf"))
    tl.store(logsum + pair * queries + row, level, mask=row < queries)


@triton.jit
def _attention_backward_means(
    grad, q, k, v, seen, logsum, mean, heads, queries, keys, width,
    SCALE: tl.constexpr, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(queries, ROWS)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    sees = seen + pair // heads * keys
    first = tl.program_id(0) % blocks * ROWS
    row = first + tl.arange(0, ROWS)
    query, upstream, level = _asked(q, grad, logsum, pair, row, queries, width, UPCAST, WIDTH)
    middle = tl.zeros((ROWS, COLUMNS), tl.float32)
    last = tl.minimum(keys, first + ROWS) if CAUSAL else keys
    for start in range(0, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        key = _tile(k + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        value = _tile(v + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        score = _scores(query, key, sees, row[:, None], column[None, :], queries, keys, SCALE, HAS_MASK, CAUSAL)
        share = tl.exp(score - level[:, None])
        middle += share * tl.dot(upstream, tl.trans(value), input_precision="ieee")
    tl.store(mean + pair * queries + row, tl.sum(middle, 1), mask=row < queries)


@triton.jit
def _attention_backward_queries(
    grad, q, k, v, seen, logsum, mean, grad_q, heads, queries, keys, width,
    SCALE: tl.constexpr, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(queries, ROWS)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    sees = seen + pair // heads * keys
    first = tl.program_id(0) % blocks * ROWS
    row = first + tl.arange(0, ROWS)
    query, upstream, level = _asked(q, grad, logsum, pair, row, queries, width, UPCAST, WIDTH)
    middle = tl.load(mean + pair * queries + row, mask=row < queries, other=0.0)
    found = tl.zeros((ROWS, WIDTH), tl.float32)
    last = tl.minimum(keys, first + ROWS) if CAUSAL else keys
    for start in range(0, last, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        key = _tile(k + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        value = _tile(v + pair * keys * width, column, keys, width, UPCAST, WIDTH)
        score = _scores(query, key, sees, row[:, None], column[None, :], queries, keys, SCALE, HAS_MASK, CAUSAL)
        share = tl.exp(score - level[:, None])
        slope = share * (tl.dot(upstream, tl.trans(value), input_precision="ieee") - middle[:, None])
        found += tl.dot(slope.to(key.dtype), key, input_precision="ieee")
    _put(grad_q + pair * queries * width, found * SCALE, row, queries, width, WIDTH)


@triton.jit
def _attention_backward_keys(
    grad, q, k, v, seen, logsum, mean, grad_k, grad_v, heads, queries, keys, width,
    SCALE: tl.constexpr, HAS_MASK: tl.constexpr, CAUSAL: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(keys, COLUMNS)
    pair = (tl.program_id(0) // blocks).to(tl.int64)
    sees = seen + pair // heads * keys
    first = tl.program_id(0) % blocks * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    key = _tile(k + pair * keys * width, column, keys, width, UPCAST, WIDTH)
    value = _tile(v + pair * keys * width, column, keys, width, UPCAST, WIDTH)
    to_key = tl.zeros((COLUMNS, WIDTH), tl.float32)
    to_value = tl.zeros((COLUMNS, WIDTH), tl.float32)
    for start in range(first // ROWS * ROWS if CAUSAL else 0, queries, ROWS):
        row = start + tl.arange(0, ROWS)
        query, upstream, level = _asked(q, grad, logsum, pair, row, queries, width, UPCAST, WIDTH)
        middle = tl.load(mean + pair * queries + row, mask=row < queries, other=0.0)
        score = _scores(key, query, sees, row[None, :], column[:, None], queries, keys, SCALE, HAS_MASK, CAUSAL)
        share = tl.exp(score - level[None, :])
        slope = share * (tl.dot(value, tl.trans(upstream), input_precision="ieee") - middle[None, :])
        to_value += tl.dot(share.to(upstream.dtype), upstream, input_precision="ieee")
        to_key += tl.dot(slope.to(query.dtype), query, input_precision="ieee")
    _put(grad_k + pair * keys * width, to_key * SCALE, column, keys, width, WIDTH)
    _put(grad_v + pair * keys * width, to_value, column, keys, width, WIDTH)


def _launch(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, own: Tensor) -> tuple[tuple[int], list[int], dict[str, Any]]:
    """The grid over blocks of `own` (q or k), the sizes, and the constants of a launch."""
    heads, queries, width = q.shape[1:]
    keys, size = k.shape[2], q.element_size()
    mine, walked = (LONG_NARROW if width <= 64 else LONG)[size]
    rows = SHORT if queries <= SHORT else mine if own is q else walked
    columns = SHORT if keys <= SHORT else walked if own is q else mine
    blocks = triton.cdiv(queries, rows) if own is q else triton.cdiv(keys, columns)
    constants = {
        "SCALE": width**-0.5, "HAS_MASK": mask is not None, "CAUSAL": causal, "UPCAST": launch.INTERPRETED,
        "ROWS": rows, "COLUMNS": columns, "WIDTH": triton.next_power_of_2(max(width, 16)),
    }  # fmt: skip
    return (blocks * q.shape[0] * heads,), [heads, queries, keys, width], constants


def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """Output [B, H, M, D] and log-sum-exp [B, H, M] (float32; -inf where no key is seen) of contiguous tensors."""
    out = torch.empty_like(q)
    logsum = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    if q.numel():
        grid, sizes, constants = _launch(q, k, mask, causal, own=q)
        _attention_forward[grid](q, k, v, q if mask is None else mask, out, logsum, *sizes, **constants)
    return out, logsum


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, logsum: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, in their types."""
    seen, mean = q if mask is None else mask, torch.empty_like(logsum)
    to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    if q.numel():
        grid, sizes, constants = _launch(q, k, mask, causal, own=q)
        _attention_backward_means[grid](grad, q, k, v, seen, logsum, mean, *sizes, **constants)
        _attention_backward_queries[grid](grad, q, k, v, seen, logsum, mean, to_q, *sizes, **constants)
    if k.numel():
        grid, sizes, constants = _launch(q, k, mask, causal, own=k)
        _attention_backward_keys[grid](grad, q, k, v, seen, logsum, mean, to_k, to_v, *sizes, **constants)
    return to_q, to_k, to_v
