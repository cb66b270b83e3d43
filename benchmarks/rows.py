"""Rows of benchmarks/results.csv: when, where, which commit, and quantiles; never a bare mean."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra import telemetry, version

RESULTS = Path(__file__).parent / "results.csv"
COLUMNS = ("time", "machine", "commit", "name", "unit", "p20", "p50", "p80", "n")


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentile of one or more values."""
    if len(values) == 1:
        return (values[0],) * 3
    cuts = statistics.quantiles(values, n=10, method="inclusive")
    return cuts[1], cuts[4], cuts[7]


def machine_name() -> str:
    """Processor and cores: what a reader needs in order to compare two rows."""
    facts = telemetry.machine()
    return f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB"


def peak_mib() -> float:
    """The most memory that this process has had at once, in MiB.

    The kernel's figure for this program alone (VmHWM): ru_maxrss also counts what the process that started it held.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def add(measured: Mapping[str, tuple[str, Sequence[float]]], path: Path = RESULTS) -> None:
    """Append one row for each name with its unit and its values."""
    fresh = not path.exists()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if fresh:
            table.writerow(COLUMNS)
        for name, (unit, values) in measured.items():
            numbers = [f"{value:.6g}" for value in quantiles(values)]
            table.writerow([now, machine_name(), version.commit()[:12], name, unit, *numbers, len(values)])
