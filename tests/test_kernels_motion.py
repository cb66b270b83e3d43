"""The dense flow's kernel equals its reference (P10), under Triton's interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree
from kernels import motion as door
from kernels.motion import reference

ROOT = Path(__file__).parent.parent
SHAPES = [(10, 32, 32), (24, 63, 60), (1, 1, 1000), (3, 7, 5)]  # keypoints, height, width


def keypoints(count: int, batch: int = 2) -> list[Tensor]:
    """Source and driving keypoints with Jacobians near the identity, in float64."""
    random = torch.Generator().manual_seed(count)
    points = torch.rand(2, batch, count, 2, generator=random, dtype=torch.float64) * 2 - 1
    jacobians = torch.eye(2) + torch.randn(2, batch, count, 2, 2, generator=random, dtype=torch.float64) * 0.2
    return [points[0], points[1], jacobians[0], jacobians[1]]


def inputs(count: int, height: int, width: int, batch: int = 2) -> list[Tensor]:
    """Mask logits of a trained network's size, and the keypoints' maps."""
    random = torch.Generator().manual_seed(height)
    masks = torch.randn(batch, count + 1, height, width, generator=random, dtype=torch.float64) * 4
    return [masks, reference.numbers(*keypoints(count, batch))]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("count", "height", "width"), SHAPES)
def test_forward_and_backward_equal_the_reference(count: int, height: int, width: int, dtype: torch.dtype) -> None:
    upstream = torch.randn(2, height, width, 2, dtype=torch.float64)
    agree(lambda *tensors: door.blend(*tensors)[0], reference.blend, list(inputs(count, height, width)), upstream, dtype)


def test_masks_that_are_shut_and_masks_that_are_large() -> None:
    masks, maps = (tensor.float() for tensor in inputs(3, 7, 5))
    masks[:, 0], masks[:, 2, 3:] = -float("inf"), 3e4
    assert torch.allclose(door.blend(masks, maps)[0], reference.blend(masks, maps), atol=1e-5)


def test_the_reference_is_the_formula() -> None:
    """One sparse motion at a time: with all the mask on keypoint k, the flow is s + J_s J_d^-1 (z - d)."""
    source, driving, source_jacobians, driving_jacobians = keypoints(3, 1)
    xs = (torch.arange(5, dtype=torch.float64) * 2 + 1) / 5 - 1
    here = torch.stack(torch.meshgrid(xs, xs, indexing="xy"), -1)
    for k in range(4):
        masks = torch.full((1, 4, 5, 5), -1e9, dtype=torch.float64)
        masks[:, k] = 0
        found = reference.dense_flow(masks, source, driving, source_jacobians, driving_jacobians)[0]
        if k == 0:
            expected = here
        else:
            affine = source_jacobians[0, k - 1] @ torch.linalg.inv(driving_jacobians[0, k - 1])
            expected = (here - driving[0, k - 1]) @ affine.T + source[0, k - 1]
        assert torch.allclose(found, expected)


def test_the_reference_has_the_right_gradients() -> None:
    masks = torch.randn(1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reference.dense_flow, (masks, *(tensor.requires_grad_() for tensor in keypoints(2, 1))))


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    masks, maps = (tensor.float().requires_grad_() for tensor in inputs(3, 7, 5))
    torch.library.opcheck(door.blend, (masks.detach().requires_grad_(), maps.detach().requires_grad_()))
    compiled = torch.compile(lambda m, n: door.blend(m, n)[0].square().sum(), backend="aot_eager", fullgraph=True)
    compiled(masks, maps).backward()
    expected = torch.autograd.grad(reference.blend(masks, maps).square().sum(), (masks, maps))
    assert torch.allclose(masks.grad, expected[0], atol=1e-5) and torch.allclose(maps.grad, expected[1], rtol=1e-4, atol=1e-4)


def test_the_door_takes_the_reference_on_a_cpu() -> None:
    masks = torch.randn(2, 4, 6, 5)
    points = [tensor.float() for tensor in keypoints(3)]
    assert torch.equal(door.dense_flow(masks, *points), reference.dense_flow(masks, *points))


def test_the_doors_leave_triton_alone_on_a_cpu() -> None:
    """A fresh process renders on a CPU without importing Triton, whose import costs a second."""
    program = (
        "import sys, torch\n"
        "from kernels.motion import dense_flow\n"
        "from kernels.warp import warp\n"
        "warp(torch.zeros(1, 1, 4, 4), dense_flow(torch.zeros(1, 2, 4, 4), *torch.zeros(2, 1, 1, 2), *torch.eye(2).expand(2, 1, 1, 2, 2)))\n"
        "sys.exit('kernels.warp.kernel' in sys.modules or 'triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
