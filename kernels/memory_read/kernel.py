"""The memory's read in Triton, forward and backward. Arithmetic is float32 whatever the storage type.

Forward is two kernels: cosines, a program for every row of the batch and block of slots; then softmax and recall, a program for
every row and block of channels. Backward is three: slopes of the address; the query's gradient, which also leaves the cosines'
gradient for the third; the memory's gradient, where a program takes a block of slots and walks the batch. Nothing is added by
atomics, so results do not vary from run to run. Batches lie on the grid's first axis, the one that may pass 65535.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.memory_read import reference

EPSILON = tl.constexpr(reference.EPSILON)
ROWS, SLOTS, WIDTH = 16, 16, 64  # rows of the batch, slots and channels that a program holds at a time


@triton.jit
def _memory_cosines(query, keys, cosine, stats, key_norm, slots, channels, SLOTS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, SLOTS)
    slot = tl.program_id(1) * SLOTS + lane
    known = slot < slots
    rest = keys + tl.program_id(1).to(tl.int64) * SLOTS * channels
    products = tl.zeros((SLOTS, WIDTH), tl.float32)
    key_squares = tl.zeros((SLOTS, WIDTH), tl.float32)
    query_squares = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, channels, WIDTH):
        channel = start + tl.arange(0, WIDTH)
        inside = channel < channels
        mine = tl.load(query + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
        key = tl.load(rest + lane[:, None] * channels + channel[None, :], mask=known[:, None] & inside[None, :], other=0.0)
        key = key.to(tl.float32)
        products += key * mine[None, :]
        key_squares += key * key
        query_squares += mine * mine
    own, norms = tl.sqrt(tl.sum(query_squares, 0)), tl.sqrt(tl.sum(key_squares, 1))
    found = tl.sum(products, 1) / (tl.maximum(own, EPSILON) * tl.maximum(norms, EPSILON))
    tl.store(cosine + row * slots + slot, found, mask=known)
    tl.store(key_norm + slot, norms, mask=known & (row == 0))
    if tl.program_id(1) == 0:
        tl.store(stats + row * 3 + 2, own)


@triton.jit
def _memory_recall(
    cosine, values, recall, address, stats, slots, channels, KAPPA: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = channel < channels
    lane = tl.arange(0, SLOTS)
    first = tl.program_id(1) == 0
    highest = tl.full((SLOTS,), -3.0e38, tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + lane
        logit = tl.load(cosine + row * slots + slot, mask=slot < slots, other=0.0) * KAPPA
        highest = tl.maximum(highest, tl.where(slot < slots, logit, -3.0e38))
    peak = tl.max(highest, 0)
    total = tl.zeros((SLOTS,), tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + lane
        logit = tl.load(cosine + row * slots + slot, mask=slot < slots, other=0.0) * KAPPA
        total += tl.where(slot < slots, tl.exp(logit - peak), 0.0)
    whole = tl.sum(total, 0)
    recalled = tl.zeros((SLOTS, WIDTH), tl.float32)
    rest = values  # the memory from this block of slots on
    for start in range(0, slots, SLOTS):
        slot = start + lane
        known = slot < slots
        logit = tl.load(cosine + row * slots + slot, mask=known, other=0.0) * KAPPA
        share = tl.where(known, tl.exp(logit - peak) / whole, 0.0)
        tl.store(address + row * slots + slot, share.to(address.dtype.element_ty), mask=known & first)
        value = tl.load(rest + lane[:, None] * channels + channel[None, :], mask=known[:, None] & inside[None, :], other=0.0)
        recalled += share[:, None] * value.to(tl.float32)
        rest += SLOTS * channels
    tl.store(recall + row * channels + channel, tl.sum(recalled, 0).to(recall.dtype.element_ty), mask=inside)
    if first:
        tl.store(stats + row * 3, peak)
        tl.store(stats + row * 3 + 1, whole)


@triton.jit
def _memory_slopes(grad_recall, grad_address, values, slope, slots, channels, SLOTS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, SLOTS)
    slot = tl.program_id(1) * SLOTS + lane
    known = slot < slots
    rest = values + tl.program_id(1).to(tl.int64) * SLOTS * channels
    products = tl.zeros((SLOTS, WIDTH), tl.float32)
    for start in range(0, channels, WIDTH):
        channel = start + tl.arange(0, WIDTH)
        inside = channel < channels
        upstream = tl.load(grad_recall + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(rest + lane[:, None] * channels + channel[None, :], mask=known[:, None] & inside[None, :], other=0.0)
        products += value.to(tl.float32) * upstream[None, :]
    direct = tl.load(grad_address + row * slots + slot, mask=known, other=0.0).to(tl.float32)
    tl.store(slope + row * slots + slot, direct + tl.sum(products, 1), mask=known)


@triton.jit
def _memory_query_backward(
    query, keys, cosine, stats, key_norm, slope, grad_cosine, grad_query, slots, channels,
    KAPPA: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = channel < channels
    lane = tl.arange(0, SLOTS)
    first = tl.program_id(1) == 0
    peak, whole, own = tl.load(stats + row * 3), tl.load(stats + row * 3 + 1), tl.load(stats + row * 3 + 2)
    weighted = tl.zeros((SLOTS,), tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + lane
        known = slot < slots
        share = tl.exp(tl.load(cosine + row * slots + slot, mask=known, other=0.0) * KAPPA - peak) / whole
        weighted += tl.where(known, share * tl.load(slope + row * slots + slot, mask=known, other=0.0), 0.0)
    mean = tl.sum(weighted, 0)
    along = tl.zeros((SLOTS,), tl.float32)  # sum over slots of the cosine's gradient * cosine: what a longer query would change
    across = tl.zeros((SLOTS, WIDTH), tl.float32)
    rest = keys  # the memory from this block of slots on
    for start in range(0, slots, SLOTS):
        slot = start + lane
        known = slot < slots
        found = tl.load(cosine + row * slots + slot, mask=known, other=0.0)
        upstream = tl.load(slope + row * slots + slot, mask=known, other=0.0)
        pull = tl.where(known, KAPPA * (tl.exp(found * KAPPA - peak) / whole) * (upstream - mean), 0.0)
        tl.store(grad_cosine + row * slots + slot, pull, mask=known & first)
        along += pull * found
        norm = tl.maximum(tl.load(key_norm + slot, mask=known, other=1.0), EPSILON)
        key = tl.load(rest + lane[:, None] * channels + channel[None, :], mask=known[:, None] & inside[None, :], other=0.0)
        across += (pull / norm)[:, None] * key.to(tl.float32)
        rest += SLOTS * channels
    norm = tl.maximum(own, EPSILON)
    mine = tl.load(query + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
    lengthwise = tl.where(own > EPSILON, tl.sum(along, 0), 0.0)  # a clamped norm has no slope
    slant = (tl.sum(across, 0) - lengthwise * (mine / norm)) / norm
    tl.store(grad_query + row * channels + channel, slant.to(grad_query.dtype.element_ty), mask=inside)


@triton.jit
def _memory_slots_backward(
    grad_recall, query, keys, cosine, stats, key_norm, grad_cosine, grad_keys, grad_values,
    rows, slots, key_channels, value_channels,
    KAPPA: tl.constexpr, ROWS: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(0).to(tl.int64) * SLOTS + tl.arange(0, SLOTS)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    known, in_key, in_value = slot < slots, channel < key_channels, channel < value_channels
    along = tl.zeros((SLOTS,), tl.float32)
    to_keys = tl.zeros((SLOTS, WIDTH), tl.float32)
    to_values = tl.zeros((SLOTS, WIDTH), tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS).to(tl.int64)
        there = row < rows
        both = known[:, None] & there[None, :]
        place = row[None, :] * slots + slot[:, None]  # [SLOTS, ROWS]
        found = tl.load(cosine + place, mask=both, other=0.0)
        pull = tl.load(grad_cosine + place, mask=both, other=0.0)
        peak = tl.load(stats + row * 3, mask=there, other=0.0)
        whole = tl.load(stats + row * 3 + 1, mask=there, other=1.0)
        norm = tl.maximum(tl.load(stats + row * 3 + 2, mask=there, other=1.0), EPSILON)
        share = tl.where(both, tl.exp(found * KAPPA - peak[None, :]) / whole[None, :], 0.0)
        along += tl.sum(pull * found, 1)
        mine = tl.load(query + row[:, None] * key_channels + channel[None, :], mask=there[:, None] & in_key[None, :], other=0.0)
        upstream = tl.load(
            grad_recall + row[:, None] * value_channels + channel[None, :], mask=there[:, None] & in_value[None, :], other=0.0
        )
        # "ieee": tensor cores would round float32 to ten bits
        to_keys = tl.dot(pull / norm[None, :], mine.to(tl.float32), to_keys, input_precision="ieee")
        to_values = tl.dot(share, upstream.to(tl.float32), to_values, input_precision="ieee")
    own = tl.load(key_norm + slot, mask=known, other=1.0)
    norm = tl.maximum(own, EPSILON)
    place = slot[:, None] * key_channels + channel[None, :]
    key = tl.load(keys + place, mask=known[:, None] & in_key[None, :], other=0.0).to(tl.float32)
    lengthwise = tl.where(own > EPSILON, along, 0.0)  # a clamped norm has no slope
    slant = (to_keys - lengthwise[:, None] * (key / norm[:, None])) / norm[:, None]
    tl.store(grad_keys + place, slant.to(grad_keys.dtype.element_ty), mask=known[:, None] & in_key[None, :])
    place = slot[:, None] * value_channels + channel[None, :]
    tl.store(grad_values + place, to_values.to(grad_values.dtype.element_ty), mask=known[:, None] & in_value[None, :])


def forward(query: Tensor, keys: Tensor, values: Tensor, kappa: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Recall and address; in float32, cosines [B, S], stats [B, 3], keys' norms [S]. Contiguous; shapes as in the reference.

    stats: the highest of kappa * cosine; the sum of exp(kappa * cosine - highest); the query's norm. The log of the sum plus the
    highest would be one number, and ten times less exact where one slot has nearly all of the address.
    """
    (batch, channels), (slots, width) = query.shape, values.shape
    assert keys.shape == (slots, channels), "keys are [slots, the query's channels]"
    recall = torch.empty(batch, width, dtype=values.dtype, device=query.device)
    address = torch.empty(batch, slots, dtype=query.dtype, device=query.device)
    kept = [torch.empty(shape, dtype=torch.float32, device=query.device) for shape in ((batch, slots), (batch, 3), (slots,))]
    if address.numel():
        cosine, stats, key_norm = kept
        _memory_cosines[(batch, triton.cdiv(slots, SLOTS))](
            query, keys, cosine, stats, key_norm, slots, channels, SLOTS=SLOTS, WIDTH=WIDTH
        )  # fmt: skip
        _memory_recall[(batch, max(1, triton.cdiv(width, WIDTH)))](
            cosine, values, recall, address, stats, slots, width, KAPPA=kappa, SLOTS=SLOTS, WIDTH=WIDTH
        )
    else:  # no slots, nothing to recall
        for tensor in (recall, *kept):
            tensor.zero_()
    return recall, address, kept[0], kept[1], kept[2]


def backward(
    grad_recall: Tensor, grad_address: Tensor, query: Tensor, keys: Tensor, values: Tensor,
    cosine: Tensor, stats: Tensor, key_norm: Tensor, kappa: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of query, keys and values, in their types, from those of recall and address and from what forward kept."""
    (batch, channels), (slots, width) = query.shape, values.shape
    if not cosine.numel():
        return torch.zeros_like(query), torch.zeros_like(keys), torch.zeros_like(values)
    to_query, to_keys, to_values = torch.empty_like(query), torch.empty_like(keys), torch.empty_like(values)
    slope, to_cosine = torch.empty_like(cosine), torch.empty_like(cosine)
    blocks = triton.cdiv(slots, SLOTS)
    _memory_slopes[(batch, blocks)](grad_recall, grad_address, values, slope, slots, width, SLOTS=SLOTS, WIDTH=WIDTH)
    _memory_query_backward[(batch, max(1, triton.cdiv(channels, WIDTH)))](
        query, keys, cosine, stats, key_norm, slope, to_cosine, to_query, slots, channels, KAPPA=kappa, SLOTS=SLOTS, WIDTH=WIDTH
    )
    _memory_slots_backward[(blocks, max(1, triton.cdiv(max(channels, width), WIDTH)))](
        grad_recall, query, keys, cosine, stats, key_norm, to_cosine, to_keys, to_values,
        batch, slots, channels, width, KAPPA=kappa, ROWS=ROWS, SLOTS=SLOTS, WIDTH=WIDTH,
    )  # fmt: skip
    return to_query, to_keys, to_values
