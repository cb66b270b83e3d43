"""Seconds by stage, and what machine this is."""

import functools
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count the block's wall time under a name."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@functools.cache
def machine() -> dict[str, Any]:
    """Facts that lineage keeps about the machine: name, system, processor, cores, memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        **({"gpu": gpu} if (gpu := _gpu()) else {}),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as facts:
            return next(line.split(":", 1)[1].strip() for line in facts if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu() -> str:
    """Name of the first NVIDIA GPU as its driver tells it; nothing where there is none or this process is not to use it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ""
    try:
        facts = next(Path("/proc/driver/nvidia/gpus").glob("*/information")).read_text()
    except (OSError, StopIteration):
        return ""
    return next((line.split(":", 1)[1].strip() for line in facts.splitlines() if line.startswith("Model:")), "")
