"""Masks and keypoints to a dense flow. This is the only door: it picks by device.

On a GPU one Triton kernel takes the softmax and the sum of moved places together, behind the `torch.library` operator
`dubwright::blend`; elsewhere, and in float64, the reference's one matrix product does.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.motion import reference
from kernels.motion.reference import affine_maps

__all__ = ["affine_maps", "dense_flow"]


def dense_flow(masks: Tensor, source: Tensor, driving: Tensor, source_jacobians: Tensor, driving_jacobians: Tensor) -> Tensor:
    """Flow [B, h, w, 2] from mask logits [B, K+1, h, w], keypoints [B, K, 2] and Jacobians [B, K, 2, 2]; see reference.py."""
    if masks.is_cuda and masks.dtype != torch.float64:
        return blend(masks.contiguous(), reference.numbers(source, driving, source_jacobians, driving_jacobians))[0]
    return reference.dense_flow(masks, source, driving, source_jacobians, driving_jacobians)


@torch.library.custom_op("dubwright::blend", mutates_args=())
def blend(masks: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Flow [B, h, w, 2] and log-sum-exp [B, h, w] from mask logits [B, K+1, h, w] and maps [B, K+1, 6], contiguous; the kernel."""
    from kernels.motion import kernel

    return kernel.forward(masks, maps)


@blend.register_fake
def _fake(masks: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = masks.shape
    return masks.new_empty(batch, height, width, 2), masks.new_empty(batch, height, width, dtype=torch.float32)


@torch.library.custom_op("dubwright::blend_backward", mutates_args=())
def blend_backward(grad: Tensor, masks: Tensor, maps: Tensor, logsum: Tensor) -> tuple[Tensor, Tensor]:
    """The backward kernel as an operator; contiguous tensors."""
    from kernels.motion import kernel

    return kernel.backward(grad, masks, maps, logsum)


@blend_backward.register_fake
def _fake_backward(grad: Tensor, masks: Tensor, maps: Tensor, logsum: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(masks), torch.empty_like(maps)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    return blend_backward(grad.contiguous(), *ctx.saved_tensors)


blend.register_autograd(_backward, setup_context=_keep)
