"""The memory's kernels equal their reference (P10), under Triton's interpreter."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernel_cases import DTYPES, agree, guarded, poisoned_memory, run
from kernels import memory_read as door
from kernels.memory_read import reference

# batch, slots, channels of query and keys, channels of values: round, odd, walked in every direction, a single one of each
SHAPES = [(2, 96, 64, 64), (33, 17, 3, 97), (3, 97, 33, 1), (1, 1, 1, 1), (17, 3, 130, 65)]


def inputs(batch: int, slots: int, channels: int, width: int, lean: float = 0.2) -> list[Tensor]:
    """Query, keys and values, in float64; a query leans towards a key, more or less."""
    random = torch.Generator().manual_seed(batch * 1000 + slots)
    keys = torch.randn(slots, channels, generator=random, dtype=torch.float64)
    query = torch.randn(batch, channels, generator=random, dtype=torch.float64) + lean * keys[torch.arange(batch) % slots]
    return [query, keys, torch.randn(slots, width, generator=random, dtype=torch.float64)]


def operator(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Recall and address side by side [B, C' + S]."""
    return torch.cat(door.operator(query, keys, values, 16.0)[:2], 1)


def truth(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The same from the reference."""
    return torch.cat(reference.memory_read(query, keys, values), 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("batch", "slots", "channels", "width"), SHAPES)
def test_forward_and_backward_equal_the_reference(batch: int, slots: int, channels: int, width: int, dtype: torch.dtype) -> None:
    upstream = torch.randn(batch, width + slots, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    agree(operator, truth, list(inputs(batch, slots, channels, width)), upstream, dtype)


@pytest.mark.parametrize(("slots", "channels", "width"), [(1000, 8, 5), (5, 1000, 8), (8, 12, 1000), (96, 512, 512)])
def test_long_walks_equal_the_reference(slots: int, channels: int, width: int) -> None:
    upstream = torch.randn(1, width + slots, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    agree(operator, truth, list(inputs(1, slots, channels, width, lean=0)), upstream, torch.float32)


def test_the_address_is_as_exact_as_its_own_range_asks() -> None:
    query, keys, values = (tensor.float() for tensor in inputs(3, 97, 33, 5))
    with poisoned_memory():
        recall, address = door.operator(guarded(query), guarded(keys), guarded(values), 16.0)[:2]
    expected = reference.memory_read(query, keys, values)
    assert (recall - expected[0]).abs().max() <= 1e-5 * (expected[0].max() - expected[0].min())
    assert (address - expected[1]).abs().max() <= 1e-5 * expected[1].max()
    assert torch.allclose(address.sum(1), torch.ones(3))


@pytest.mark.parametrize("kappa", [0.0, 1.0, 200.0, -16.0])
def test_any_sharpness_equals_the_reference(kappa: float) -> None:
    upstream = torch.randn(3, 7 + 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    agree(
        lambda *tensors: torch.cat(door.operator(*tensors, kappa)[:2], 1),
        lambda *tensors: torch.cat(reference.memory_read(*tensors, kappa), 1) + sum(tensor.sum() for tensor in tensors) * 0,
        list(inputs(3, 17, 9, 7)), upstream, torch.float32,
    )  # fmt: skip


def test_a_loss_on_one_output_reaches_all_that_it_depends_on() -> None:
    for part in (0, 1):
        given = [tensor.float().requires_grad_() for tensor in inputs(3, 5, 9, 7)]
        found = torch.autograd.grad(door.operator(*given, 16.0)[part].square().sum(), given)
        expected = torch.autograd.grad(reference.memory_read(*given)[part].square().sum(), given, allow_unused=True)
        for got, true in zip(found, expected, strict=True):
            assert torch.allclose(got, torch.zeros_like(got) if true is None else true, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_vectors_of_zeros_and_vectors_that_are_short(dtype: torch.dtype) -> None:
    query, keys, values = (tensor.to(dtype) for tensor in inputs(3, 5, 9, 7))
    query[0], keys[1] = 0, 0
    if dtype != torch.float16:  # which has no number as small
        query[1] *= 1e-10
    for function in (reference.memory_read, lambda *tensors: door.operator(*tensors, 16.0)[:2]):
        recall, address = function(query, keys, values)
        assert torch.allclose(address[0].double(), torch.full((5,), 0.2).double(), rtol=torch.finfo(dtype).eps)
        assert torch.isfinite(recall).all()
        cosine = F.cosine_similarity(query.double()[:, None], keys.double()[None], dim=-1)
        assert torch.allclose(address.double(), torch.softmax(16 * cosine, 1), atol=torch.finfo(dtype).eps * 4)
    if dtype == torch.float16:  # the slope at a vector of zeros is of order 1e8, over its range
        return
    exact = [tensor.double().requires_grad_() for tensor in (query, keys, values)]
    given = [tensor.requires_grad_() for tensor in (query, keys, values)]
    expected = torch.autograd.grad(reference.memory_read(*exact)[0].sum(), exact)
    found = torch.autograd.grad(door.operator(*given, 16.0)[0].sum(), given)
    for got, true in zip(found, expected, strict=True):
        assert torch.allclose(got.double(), true, rtol=4 * torch.finfo(dtype).eps + 1e-4, atol=torch.finfo(dtype).eps * 8)


def test_an_address_that_one_slot_has_nearly_all_of_is_as_exact_as_torchs() -> None:
    """What is left of the gradients is then a difference of near equals, in float32 on both sides; float64 is the truth."""
    given = [tensor.float() for tensor in inputs(3, 33, 64, 65, lean=2.0)]
    upstream = torch.randn(3, 65 + 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    true = run(truth, [tensor.double() for tensor in given], upstream)
    own, found = run(truth, list(given), upstream), run(operator, list(given), upstream)
    assert float(true[0][:, 65:].max()) > 0.999
    for exact, torch_own, got in zip(true, own, found, strict=True):
        floor = torch.finfo(torch.float32).eps * float(exact.abs().max())
        assert float((got - exact).abs().max()) <= 2 * max(float((torch_own - exact).abs().max()), floor)


def test_nothing_in_nothing_out() -> None:
    for batch, slots, channels, width in ((0, 4, 3, 2), (2, 0, 3, 2), (2, 4, 0, 2), (2, 4, 3, 0)):
        given = [torch.randn(size, requires_grad=True) for size in ((batch, channels), (slots, channels), (slots, width))]
        with poisoned_memory():
            found = door.operator(*given, 16.0)[:2]
            grads = torch.autograd.grad(found[0].sum() + found[1].square().sum(), given)
        expected = reference.memory_read(*given)
        true = torch.autograd.grad(expected[0].sum() + expected[1].square().sum(), given)
        for got, wanted in zip((*found, *grads), (*expected, *true), strict=True):
            assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5)


def test_types_may_be_mixed() -> None:
    query, keys, values = (tensor.float() for tensor in inputs(3, 5, 9, 7))
    recall, address = door.operator(query.half(), keys, values.bfloat16(), 16.0)[:2]
    expected = reference.memory_read(query.half(), keys, values.bfloat16())
    assert (recall.dtype, address.dtype) == (torch.bfloat16, torch.float16) == (expected[0].dtype, expected[1].dtype)
    assert torch.allclose(recall, expected[0], rtol=2e-2) and torch.allclose(address, expected[1], atol=1e-3)


def test_the_reference_has_the_right_gradients() -> None:
    given = [tensor.requires_grad_() for tensor in inputs(3, 5, 4, 2)]
    assert torch.autograd.gradcheck(reference.memory_read, given)
    assert torch.autograd.gradcheck(lambda *tensors: reference.memory_read(*tensors, 2.5), given)


def test_the_reference_is_the_formula() -> None:
    """Two slots by hand: a query along the first key and at 60 degrees to the second, its length of no account."""
    keys = torch.tensor([[2.0, 0.0], [0.5, math.sqrt(0.75)]])
    recall, address = reference.memory_read(torch.tensor([[3.0, 0.0]]), keys, torch.tensor([[1.0], [-1.0]]), kappa=2.0)
    first = math.exp(2.0 * 1.0) / (math.exp(2.0 * 1.0) + math.exp(2.0 * 0.5))
    assert torch.allclose(address, torch.tensor([[first, 1 - first]]))
    assert torch.allclose(recall, torch.tensor([[2 * first - 1]]))


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    given = [tensor.float().requires_grad_() for tensor in inputs(3, 5, 9, 7)]
    torch.library.opcheck(door.operator, (*given, 16.0))
    compiled = torch.compile(lambda *t: door.operator(*t, 16.0)[0].square().sum(), backend="aot_eager", fullgraph=True)
    compiled(*given).backward()
    plain = torch.autograd.grad(reference.memory_read(*given)[0].square().sum(), given)
    for tensor, expected in zip(given, plain, strict=True):
        assert tensor.grad is not None and torch.allclose(tensor.grad, expected, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    given = [tensor.float() for tensor in inputs(3, 5, 9, 7)]
    for found, expected in zip(door.memory_read(*given), reference.memory_read(*given), strict=True):
        assert torch.equal(found, expected)
