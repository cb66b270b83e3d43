"""The kernels: what they compile to for the GPUs that we name (no GPU needed), and how long the operators take where this runs.

The operators' tests run first; nothing is reported when one fails. `dubwright bench kernels` or `python -m benchmarks.kernels`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import rows

ROOT = Path(__file__).parent.parent
TARGETS = {80: ("sm_80", 166_912), 90: ("sm_90a", 232_448), 100: ("sm_100a", 232_448)}  # name, shared memory a block may have
ROUNDS = 30


def run(*, write: bool = True) -> dict[str, Any]:
    """Figures `kernels_spill_bytes`, `kernels_most_registers`, `kernels_most_shared_bytes`, and milliseconds a call of each door.

    Raises RuntimeError when a kernel's test fails or a kernel does not compile.
    """
    tests = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("test_kernels_*.py"))]
    tried = subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise RuntimeError(f"the kernels' tests fail, so nothing is measured:\n{tried.stdout[-2000:]}")
    built = compiled()
    timed = timings()
    if write:
        rows.add({name: ("ms", values) for name, values in timed.items()})
    figures = {
        "kernels_spill_bytes": sum(row["spill_bytes"] for row in built),
        "kernels_most_registers": max(row["registers"] for row in built),
        "kernels_most_shared_bytes": max(row["shared_bytes"] for row in built),
        **{name: rows.quantiles(values)[1] for name, values in timed.items()},
    }
    return {"figures": figures, "compiled": built}


def compiled() -> list[dict[str, Any]]:
    """One row for every kernel, storage type and GPU, from a process of its own with an empty cache and no interpreter."""
    with tempfile.TemporaryDirectory() as cache:
        surroundings = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": cache}
        told = subprocess.run([sys.executable, "-m", "benchmarks.kernels", "--compile"], cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    if told.returncode:
        raise RuntimeError(f"the kernels do not compile:\n{told.stderr[-2000:]}")
    return json.loads(told.stdout)


def _plans() -> list[tuple[Any, dict[str, str], dict[str, Any]]]:
    """Every kernel with its pointers' element types (the rest are int32) and constants, as the doors launch it."""
    from kernels.motion import kernel as motion
    from kernels.warp import kernel as warp

    plans: list[tuple[Any, dict[str, str], dict[str, Any]]] = []
    for kind in ("fp32", "fp16", "bf16"):
        some = dict.fromkeys(("grad", "feature", "flow", "occlusion", "out"), kind) | dict.fromkeys(("grad_feature", "grad_flow", "grad_occlusion"), "fp32")
        for border in (False, True):
            modes = {"HAS_OCCLUSION": True, "ALIGN": border, "BORDER": border, "BLOCK": 256}
            plans += [(warp._warp_forward, some, modes), (warp._warp_backward, some, modes)]
        some = dict.fromkeys(("masks", "maps", "flow", "grad", "grad_masks"), kind) | dict.fromkeys(("logsum", "grad_maps"), "fp32")
        plans += [(motion._blend_forward, some, {"BLOCK": 256}), (motion._blend_backward, some, {"BLOCK": 256})]
        plans += _norms_and_attention(kind) + _memory_and_distances(kind)
    return plans


def _norms_and_attention(kind: str) -> list[tuple[Any, dict[str, str], dict[str, Any]]]:
    """At AVCT's published sizes: width 512, 8 heads of 64, windows of 11 steps; attention also at lengths that fill its tiles."""
    from kernels.attention import kernel as attention
    from kernels.residual_norm import kernel as norm
    from kernels.window_attention import kernel as window

    some = dict.fromkeys(("x", "residual", "weight", "bias", "out", "grad", "grad_x"), kind) | dict.fromkeys(("mean", "scale", "grad_weight", "grad_bias"), "fp32")
    plans: list[tuple[Any, dict[str, str], dict[str, Any]]] = []
    plans += [(norm._norm_forward, some, {"EPS": 1e-5, "ROWS": norm.TILE // 512, "BLOCK": 512}), (norm._norm_backward, some, {"ROWS": norm.TILE // 512, "BLOCK": 512})]
    some = dict.fromkeys(("q", "k", "v", "pq", "pk", "pv", "out"), kind)
    terms = {"SCALE": 0.125, "HAS_PQ": True, "HAS_PK": True, "HAS_PV": True, "WIDTH": 64}
    plans += [(window._window_every, some, terms | {"UPCAST": False, "STEPS": 16}), (window._window_centre, some, terms | {"WINDOWS": window.WINDOWS})]
    some = dict.fromkeys(("grad", "q", "k", "v", "out", "grad_q", "grad_k", "grad_v"), kind) | {"seen": "i1", "logsum": "fp32", "mean": "fp32"}
    by_query = attention._attention_forward, attention._attention_backward_means, attention._attention_backward_queries
    modes = {"SCALE": 0.125, "HAS_MASK": True, "CAUSAL": True, "UPCAST": False, "WIDTH": 64}
    for mine, walked in (attention.LONG_NARROW[4 if kind == "fp32" else 2], (attention.SHORT, attention.SHORT)):
        plans += [(kernel, some, modes | {"ROWS": mine, "COLUMNS": walked}) for kernel in by_query]
        plans += [(attention._attention_backward_keys, some, modes | {"ROWS": walked, "COLUMNS": mine})]
    return plans


def _memory_and_distances(kind: str) -> list[tuple[Any, dict[str, str], dict[str, Any]]]:
    """SyncTalkFace's memory, and the 31 distances of the published and of this project's protocol."""
    from kernels.memory_read import kernel as memory
    from kernels.sync_distance import kernel as sync

    own = ("query", "keys", "values", "recall", "address", "grad_recall", "grad_address", "grad_query", "grad_keys", "grad_values")
    some = dict.fromkeys(own, kind) | dict.fromkeys(("cosine", "stats", "key_norm", "slope", "grad_cosine"), "fp32")
    sizes, kappa = {"SLOTS": memory.SLOTS, "WIDTH": memory.WIDTH}, {"KAPPA": 16.0}
    plans: list[tuple[Any, dict[str, str], dict[str, Any]]] = []
    plans += [(memory._memory_cosines, some, sizes), (memory._memory_recall, some, sizes | kappa), (memory._memory_slopes, some, sizes)]
    plans += [(memory._memory_query_backward, some, sizes | kappa), (memory._memory_slots_backward, some, sizes | kappa | {"ROWS": memory.ROWS})]
    some = dict.fromkeys(("video", "audio", "own", "other", "grad_own"), kind) | dict.fromkeys(("out", "grad", "distance"), "fp32")
    for zeros in (False, True):
        modes = {"ZEROS": zeros, "OFFSETS": sync.OFFSETS, "WIDTH": sync.WIDTH}
        plans += [(sync._sync_forward, some, modes), *((sync._sync_backward, some, modes | {"MIRRORED": mirrored}) for mirrored in (False, True))]
    return plans


def _compile(kernel: Any, pointers: dict[str, str], constants: dict[str, Any], capability: int) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = {name: "constexpr" if name in constants else f"*{pointers[name]}" if name in pointers else "i32" for name in kernel.arg_names}
    # a launch sees that PyTorch's pointers are multiples of 16 and compiles for it; so does this
    hints = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in pointers}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    built = triton.compile(ASTSource(kernel, kinds, constexprs=places, attrs=hints), target=GPUTarget("cuda", capability, 32))
    return {
        "kernel": kernel.__name__.strip("_"),
        "storage": next((pointers[name] for name in kernel.arg_names if pointers.get(name) in ("fp16", "bf16")), "fp32"),
        "constants": constants,
        "gpu": TARGETS[capability][0],
        "shared_bytes": built.metadata.shared,
        "shared_limit": TARGETS[capability][1],
        **_resources(built.asm["ptx"], capability),
    }


def _resources(ptx: str, capability: int) -> dict[str, int]:
    """Registers and spilled bytes, as ptxas tells them."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        tool = tools / ("ptxas-blackwell" if capability >= 100 else "ptxas")
        arguments = [str(tool), "-v", f"-arch={TARGETS[capability][0]}", file.name, "-o", os.devnull]
        told = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
    spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", told)
    registers = re.search(r"Used (\d+) registers", told)
    if not (spills and registers):
        raise RuntimeError(f"ptxas says nothing of registers and spills:\n{told}")
    return {"registers": int(registers[1]), "spill_bytes": int(spills[2]) + int(spills[3]), "stack_bytes": int(spills[1])}


def timings() -> dict[str, list[float]]:
    """Milliseconds a call of each door, forward, at the sizes that the compact preset uses; batch 8."""
    import torch

    from kernels.motion import dense_flow
    from kernels.warp import warp

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    feature, flow = torch.randn(8, 40, 64, 64, device=device), torch.rand(8, 64, 64, 2, device=device) * 2 - 1
    occlusion, masks = torch.rand(8, 1, 64, 64, device=device), torch.randn(8, 25, 64, 64, device=device)
    points = torch.rand(2, 8, 24, 2, device=device)
    jacobians = torch.eye(2, device=device).expand(8, 24, 2, 2)

    def once(call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) * 1000

    calls: dict[str, Callable[[], Any]] = {
        f"warp_{device}_ms": lambda: warp(feature, flow, occlusion),
        f"dense_flow_{device}_ms": lambda: dense_flow(masks, points[0], points[1], jacobians, jacobians),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for round_ in range(ROUNDS + 3):  # the first three warm up
            for name, call in calls.items():
                spent = once(call)
                if round_ >= 3:
                    found[name].append(spent)
    return found


if __name__ == "__main__":
    told = [_compile(*plan, capability) for plan in _plans() for capability in TARGETS] if "--compile" in sys.argv else run()
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
