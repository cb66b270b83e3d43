"""The kernels compile ahead of time for the GPUs that we name, with nothing spilled and shared memory within bounds (P10), and move
as few bytes as they promise.
"""

from collections import Counter

import pytest
import torch

from benchmarks.kernels import compiled, roofline, traffic
from test_benchmarks import LISTED

SAMPLED = (("fp32", 80), ("fp16", 90), ("bf16", 100))  # `dubwright bench kernels --aot` builds every storage type for every GPU

KERNELS = {  # of each operator
    "sparse_motion": 2, "dense_warp": 2, "picture_warp": 1, "warp": 2, "residual_norm": 2, "window_attention": 2, "attention": 4,
    "memory_read": 5, "sync_distance": 2,
}  # fmt: skip


def test_every_kernel_compiles_without_spills() -> None:
    built = compiled.builds(SAMPLED)
    assert {(row["storage"], row["gpu"]) for row in built} == {("fp32", "sm_80"), ("fp16", "sm_90a"), ("bf16", "sm_100a")}
    assert Counter(operator for operator, _ in {(row["operator"], row["kernel"]) for row in built}) == KERNELS
    for row in built:
        assert row["spill_bytes"] == 0 and row["stack_bytes"] == 0, row
        assert row["shared_bytes"] <= row["shared_limit"], row
        assert 0 < row["registers"] <= 255 and 0 < row["occupancy"] <= 1, row


@pytest.mark.parametrize(
    ("registers", "shared", "threads", "expected"),
    [(32, 0, 128, 1.0), (64, 0, 128, 0.5), (65, 0, 128, 0.4375), (255, 0, 128, 0.125), (32, 81_920, 128, 0.125), (32, 0, 32, 0.5)],
)
def test_occupancy_is_that_of_the_calculator(registers: int, shared: int, threads: int, expected: float) -> None:
    """On an A100: limited by nothing, by registers (in portions of 256 a warp), by shared memory, by blocks."""
    assert compiled.occupancy(registers, shared, threads, compiled.TARGETS[80]) == expected


def test_bytes_are_counted_once_an_operation() -> None:
    x, y = torch.randn(6, 5), torch.randn(5)
    assert traffic.counted(lambda: x.T.expand(2, 5, 6)).moved == 0
    assert traffic.counted(lambda: x + y).moved == 4 * (30 + 5 + 30)
    assert traffic.counted(lambda: (x + y).exp()).moved == 4 * (65 + 60)
    assert traffic.counted(lambda: y[:1].expand(30) * 2).moved == 4 * (1 + 30)


def test_fused_operators_move_a_third_and_a_tenth_of_the_bytes() -> None:
    given = traffic.arguments(16, 5)
    for found, expected in zip(traffic.by_operators(*given), traffic.as_published(*given), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)  # the yardstick computes the same
    ratios = traffic.ratios()
    assert {name for name in ratios if name.startswith("bytes_ratio")} <= LISTED
    assert 3 <= ratios["bytes_ratio_reference"] < 4 and 10 <= ratios["bytes_ratio_picture"] < 16
    assert ratios["fused_mb_reference"] == pytest.approx(9.4, abs=0.1)  # 44 + 3 + 11 + 1 + 2 * 256 planes of 64 x 64, and the flow


def test_rooflines_are_for_every_operator_and_below_the_references() -> None:
    lines = roofline.rooflines()
    assert {(row["operator"], row["storage"]) for row in lines} == {(operator, storage) for operator in KERNELS for storage in ("fp32", "bf16")}
    assert all(row["bytes"] < row["bytes_reference"] and row["computed_us_B200"] < row["computed_us_A100"] for row in lines)
    peak = roofline.PEAKS["H100"]
    assert roofline.least(3_350_000, 1, peak, False) == pytest.approx(1e-6) and roofline.least(1, 989_000_000, peak, True) == pytest.approx(1e-6)
