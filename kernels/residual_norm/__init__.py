"""LayerNorm of x + residual. This is the only door: it picks by device.

On a GPU one Triton kernel adds and norms in one pass behind a `torch.library` operator, `dubwright::residual_norm`; elsewhere, and
in float64, the reference does.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.residual_norm import reference
from kernels.switch import kernels_run


def residual_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, *, eps: float = 1e-5) -> Tensor:
    """LayerNorm over the last axis of x + residual, both [..., W], with weight and bias [W]; see reference.py for the formula."""
    if kernels_run(x):
        assert x.shape == residual.shape and weight.shape == bias.shape == x.shape[-1:]
        return operator(x.contiguous(), residual.contiguous(), weight.contiguous(), bias.contiguous(), eps)[0]
    return reference.residual_norm(x, residual, weight, bias, eps=eps)


@torch.library.custom_op("dubwright::residual_norm", mutates_args=())
def operator(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The Triton kernel as an operator: out [..., W], and the rows' means and scales [...] in float32; contiguous tensors."""
    from kernels.residual_norm import kernel

    return kernel.forward(x, residual, weight, bias, eps)


@operator.register_fake
def _fake(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return torch.empty_like(x), mean, torch.empty_like(mean)


@torch.library.custom_op("dubwright::residual_norm_backward", mutates_args=())
def backward_operator(
    grad: Tensor, x: Tensor, residual: Tensor, weight: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward kernel as an operator: gradients of x (and residual), weight and bias; contiguous tensors."""
    from kernels.residual_norm import kernel

    return kernel.backward(grad, x, residual, weight, mean, scale)


@backward_operator.register_fake
def _fake_backward(
    grad: Tensor, x: Tensor, residual: Tensor, weight: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, _, _ = inputs
    ctx.save_for_backward(x, residual, weight, output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    to_x, to_weight, to_bias = backward_operator(grad.contiguous(), *ctx.saved_tensors)
    return to_x, to_x, to_weight, to_bias, None


operator.register_autograd(_backward, setup_context=_keep)
