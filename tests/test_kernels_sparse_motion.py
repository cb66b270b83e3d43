"""The hourglass's input equals its reference (P10), under Triton's interpreter."""

import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree, keeps_clear_of_triton, keypoints
from kernels import sparse_motion as door
from kernels.geometry import affine_maps
from kernels.sparse_motion import reference
from kernels.switch import use_kernels

SHAPES = [(10, 3, 32, 32), (4, 1, 31, 60), (1, 2, 1, 250), (3, 3, 7, 5)]  # keypoints, channels, height, width
COMPACT, PUBLISHED = (0.01, False, False, False), (0.01, True, False, True)  # variance, corners, align_corners, interleaved


def inputs(count: int, channels: int, height: int, width: int, batch: int = 2, pictures: int = 2) -> list[Tensor]:
    """A picture, keypoints, and maps that lead outside of it here and there; float64.

    The background's map is a little off the identity: exactly on pixels a bilinear sample has a kink, and so no one gradient.
    """
    random = torch.Generator().manual_seed(height)
    picture = torch.rand(pictures, channels, height, width, generator=random, dtype=torch.float64)
    source, driving, *jacobians = keypoints(count, batch)
    maps = affine_maps(source, driving, *jacobians)
    maps[:, 0] += torch.tensor([0.03, -0.01, 0.02, -0.04, 0.011, -0.007])
    return [picture, source, driving, maps]


def named(modes: tuple[float, bool, bool, bool]) -> dict[str, float | bool]:
    return dict(zip(("variance", "corners", "align_corners", "interleaved"), modes, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("count", "channels", "height", "width"), SHAPES)
def test_forward_and_backward_equal_the_reference(count: int, channels: int, height: int, width: int, dtype: torch.dtype) -> None:
    upstream = torch.randn(2, (1 + channels) * (count + 1), height, width, dtype=torch.float64)
    modes = PUBLISHED if channels == 3 else COMPACT
    agree(
        lambda *tensors: door.operator(*tensors, *modes), lambda *tensors: reference.sparse_motion(*tensors, **named(modes)),
        list(inputs(count, channels, height, width)), upstream, dtype,
    )  # fmt: skip


@pytest.mark.parametrize("interleaved", [False, True], ids=["grouped", "interleaved"])
@pytest.mark.parametrize("align_corners", [False, True], ids=["edges", "centres"])
@pytest.mark.parametrize("corners", [False, True], ids=["inner", "corners"])
def test_every_mode_equals_the_reference_with_one_picture_for_all(corners: bool, align_corners: bool, interleaved: bool) -> None:
    modes = (0.05, corners, align_corners, interleaved)
    agree(
        lambda *tensors: door.operator(*tensors, *modes), lambda *tensors: reference.sparse_motion(*tensors, **named(modes)),
        list(inputs(2, 2, 9, 6, batch=3, pictures=1)), torch.randn(3, 9, 9, 6, dtype=torch.float64), torch.float32,
    )  # fmt: skip


def test_the_reference_is_the_formula() -> None:
    """Every number by hand, in the published layout: exp of distances, and the picture where T_k leads, sampled one by one."""
    count, height, width = 2, 5, 4
    source, driving, *jacobians = keypoints(count, 1)
    picture = torch.rand(1, 3, height, width, dtype=torch.float64)
    maps = affine_maps(source, driving, *jacobians)
    found = reference.sparse_motion(picture, source, driving, maps, corners=True, align_corners=True, interleaved=True)[0]
    for row, column, k in ((0, 0, 0), (2, 1, 0), (3, 2, 1), (4, 3, 2), (1, 2, 2)):
        here = torch.tensor([column * 2 / (width - 1) - 1, row * 2 / (height - 1) - 1], dtype=torch.float64)
        expected, place = 0.0, here
        if k:
            ahead, behind = ((here - points[0, k - 1]).square().sum() for points in (driving, source))
            expected = float(torch.exp(-ahead / 0.02) - torch.exp(-behind / 0.02))
            place = source[0, k - 1] + jacobians[0][0, k - 1] @ torch.linalg.inv(jacobians[1][0, k - 1]) @ (here - driving[0, k - 1])
        assert abs(float(found[4 * k, row, column]) - expected) < 1e-9
        x, y = (place + 1) / 2 * torch.tensor([width - 1, height - 1])
        near = torch.zeros(3, dtype=torch.float64)
        for i in range(height):
            for j in range(width):
                near += picture[0, :, i, j] * max(0.0, 1 - abs(float(x) - j)) * max(0.0, 1 - abs(float(y) - i))
        assert torch.allclose(found[4 * k + 1 : 4 * k + 4, row, column], near)


def test_the_reference_has_the_right_gradients() -> None:
    given = [tensor.requires_grad_() for tensor in inputs(2, 2, 4, 3, batch=1, pictures=1)]
    for modes in (COMPACT, PUBLISHED):
        assert torch.autograd.gradcheck(lambda *t: reference.sparse_motion(*t, **named(modes)), given)  # noqa: B023 (called here)


def test_nothing_in_nothing_out() -> None:
    assert door.operator(*(t.float() for t in inputs(2, 3, 4, 4, batch=0, pictures=1)), *PUBLISHED).shape == (0, 12, 4, 4)


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    given = [tensor.float().requires_grad_() for tensor in inputs(2, 2, 5, 4)]
    torch.library.opcheck(door.operator, (*given, *PUBLISHED))
    compiled = torch.compile(lambda *t: door.operator(*t, *COMPACT).square().sum(), backend="aot_eager", fullgraph=True)
    compiled(*given).backward()
    expected = torch.autograd.grad(reference.sparse_motion(*given, **named(COMPACT)).square().sum(), given)
    for tensor, plain in zip(given, expected, strict=True):
        assert torch.allclose(tensor.grad, plain, rtol=1e-4, atol=1e-4)


def test_the_door_takes_the_reference_on_a_cpu_and_the_kernel_where_it_is_told_to() -> None:
    picture, source, driving, _ = (tensor.float() for tensor in inputs(2, 3, 6, 5, pictures=1))
    rest = [source, driving, affine_maps(source, driving, *torch.eye(2).expand(2, 2, 2, 2, 2))]
    plain = door.sparse_motion(picture, *rest)
    assert torch.equal(plain, reference.sparse_motion(picture, *rest))
    with use_kernels():
        assert torch.allclose(door.sparse_motion(picture.expand(2, -1, -1, -1), *rest), plain, atol=1e-5)


def test_the_door_leaves_triton_alone_on_a_cpu() -> None:
    program = "from kernels.sparse_motion import sparse_motion\nsparse_motion(torch.zeros(1, 1, 4, 4), *torch.zeros(2, 1, 1, 2), torch.zeros(1, 2, 6))"
    assert keeps_clear_of_triton(program, "sparse_motion")
