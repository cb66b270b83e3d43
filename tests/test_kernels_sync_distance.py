"""The distances' kernels equal their reference (P10), under Triton's interpreter."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kernel_cases import DTYPES, agree, guarded, poisoned_memory
from kernels import sync_distance as door
from kernels.sync_distance import reference
from models.syncnet import protocol
from parity import near, needs_vectors, vectors

# video windows, sound windows, embedding, reach: round, odd, long, more of the one and of the other, a single one
SHAPES = [(8, 8, 128, 15), (17, 3, 33, 15), (3, 33, 97, 15), (1, 1, 1, 0), (4, 9, 17, 40)]


def inputs(windows: int, sounds: int, embedding: int) -> list[Tensor]:
    """Embeddings of video and sound, in float64."""
    random = torch.Generator().manual_seed(windows * 1000 + embedding)
    return [torch.randn(count, embedding, generator=random, dtype=torch.float64) for count in (windows, sounds)]


@pytest.mark.parametrize("edges", reference.EDGES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("windows", "sounds", "embedding", "reach"), SHAPES)
def test_forward_and_backward_equal_the_reference(
    windows: int, sounds: int, embedding: int, reach: int, dtype: torch.dtype, edges: str
) -> None:
    upstream = torch.randn(windows, 2 * reach + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    agree(
        lambda *tensors: door.operator(*tensors, reach, edges).nan_to_num(),
        lambda *tensors: reference.sync_distance(*tensors, reach=reach, edges=edges).nan_to_num(),
        list(inputs(windows, sounds, embedding)), upstream, dtype,
    )  # fmt: skip


@pytest.mark.parametrize("embedding", [1000, 1024])
def test_wide_embeddings_equal_the_reference(embedding: int) -> None:
    upstream = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    agree(
        lambda *tensors: door.operator(*tensors, 2, "zeros"),
        lambda *tensors: reference.sync_distance(*tensors, reach=2, edges="zeros"),
        list(inputs(3, 4, embedding)), upstream, torch.float32,
    )  # fmt: skip


@pytest.mark.parametrize(("windows", "sounds"), [(12, 12), (20, 5), (3, 40), (40, 0)])
def test_both_sides_equal_the_protocol(windows: int, sounds: int) -> None:
    """The NaNs lie where this project's protocol has them, and the numbers are its numbers."""
    video, audio = (tensor.float() for tensor in inputs(windows, sounds, 128))
    expected = torch.full((windows, 2 * protocol.REACH + 1), float("nan"))
    for i in range(windows):
        for j in range(2 * protocol.REACH + 1):
            if 0 <= i + j - protocol.REACH < sounds:
                expected[i, j] = (video[i].double() - audio[i + j - protocol.REACH].double() + 1e-6).norm()
    assert np.allclose(protocol.curve_of(video.numpy(), audio.numpy()).distances, expected, rtol=1e-6, equal_nan=True)
    with poisoned_memory():
        found = door.operator(guarded(video), guarded(audio), protocol.REACH, "leave")
    assert torch.allclose(found, expected, rtol=1e-6, equal_nan=True)
    assert torch.allclose(door.sync_distance(video, audio), expected, rtol=1e-6, equal_nan=True)


@needs_vectors
def test_both_sides_equal_the_published_protocol() -> None:
    given = vectors("syncnet_protocol")
    video, audio = torch.from_numpy(given["video"]), torch.from_numpy(given["audio"])
    for distances in (door.operator(video, audio, 15, "zeros"), door.sync_distance(video, audio, edges="zeros")):
        mean = distances.mean(0)
        near(mean, given["mean_distance"])
        assert 15 - int(mean.argmin()) == int(given["offset"])
        near(mean.min(), given["min_distance"])
        near(mean.median() - mean.min(), given["confidence"])


def test_a_gap_that_nobody_asks_about_has_no_slope() -> None:
    """NaN comes up where a partner is missing, as a loss by `nanmean` or by hand may send it; it goes no further."""
    video, audio = (tensor.float().requires_grad_() for tensor in inputs(4, 3, 9))
    upstream = reference.sync_distance(video, audio).detach() * 0 + 1
    assert upstream.isnan().any()
    for function in (lambda v, a: door.operator(v, a, 15, "leave"), reference.sync_distance):
        found = torch.autograd.grad(function(video, audio), (video, audio), upstream)
        assert all(torch.isfinite(tensor).all() for tensor in found)


def test_windows_that_meet_have_no_slope() -> None:
    video, audio = torch.zeros(2, 3, requires_grad=True), torch.full((2, 3), 1e-6, requires_grad=True)  # 0 - 1e-6 + 1e-6
    for function in (lambda v, a: door.operator(v, a, 1, "leave"), lambda v, a: reference.sync_distance(v, a, reach=1)):
        distances = function(video, audio)
        assert distances[0, 1] == 0
        for slope in torch.autograd.grad(distances[:, 1].sum(), (video, audio)):
            assert torch.equal(slope, torch.zeros(2, 3))


def test_nothing_in_nothing_out() -> None:
    for windows, sounds, embedding in ((0, 4, 3), (4, 0, 3), (0, 0, 3), (2, 2, 0)):
        for edges in reference.EDGES:
            given = [torch.randn(count, embedding, requires_grad=True) for count in (windows, sounds)]
            with poisoned_memory():
                found = door.operator(*given, 2, edges)
                grads = torch.autograd.grad(found.nansum(), given)
            expected = reference.sync_distance(*given, reach=2, edges=edges)
            assert found.shape == (windows, 5) and torch.allclose(found, expected, equal_nan=True)
            for got, true in zip(grads, torch.autograd.grad(expected.nansum(), given), strict=True):
                assert torch.allclose(got, true, atol=1e-6)


def test_the_reference_has_the_right_gradients() -> None:
    for edges in reference.EDGES:
        given = [tensor.requires_grad_() for tensor in inputs(4, 3, 5)]
        assert torch.autograd.gradcheck(
            lambda *tensors: reference.sync_distance(*tensors, reach=2, edges=edges).nan_to_num(), given  # noqa: B023 (called here)
        )  # fmt: skip


def test_the_reference_is_the_formula() -> None:
    """One window in the middle of three sounds and one at the end, by hand."""
    video, audio = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]), torch.tensor([[3.0, 4.0], [3.0, 0.0], [0.0, 0.0]])
    found = reference.sync_distance(video, audio, reach=1, edges="zeros")
    assert torch.allclose(found[1:], torch.tensor([[4.0, 0.0, 3.0], [4.0, 5.0, 5.0]]), atol=1e-5)
    left = reference.sync_distance(video, audio, reach=1)
    assert left[0, 0].isnan() and left[2, 2].isnan() and int(left.isnan().sum()) == 2


def test_registration_holds_for_autograd_fake_tensors_and_compilation() -> None:
    video, audio = (tensor.float().requires_grad_() for tensor in inputs(4, 5, 9))
    torch.library.opcheck(door.operator, (video, audio, 2, "zeros"))
    torch.library.opcheck(door.operator, (video, audio, 0, "leave"))  # without a NaN, which opcheck holds to differ from itself
    compiled = torch.compile(lambda v, a: door.operator(v, a, 2, "zeros").square().sum(), backend="aot_eager", fullgraph=True)
    compiled(video, audio).backward()
    plain = torch.autograd.grad(reference.sync_distance(video, audio, reach=2, edges="zeros").square().sum(), (video, audio))
    for tensor, expected in zip((video, audio), plain, strict=True):
        assert tensor.grad is not None and torch.allclose(tensor.grad, expected, atol=1e-5)


def test_the_door_takes_the_reference_on_a_cpu_and_refuses_other_words() -> None:
    video, audio = (tensor.float() for tensor in inputs(4, 5, 9))
    for edges in reference.EDGES:
        found, expected = door.sync_distance(video, audio, edges=edges), reference.sync_distance(video, audio, edges=edges)
        assert np.array_equal(found.numpy(), expected.numpy(), equal_nan=True)
    with pytest.raises(ValueError, match="edges is one of"):
        door.sync_distance(video, audio, edges="wrap")
