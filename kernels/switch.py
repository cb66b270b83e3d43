"""Where operators run: the one question that every door asks. It does not import Triton."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_everywhere = False


def kernels_run(tensor: Tensor) -> bool:
    """Whether an operator's kernel takes this tensor: on a GPU, and everywhere inside `use_kernels`; never in float64."""
    return (tensor.is_cuda or _everywhere) and tensor.dtype != torch.float64


@contextmanager
def use_kernels() -> Iterator[None]:
    """Inside, kernels take CPU tensors too. They then need Triton's interpreter (TRITON_INTERPRET=1 before the first import)."""
    global _everywhere
    before, _everywhere = _everywhere, True
    try:
        yield
    finally:
        _everywhere = before


def shared(batch: Tensor) -> Tensor:
    """A batch [B, ...] contiguous, and as [1, ...] where it is one entry expanded: kernels read that one for all."""
    return (batch[:1] if len(batch) and batch.stride(0) == 0 else batch).contiguous()
