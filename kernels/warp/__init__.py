"""Bilinear warp of a feature map by a flow, times occlusion. This is the only door: it picks by device.

On a GPU the Triton kernel runs behind a `torch.library` operator, so autograd, `torch.compile` and fake tensors work; elsewhere,
and in float64, the reference does. `dubwright::warp` called on a CPU needs Triton's interpreter (TRITON_INTERPRET=1).
"""

from typing import Any

import torch
from torch import Tensor

from kernels.switch import kernels_run
from kernels.warp import reference


def warp(
    feature: Tensor, flow: Tensor, occlusion: Tensor | None = None, *, align_corners: bool = False, padding: str = "zeros"
) -> Tensor:
    """Sample feature [B, C, H, W] at flow [B, h, w, 2], times occlusion [B, 1, h, w]; see reference.py for the formula."""
    if kernels_run(feature):
        shade = None if occlusion is None else occlusion.contiguous()
        return operator(feature.contiguous(), flow.contiguous(), shade, align_corners, padding)
    return reference.warp(feature, flow, occlusion, align_corners=align_corners, padding=padding)


@torch.library.custom_op("dubwright::warp", mutates_args=())
def operator(feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, padding: str) -> Tensor:
    """The Triton kernel as an operator; contiguous tensors."""
    from kernels.warp import kernel

    return kernel.forward(feature, flow, occlusion, align_corners, padding == "border")


@operator.register_fake
def _fake(feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, padding: str) -> Tensor:
    return feature.new_empty(feature.shape[0], feature.shape[1], flow.shape[1], flow.shape[2])


@torch.library.custom_op("dubwright::warp_backward", mutates_args=())
def backward_operator(
    grad: Tensor, feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, padding: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward kernel as an operator; contiguous tensors."""
    from kernels.warp import kernel

    return kernel.backward(grad, feature, flow, occlusion, align_corners, padding == "border")


@backward_operator.register_fake
def _fake_backward(
    grad: Tensor, feature: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, padding: str
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(feature), torch.empty_like(flow), flow.new_empty(0) if occlusion is None else torch.empty_like(occlusion)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    feature, flow, occlusion, ctx.align_corners, ctx.padding = inputs
    ctx.save_for_backward(feature, flow, occlusion)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    feature, flow, occlusion = ctx.saved_tensors
    found = backward_operator(grad.contiguous(), feature, flow, occlusion, ctx.align_corners, ctx.padding)
    return found[0], found[1], None if occlusion is None else found[2], None, None


operator.register_autograd(_backward, setup_context=_keep)
