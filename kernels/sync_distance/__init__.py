"""Distances of video to sound embeddings at the offsets around each window. This is the only door: it picks by device.

On a GPU the Triton kernels run behind the `torch.library` operator `dubwright::sync_distance`, so autograd, `torch.compile` and
fake tensors work; elsewhere, and in float64, the reference does. On a CPU the operator needs Triton's interpreter
(TRITON_INTERPRET=1).
"""

from typing import Any

import torch
from torch import Tensor

from kernels.switch import kernels_run
from kernels.sync_distance import reference


def sync_distance(video: Tensor, audio: Tensor, *, reach: int = 15, edges: str = "leave") -> Tensor:
    """Distances [N, 2 * reach + 1], float32, of video [N, E] to audio [M, E]; see reference.py for the formula.

    edges: what a partner outside the sound gives: NaN ("leave"), or the distance to "zeros". Raises ValueError on another word.
    """
    if edges not in reference.EDGES:
        raise ValueError(f"edges is one of {', '.join(reference.EDGES)}, not {edges!r}")
    if kernels_run(video):
        return operator(video.contiguous(), audio.contiguous(), reach, edges)
    return reference.sync_distance(video, audio, reach=reach, edges=edges)


@torch.library.custom_op("dubwright::sync_distance", mutates_args=())
def operator(video: Tensor, audio: Tensor, reach: int, edges: str) -> Tensor:
    """The Triton kernel as an operator; contiguous tensors."""
    from kernels.sync_distance import kernel

    return kernel.forward(video, audio, reach, edges == "zeros")


@operator.register_fake
def _fake(video: Tensor, audio: Tensor, reach: int, edges: str) -> Tensor:
    return video.new_empty(video.shape[0], 2 * reach + 1, dtype=torch.float32)


@torch.library.custom_op("dubwright::sync_distance_backward", mutates_args=())
def backward_operator(
    grad: Tensor, video: Tensor, audio: Tensor, distance: Tensor, reach: int, edges: str
) -> tuple[Tensor, Tensor]:
    """The backward kernel as an operator; contiguous tensors."""
    from kernels.sync_distance import kernel

    return kernel.backward(grad, video, audio, distance, reach, edges == "zeros")


@backward_operator.register_fake
def _fake_backward(grad: Tensor, video: Tensor, audio: Tensor, distance: Tensor, reach: int, edges: str) -> tuple[Tensor, Tensor]:
    return torch.empty_like(video), torch.empty_like(audio)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    video, audio, ctx.reach, ctx.edges = inputs
    ctx.save_for_backward(video, audio, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *backward_operator(grad.contiguous(), *ctx.saved_tensors, ctx.reach, ctx.edges), None, None


operator.register_autograd(_backward, setup_context=_keep)
