"""Operators at the sizes that they have at work: arguments, the door, the reference, and the arithmetic of forward.

FLOP are counted by hand from the kernels: an addition, a product, an exponential or a comparison is one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.attention import attention
from kernels.attention import reference as attention_reference
from kernels.dense_warp import dense_warp, picture_warp
from kernels.dense_warp import reference as dense_reference
from kernels.geometry import affine_maps, grid
from kernels.memory_read import memory_read
from kernels.memory_read import reference as memory_reference
from kernels.residual_norm import reference as norm_reference
from kernels.residual_norm import residual_norm
from kernels.sparse_motion import reference as sparse_reference
from kernels.sparse_motion import sparse_motion
from kernels.sync_distance import reference as sync_reference
from kernels.sync_distance import sync_distance
from kernels.warp import reference as warp_reference
from kernels.warp import warp
from kernels.window_attention import reference as window_reference
from kernels.window_attention import window_attention


class Case(NamedTuple):
    """One operator at one size."""

    operator: str
    size: str
    arguments: Callable[[], list[Tensor]]  # float32
    door: Callable[..., Any]
    reference: Callable[..., Any]
    flop: int
    products: bool = False  # matrix products own the arithmetic: tensor cores do it in fp16 and bf16


def cases() -> list[Case]:
    """Every operator at its deployed size; a batch is frames of one clip, of which the source is one for all."""
    return [
        *(_sparse_motion(frames) for frames in (1, 32)), *(_dense_warp(frames) for frames in (1, 32)), _picture_warp(32), _warp(32),
        _window_attention(250, False), _window_attention(250, True), _residual_norm(2750, 512),
        _attention(64, 11), _attention(4, 1024), _memory_read(160), _sync_distance(1500),
    ]  # fmt: skip


def _of(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"


def _keypoints(frames: int) -> tuple[list[Tensor], Tensor]:
    """Source and driving keypoints, and their maps."""
    points, jacobians = torch.rand(2, frames, 10, 2) * 2 - 1, torch.eye(2) + torch.randn(2, frames, 10, 2, 2) * 0.1
    return list(points), affine_maps(*points, *jacobians)


def _sparse_motion(frames: int) -> Case:
    modes: dict[str, Any] = {"corners": True, "interleaved": True}
    pixel = 11 * (8 + 10 + 9 * 3) + 10 * 15  # a part: its map, its place, three channels; a keypoint: two Gaussians

    def arguments() -> list[Tensor]:
        points, maps = _keypoints(frames)
        return [torch.rand(1, 3, 64, 64), *points, maps]

    return Case(
        "sparse_motion", f"{_of(frames)}, 10 keypoints, 3 channels, 64x64", arguments,
        lambda *t: sparse_motion(*t, **modes), lambda *t: sparse_reference.sparse_motion(*t, **modes), frames * 64 * 64 * pixel,
    )  # fmt: skip


def _dense_warp(frames: int) -> Case:
    def arguments() -> list[Tensor]:
        return [torch.randn(1, 256, 64, 64), torch.randn(frames, 11, 64, 64), _keypoints(frames)[1], torch.rand(frames, 1, 64, 64)]

    pixel = 11 * 19 + 20 + 256 * 10  # a part: its map and the running softmax; the place; a channel
    return Case(
        "dense_warp", f"{_of(frames)}, 11 masks, 256 channels, 64x64", arguments,
        lambda *t: dense_warp(*t, corners=True), lambda *t: dense_reference.dense_warp(*t, corners=True), frames * 64 * 64 * pixel,
    )  # fmt: skip


def _picture_warp(frames: int) -> Case:
    modes: dict[str, Any] = {"box": [284, 104, 512, 512], "square": [540.0, 360.0, 512.0], "rim": 0.16}

    def arguments() -> list[Tensor]:
        flow = grid(64, 64, torch.zeros(1)) + torch.randn(frames, 64, 64, 2) * 0.01
        return [torch.rand(1, 3, 720, 1280), flow, torch.rand(frames, 3, 256, 256), torch.rand(frames, 1, 256, 256)]

    pixel = 45 + 6 * 9 + 24 + 3 * 45  # unit, fade and places; six bilinear samples; cubic weights; three bicubic samples, blended
    return Case(
        "picture_warp", f"{frames} frames, a square of 512 in 1280x720", arguments,
        lambda *t: picture_warp(*t, **modes), lambda *t: dense_reference.picture_warp(*t, **modes), frames * 512 * 512 * pixel,
    )  # fmt: skip


def _warp(frames: int) -> Case:
    def arguments() -> list[Tensor]:
        return [torch.randn(frames, 80, 32, 32), torch.rand(frames, 32, 32, 2) * 2 - 1, torch.rand(frames, 1, 32, 32)]

    return Case("warp", f"{frames} frames, 80 channels, 32x32", arguments, warp, warp_reference.warp, frames * 32 * 32 * (20 + 80 * 10))


def _window_attention(windows: int, centre: bool) -> Case:
    def arguments() -> list[Tensor]:
        return [*torch.randn(3, windows + 10, 8, 64), *torch.randn(3, 11, 8, 64)]

    asked = 1 if centre else 11
    flop = windows * 8 * (asked * 11 * (4 * 64 + 6) + (asked + 22) * 64)
    return Case(
        "window_attention", f"{windows} windows of 11, {'centre' if centre else 'every step'}, 8 heads of 64", arguments,
        lambda *t: window_attention(*t, centre=centre), lambda *t: window_reference.window_attention(*t, centre=centre), flop, not centre,
    )  # fmt: skip


def _residual_norm(rows: int, width: int) -> Case:
    def arguments() -> list[Tensor]:
        return [*torch.randn(2, rows, width), torch.rand(width), torch.rand(width)]

    return Case("residual_norm", f"{rows} rows of {width}", arguments, residual_norm, norm_reference.residual_norm, rows * width * 9)


def _attention(batch: int, length: int) -> Case:
    def arguments() -> list[Tensor]:
        return list(torch.randn(3, batch, 8, length, 64))

    flop = batch * 8 * length * length * (4 * 64 + 6)
    return Case("attention", f"{batch} x 8 heads of 64, length {length}", arguments, attention, attention_reference.attention, flop, True)


def _memory_read(rows: int) -> Case:
    def arguments() -> list[Tensor]:
        return [torch.randn(rows, 512), *torch.randn(2, 96, 512)]

    flop = rows * 96 * (2 * 512 + 2 * 512 + 6)
    return Case("memory_read", f"{rows} rows, 96 slots of 512", arguments, memory_read, memory_reference.memory_read, flop)


def _sync_distance(windows: int) -> Case:
    def arguments() -> list[Tensor]:
        return list(torch.randn(2, windows, 256))

    flop = windows * 31 * 256 * 4
    return Case("sync_distance", f"{windows} windows, 31 offsets, 256 wide", arguments, sync_distance, sync_reference.sync_distance, flop)
