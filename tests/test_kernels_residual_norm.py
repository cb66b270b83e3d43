"""The kernel of LayerNorm(x + residual) equals its reference (P10), under Triton's interpreter."""


import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree, keeps_clear_of_triton
from kernels import residual_norm as door
from kernels.residual_norm import reference

SHAPES = [(3, 128), (2, 5, 512), (1, 5), (7, 3), (65, 33), (2, 3, 17), (4, 1000), (1, 3000)]


def inputs(shape: tuple[int, ...]) -> list[Tensor]:
    """x and residual off centre, weight about one, bias; float64."""
    random = torch.Generator().manual_seed(sum(shape))
    x, residual = torch.randn(2, *shape, generator=random, dtype=torch.float64) * 2 + 0.5
    weight, bias = torch.randn(2, shape[-1], generator=random, dtype=torch.float64)
    return [x, residual, weight * 0.3 + 1, bias]


def upstream(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def operator(*tensors: Tensor) -> Tensor:
    return door.operator(*tensors, 1e-5)[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_forward_and_backward_equal_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    agree(operator, reference.residual_norm, list(inputs(shape)), upstream(shape), dtype)


def test_a_program_of_backward_walks_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.residual_norm import kernel

    monkeypatch.setattr(kernel, "PROGRAMS", 2)
    monkeypatch.setattr(kernel, "TILE", 64)
    agree(operator, reference.residual_norm, list(inputs((11, 33))), upstream((11, 33)), torch.float32)


def test_rows_far_from_zero_keep_their_digits() -> None:
    x, residual, weight, bias = inputs((5, 128))
    x = (x + 1000).float()
    truth = reference.residual_norm(x.double(), residual.float().double(), weight.float().double(), bias.float().double())
    found = operator(x, residual.float(), weight.float(), bias.float())
    assert (found - truth).abs().max() < 1e-3  # a variance as E[z^2] - E[z]^2 would be wrong by a tenth


@pytest.mark.parametrize("width", [1, 8])
def test_a_row_of_one_value_is_the_bias(width: int) -> None:
    x, bias = torch.full((3, width), 7.0, requires_grad=True), torch.arange(float(width))
    found = operator(x, torch.full((3, width), 0.3), torch.ones(width), bias)
    assert torch.equal(found, bias.expand(3, width))
    assert not torch.autograd.grad(found.sum(), x)[0].any()


@pytest.mark.parametrize("shape", [(0, 8), (2, 0, 8), (3, 0)], ids=lambda shape: "x".join(map(str, shape)))
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    leaves = [
        torch.randn(shape, requires_grad=True),
        torch.randn(shape, requires_grad=True),
        *torch.ones(2, shape[-1]).requires_grad_().unbind(),
    ]
    found = operator(*leaves)
    assert found.shape == shape
    grads = torch.autograd.grad(found.sum(), leaves)
    assert all(grad.shape == leaf.shape and not grad.any() for grad, leaf in zip(grads, leaves, strict=True))


def test_the_reference_is_the_formula() -> None:
    x, residual, weight, bias = inputs((4, 7))
    total = x + residual
    apart = total - total.mean(-1, keepdim=True)
    expected = apart / (apart.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias
    assert torch.allclose(reference.residual_norm(x, residual, weight, bias), expected)


def test_the_reference_has_the_right_gradients() -> None:
    assert torch.autograd.gradcheck(reference.residual_norm, [tensor.requires_grad_() for tensor in inputs((2, 3, 5))])


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    leaves = [tensor.float().requires_grad_() for tensor in inputs((2, 3, 5))]
    torch.library.opcheck(door.operator, (*leaves, 1e-5))
    compiled = torch.compile(lambda *t: operator(*t).square().sum(), backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(*leaves), leaves)
    expected = torch.autograd.grad(reference.residual_norm(*leaves).square().sum(), leaves)
    for got, true in zip(found, expected, strict=True):
        assert torch.allclose(got, true, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    given = [tensor.float() for tensor in inputs((3, 5))]
    assert torch.equal(door.residual_norm(*given), reference.residual_norm(*given))
    assert keeps_clear_of_triton("from kernels.residual_norm import residual_norm\nresidual_norm(*torch.zeros(4, 3))", "residual_norm")
