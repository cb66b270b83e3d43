"""The dense warp and the picture's warp equal their references (P10), under Triton's interpreter."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree, guarded, keeps_clear_of_triton, keypoints, poisoned_memory
from kernels import dense_warp as door
from kernels.dense_warp import reference
from kernels.geometry import affine_maps, grid
from kernels.switch import use_kernels

# keypoints, channels, feature (height, width), flow (height, width)
SHAPES = [(10, 3, (32, 32), (32, 32)), (4, 2, (31, 60), (33, 31)), (1, 70, (5, 9), (1, 100)), (3, 1, (16, 3), (7, 5))]
MODES = (False, False, "zeros")  # corners, align_corners, padding
Given = list[Tensor | None]


def inputs(count: int, channels: int, feature: tuple[int, int], flow: tuple[int, int], batch: int = 2, features: int = 2) -> Given:
    """A feature, mask logits of a trained network's size, maps, and occlusion; float64."""
    random = torch.Generator().manual_seed(flow[0])
    made = [torch.randn(features, channels, *feature, generator=random), torch.randn(batch, count + 1, *flow, generator=random) * 4]
    maps = affine_maps(*keypoints(count, batch))
    maps[:, 0] += torch.tensor([0.03, -0.01, 0.02, -0.04, 0.011, -0.007])  # exactly on pixels a bilinear sample has no one gradient
    return [*(tensor.double() for tensor in made), maps, torch.rand(batch, 1, *flow, generator=random, dtype=torch.float64)]


def both(found: tuple[Tensor, ...]) -> Tensor:
    """Feature and flow as one tensor, so that gradients of both are taken."""
    return torch.cat([part.flatten(1) for part in found[:2]], 1)


def plain(*tensors: Tensor | None, modes: tuple[bool, bool, str] = MODES) -> Tensor:
    return both(reference.dense_warp(*tensors, corners=modes[0], align_corners=modes[1], padding=modes[2]))


def upstream(given: Given, flow: tuple[int, int]) -> Tensor:
    assert given[0] is not None and given[1] is not None
    return torch.randn(len(given[1]), (given[0].shape[1] + 2) * flow[0] * flow[1], dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("count", "channels", "feature", "flow"), SHAPES)
def test_forward_and_backward_equal_the_reference(
    count: int, channels: int, feature: tuple[int, int], flow: tuple[int, int], dtype: torch.dtype
) -> None:
    given = inputs(count, channels, feature, flow)
    agree(lambda *tensors: both(door.operator(*tensors, *MODES)), plain, given, upstream(given, flow), dtype)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("align_corners", [False, True], ids=["edges", "centres"])
@pytest.mark.parametrize("corners", [False, True], ids=["inner", "corners"])
@pytest.mark.parametrize("occluded", [False, True], ids=["plain", "occluded"])
def test_every_mode_equals_the_reference_with_one_feature_for_all(occluded: bool, corners: bool, align_corners: bool, padding: str) -> None:
    given, modes = inputs(2, 2, (6, 9), (5, 7), batch=3, features=1), (corners, align_corners, padding)
    given[3] = given[3] if occluded else None
    agree(lambda *t: both(door.operator(*t, *modes)), lambda *t: plain(*t, modes=modes), given, upstream(given, (5, 7)), torch.float32)


def test_masks_that_are_shut_and_masks_that_are_large() -> None:
    feature, masks, maps, occlusion = (tensor.float() for tensor in inputs(3, 2, (7, 5), (7, 5)) if tensor is not None)
    masks[:, 0], masks[:, 2, 3:] = -float("inf"), 3e4
    found = door.operator(feature, masks, maps, occlusion, *MODES)[:2]
    for got, true in zip(found, reference.dense_warp(feature, masks, maps, occlusion), strict=True):
        assert torch.allclose(got, true, atol=1e-5)


def test_the_reference_is_the_formula() -> None:
    """One sparse motion at a time: with all the mask on keypoint k, the flow is s + J_s J_d^-1 (z - d)."""
    source, driving, source_jacobians, driving_jacobians = keypoints(3, 1)
    here = grid(5, 5, source)
    maps = affine_maps(source, driving, source_jacobians, driving_jacobians)
    for k in range(4):
        masks = torch.full((1, 4, 5, 5), -1e9, dtype=torch.float64)
        masks[:, k] = 0
        found = reference.blend(masks, maps)[0]
        if k == 0:
            expected = here
        else:
            affine = source_jacobians[0, k - 1] @ torch.linalg.inv(driving_jacobians[0, k - 1])
            expected = (here - driving[0, k - 1]) @ affine.T + source[0, k - 1]
        assert torch.allclose(found, expected)


def test_the_reference_has_the_right_gradients() -> None:
    given = [tensor.requires_grad_() for tensor in inputs(2, 2, (4, 5), (4, 3), batch=1, features=1) if tensor is not None]
    for padding in ("zeros", "border"):
        assert torch.autograd.gradcheck(lambda *t: plain(*t, modes=(True, False, padding)), given)  # noqa: B023 (called here)


def test_nothing_in_nothing_out() -> None:
    for batch, rows in ((0, 4), (2, 0)):
        given = inputs(2, 3, (4, 4), (rows, 4), batch=batch, features=1)
        assert both(door.operator(*(t if t is None else t.float() for t in given), *MODES)).shape == (batch, 5 * rows * 4)


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    given = [tensor.float().requires_grad_() for tensor in inputs(2, 2, (6, 5), (4, 3)) if tensor is not None]
    torch.library.opcheck(door.operator, (*given, *MODES))
    torch.library.opcheck(door.operator, (*given[:3], None, True, True, "border"))
    compiled = torch.compile(lambda *t: both(door.operator(*t, *MODES)).square().sum(), backend="aot_eager", fullgraph=True)
    compiled(*given).backward()
    for tensor, true in zip(given, torch.autograd.grad(plain(*given).square().sum(), given), strict=True):
        assert torch.allclose(tensor.grad, true, rtol=1e-4, atol=1e-4)


def test_the_doors_take_the_references_on_a_cpu_and_the_kernels_where_they_are_told_to() -> None:
    feature, *rest = (tensor.float() for tensor in inputs(2, 3, (6, 5), (4, 3), features=1) if tensor is not None)
    warped = door.dense_warp(feature, *rest)
    assert all(torch.equal(a, b) for a, b in zip(warped, reference.dense_warp(feature, *rest), strict=True))
    given, modes = scene((8, 8), (4, 4), 4, 4)
    patch = door.picture_warp(*given, **modes)
    assert torch.equal(patch, reference.picture_warp(*given, **modes))
    with use_kernels():
        for got, true in zip(door.dense_warp(feature.expand(2, -1, -1, -1), *rest), warped, strict=True):
            assert torch.allclose(got, true, atol=1e-5)
        assert torch.allclose(door.picture_warp(*given, **modes), patch, atol=1e-5)


def test_the_doors_leave_triton_alone_on_a_cpu() -> None:
    """Its import costs a second."""
    program = (
        "from kernels.dense_warp import dense_warp, picture_warp\n"
        "dense_warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 6))\n"
        "one = torch.zeros(1, 3, 4, 4)\n"
        "picture_warp(one, torch.zeros(1, 4, 4, 2), one, one[:, :1], box=[0, 0, 4, 4], square=[2, 2, 4], rim=0.2)"
    )
    assert keeps_clear_of_triton(program, "dense_warp")


def scene(
    size: tuple[int, int], flow: tuple[int, int], paint: int, alpha: int, batch: int = 2, pictures: int = 1
) -> tuple[list[Tensor], dict]:
    """A smooth picture, a flow that leads outside of it here and there, and a square that lies partly outside."""
    random = torch.Generator().manual_seed(size[1])
    height, width = size
    rows, columns = torch.arange(height)[:, None] * 0.9, torch.arange(width) * 0.7
    picture = 0.5 + 0.6 * torch.sin(rows + columns + torch.arange(3.0)[:, None, None])[None].expand(pictures, -1, -1, -1)
    moved = grid(*flow, picture) + torch.randn(batch, *flow, 2, generator=random) * 0.15
    painted, share = torch.rand(batch, 3, paint, paint, generator=random), torch.rand(batch, 1, alpha, alpha, generator=random)
    box = [1, 0, width - 1, height - 2]
    return [picture.clone(), moved, painted, share], {
        "box": box, "square": [width * 0.55, height * 0.4, max(size) * 0.9], "rim": 0.16, "apart": False,
    }  # fmt: skip


@pytest.mark.parametrize("apart", [False, True], ids=["composed", "apart"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(
    ("size", "flow", "paint", "alpha"), [((40, 40), (16, 16), 32, 32), ((63, 30), (7, 5), 9, 4), ((3, 90), (1, 1), 1, 2)], ids=str
)
def test_the_picture_equals_the_reference(size: tuple[int, int], flow: tuple[int, int], paint: int, alpha: int, dtype: torch.dtype, apart: bool) -> None:
    given, modes = scene(size, flow, paint, alpha, pictures=2)
    modes["apart"] = apart
    given = [tensor.to(dtype) for tensor in given]
    true = reference.picture_warp(*(tensor.double() for tensor in given), **modes)
    with poisoned_memory():
        found = door.picture_operator(*map(guarded, given), *modes.values())
    own = reference.picture_warp(*given, **modes)
    floor = float((own.double() - true).abs().max())
    assert found.dtype == dtype and torch.isfinite(found).all()
    assert float((found.double() - true).abs().max()) <= 1e-5 + (0 if dtype == torch.float32 else 2 * floor)


@pytest.mark.parametrize("size", [32, 64], ids=["finer", "no-finer"])
def test_the_picture_is_what_opencv_composes(size: int) -> None:
    """As models/avct/compose.py on a CPU, whose picture is sampled on a raster of 1/32 pixel: smooth fields."""
    from models.avct.compose import Canvas
    from models.faces.crop import Square

    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:90, :70]
    picture = (127 + 30 * np.sin(rows[..., None] * 0.6 + columns[..., None] * 0.4 + np.arange(3))).astype(np.uint8)
    canvas = Canvas(picture, Square(36.3, 41.8, 64.0), size)
    flow = grid(16, 16, torch.zeros(1)).numpy() + random.normal(0, 0.02, (16, 16, 2)).astype(np.float32)
    alpha, *painted = cv2.resize(random.random((4, 4, 4), np.float32), (size, size)).transpose(2, 0, 1)
    painted = np.stack(painted)
    frame = canvas.compose(flow, np.stack([*painted, alpha], -1))
    given = [torch.from_numpy(part)[None] for part in (flow, painted, alpha[None])]
    with use_kernels():
        found = next(canvas.frames(given[0], given[2], given[1]))
    apart = np.abs(found.astype(int) - frame.astype(int))
    assert (apart <= 1).mean() > 0.999 and (frame != picture).mean() > 0.2


def test_the_picture_has_its_registration() -> None:
    given, modes = scene((8, 7), (4, 4), 4, 4)
    torch.library.opcheck(door.picture_operator, (*given, *modes.values()))


def test_a_picture_that_does_not_move_stays() -> None:
    given, modes = scene((40, 30), (16, 16), 8, 8)
    given[0] = given[0].clamp(0, 1)
    given[1], given[3] = grid(16, 16, given[0]).expand(2, -1, -1, -1), torch.zeros(2, 1, 8, 8)
    left, top, width, height = modes["box"]
    found = door.picture_operator(*(t.contiguous() for t in given), *modes.values())
    assert float((found - given[0][:, :, top : top + height, left : left + width]).abs().max()) < 1e-5
