"""Multi-head attention with a key mask or a causal one. This is the only door: it picks by device.

On a GPU Triton kernels run behind a `torch.library` operator, `dubwright::attention`; elsewhere, in float64, and for heads wider
than a program's registers hold, the reference does.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.attention import reference
from kernels.switch import kernels_run

MOST_WIDTH = 128  # what a program's registers hold


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Attention of q [B, H, M, D] over k, v [B, H, N, D], keys seen where mask [B, N] is true: [B, H, M, D]; see reference.py."""
    assert k.shape == v.shape and q.shape[:2] == k.shape[:2] and q.shape[3] == k.shape[3]
    assert mask is None or (mask.dtype == torch.bool and mask.shape == (k.shape[0], k.shape[2]))
    if kernels_run(q) and q.shape[3] <= MOST_WIDTH:
        return operator(q.contiguous(), k.contiguous(), v.contiguous(), None if mask is None else mask.contiguous(), causal)[0]
    return reference.attention(q, k, v, mask, causal=causal)


@torch.library.custom_op("dubwright::attention", mutates_args=())
def operator(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """The Triton kernel as an operator: output [B, H, M, D] and log-sum-exp [B, H, M] in float32; contiguous tensors."""
    from kernels.attention import kernel

    return kernel.forward(q, k, v, mask, causal)


@operator.register_fake
def _fake(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("dubwright::attention_backward", mutates_args=())
def backward_operator(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, logsum: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward kernels as an operator; contiguous tensors."""
    from kernels.attention import kernel

    return kernel.backward(grad, q, k, v, mask, logsum, causal)


@backward_operator.register_fake
def _fake_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, logsum: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.causal = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *backward_operator(grad.contiguous(), *ctx.saved_tensors, ctx.causal), None, None


operator.register_autograd(_backward, setup_context=_keep)
