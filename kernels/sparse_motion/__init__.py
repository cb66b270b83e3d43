"""The hourglass's input: heat-map differences and the picture moved by each sparse motion. This is the only door.

Where kernels run (kernels/switch.py) one Triton kernel writes it once, behind the `torch.library` operator
`dubwright::sparse_motion`; elsewhere the reference does.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.sparse_motion import reference
from kernels.switch import kernels_run, shared


def sparse_motion(
    picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor,
    *, variance: float = 0.01, corners: bool = False, align_corners: bool = False, interleaved: bool = False,
) -> Tensor:  # fmt: skip
    """[B, (1+C) (K+1), h, w] of picture [B or 1, C, h, w], keypoints [B, K, 2] and maps [B, K+1, 6]; see reference.py."""
    if kernels_run(picture):
        given = (tensor.contiguous() for tensor in (source, driving, maps))
        return operator(shared(picture), *given, variance, corners, align_corners, interleaved)
    modes = {"variance": variance, "corners": corners, "align_corners": align_corners, "interleaved": interleaved}
    return reference.sparse_motion(picture, source, driving, maps, **modes)  # type: ignore[arg-type]


@torch.library.custom_op("dubwright::sparse_motion", mutates_args=())
def operator(
    picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor, variance: float, corners: bool, align_corners: bool, interleaved: bool
) -> Tensor:
    """The Triton kernel as an operator; contiguous tensors."""
    from kernels.sparse_motion import kernel

    return kernel.forward(picture, source, driving, maps, variance, corners, align_corners, interleaved)


@operator.register_fake
def _fake(picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor, *modes: Any) -> Tensor:
    channels, height, width = picture.shape[1:]
    return picture.new_empty(maps.shape[0], (1 + channels) * maps.shape[1], height, width)


@torch.library.custom_op("dubwright::sparse_motion_backward", mutates_args=())
def backward_operator(
    grad: Tensor, picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor,
    variance: float, corners: bool, align_corners: bool, interleaved: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The backward kernel as an operator: gradients of picture, source, driving and maps; contiguous tensors."""
    from kernels.sparse_motion import kernel

    return kernel.backward(grad, picture, source, driving, maps, variance, corners, align_corners, interleaved)


@backward_operator.register_fake
def _fake_backward(
    grad: Tensor, picture: Tensor, source: Tensor, driving: Tensor, maps: Tensor, *modes: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(picture), torch.empty_like(source), torch.empty_like(driving), torch.empty_like(maps)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.variance, ctx.corners, ctx.align_corners, ctx.interleaved = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = backward_operator(grad.contiguous(), *ctx.saved_tensors, ctx.variance, ctx.corners, ctx.align_corners, ctx.interleaved)
    return *found, None, None, None, None


operator.register_autograd(_backward, setup_context=_keep)
