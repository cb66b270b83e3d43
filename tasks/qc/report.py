"""A QC report: a file measured, judged, and written as JSON, CSV and HTML that say the same."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from infra.store import sha256_of
from infra.version import VERSION
from tasks.deliverables.asked import QcRow
from tasks.qc.checks import MOST_PLACES, Known, judged, passed, tree_of
from tasks.qc.container import look
from tasks.qc.picture import watch
from tasks.qc.sound import listen

TEMPLATES = Path(__file__).parent.parent / "templates"
TYPES = {"json": "application/json", "csv": "text/csv", "html": "text/html"}
STATES = {"pass": "Pass", "fail": "Fail", "told": "Told"}
COLUMNS = ("group", "name", "state", "value", "limit", "number", "unit", "places", "note")
BARS = 240  # of the drawing of levels
FLOOR = -60.0  # dB


def examine(path: Path, known: Known, limits: QcRow, *, name: str = "", about: dict[str, Any] | None = None) -> dict[str, Any]:
    """Measure a file and judge it. about: what else the report says of it. Raises MediaError where it cannot be read. Streams."""
    outside = look(path)
    pictures, sounds = watch(path), [listen(path, number) for number in range(len(outside.sounds))]
    checks = judged(outside, pictures, sounds, known, limits)
    return {
        "format": "dubwright.qc/1", "software": f"Dubwright {VERSION}", "file": name or path.name, "sha256": sha256_of(path), "size": outside.size, **(about or {}),
        "verdict": "pass" if passed(checks) else "fail", "checks": [tree_of(check) for check in checks], "limits": limits.model_dump(mode="json"),
        "seconds": round(pictures.last + pictures.step, 3), "levels": _levels(sounds[0].levels) if sounds else [], "curve": _curve(known),
        "black": _rounded(pictures.black), "still": _rounded(pictures.still), "cues": [[round(cue.start, 3), round(cue.end, 3)] for cue in known.cues or ()],
    }  # fmt: skip


def _levels(levels: Any) -> list[float]:
    """The highest level of each bar of the drawing."""
    count = min(BARS, len(levels))
    return [round(max(max(levels[len(levels) * n // count : max(len(levels) * (n + 1) // count, len(levels) * n // count + 1)]), FLOOR), 1) for n in range(count)]


def _curve(known: Known) -> list[float | None]:
    """Confidence of each second."""
    return [None if row is None or row[1] is None else round(float(row[1]), 4) for row in (known.score or {}).get("seconds") or []]


def _rounded(spans: list[tuple[float, float]]) -> list[list[float]]:
    return [[round(begin, 3), round(end, 3)] for begin, end in spans[:MOST_PLACES]]


def written(report: dict[str, Any], kind: str) -> bytes:
    """A report as `json`, `csv` or `html`."""
    return {"json": _json, "csv": _csv, "html": page}[kind](report).encode()


def _json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(report: dict[str, Any]) -> str:
    """A row for each check, under the columns' names. Cells that a spreadsheet would take for a formula begin with an apostrophe."""
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(("file", *COLUMNS))
    for check in report["checks"]:
        cells = [report["file"], *(check[name] for name in COLUMNS)]
        cells[COLUMNS.index("places") + 1] = "; ".join(f"{begin:.2f}-{end:.2f}" for begin, end in check["places"])
        rows.writerow([f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") and not _number(cell) else cell for cell in cells])
    return out.getvalue()


def _number(cell: str) -> bool:
    return cell.lstrip("+-").partition(" ")[0].replace(".", "", 1).isdigit()


def page(report: dict[str, Any]) -> str:
    """One self-contained page that asks nothing of the network, and prints on A4."""
    from jinja2 import Environment, FileSystemLoader

    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    groups: dict[str, list[dict[str, Any]]] = {}
    for check in report["checks"]:
        groups.setdefault(check["group"], []).append(check)
    counts = {state: sum(check["state"] == state for check in report["checks"]) for state in STATES}
    return pages.get_template("qc.html.j2").render(report=report, groups=groups, counts=counts, states=STATES, floor=FLOOR, clock=_clock)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{seconds % 60:05.2f}"
