"""Distances around each window in Triton, forward and backward. Arithmetic is float32 whatever the storage type.

One program takes one video window and up to 32 offsets, and walks the embedding: the N x M matrix is never made. Backward is one
kernel launched twice, for the video and, mirrored, for the sound: every window gathers what its partners pull, so nothing is
added by atomics and results do not vary from run to run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.sync_distance import reference

EPSILON = tl.constexpr(reference.EPSILON)
OFFSETS, WIDTH = 32, 64  # offsets and channels of the embedding that a program holds at a time


@triton.jit
def _sync_forward(
    video, audio, out, sounds, embedding, reach, ZEROS: tl.constexpr, OFFSETS: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    window = tl.program_id(0)
    far = window.to(tl.int64)  # only what is the same for all lanes needs 64 bits
    offset = tl.program_id(1) * OFFSETS + tl.arange(0, OFFSETS)
    asked = offset < 2 * reach + 1
    partner = window + offset - reach
    there = asked & (partner >= 0) & (partner < sounds)
    around = audio + (far - reach) * embedding
    squares = tl.zeros((OFFSETS, WIDTH), tl.float32)
    for start in range(0, embedding, WIDTH):
        channel = start + tl.arange(0, WIDTH)
        inside = channel < embedding
        seen = tl.load(video + far * embedding + channel, mask=inside, other=0.0).to(tl.float32)
        heard = tl.load(around + offset[:, None] * embedding + channel[None, :], mask=there[:, None] & inside[None, :], other=0.0)
        apart = tl.where(inside[None, :], seen[None, :] - heard.to(tl.float32) + EPSILON, 0.0)
        squares += apart * apart
    distance = tl.sqrt_rn(tl.sum(squares, 1))
    if not ZEROS:
        distance = tl.where(there, distance, float("nan"))
    tl.store(out + far * (2 * reach + 1) + offset, distance, mask=asked)


@triton.jit
def _sync_backward(
    grad, distance, own, other, grad_own, others, embedding, reach,
    MIRRORED: tl.constexpr, ZEROS: tl.constexpr, OFFSETS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    window = tl.program_id(0)
    far = window.to(tl.int64)
    channel = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = channel < embedding
    offsets = 2 * reach + 1
    mine = tl.load(own + far * embedding + channel, mask=inside, other=0.0).to(tl.float32)
    if MIRRORED:  # own is the sound; offset j's partner is the video window far + reach - j
        mine -= EPSILON
        step, row, around = 1 - offsets, (far + reach) * offsets, other + (far + reach) * embedding
    else:
        mine += EPSILON
        step, row, around = 1, far * offsets, other + (far - reach) * embedding
    pulled = tl.zeros((OFFSETS, WIDTH), tl.float32)
    for start in range(0, offsets, OFFSETS):
        offset = start + tl.arange(0, OFFSETS)
        turned = -offset if MIRRORED else offset
        partner = window + turned + (reach if MIRRORED else -reach)
        there = (offset < offsets) & (partner >= 0) & (partner < others)
        counted = (offset < offsets) if ZEROS and not MIRRORED else there
        length = tl.load(distance + row + offset * step, mask=counted, other=0.0)
        pull = tl.load(grad + row + offset * step, mask=counted, other=0.0)
        weight = tl.where(length == 0.0, 0.0, pull / tl.where(length == 0.0, 1.0, length))  # as PyTorch: no slope where two meet
        away = tl.load(around + turned[:, None] * embedding + channel[None, :], mask=there[:, None] & inside[None, :], other=0.0)
        pulled += weight[:, None] * (mine[None, :] - away.to(tl.float32))
    tl.store(grad_own + far * embedding + channel, tl.sum(pulled, 0).to(grad_own.dtype.element_ty), mask=inside)


def forward(video: Tensor, audio: Tensor, reach: int, zeros: bool) -> Tensor:
    """Launch the forward kernel on contiguous tensors; shapes as in the reference."""
    (windows, embedding), offsets = video.shape, 2 * reach + 1
    assert audio.shape[1] == embedding, "video and audio have one width"
    out = torch.empty(windows, offsets, dtype=torch.float32, device=video.device)
    if windows:
        _sync_forward[(windows, triton.cdiv(offsets, OFFSETS))](
            video, audio, out, len(audio), embedding, reach, ZEROS=zeros, OFFSETS=OFFSETS, WIDTH=WIDTH
        )
    return out


def backward(grad: Tensor, video: Tensor, audio: Tensor, distance: Tensor, reach: int, zeros: bool) -> tuple[Tensor, Tensor]:
    """Gradients of video and audio, in their types."""
    found = []
    for own, other, mirrored in ((video, audio, False), (audio, video, True)):
        to_own = torch.empty_like(own)
        if to_own.numel():
            _sync_backward[(len(own), triton.cdiv(own.shape[1], WIDTH))](
                grad, distance, own, other, to_own, len(other), own.shape[1], reach,
                MIRRORED=mirrored, ZEROS=zeros, OFFSETS=OFFSETS, WIDTH=WIDTH,
            )  # fmt: skip
        found.append(to_own)
    return found[0], found[1]
