"""What the kernels compile to for the GPUs that we name: registers, spills, shared memory, theoretical occupancy. No GPU needed.

Compiling needs a process without Triton's interpreter and with an empty cache, so each runs in processes of its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kernels.plans import FLOATS, STORAGES, Plan, plans

ROOT = Path(__file__).parent.parent.parent


class Target(NamedTuple):
    """A GPU generation's limits (CUDA C++ Programming Guide, technical specifications per compute capability)."""

    gpu: str
    block_shared: int  # bytes a block may have
    unit_shared: int  # bytes a multiprocessor has
    registers: int = 65_536  # a multiprocessor has
    warps: int = 64
    blocks: int = 32


TARGETS = {80: Target("sm_80", 166_912, 167_936), 90: Target("sm_90a", 232_448, 233_472), 100: Target("sm_100a", 232_448, 233_472)}
EVERYTHING = tuple((storage, capability) for storage in STORAGES for capability in TARGETS)


def builds(wanted: Sequence[tuple[str, int]] = EVERYTHING) -> list[dict[str, Any]]:
    """One row for every kernel of each (storage, capability). Raises RuntimeError where a kernel does not compile."""
    told: list[dict[str, Any]] = []
    with ExitStack() as stack:
        surroundings = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": stack.enter_context(tempfile.TemporaryDirectory())}
        workers = min(os.cpu_count() or 1, 8)
        command = [sys.executable, "-m", "benchmarks.kernels.compiled", json.dumps(wanted), str(workers)]
        started = [
            subprocess.Popen([*command, str(number)], cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for number in range(workers)
        ]
        for worker in started:
            out, error = worker.communicate()
            if worker.returncode:
                raise RuntimeError(f"the kernels do not compile:\n{error[-2000:]}")
            told += json.loads(out)
    return told


def occupancy(registers: int, shared: int, threads: int, target: Target) -> float:
    """Theoretical occupancy: resident warps of a multiprocessor over the most that it can hold, as CUDA's calculator has it.

    Registers go to warps in portions of 256; a block's shared memory has 1 KiB of the system's and goes in portions of 128.
    """
    warps = -(-threads // 32)
    by_registers = target.registers // (-(-registers * 32 // 256) * 256) // warps
    by_shared = target.unit_shared // (-(-(shared + 1024) // 128) * 128)
    return min(by_registers, by_shared, target.blocks, target.warps // warps) * warps / target.warps


def _compile(plan: Plan, capability: int) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names, target = plan.kernel.arg_names, TARGETS[capability]
    kinds = {name: _kind(name, plan) for name in names}
    # a launch sees that PyTorch's pointers are multiples of 16 and compiles for it; so does this
    hints = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in plan.pointers}
    places = {(names.index(name),): value for name, value in plan.constants.items()}
    built = triton.compile(ASTSource(plan.kernel, kinds, constexprs=places, attrs=hints), target=GPUTarget("cuda", capability, 32))
    used = _resources(built.asm["cubin"], built.asm["ptx"], capability)
    threads = built.metadata.num_warps * 32
    return {
        "operator": plan.operator,
        "kernel": plan.kernel.__name__.strip("_"),
        "storage": plan.storage,
        "constants": plan.constants,
        "gpu": target.gpu,
        "threads": threads,
        "shared_bytes": built.metadata.shared,
        "shared_limit": target.block_shared,
        **used,
        "occupancy": occupancy(used["registers"], built.metadata.shared, threads, target),
    }


def _kind(name: str, plan: Plan) -> str:
    if name in plan.constants:
        return "constexpr"
    if name in plan.pointers:
        return f"*{plan.pointers[name]}"
    return "fp32" if name in FLOATS else "i32"


def _resources(cubin: bytes, ptx: str, capability: int) -> dict[str, int]:
    """Registers, stack and spilled bytes. What spills lies on the stack, so ptxas is asked how much only where there is one."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    told = _told([str(tools / "cuobjdump"), "--dump-resource-usage"], cubin)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    if not found:
        raise RuntimeError(f"cuobjdump says nothing of registers:\n{told}")
    registers, stack = int(found[1]), int(found[2])
    if not stack:
        return {"registers": registers, "stack_bytes": 0, "spill_bytes": 0}
    tool = tools / ("ptxas-blackwell" if capability >= 100 else "ptxas")
    told = _told([str(tool), "-v", f"-arch={TARGETS[capability].gpu}", "-o", os.devnull], ptx.encode())
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", told)
    if not spills:
        raise RuntimeError(f"ptxas says nothing of spills:\n{told}")
    return {"registers": registers, "stack_bytes": stack, "spill_bytes": int(spills[1]) + int(spills[2])}


def _told(command: list[str], given: bytes) -> str:
    with tempfile.NamedTemporaryFile() as file:
        file.write(given)
        file.flush()
        ran = subprocess.run([*command, file.name], capture_output=True, text=True, check=True)
    return ran.stdout + ran.stderr


if __name__ == "__main__":
    asked, workers, number = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    everything = [(plan, capability) for storage, capability in asked for plan in plans(storage)]
    sys.stdout.write(json.dumps([_compile(*one) for one in everything[number::workers]]) + "\n")
