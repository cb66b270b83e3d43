"""Drawings of the report as inline SVG and plain rows. Colours are the page's: every shape carries a class, none a colour."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

WIDE, HIGH, LEFT, BOTTOM, TOP = 640, 168, 34, 24, 12
STAGE_ORDER = ("ingest", "speech", "loudness", "sound", "faces", "tracks", "cast", "references", "motion", "render", "kept", "score", "gate", "deliver")
ROUGHLY = 1  # frames of offset that nobody sees


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def curve_of(seconds: Sequence[Sequence[Any]], level: dict[str, float] | None) -> Markup:
    """Confidence per second as a line with the threshold, and the offset of each second as a row of cells; empty without seconds.

    seconds: (offset in frames, confidence or null) each.
    """
    values = [(_number(offset), _number(value)) for offset, value in seconds]
    known = [value for _, value in values if value is not None]
    if not known:
        return Markup("")
    line = level["fails"] if level else None
    high = _nice(max([*known, (line or 0) * 2, 0.05]))
    low = min(0.0, *known)
    low = -max(_nice(-low), high / 10) if low < 0 else 0.0
    step = (WIDE - LEFT - 8) / max(len(values), 1)

    def x(index: float) -> float:
        return LEFT + step * index

    def y(value: float) -> float:
        return TOP + (HIGH - TOP - BOTTOM - 18) * (1 - (value - low) / (high - low))

    parts = [_axis(low, high, y)]
    if line is not None:
        parts.append(
            f'<rect class="weak" x="{LEFT}" y="{y(line):.1f}" width="{WIDE - LEFT - 8}" height="{max(0, y(low) - y(line)):.1f}"/>'
        )
        parts.append(f'<line class="threshold" x1="{LEFT}" x2="{WIDE - 8}" y1="{y(line):.1f}" y2="{y(line):.1f}"/>')
    parts += _line([(x(i + 0.5), y(v)) if v is not None else None for i, (_, v) in enumerate(values)])
    for index, (offset, value) in enumerate(values):
        parts += _second(index, offset, value, line, x(index), step, y)
    for index in _ticks(len(values)):
        parts.append(f'<text class="tick" x="{x(index):.1f}" y="{HIGH - 4}" text-anchor="middle">{index}</text>')
    parts.append(f'<text class="tick" x="{WIDE - 8}" y="{HIGH - 4}" text-anchor="end">seconds</text>')
    weak = sum(v < line for v in known) if line is not None else 0
    if line is not None:
        parts.append(f'<text class="threshold-label" x="{LEFT + 5}" y="{y(line) + 13:.1f}">flagged below {line:.2f}</text>')
    story = f"Sync confidence of {len(values)} seconds, from {min(known):.2f} to {max(known):.2f}; {weak} under the threshold."
    return _svg(WIDE, HIGH, story, parts, "curve")


def _second(
    index: int, offset: float | None, value: float | None, line: float | None, left: float, step: float, y: Any
) -> list[str]:
    """One second: its dot, its offset cell, and an invisible column that carries what a pointer reads."""
    parts = []
    if value is not None:
        weak = " low" if line is not None and value < line else ""
        parts.append(f'<circle class="dot{weak}" cx="{left + step / 2:.1f}" cy="{y(value):.1f}" r="3.2"/>')
    kind = "none" if value is None or offset is None else "good" if abs(offset) <= ROUGHLY else "off"
    cell = max(1.5, step - 2)
    parts.append(
        f'<rect class="cell {kind}" x="{left + (step - cell) / 2:.1f}" y="{HIGH - BOTTOM - 9}" width="{cell:.1f}" height="7" rx="2"/>'
    )
    if offset and kind == "off" and step >= 16:
        parts.append(
            f'<text class="cell-label" x="{left + step / 2:.1f}" y="{HIGH - BOTTOM - 3}" text-anchor="middle">{offset:+.0f}</text>'
        )
    told = "no voice or face to score" if value is None else f"confidence {value:.2f}, offset {offset:+.0f} frames"
    parts.append(
        f'<rect class="hover" x="{left:.1f}" y="{TOP}" width="{step:.1f}" height="{HIGH - BOTTOM - TOP}"><title>second {index}: {told}</title></rect>'
    )
    return parts


def _line(points: list[tuple[float, float] | None]) -> list[str]:
    """Polylines through runs of known points, each over a soft area."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [f'<polyline class="line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in run)}"/>' for run in runs if len(run) > 1]


def _axis(low: float, high: float, y: Any) -> str:
    marks = [low + (high - low) * part for part in (0, 0.5, 1)]
    digits = 1 if high >= 2 else 2
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDE - 8}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(m) + 3.5:.1f}" text-anchor="end">{m:.{digits}f}</text>'
        for m in marks
    )


def _ticks(count: int) -> list[int]:
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600) if count / s <= 12), 1200)
    return [i for i in range(0, count, step) if i < count - step * 0.4 or i == 0]


def _nice(value: float) -> float:
    """The next round number up."""
    scale = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(scale * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if scale * step >= value - 1e-9)


def sweep(distances: Sequence[Any]) -> Markup:
    """Distance of lips and sound by offset, -n to +n frames: a dip in the middle is what sync looks like. Empty without values."""
    values = [_number(value) for value in distances]
    known = [value for value in values if value is not None]
    if len(known) < 3:
        return Markup("")
    wide, high, reach = 300, 96, len(values) // 2
    low, top = min(known), max(known)
    span = (top - low) or 1.0
    step = (wide - 24) / (len(values) - 1)
    points = [None if v is None else (12 + step * i, 10 + (high - 44) * (1 - (v - low) / span)) for i, v in enumerate(values)]
    best = min((v, i) for i, v in enumerate(values) if v is not None)[1]
    place = points[best]
    assert place is not None
    middle = 12 + step * reach
    parts = [f'<line class="grid" x1="{middle:.1f}" x2="{middle:.1f}" y1="10" y2="{high - 18}"/>', *_line(points)]
    parts.append(f'<circle class="best" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="4.5"/>')
    label = f"{best - reach:+d}" if best != reach else "0"
    parts.append(
        f'<text class="best-label" x="{min(max(place[0], 24), wide - 24):.1f}" y="{place[1] + 17:.1f}" text-anchor="middle">{label}</text>'
    )
    for index, text in ((0, f"−{reach}"), (len(values) - 1, f"+{reach} frames")):
        anchor = "start" if index == 0 else "end"
        parts.append(f'<text class="tick" x="{12 + step * index:.1f}" y="{high - 4}" text-anchor="{anchor}">{text}</text>')
    return _svg(wide, high, f"Distance between lips and sound is smallest at {label} frames.", parts, "sweep")


def gauge(confidence: Any, level: dict[str, float] | None) -> Markup:
    """The clip's confidence on a scale with the zones fail, flag and pass; empty without either."""
    value = _number(confidence)
    if value is None or level is None:
        return Markup("")
    wide, high = 300, 46
    top = _nice(max(value * 1.1, level["passes"] * 2, 0.05))
    low = min(0.0, value, level["fails"])

    def x(at: float) -> float:
        return wide * (min(max(at, low), top) - low) / (top - low)

    fails, passes = x(level["fails"]), x(level["passes"])
    parts = [
        f'<rect class="zone fail" x="0" y="14" width="{max(0, fails - 1):.1f}" height="10" rx="3"/>',
        f'<rect class="zone flag" x="{fails + 1:.1f}" y="14" width="{max(0, passes - fails - 2):.1f}" height="10" rx="2"/>',
        f'<rect class="zone pass" x="{passes + 1:.1f}" y="14" width="{max(0, wide - passes - 1):.1f}" height="10" rx="3"/>',
        f'<text class="tick" x="{_inside(fails, wide):.1f}" y="40" text-anchor="middle">{level["fails"]:.2f}</text>'
        if passes - fails > 70
        else "",
        f'<text class="tick" x="{_inside(passes, wide):.1f}" y="40" text-anchor="middle">pass {level["passes"]:.2f}</text>',
        f'<path class="needle" d="M{x(value):.1f} 26 l-6 -14 h12 z"/>',
    ]
    return _svg(
        wide, high, f"Confidence {value:.2f}; {level['passes']:.2f} passes, under {level['fails']:.2f} fails.", parts, "gauge"
    )


def reliability(bins: Sequence[dict[str, Any]]) -> Markup:
    """What was predicted to be in sync against what was, with intervals: on the diagonal a prediction keeps its word. Empty without bins."""
    if not bins:
        return Markup("")
    side, left, top = 300, 40, 12

    def x(part: float) -> float:
        return left + side * part

    def y(part: float) -> float:
        return top + side * (1 - part)

    parts = [f'<line class="threshold" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>']
    for mark in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{x(0)}" x2="{x(1)}" y1="{y(mark)}" y2="{y(mark)}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(mark) + 3.5:.1f}" text-anchor="end">{mark:.0%}</text>')
        parts.append(f'<text class="tick" x="{x(mark):.1f}" y="{top + side + 15}" text-anchor="middle">{mark:.0%}</text>')
    rows = [{name: float(value) for name, value in row.items()} for row in bins]
    parts += _line([(x(row["predicted"]), y(row["share"])) for row in rows])
    for row in rows:
        at, share = x(row["predicted"]), y(row["share"])
        parts.append(f'<polyline class="line" points="{at:.1f},{y(row["share_low"]):.1f} {at:.1f},{y(row["share_high"]):.1f}"/>')
        told = f"{row['predicted']:.0%} predicted, {row['share']:.0%} in sync ({row['clips']:.0f} clips)"
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{share:.1f}" r="4.5"><title>{told}</title></circle>')
        anchor, away = ("end", -9) if row["predicted"] > 0.5 else ("start", 9)
        parts.append(f'<text class="tick" x="{at + away:.1f}" y="{share + 4:.1f}" text-anchor="{anchor}">{row["clips"]:.0f} clips</text>')
    parts.append(f'<text class="tick" x="{x(0.5):.1f}" y="{top + side + 32}" text-anchor="middle">predicted to be in sync</text>')
    parts.append(f'<text class="tick" x="{x(0) + 6:.1f}" y="{y(1) + 12:.1f}">in sync</text>')
    return _svg(left + side + 16, top + side + 40, f"Share in sync by predicted probability, {len(rows)} bins.", parts, "reliability")


def _inside(x: float, wide: float) -> float:
    return min(max(x, 28), wide - 28)


def _svg(wide: int, high: int, story: str, parts: list[str], kind: str) -> Markup:
    """An SVG that scales with its box; `story` is what a screen reader says. Parts hold numbers and fixed words only."""
    return Markup(f'<svg class="{kind}" viewBox="0 0 {wide} {high}" role="img" aria-label="{story}">{"".join(parts)}</svg>')  # noqa: S704 (numbers and fixed words only)


def stage_bar(seconds: dict[str, Any]) -> list[dict[str, Any]]:
    """Stages in the order they run, with seconds and share of the whole in percent."""
    rows = [(name, value) for name, raw in seconds.items() if (value := _number(raw)) is not None and value >= 0]
    rows.sort(key=lambda row: STAGE_ORDER.index(row[0]) if row[0] in STAGE_ORDER else len(STAGE_ORDER))
    whole = sum(value for _, value in rows) or 1.0
    return [
        {"name": name, "seconds": value, "share": 100 * value / whole, "kind": name if name in STAGE_ORDER else "other"}
        for name, value in rows
    ]
