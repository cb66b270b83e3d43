"""The warp kernel equals its reference (P10), under Triton's interpreter."""

import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree
from kernels import warp as door
from kernels.warp import reference

# picture (height, width), output (height, width): round, odd, long, a single pixel
SHAPES = [((64, 64), (32, 32)), ((63, 60), (31, 33)), ((60, 1000), (1, 1000)), ((3, 1), (63, 60)), ((16, 16), (1, 1))]


def inputs(picture: tuple[int, int], out: tuple[int, int], occlusion: bool, batch: int = 2, channels: int = 3) -> list[Tensor | None]:
    """Flow reaches well outside the picture, and some of it lies exactly on pixels' edges."""
    random = torch.Generator().manual_seed(hash((picture, out)) % 2**31)
    feature = torch.randn(batch, channels, *picture, generator=random, dtype=torch.float64)
    flow = torch.rand(batch, *out, 2, generator=random, dtype=torch.float64) * 3 - 1.5
    return [feature, flow, torch.rand(batch, 1, *out, generator=random, dtype=torch.float64) if occlusion else None]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("picture", "out"), SHAPES, ids=lambda size: "x".join(map(str, size)))
def test_forward_and_backward_equal_the_reference(picture: tuple[int, int], out: tuple[int, int], dtype: torch.dtype) -> None:
    given = inputs(picture, out, occlusion=True)
    agree(
        lambda *tensors: door.operator(*tensors, False, "zeros"),
        lambda *tensors: reference.warp(*tensors),
        given, torch.randn(2, 3, *out, dtype=torch.float64), dtype,
    )  # fmt: skip


@pytest.mark.parametrize("occlusion", [True, False], ids=["occluded", "plain"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("align_corners", [False, True], ids=["edges", "centres"])
def test_every_mode_equals_the_reference(align_corners: bool, padding: str, occlusion: bool) -> None:
    given = inputs((21, 13), (17, 9), occlusion)
    agree(
        lambda feature, flow, shade=None: door.operator(feature, flow, shade, align_corners, padding),
        lambda feature, flow, shade=None: reference.warp(feature, flow, shade, align_corners=align_corners, padding=padding),
        given, torch.randn(2, 3, 17, 9, dtype=torch.float64), torch.float32,
    )  # fmt: skip


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_places_far_outside_and_on_the_rim(padding: str) -> None:
    feature = torch.randn(1, 2, 8, 8)
    flow = torch.tensor([-1e30, -3.0, -1.125, -1.0, -0.875, 0.0, 0.875, 1.0, 1.125, 3.0, 1e30])
    flow = torch.stack(torch.meshgrid(flow, flow, indexing="ij"), -1)[None]
    found = door.operator(feature, flow, None, False, padding)
    assert torch.allclose(found, reference.warp(feature, flow, padding=padding), atol=1e-6)


def test_nothing_in_nothing_out() -> None:
    for batch, pixels in ((0, 4), (2, 0)):
        found = door.operator(torch.randn(batch, 3, 4, 4), torch.zeros(batch, pixels, 4, 2), None, False, "zeros")
        assert found.shape == (batch, 3, pixels, 4)


def test_the_reference_has_the_right_gradients() -> None:
    given = [None if tensor is None else tensor.requires_grad_() for tensor in inputs((5, 4), (3, 4), occlusion=True, batch=1, channels=2)]
    for align_corners in (False, True):
        for padding in ("zeros", "border"):
            assert torch.autograd.gradcheck(lambda *t: reference.warp(*t, align_corners=align_corners, padding=padding), given)  # noqa: B023 (called here)


def test_the_reference_is_the_formula() -> None:
    """Four neighbours weighed by hand, at one place between pixels and one half outside."""
    feature = torch.arange(12.0).reshape(1, 1, 3, 4)
    flow = torch.tensor([[[[0.125, 0.0], [-1.0, -1.0]]]])  # x 1.75, y 1 and x -0.5, y -0.5 in pixels
    shade = torch.tensor([[[[0.5, 1.0]]]])
    found = reference.warp(feature, flow, shade)
    assert torch.allclose(found.flatten(), torch.tensor([0.5 * (0.25 * 5 + 0.75 * 6), 0.25 * 0.0]))


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    feature, flow, shade = (t.float().requires_grad_() for t in inputs((6, 5), (4, 7), occlusion=True, batch=1) if t is not None)
    torch.library.opcheck(door.operator, (feature, flow, shade, False, "zeros"))
    torch.library.opcheck(door.operator, (feature, flow, None, True, "border"))
    compiled = torch.compile(lambda f, g, s: door.operator(f, g, s, False, "zeros").square().sum(), backend="aot_eager", fullgraph=True)
    compiled(feature, flow, shade).backward()
    assert feature.grad is not None
    plain = torch.autograd.grad(reference.warp(feature, flow, shade).square().sum(), feature)[0]
    assert torch.allclose(feature.grad, plain, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    feature, flow, shade = (t.float() for t in inputs((6, 5), (4, 7), occlusion=True) if t is not None)
    assert torch.equal(door.warp(feature, flow, shade), reference.warp(feature, flow, shade))
