"""The kernel of attention inside windows equals its reference (P10), under Triton's interpreter."""


import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kernel_cases import DTYPES, agree, keeps_clear_of_triton
from kernels import window_attention as door
from kernels.window_attention import reference

SHAPES = [
    (3, 5, 2, 64),
    (17, 5, 1, 32),
    (1, 0, 2, 16),
    (5, 1, 3, 7),
    (2, 8, 1, 33),
    (33, 2, 1, 1),
]  # windows, reach, heads, width
NAMES = "{0[0]}x{0[1]}x{0[2]}x{0[3]}".format


def inputs(windows: int, reach: int, heads: int, width: int, positions: str = "qkv") -> list[Tensor | None]:
    """q, k, v of T + 2 * reach tokens, and the positions' terms that are named; float64."""
    random = torch.Generator().manual_seed(windows)
    tokens = torch.randn(3, windows + 2 * reach, heads, width, generator=random, dtype=torch.float64)
    terms = torch.randn(3, 2 * reach + 1, heads, width, generator=random, dtype=torch.float64)
    return [*tokens, *(term if name in positions else None for name, term in zip("qkv", terms, strict=True))]


def upstream(windows: int, reach: int, heads: int, width: int, centre: bool) -> Tensor:
    shape = (windows, *(() if centre else (2 * reach + 1,)), heads, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("centre", [False, True], ids=["every", "centre"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_forward_and_backward_equal_the_reference(shape: tuple[int, int, int, int], dtype: torch.dtype, centre: bool) -> None:
    agree(
        lambda *tensors: door.operator(*tensors, shape[1], centre),
        lambda *tensors: reference.window_attention(*tensors, reach=shape[1], centre=centre),
        inputs(*shape), upstream(*shape, centre), dtype,
    )  # fmt: skip


@pytest.mark.parametrize("centre", [False, True], ids=["every", "centre"])
@pytest.mark.parametrize("positions", ["", "q", "k", "v", "qk"])
def test_any_position_may_be_missing(positions: str, centre: bool) -> None:
    given = inputs(3, 2, 2, 17, positions)
    found = door.operator(*(None if tensor is None else tensor.float() for tensor in given), 2, centre)
    assert torch.allclose(found, reference.window_attention(*given, reach=2, centre=centre).float(), atol=2e-6)


@pytest.mark.parametrize("centre", [False, True], ids=["every", "centre"])
def test_windows_written_out_give_the_same(centre: bool) -> None:
    """Positions added to the tokens, then projected, window by window, and PyTorch's own attention."""
    torch.manual_seed(0)
    windows, reach, heads, width = 6, 5, 2, 8
    steps, channels = 2 * reach + 1, heads * width
    tokens, others = torch.randn(2, windows + 2 * reach, channels, dtype=torch.float64)
    positions = torch.randn(steps, channels, dtype=torch.float64)
    maps = torch.randn(3, channels, channels, dtype=torch.float64) / channels**0.5
    parts = []
    for t in range(windows):
        here, there = tokens[t : t + steps] + positions, others[t : t + steps] + positions
        q, k, v = (
            (x @ m.T).reshape(steps, heads, width).transpose(0, 1) for x, m in zip((here, there, there), maps, strict=True)
        )
        parts.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1))
    expected = torch.stack(parts)[:, reach] if centre else torch.stack(parts)
    q, k, v = ((x @ m.T).unflatten(-1, (heads, width)) for x, m in zip((tokens, others, others), maps, strict=True))
    pq, pk, pv = ((positions @ m.T).unflatten(-1, (heads, width)) for m in maps)
    assert torch.allclose(reference.window_attention(q, k, v, pq, pk, pv, reach=reach, centre=centre), expected)
    found = door.operator(*(tensor.float() for tensor in (q, k, v, pq, pk, pv)), reach, centre)
    assert torch.allclose(found, expected.float(), atol=5e-6)


@pytest.mark.parametrize("centre", [False, True], ids=["every", "centre"])
def test_scores_that_are_large(centre: bool) -> None:
    given = [None if tensor is None else tensor.float() * 30 for tensor in inputs(4, 3, 1, 16)]
    found = door.operator(*given, 3, centre)
    assert torch.allclose(found, reference.window_attention(*given, reach=3, centre=centre), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("centre", [False, True], ids=["every", "centre"])
@pytest.mark.parametrize(("windows", "heads"), [(0, 2), (3, 0)])
def test_nothing_in_nothing_out(windows: int, heads: int, centre: bool) -> None:
    leaves = [tensor.float().requires_grad_() for tensor in inputs(windows, 2, heads, 8) if tensor is not None]
    for call in (lambda *t: door.operator(*t, 2, centre), lambda *t: reference.window_attention(*t, reach=2, centre=centre)):
        found = call(*leaves)
        assert found.shape == (windows, *(() if centre else (5,)), heads, 8)
        assert not any(grad.any() for grad in torch.autograd.grad(found.sum(), leaves))


def test_the_reference_has_the_right_gradients() -> None:
    for centre in (False, True):
        given = [tensor.requires_grad_() for tensor in inputs(2, 1, 2, 3) if tensor is not None]
        assert torch.autograd.gradcheck(lambda *t: reference.window_attention(*t, reach=1, centre=centre), given)  # noqa: B023 (called here)


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    leaves = [None if tensor is None else tensor.float().requires_grad_() for tensor in inputs(3, 1, 2, 5, "qk")]
    for centre in (False, True):
        torch.library.opcheck(door.operator, (*leaves, 1, centre))
    some = [leaf for leaf in leaves if leaf is not None]
    compiled = torch.compile(lambda *t: door.operator(*t, None, 1, False).square().sum(), backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(*some), some)
    expected = torch.autograd.grad(reference.window_attention(*some, reach=1).square().sum(), some)
    for got, true in zip(found, expected, strict=True):
        assert torch.allclose(got, true, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    given = [None if tensor is None else tensor.float() for tensor in inputs(4, 2, 2, 6, "kv")]
    assert torch.equal(door.window_attention(*given, reach=2), reference.window_attention(*given, reach=2))
    assert keeps_clear_of_triton("from kernels.window_attention import window_attention\nwindow_attention(*torch.zeros(3, 12, 1, 4), centre=True)", "window_attention")
