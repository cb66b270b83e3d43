"""Seconds of work for a second of video, by stage, warm: `dubwright bench speed`.

One take is made to warm up, then five, interleaved over the stages as a job runs them; medians are reported, quantiles kept.
"""

import statistics
from typing import Any

from benchmarks import pipeline, rows
from infra.telemetry import Stopwatch

TAKES, SECONDS = 5, 6.0


def run(takes: int = TAKES) -> dict[str, Any]:
    """Median seconds for a second of video of every stage, and of all."""
    face = pipeline.portrait()
    with pipeline.scratch() as folder:
        pipeline.make(pipeline.speech_of(SECONDS), face, folder, Stopwatch())
        found: dict[str, list[float]] = {}
        for _ in range(takes):
            watch = Stopwatch()
            with watch.measure("speech"):
                track = pipeline.speech_of(SECONDS)
            seconds = pipeline.make(track, face, folder, watch)
            for stage, spent in (watch.seconds | {"all": sum(watch.seconds.values())}).items():
                found.setdefault(stage, []).append(spent / seconds)
    rows.add({f"speed_{stage}": ("s/s", values) for stage, values in found.items()})
    return {"figures": {f"speed_{stage}": round(statistics.median(values), 4) for stage, values in found.items()}, "takes": takes}
