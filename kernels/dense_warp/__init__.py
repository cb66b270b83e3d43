"""Masks to a warped feature (`dense_warp`), and the motion applied to the picture itself (`picture_warp`). This is the only door.

Where kernels run (kernels/switch.py) each is one Triton kernel behind a `torch.library` operator, `dubwright::dense_warp` and
`dubwright::picture_warp`; elsewhere the reference does. `picture_warp` is for inference: it has no gradient.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.dense_warp import reference
from kernels.switch import kernels_run, shared


def dense_warp(
    feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None = None,
    *, corners: bool = False, align_corners: bool = False, padding: str = "zeros",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """[B, C, h, w] and flow [B, h, w, 2] of feature [B or 1, C, H, W], mask logits [B, K+1, h, w] and maps [B, K+1, 6]; see reference.py."""
    if kernels_run(feature):
        shade = None if occlusion is None else occlusion.contiguous()
        return operator(shared(feature), masks.contiguous(), maps.contiguous(), shade, corners, align_corners, padding)[:2]
    return reference.dense_warp(feature, masks, maps, occlusion, corners=corners, align_corners=align_corners, padding=padding)


def picture_warp(
    picture: Tensor, flow: Tensor, painted: Tensor, alpha: Tensor, *, box: list[int], square: list[float], rim: float,
    apart: bool = False,
) -> Tensor:  # fmt: skip
    """The composed patch [B, 3, height, width], or its seven parts, of picture [B or 1, 3, H, W] under flow [B, h, w, 2]; see reference.py."""
    if kernels_run(picture):
        given = (tensor.contiguous() for tensor in (flow, painted, alpha))
        return picture_operator(shared(picture), *given, box, square, rim, apart)
    return reference.picture_warp(picture, flow, painted, alpha, box, square, rim, apart)


@torch.library.custom_op("dubwright::dense_warp", mutates_args=())
def operator(
    feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None, corners: bool, align_corners: bool, padding: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The Triton kernel as an operator: warped feature, flow, and for backward the masks' log-sum-exp; contiguous tensors."""
    from kernels.dense_warp import kernel

    return kernel.forward(feature, masks, maps, occlusion, corners, align_corners, padding == "border")


@operator.register_fake
def _fake(feature: Tensor, masks: Tensor, maps: Tensor, *modes: Any) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, height, width = masks.shape
    flow = masks.new_empty(batch, height, width, 2, dtype=torch.float32)
    return feature.new_empty(batch, feature.shape[1], height, width), flow, masks.new_empty(batch, height, width, dtype=torch.float32)


@torch.library.custom_op("dubwright::dense_warp_backward", mutates_args=())
def backward_operator(
    grad: Tensor, grad_flow: Tensor, feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None,
    flow: Tensor, logsum: Tensor, corners: bool, align_corners: bool, padding: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The backward kernel as an operator: gradients of feature, masks, maps and occlusion; contiguous tensors."""
    from kernels.dense_warp import kernel

    return kernel.backward(grad, grad_flow, feature, masks, maps, occlusion, flow, logsum, corners, align_corners, padding == "border")


@backward_operator.register_fake
def _fake_backward(
    grad: Tensor, grad_flow: Tensor, feature: Tensor, masks: Tensor, maps: Tensor, occlusion: Tensor | None, *modes: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shade = masks.new_empty(0) if occlusion is None else torch.empty_like(occlusion)
    return torch.empty_like(feature), torch.empty_like(masks), torch.empty_like(maps), shade


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.corners, ctx.align_corners, ctx.padding = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, grad: Tensor, grad_flow: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    found = backward_operator(grad.contiguous(), grad_flow.contiguous(), *tensors, ctx.corners, ctx.align_corners, ctx.padding)
    return *found[:3], None if tensors[3] is None else found[3], None, None, None


operator.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op("dubwright::picture_warp", mutates_args=())
def picture_operator(
    picture: Tensor, flow: Tensor, painted: Tensor, alpha: Tensor, box: list[int], square: list[float], rim: float,
    apart: bool,
) -> Tensor:  # fmt: skip
    """The Triton kernel as an operator; contiguous tensors."""
    from kernels.dense_warp import picture_kernel

    return picture_kernel.forward(picture, flow, painted, alpha, box, square, rim, apart)


@picture_operator.register_fake
def _fake_picture(picture: Tensor, flow: Tensor, painted: Tensor, alpha: Tensor, box: list[int], *modes: Any) -> Tensor:
    return picture.new_empty(flow.shape[0], 7 if modes[-1] else 3, box[3], box[2])
