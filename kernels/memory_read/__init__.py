"""A read of the audio-lip memory: cosine address, softmax over slots, recall. This is the only door: it picks by device.

On a GPU the Triton kernels run behind the `torch.library` operator `dubwright::memory_read`, so autograd, `torch.compile` and
fake tensors work; elsewhere, and in float64, the reference does. On a CPU the operator needs Triton's interpreter
(TRITON_INTERPRET=1).
"""

from typing import Any

import torch
from torch import Tensor

from kernels.memory_read import reference
from kernels.switch import kernels_run


def memory_read(query: Tensor, keys: Tensor, values: Tensor, kappa: float = 16.0) -> tuple[Tensor, Tensor]:
    """Recall [B, C'] and address [B, S] of query [B, C] in keys [S, C] and values [S, C']; see reference.py for the formula."""
    if kernels_run(query):
        return operator(query.contiguous(), keys.contiguous(), values.contiguous(), kappa)[:2]
    return reference.memory_read(query, keys, values, kappa)


@torch.library.custom_op("dubwright::memory_read", mutates_args=())
def operator(query: Tensor, keys: Tensor, values: Tensor, kappa: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Recall and address; for backward, in float32, cosines [B, S], stats [B, 3] and keys' norms [S]; contiguous tensors."""
    from kernels.memory_read import kernel

    return kernel.forward(query, keys, values, kappa)


@operator.register_fake
def _fake(query: Tensor, keys: Tensor, values: Tensor, kappa: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, slots = query.shape[0], keys.shape[0]
    kept = [query.new_empty(shape, dtype=torch.float32) for shape in ((batch, slots), (batch, 3), (slots,))]
    return values.new_empty(batch, values.shape[1]), query.new_empty(batch, slots), kept[0], kept[1], kept[2]


@torch.library.custom_op("dubwright::memory_read_backward", mutates_args=())
def backward_operator(
    grad_recall: Tensor, grad_address: Tensor, query: Tensor, keys: Tensor, values: Tensor,
    cosine: Tensor, stats: Tensor, key_norm: Tensor, kappa: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The backward kernels as an operator; contiguous tensors."""
    from kernels.memory_read import kernel

    return kernel.backward(grad_recall, grad_address, query, keys, values, cosine, stats, key_norm, kappa)


@backward_operator.register_fake
def _fake_backward(
    grad_recall: Tensor, grad_address: Tensor, query: Tensor, keys: Tensor, values: Tensor,
    cosine: Tensor, stats: Tensor, key_norm: Tensor, kappa: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return torch.empty_like(query), torch.empty_like(keys), torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.kappa = inputs[3]
    ctx.save_for_backward(*inputs[:3], *output[2:])
    ctx.mark_non_differentiable(*output[2:])


def _backward(ctx: Any, grad_recall: Tensor, grad_address: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return *backward_operator(grad_recall.contiguous(), grad_address.contiguous(), *ctx.saved_tensors, ctx.kappa), None


operator.register_autograd(_backward, setup_context=_keep)
