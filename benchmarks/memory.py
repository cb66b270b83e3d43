"""Memory against length: the peak of a process that makes five minutes of video over that of one that makes ten seconds.

`dubwright bench memory`. Each length runs in a process of its own, from speech to score; the peak is the kernel's own figure,
ffmpeg's child not counted.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import rows

SHORT, LONG = 10.0, 300.0


def peak_of(seconds: float) -> tuple[float, float]:
    """Peak MiB of a fresh process that makes so many seconds of video, and the seconds it made."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(seconds)], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    peak, made = done.stdout.split()[-2:]
    return float(peak), float(made)


def run(short: float = SHORT, long: float = LONG) -> dict[str, Any]:
    """The ratio, and both peaks in MiB."""
    small, small_seconds = peak_of(short)
    large, large_seconds = peak_of(long)
    rows.add({"memory_peak_short": ("MiB", [small]), "memory_peak_long": ("MiB", [large]), "memory_ratio_long": ("ratio", [large / small])})
    return {
        "figures": {"memory_ratio_long": round(large / small, 4), "memory_peak_short_mib": round(small, 1), "memory_peak_long_mib": round(large, 1)},
        "video_seconds": {"short": small_seconds, "long": large_seconds},
    }


def _child(seconds: float) -> None:
    from benchmarks import pipeline
    from infra.telemetry import Stopwatch

    with pipeline.scratch() as folder:
        made = pipeline.make(pipeline.speech_of(seconds), pipeline.portrait(), folder, Stopwatch())
    sys.stdout.write(f"{rows.peak_mib():.1f} {made:.1f}\n")


if __name__ == "__main__":
    _child(float(sys.argv[1]))
