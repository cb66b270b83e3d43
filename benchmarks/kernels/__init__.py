"""The kernels: what they compile to, what they must move and compute, and, where there is a GPU, how long they take.

`dubwright bench kernels --aot` compiles, counts and computes, and needs no GPU. `dubwright bench kernels` does so, too, and then
measures, after the operators' tests have passed. `python -m benchmarks.kernels` is the same.
"""

import subprocess
import sys
from typing import Any

from benchmarks import rows
from benchmarks.kernels.compiled import ROOT, builds


def run(*, aot: bool = False, write: bool = True) -> dict[str, Any]:
    """Figures, one row for every build (`compiled`), one for every operator and size (`computed`), and `measured` or why not.

    Raises RuntimeError when a kernel does not compile, or, before anything is measured, when a kernel's test fails.
    """
    import torch

    from benchmarks.kernels.roofline import rooflines
    from benchmarks.kernels.traffic import ratios

    built, lines, counted = builds(), rooflines(), ratios()
    figures = {
        "spills": sum(row["spill_bytes"] for row in built),
        **{name: value for name, value in counted.items() if name.startswith("bytes_ratio")},
        "kernels_most_registers": max(row["registers"] for row in built),
        "kernels_most_shared_bytes": max(row["shared_bytes"] for row in built),
        "kernels_least_occupancy": min(row["occupancy"] for row in built),
    }
    tree: dict[str, Any] = {"figures": figures, "counted": counted, "compiled": built, "computed": lines, "tables": [_resources(built), _computed(lines)]}
    if aot:
        tree["note"] = "times are computed from bytes, FLOP and the makers' peaks; nothing was measured"
    elif not torch.cuda.is_available():
        tree["note"] = "there is no GPU here, so nothing was measured; times are computed from bytes, FLOP and the makers' peaks"
    else:
        _tested()
        tree["measured"] = _measured(write)
    return tree


def _tested() -> None:
    tests = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("test_kernels_*.py"))]
    tried = subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise RuntimeError(f"the kernels' tests fail, so nothing is measured:\n{tried.stdout[-2000:]}")


def _measured(write: bool) -> dict[str, tuple[float, float, float]]:
    """The 20th, 50th and 80th percentile of milliseconds, by name; rows of results.csv, too."""
    from benchmarks.kernels.measured import measured

    found = measured()
    if write:
        rows.add({name: ("ms", values) for name, values in found.items()})
    return {name: rows.quantiles(values) for name, values in found.items()}


def _resources(built: list[dict[str, Any]]) -> dict[str, Any]:
    """Each operator on each GPU: the most that any of its kernels takes, over storage types."""
    body = []
    for operator, gpu in sorted({(row["operator"], row["gpu"]) for row in built}, key=lambda pair: (pair[0], len(pair[1]), pair[1])):
        own = [row for row in built if (row["operator"], row["gpu"]) == (operator, gpu)]
        most = [str(max(row[name] for row in own)) for name in ("registers", "shared_bytes", "spill_bytes")]
        share = [row["occupancy"] for row in own]
        body.append([operator, gpu, str(len(own)), *most, f"{min(share):.0%} to {max(share):.0%}"])
    return {
        "title": "ahead-of-time builds, all storage types: the most of any kernel; occupancy is theoretical",
        "columns": ["operator", "GPU", "builds", "registers", "shared bytes", "spilled bytes", "occupancy"],
        "rows": body,
    }


def _computed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    gpus = [name for name in lines[0] if name.startswith("computed_us_")]
    return {
        "title": "computed, not measured: least microseconds of forward, from bytes and FLOP",
        "columns": ["operator", "size", "storage", "MB", "MFLOP", "reference moves", *(name.removeprefix("computed_us_") for name in gpus)],
        "rows": [
            [
                row["operator"], row["size"], row["storage"], f"{row['bytes'] / 1e6:.2f}", f"{row['flop'] / 1e6:.1f}",
                f"{row['bytes_reference'] / row['bytes']:.1f} x", *(f"{row[name]:.2f}" for name in gpus),
            ]
            for row in lines
        ],
    }  # fmt: skip
