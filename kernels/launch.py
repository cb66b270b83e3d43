"""How the kernels are launched, on a GPU and under Triton's interpreter. Imported by kernel.py files alone: it needs Triton."""

import triton

INTERPRETED = bool(triton.knobs.runtime.interpret)  # one mode a process: Triton fixes it where kernels are defined


def block(compiled: int) -> int:
    """Pixels a program: what registers allow when compiled; many under the interpreter, which pays by the operation."""
    return 1024 if INTERPRETED else compiled
