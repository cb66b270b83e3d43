"""The least time that a GPU could take, computed from bytes and FLOP: no measurement.

Peaks are the makers' for dense arithmetic without sparsity: A100 SXM 80 GB, H100 SXM, B200 (HGX).
"""

from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.kernels.cases import Case, cases
from benchmarks.kernels.traffic import counted
from kernels.switch import use_kernels


class Peak(NamedTuple):
    """Bytes a second of memory, and FLOP a second of float32 units and of tensor cores in fp16 and bf16."""

    memory: float
    plain: float
    tensor: float


PEAKS = {"A100": Peak(2.039e12, 19.5e12, 312e12), "H100": Peak(3.35e12, 66.9e12, 989e12), "B200": Peak(8.0e12, 75e12, 2250e12)}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def rooflines() -> list[dict[str, Any]]:
    """One row for every operator at its deployed size, forward, in fp32 and bf16."""
    return [_row(case, storage) for case in cases() for storage in TYPES]


def _row(case: Case, storage: str) -> dict[str, Any]:
    with FakeTensorMode():
        given = [tensor.to(TYPES[storage]) for tensor in case.arguments()]
        reference = counted(lambda: case.reference(*given))
        with use_kernels():
            fused = counted(lambda: case.door(*given))
    return {
        "operator": case.operator,
        "size": case.size,
        "storage": storage,
        "bytes": fused.moved,
        "flop": case.flop,
        "bytes_reference": reference.moved,
        **{f"computed_us_{gpu}": least(fused.moved, case.flop, peak, case.products and storage != "fp32") * 1e6 for gpu, peak in PEAKS.items()},
    }


def least(moved: int, flop: int, peak: Peak, tensor_cores: bool) -> float:
    """Seconds that memory or arithmetic needs at its peak, whichever is longer."""
    return max(moved / peak.memory, flop / (peak.tensor if tensor_cores else peak.plain))
