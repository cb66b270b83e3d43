"""The kernels compile ahead of time for the GPUs that we name, with nothing spilled and shared memory within bounds (P10)."""

from collections import Counter

from benchmarks import kernels


def test_every_kernel_compiles_without_spills() -> None:
    built = kernels.compiled()
    assert {row["gpu"] for row in built} == {"sm_80", "sm_90a", "sm_100a"}
    operators = {"warp": 2, "blend": 2, "norm": 2, "window": 2, "attention": 4, "memory": 5, "sync": 2}
    assert Counter(name.partition("_")[0] for name in {row["kernel"] for row in built}) == operators
    assert {row["storage"] for row in built} == {"fp32", "fp16", "bf16"}
    for row in built:
        assert row["spill_bytes"] == 0 and row["stack_bytes"] == 0, row
        assert row["shared_bytes"] <= row["shared_limit"], row
        assert 0 < row["registers"] <= 255, row
