"""What the kernel tests share: poisoned memory, and the tolerance that travels with the storage type."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ROOT = Path(__file__).parent.parent
GUARD = 64  # elements of NaN on either side of an input


class Called(TorchDispatchMode):
    """Remembers which of this project's operators ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "dubwright":
            self.names.add(func._opname)
        return func(*args, **(kwargs or {}))


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """torch.empty gives NaN, so that an element that a kernel forgets to write is seen."""
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(4).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = before


def guarded(tensor: Tensor) -> Tensor:
    """The same numbers with NaN before and after them in memory, so that a read past an end is seen."""
    room = torch.full((tensor.numel() + 2 * GUARD,), float("nan"), dtype=tensor.dtype)
    view = room[GUARD:-GUARD].view(tensor.shape)
    view.copy_(tensor)
    return view.requires_grad_(tensor.requires_grad)


def keypoints(count: int, batch: int = 2) -> list[Tensor]:
    """Source and driving keypoints [batch, count, 2] with Jacobians near the identity, in float64."""
    random = torch.Generator().manual_seed(count)
    points = torch.rand(2, batch, count, 2, generator=random, dtype=torch.float64) * 2 - 1
    jacobians = torch.eye(2) + torch.randn(2, batch, count, 2, 2, generator=random, dtype=torch.float64) * 0.2
    return [points[0], points[1], jacobians[0], jacobians[1]]


def run(function: Callable[..., Tensor], inputs: list[Tensor | None], upstream: Tensor) -> list[Tensor]:
    """The output and the gradient of every floating input, in double."""
    leaves = [None if tensor is None else guarded(tensor.detach()).requires_grad_() for tensor in inputs]
    out = function(*leaves)
    grads = torch.autograd.grad(out, [leaf for leaf in leaves if leaf is not None], upstream.to(out.dtype))
    return [found.double() for found in (out.detach(), *grads)]


def agree(
    operator: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: list[Tensor | None], upstream: Tensor, dtype: torch.dtype
) -> None:
    """The operator equals the reference within the promise: 1e-5 of the range in float32, else twice torch's own error.

    Inputs and upstream are float64 and are rounded to `dtype` first, so that both sides see the same numbers. The truth is the
    reference, in float32 for float32 (a place's own rounding is no error of the kernel's), in float64 for the shorter types.
    """
    inputs = [None if tensor is None else tensor.to(dtype) for tensor in inputs]
    upstream = upstream.to(dtype)
    exact = torch.float32 if dtype == torch.float32 else torch.float64
    truth = run(reference, [None if tensor is None else tensor.to(exact) for tensor in inputs], upstream.to(exact))
    with poisoned_memory():
        found = run(operator, inputs, upstream)
    own = run(reference, inputs, upstream)
    for name, true, got, torch_own in zip(("output", *map("gradient {}".format, range(9))), truth, found, own, strict=False):
        assert torch.isfinite(got).all(), f"{name}: {int((~torch.isfinite(got)).sum())} of {got.numel()} elements are not finite"
        span = float(true.max() - true.min()) or 1.0
        error, floor = float((got - true).abs().max()), float((torch_own - true).abs().max())
        limit = 1e-5 * span if dtype == torch.float32 else 2 * max(floor, torch.finfo(dtype).eps * span / 4)
        assert error <= limit, f"{name}: error {error:.3g} over {limit:.3g}; torch's own {floor:.3g}"


def keeps_clear_of_triton(program: str, operator: str) -> bool:
    """Whether a fresh process that runs the program (an operator's door on CPU tensors) imports neither its kernel nor Triton."""
    check = f"import sys, torch\n{program}\nsys.exit('kernels.{operator}.kernel' in sys.modules or 'triton' in sys.modules)"
    return subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
