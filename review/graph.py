"""Drawings of the desk's pages as inline SVG: bars, days, and the graph of a file's lineage. Colours are the page's, by classes."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

WIDE, ROW, LABEL, VALUE = 640, 26, 150, 120
BOX_WIDE, BOX_HIGH, LANE, GAP_X, GAP_Y = 212, 62, 6, 60, 18
DECISIONS = ("approve", "reject", "again")


def bars(rows: Sequence[tuple[str, float, str]], story: str) -> Markup:
    """Horizontal bars of (name, share 0 to 1, words); empty without rows."""
    if not rows:
        return Markup("")
    room = WIDE - LABEL - VALUE
    parts = []
    for number, (name, share, words) in enumerate(rows):
        y = number * ROW
        parts.append(
            f'<text class="name" x="{LABEL - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text><rect class="track" x="{LABEL}" y="{y + 5}" width="{room}" height="16" rx="3"/>'
            f'<rect class="bar" x="{LABEL}" y="{y + 5}" width="{max(1.5, room * min(max(share, 0), 1)):.1f}" height="16" rx="3"/><text class="value" x="{LABEL + room + 8}" y="{y + 17}">{escape(words)}</text>'
        )
    told = f"{story}: " + "; ".join(f"{name} {words}" for name, _, words in rows)
    return _svg(WIDE, len(rows) * ROW, told, parts, "bars")


def days(rows: Sequence[dict[str, Any]]) -> Markup:
    """Decisions of each of the days that have some, stacked by kind; empty without rows."""
    if not rows:
        return Markup("")
    names = sorted({row["day"] for row in rows})
    sums = {day: {row["decision"]: row["count"] for row in rows if row["day"] == day} for day in names}
    most = max(sum(counts.values()) for counts in sums.values())
    step = min(48.0, (WIDE - 20) / len(names))
    parts = []
    for number, day in enumerate(names):
        top, x = 140.0, 10 + number * step
        for decision in DECISIONS:
            high = 120 * sums[day].get(decision, 0) / most
            top -= high
            parts.append(f'<rect class="{decision}" x="{x:.1f}" y="{top:.1f}" width="{step - 4:.1f}" height="{high:.1f}"><title>{day}: {sums[day].get(decision, 0)} {decision}</title></rect>')
        if number in (0, len(names) - 1) or step > 40:
            parts.append(f'<text class="name" x="{x + step / 2 - 2:.1f}" y="156" text-anchor="middle">{day[5:]}</text>')
    return _svg(WIDE, 162, "; ".join(f"{day}: {sum(counts.values())}" for day, counts in sums.items()), parts, "days")


def states_bar(states: dict[str, int], total: int) -> Markup:
    """Jobs by state as one bar."""
    order = ("delivered", "running", "queued", "flagged", "rejected", "failed", "cancelled")
    x, parts = 0.0, []
    for state in order:
        wide = WIDE * states.get(state, 0) / total
        if wide:
            parts.append(f'<rect class="state-{state}" x="{x:.1f}" y="0" width="{max(1.0, wide - 1):.1f}" height="14"><title>{state}: {states[state]}</title></rect>')
        x += wide
    return _svg(WIDE, 14, ", ".join(f"{states[state]} {state}" for state in order if states.get(state)), parts, "states")


def drawn(tree: dict[str, Any]) -> Markup:
    """A lineage tree (db/lineage.py) as a graph from left to right: inputs, what was made of them, the file; with weights, code and decisions."""
    boxes, edges = _boxes(tree)
    ways = {edge: _way(edge, boxes) for edge in edges}  # an edge over several columns keeps a lane in each of them
    lanes = {lane for way in ways.values() for lane in way[1:-1]}
    columns: dict[int, list[str]] = {}
    for key in [*boxes, *sorted(lanes)]:
        columns.setdefault(boxes[key]["depth"] if key in boxes else int(key.rpartition("~")[2]), []).append(key)
    highs = {depth: sum(LANE if key in lanes else BOX_HIGH for key in column) + GAP_Y * (len(column) + 1) for depth, column in columns.items()}
    high, deepest, places = max(highs.values()), max(columns), dict[str, tuple[float, float]]()
    for depth in sorted(columns):
        goes = {key: [places[way[n + 1]][1] for way in ways.values() for n, stop in enumerate(way[:-1]) if stop == key and way[n + 1] in places] for key in columns[depth]}
        column = sorted(columns[depth], key=lambda key: sum(goes[key]) / len(goes[key]) if goes[key] else 0.0)
        y = (high - highs[depth]) / 2 + GAP_Y
        for key in column:
            tall = LANE if key in lanes else BOX_HIGH
            places[key] = (10 + (deepest - depth) * (BOX_WIDE + GAP_X), y + tall / 2)
            y += tall + GAP_Y
    parts = [_edge([places[stop] for stop in way], edge[2]) for edge, way in ways.items()] + [_box(places[key], box) for key, box in boxes.items()]
    story = f"{boxes[tree['sha256']]['lines'][0]}, made from " + ", ".join(box["lines"][0] for key, box in boxes.items() if key != tree["sha256"])
    return _svg(20 + (deepest + 1) * BOX_WIDE + deepest * GAP_X, round(high), story, parts, "lineage")


def _way(edge: tuple[str, str, str], boxes: dict[str, dict[str, Any]]) -> list[str]:
    source, target, _ = edge
    between = range(boxes[source]["depth"] - 1, boxes[target]["depth"], -1)
    return [source, *(f"{source[:12]}~{target[:12]}~{depth}" for depth in between), target]


def _boxes(tree: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str, str]]]:
    """Boxes by key, each as far to the left as its longest way to the file; edges (source, target, role)."""
    boxes: dict[str, dict[str, Any]] = {}
    edges: dict[tuple[str, str, str], None] = {}

    def walk(node: dict[str, Any], depth: int) -> None:
        key = node["sha256"]
        stage = next((row["stage"] for row in node.get("stages", [])), "")
        seconds = next((row["seconds"] for row in node.get("stages", [])), None)
        box = boxes.setdefault(key, {"depth": depth, "kind": "artifact", "lines": [node["kind"], key[:12], f"{stage} {seconds:.1f} s" if seconds is not None else "input"], "link": f"/lineage/{key}"})
        box["depth"] = max(box["depth"], depth)
        for take in node.get("takes", []):
            for row in take["weights"]:
                boxes.setdefault(row["sha256"], {"depth": depth + 1, "kind": "weights", "lines": [f"{row['engine']}/{row['name']}", row["sha256"][:12], row["licence"]], "link": ""})
                edges[row["sha256"], key, "weights"] = None
            code = f"code {take['code_version']}"
            boxes.setdefault(code, {"depth": depth + 1, "kind": "code", "lines": ["code", take["code_version"], take["machine"].get("host", "")], "link": ""})
            edges[code, key, "code"] = None
            _judged(boxes, edges, take, key, depth)
        for inner in node["made_from"]:
            if "sha256" in inner:
                edges[inner["sha256"], key, inner["role"]] = None
                walk(inner, depth + 1)

    walk(tree, 0)
    return boxes, list(edges)


def _judged(boxes: dict[str, dict[str, Any]], edges: dict[tuple[str, str, str], None], take: dict[str, Any], key: str, depth: int) -> None:
    """A take's score and the decisions on it, once each: jobs may share a video, and a delivered file tells of the take that it was made of."""
    said = take["verdict"]
    if said is not None:
        score = f"{said['confidence']:.3f}" if said["confidence"] is not None else "–"
        name = f"score {said['verdict']} {said['offset']} {score}"
        boxes.setdefault(name, {"depth": depth + 1, "kind": "score", "lines": [f"score {score}", said["verdict"], f"offset {said['offset']}" if said["offset"] is not None else ""], "link": f"/takes/{take['take']}"})
        if not any(source == name for source, _, _ in edges):
            edges[name, key, "score"] = None
    for row in take["reviews"]:
        name = f"review {row['review']}"
        boxes.setdefault(name, {"depth": depth + 1, "kind": "decision", "lines": [f"{row['decision']} by {row['actor']}", row["at"][:16].replace("T", " "), row["reason"]], "link": f"/takes/{row['take']}"})
        if not any(source == name for source, _, _ in edges):
            edges[name, key, "decision"] = None


def _edge(stops: list[tuple[float, float]], role: str) -> str:
    """A line through the middles of its stops: out of a box at the right, along lanes, into a box at the left."""
    x, y = stops[0]
    drawn = f"M{x + BOX_WIDE:.1f} {y:.1f}"
    for number, (left, middle) in enumerate(stops[1:], 2):
        before = stops[number - 2][0] + BOX_WIDE
        bend = (left - before) / 2
        drawn += f" C{before + bend:.1f} {y:.1f} {left - bend:.1f} {middle:.1f} {left:.1f} {middle:.1f}"
        if number < len(stops):
            drawn += f" L{left + BOX_WIDE:.1f} {middle:.1f}"
        y = middle
    return f'<path class="edge" d="{drawn}"><title>{escape(role)}</title></path>'


def _box(place: tuple[float, float], box: dict[str, Any]) -> str:
    x, y = place[0], place[1] - BOX_HIGH / 2
    rows = "".join(f'<text class="{"head" if n == 0 else "more"}" x="{x + 10:.1f}" y="{y + 19 + n * 17:.1f}">{escape(str(line)[:30])}</text>' for n, line in enumerate(box["lines"]))
    inner = f'<rect class="{box["kind"]}" x="{x:.1f}" y="{y:.1f}" width="{BOX_WIDE}" height="{BOX_HIGH}" rx="6"/>{rows}'
    return f'<a href="{escape(box["link"])}" aria-label="{escape(" ".join(map(str, box["lines"])))}">{inner}</a>' if box["link"] else f"<g>{inner}</g>"


def versions(rows: Sequence[dict[str, Any]], story: str, states: dict[str, str]) -> Markup:
    """The versions of a title (db/titles.py, each with its `master`) as a graph: what they were made from at the left, a row of boxes in time for each locale."""
    masters = {row["master"]["sha256"]: row["master"] for row in rows if row["master"]}
    locales = list(dict.fromkeys(row["locale"] for row in rows))
    high = max(len(masters), len(locales)) * (BOX_HIGH + GAP_Y) + GAP_Y
    places = {sha: (10.0, high * (n + 0.5) / len(masters)) for n, sha in enumerate(masters)}
    parts = [_box(places[sha], {"kind": "master", "lines": [_short(one["name"]), sha[:12], one["role"]], "link": f"/lineage/{sha}"}) for sha, one in masters.items()]
    widest = 0
    for line, locale in enumerate(locales):
        before: dict[str, Any] | None = None
        for column, row in enumerate([row for row in rows if row["locale"] == locale]):
            place = (10.0 + (column + 1) * (BOX_WIDE + GAP_X), high * (line + 0.5) / len(locales))
            source = (row["master"] or {}).get("sha256", "")
            if before and column:
                parts.insert(0, _edge([(place[0] - BOX_WIDE - GAP_X, place[1]), place], "then"))
            if source and (before is None or source != (before["master"] or {}).get("sha256")):
                parts.insert(0, _edge([places[source], place], "made from"))
            take, state = row["take"], row["state"]
            told = f"{take['engine']} {take['confidence']:.3f}" if take and take["confidence"] is not None else take["engine"] if take else "–"
            box = {"kind": "version", "lines": [f"{locale} · {row['number']}", states.get(state, state), f"{told} · {row['at']:%Y-%m-%d}"], "link": f"/takes/{take['take']}" if take else f"/batches/{row['batch']}"}
            parts += [_box(place, box), f'<rect class="stripe state-{state}" x="{place[0]:.1f}" y="{place[1] - BOX_HIGH / 2:.1f}" width="5" height="{BOX_HIGH}" rx="2"/>']
            before, widest = row, max(widest, column + 1)
    return _svg(20 + (widest + 1) * BOX_WIDE + widest * GAP_X, high, story, parts, "lineage")


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:12]}…{name[-13:]}"


def _svg(wide: float, high: float, story: str, parts: list[str], kind: str) -> Markup:
    role = "group" if kind == "lineage" else "img"  # the graph's boxes are links
    return Markup(f'<svg class="{kind}" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" height="{high:.0f}" role="{role}" aria-label="{escape(story)}">{"".join(parts)}</svg>')  # noqa: S704 (texts are escaped above)
