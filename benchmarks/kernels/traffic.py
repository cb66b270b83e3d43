"""Bytes that operations must move, counted, not measured: each operation reads what it is given once and writes what it makes once.

Views move nothing, and what an expanded tensor repeats is counted once. That is a lower bound for PyTorch, whose operations also
read what lies in no cache twice. The yardstick is the dense motion as the first-order motion model publishes it (Siarohin et al.
2019), every step an operation of its own; the fused figure counts this project's operators in the same way.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels.dense_warp import dense_warp
from kernels.geometry import affine_maps
from kernels.sparse_motion import sparse_motion
from kernels.switch import use_kernels

FREE = ("detach", "empty", "_unsafe_view", "lift_fresh", "new_empty", "_reshape_alias")


class Traffic(TorchDispatchMode):
    """Counts bytes and operations while it is on; with fake tensors nothing is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: int = 0
        self.operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and let it happen."""
        made = func(*args, **(kwargs or {}))
        if func.namespace != "prim" and not func.is_view and func._opname not in FREE:
            self.operations += 1
            self.moved += sum(size(tensor) for tensor in tree_leaves((args, kwargs, made)) if isinstance(tensor, Tensor))
        return made


def size(tensor: Tensor) -> int:
    """Bytes of a tensor's own elements: what it repeats by a stride of zero counts once."""
    elements = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= length if stride else min(length, 1)
    return elements * tensor.element_size()


def counted(call: Callable[[], Any]) -> Traffic:
    """What a call moves."""
    with torch.no_grad(), Traffic() as traffic:
        call()
    return traffic


def as_published(
    small: Tensor, feature: Tensor, source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor,
    masks: Tensor, occlusion: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The hourglass's input and the warped feature, step by step; arguments and results as the operators have them, one frame.

    What lies between, the hourglass, is left out: `masks` (logits) and `occlusion` are what it would make.
    """
    count, (height, width) = source.shape[1], small.shape[2:]
    xs, ys = (2 * (torch.arange(n, dtype=small.dtype, device=small.device) / (n - 1)) - 1 for n in (width, height))
    here = torch.stack([xs[None].repeat(height, 1), ys[:, None].repeat(1, width)], -1)

    def bumps(points: Tensor) -> Tensor:
        away = here[None, None].repeat(1, count, 1, 1, 1) - points[:, :, None, None]
        return torch.exp(-0.5 * (away**2).sum(-1) / 0.01)

    shift = bumps(driving) - bumps(source)
    shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], 1)[:, :, None]
    away = here[None, None] - driving[:, :, None, None]
    affine = torch.matmul(source_jacobians, torch.inverse(driving_jacobians))[:, :, None, None].repeat(1, 1, height, width, 1, 1)
    moved = torch.matmul(affine, away[..., None])[..., 0] + source[:, :, None, None]
    motions = torch.cat([here[None, None].repeat(1, 1, 1, 1, 1), moved], 1)
    pictures = small[:, None].repeat(1, count + 1, 1, 1, 1).flatten(0, 1)
    warped = F.grid_sample(pictures, motions.flatten(0, 1), align_corners=False)
    entered = torch.cat([shift, warped.unflatten(0, (1, count + 1))], 2).flatten(1, 2)
    shares = torch.softmax(masks, 1)[:, :, None]
    flow = (motions.permute(0, 1, 4, 2, 3) * shares).sum(1).permute(0, 2, 3, 1)
    return entered, F.grid_sample(feature, flow, align_corners=False) * occlusion


def by_operators(
    small: Tensor, feature: Tensor, source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor,
    masks: Tensor, occlusion: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same by `sparse_motion` and `dense_warp`, as models/avct/paper has it."""
    maps = affine_maps(source, driving, source_jacobians, driving_jacobians)
    entered = sparse_motion(small, source, driving, maps, corners=True, interleaved=True)
    return entered, dense_warp(feature, masks, maps, occlusion, corners=True)[0]


def arguments(side: int, channels: int, keypoints: int = 10) -> list[Tensor]:
    """Random arguments of the two: motion at side x side, warping `channels` of that size; float32."""
    points = torch.rand(2, 1, keypoints, 2) * 2 - 1
    jacobians = torch.eye(2) + torch.randn(2, 1, keypoints, 2, 2) * 0.1
    drawn = torch.rand(1, 3, side, side), torch.randn(1, channels, side, side)
    return [*drawn, *points, *jacobians, torch.randn(1, keypoints + 1, side, side), torch.rand(1, 1, side, side)]


def ratios() -> dict[str, float]:
    """Bytes of the unfused dense motion over those of the fused one, of a 256 px frame with ten keypoints, float32.

    `reference`: motion at 64 x 64, warping 256 channels of that size, the published configuration. `picture`: motion at 256 x 256,
    warping the picture itself. `..._own`: this project's CPU path in place of the published steps.
    """
    found: dict[str, float] = {}
    for name, side, channels in (("reference", 64, 256), ("picture", 256, 3)):
        with FakeTensorMode():
            given = arguments(side, channels)
            published, own = counted(lambda: as_published(*given)), counted(lambda: by_operators(*given))  # noqa: B023 (called here)
            with use_kernels():
                fused = counted(lambda: by_operators(*given))  # noqa: B023 (called here)
        found[f"bytes_ratio_{name}"] = published.moved / fused.moved
        found[f"bytes_ratio_{name}_own"] = own.moved / fused.moved
        found[f"unfused_mb_{name}"], found[f"fused_mb_{name}"] = published.moved / 1e6, fused.moved / 1e6
        found[f"unfused_operations_{name}"] = published.operations
    return found
