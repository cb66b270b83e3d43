"""The kernels on a GPU against eager PyTorch, `torch.compile` and CUDA graphs of the same reference: milliseconds a call, forward."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.kernels.cases import Case, cases
from benchmarks.kernels.roofline import TYPES

Call = Callable[[], Any]


def measured() -> dict[str, list[float]]:
    """Times of each operator, size, storage and way of running it, by name; the L2 cache is emptied before each call."""
    found: dict[str, list[float]] = {}
    for case in cases():
        for storage in TYPES:
            for way, call in _ways(case, storage).items():
                found[f"kernels, {torch.cuda.get_device_name()}: {case.operator}, {case.size}, {storage}, {way}"] = _times(call)
    return found


def _ways(case: Case, storage: str) -> dict[str, Call]:
    given = [tensor.to("cuda", TYPES[storage]) for tensor in case.arguments()]
    together = torch.compile(case.reference, dynamic=False)
    return {
        "kernel": lambda: case.door(*given),
        "kernel in a CUDA graph": _captured(lambda: case.door(*given)),
        "eager": lambda: case.reference(*given),
        "eager in a CUDA graph": _captured(lambda: case.reference(*given)),
        "torch.compile": lambda: together(*given),
    }


def _captured(call: Call) -> Call:
    """A call as a CUDA graph that is replayed; it is run a few times on a side stream first, as capturing asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _times(call: Call) -> list[float]:
    from triton.testing import do_bench

    with torch.inference_mode():
        return do_bench(call, return_mode="all")
