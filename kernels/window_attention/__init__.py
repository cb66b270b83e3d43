"""Attention inside every frame's window of steps, from the tokens that neighbouring windows share. This is the only door.

On a GPU a Triton kernel runs behind a `torch.library` operator, `dubwright::window_attention`; elsewhere, in float64, and for
windows or heads beyond what a program's registers hold, the reference does. The kernel is for inference: gradients are the
reference's.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.switch import kernels_run
from kernels.window_attention import reference

MOST_STEPS, MOST_WIDTH = 32, 64  # what a program's registers hold


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pq: Tensor | None = None,
    pk: Tensor | None = None,
    pv: Tensor | None = None,
    *,
    reach: int = 5,
    centre: bool = False,
) -> Tensor:
    """Attention inside the windows over q, k, v [T + 2 * reach, H, D] with positions' terms [S, H, D]: [T, S, H, D].

    The caller has added reach tokens at both ends. centre: only the middle step asks: [T, H, D]. See reference.py for the formula.
    """
    assert q.shape == k.shape == v.shape and q.shape[0] >= 2 * reach
    terms = (pq, pk, pv)
    assert all(term is None or term.shape == (2 * reach + 1, *q.shape[1:]) for term in terms)
    small = 2 * reach + 1 <= MOST_STEPS and q.shape[-1] <= MOST_WIDTH
    if kernels_run(q) and small:
        flat = [None if term is None else term.contiguous() for term in terms]
        return operator(q.contiguous(), k.contiguous(), v.contiguous(), *flat, reach, centre)
    return reference.window_attention(q, k, v, *terms, reach=reach, centre=centre)


@torch.library.custom_op("dubwright::window_attention", mutates_args=())
def operator(
    q: Tensor, k: Tensor, v: Tensor, pq: Tensor | None, pk: Tensor | None, pv: Tensor | None, reach: int, centre: bool
) -> Tensor:
    """The Triton kernel as an operator; contiguous tensors."""
    from kernels.window_attention import kernel

    return kernel.forward(q, k, v, pq, pk, pv, reach, centre)


@operator.register_fake
def _fake(
    q: Tensor, k: Tensor, v: Tensor, pq: Tensor | None, pk: Tensor | None, pv: Tensor | None, reach: int, centre: bool
) -> Tensor:
    windows = q.shape[0] - 2 * reach
    return q.new_empty(windows, *q.shape[1:]) if centre else q.new_empty(windows, 2 * reach + 1, *q.shape[1:])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.reach, ctx.centre = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        kept = [None if tensor is None else tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        out = reference.window_attention(*kept, reach=ctx.reach, centre=ctx.centre)  # type: ignore[arg-type]  # q, k and v are there
    found = iter(torch.autograd.grad(out, [leaf for leaf in kept if leaf is not None], grad, allow_unused=True))
    return *(None if leaf is None else next(found) for leaf in kept), None, None


operator.register_autograd(_backward, setup_context=_keep)
