"""The attention kernels equal their reference (P10), under Triton's interpreter."""


import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernel_cases import DTYPES, agree, keeps_clear_of_triton
from kernels import attention as door
from kernels.attention import reference

SHAPES = [(2, 2, 11, 11, 64), (1, 3, 1, 33, 32), (2, 1, 65, 17, 7), (1, 1, 17, 65, 33), (1, 2, 3, 1, 1), (1, 1, 70, 130, 100)]
NAMES = "x".join  # batch, heads, queries, keys, width


def inputs(batch: int, heads: int, queries: int, keys: int, width: int) -> list[Tensor]:
    """q, k and v in float64, scores of a few units."""
    random = torch.Generator().manual_seed(queries)
    q, k, v = (torch.randn(batch, heads, size, width, generator=random, dtype=torch.float64) for size in (queries, keys, keys))
    return [q * 2, k, v]


def upstream(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(*shape[:3], shape[4], generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def half_seen(batch: int, keys: int) -> Tensor:
    """A mask that hides keys in the middle and at the end; the first may be seen."""
    mask = torch.rand(batch, keys, generator=torch.Generator().manual_seed(keys)) < 0.6
    mask[:, 0] = True
    return mask


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: NAMES(map(str, shape)))
def test_forward_and_backward_equal_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    agree(lambda *t: door.operator(*t, None, False)[0], reference.attention, list(inputs(*shape)), upstream(shape), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
@pytest.mark.parametrize(
    "shape", [(2, 2, 11, 11, 16), (2, 1, 70, 33, 17), (1, 2, 33, 70, 8)], ids=lambda shape: NAMES(map(str, shape))
)
def test_masks_equal_the_reference(shape: tuple[int, ...], causal: bool, masked: bool, dtype: torch.dtype) -> None:
    mask = half_seen(shape[0], shape[3]) if masked else None
    agree(
        lambda *t: door.operator(*t, mask, causal)[0],
        lambda *t: reference.attention(*t, mask, causal=causal),
        list(inputs(*shape)), upstream(shape), dtype,
    )  # fmt: skip


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
def test_a_query_that_sees_nothing_gives_zeros(causal: bool) -> None:
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[0] = False  # nothing at all
    mask[1, :5] = False  # the first five queries, where causal
    given = [tensor.float().requires_grad_() for tensor in inputs(2, 1, 18, 20, 8)]
    for call in (lambda *t: door.operator(*t, mask, causal)[0], lambda *t: reference.attention(*t, mask, causal=causal)):
        out = call(*given)
        to_q, to_k, to_v = torch.autograd.grad(out.square().sum() + out.sum(), given)
        assert not out[0].any() and not to_q[0].any() and not to_k[0].any() and not to_v[0].any()
        assert not to_k[1, :, :5].any() and not to_v[1, :, :5].any()
        assert bool(out[1, :, :5].any()) is not causal and bool(to_q[1, :, :5].any()) is not causal
        assert out[1, :, 5:].all()


def test_the_log_sum_exp() -> None:
    q, k, v = (tensor.float() for tensor in inputs(2, 2, 18, 33, 8))
    mask = half_seen(2, 33)
    mask[1] = False
    scores = (q @ k.transpose(2, 3) / 8**0.5).masked_fill(~mask[:, None, None], -float("inf"))
    assert torch.allclose(door.operator(q, k, v, mask, False)[1], scores.logsumexp(-1), atol=1e-5)


def test_scores_that_are_large() -> None:
    given = [tensor.float() * 30 for tensor in inputs(1, 2, 18, 33, 16)]
    out, _ = door.operator(*given, None, False)
    assert torch.allclose(out, reference.attention(*given), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "shape", [(0, 2, 3, 4, 8), (2, 0, 3, 4, 8), (2, 1, 0, 4, 8), (2, 1, 3, 0, 8)], ids=lambda shape: NAMES(map(str, shape))
)
def test_nothing_in_zeros_out(shape: tuple[int, ...]) -> None:
    leaves = [tensor.float().requires_grad_() for tensor in inputs(*shape)]
    for call in (lambda *t: door.operator(*t, None, False)[0], reference.attention):
        out = call(*leaves)
        assert out.shape == leaves[0].shape and not out.any()
        grads = torch.autograd.grad(out.sum(), leaves)
        assert all(grad.shape == leaf.shape and not grad.any() for grad, leaf in zip(grads, leaves, strict=True))


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
def test_the_reference_is_the_formula(causal: bool) -> None:
    q, k, v = inputs(2, 2, 5, 7, 3)
    mask = half_seen(2, 7)
    sees = mask[:, None, None] & (torch.ones(5, 7, dtype=torch.bool).tril() if causal else torch.ones(5, 7, dtype=torch.bool))
    expected = F.scaled_dot_product_attention(q, k, v, sees)
    assert torch.allclose(reference.attention(q, k, v, mask, causal=causal), expected)


def test_the_reference_has_the_right_gradients() -> None:
    mask = torch.tensor([[True, False, True, True], [False, False, False, False]])
    given = [tensor.requires_grad_() for tensor in inputs(2, 1, 3, 4, 3)]
    for causal in (False, True):
        assert torch.autograd.gradcheck(lambda *t: reference.attention(*t, mask, causal=causal), given)  # noqa: B023 (called here)


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    leaves = [tensor.float().requires_grad_() for tensor in inputs(2, 1, 3, 5, 4)]
    mask = half_seen(2, 5)
    torch.library.opcheck(door.operator, (*leaves, mask, False))
    torch.library.opcheck(door.operator, (*leaves, None, True))
    compiled = torch.compile(lambda *t: door.operator(*t, mask, True)[0].square().sum(), backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(*leaves), leaves)
    expected = torch.autograd.grad(reference.attention(*leaves, mask, causal=True).square().sum(), leaves)
    for got, true in zip(found, expected, strict=True):
        assert torch.allclose(got, true, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    given = [tensor.float() for tensor in inputs(2, 2, 3, 5, 6)]
    mask = half_seen(2, 5)
    assert torch.equal(door.attention(*given, mask, causal=True), reference.attention(*given, mask, causal=True))
    assert keeps_clear_of_triton("from kernels.attention import attention\nattention(*torch.zeros(3, 1, 1, 4, 2))", "attention")
