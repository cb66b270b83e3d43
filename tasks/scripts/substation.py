"""ASS and SSA, as Aegisub and Subtitle Edit write them: actors (Name) or else styles are speakers, override tags are left out."""

import re
from dataclasses import replace

from tasks.scripts.faults import BadTime
from tasks.scripts.lines import LONGEST_WRITTEN, MOST_CUES, Found, Line, Reading, name_key

FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
STAMP = re.compile(r"\s*(\d{1,2}):([0-5]\d):([0-5]\d)[.,:](\d{2,3})\s*")
PLAIN_STYLES = ("", "default", "*default")


def read_ass(text: str, reading: Reading) -> Found:
    """Lines of a SubStation script. Comments, drawings and events without text are left out; the last are counted in a note."""
    from pysubs2 import SSAEvent

    found, clock = Found(), reading.clock()
    fields: tuple[str, ...] = FIELDS
    section, empty, drawn, styles = "[events]", 0, 0, set()
    rows: list[tuple[Line, str]] = []
    for number, row in enumerate(text.split("\n"), 1):
        line, where = row.strip(), f"line {number}"
        if re.match(r"\[[^\]]*\]$", line):
            section = line.lower()
        if section != "[events]" or ":" not in line:
            continue
        word, _, rest = line.partition(":")
        if word.lower() == "format":
            named = tuple(part.strip().lower() for part in rest.split(","))
            if {"start", "end", "text"} <= set(named) and named[-1] == "text":
                fields = named
            else:
                found.faults.add(where, "the format of its events does not name Start, End and, at the end, Text", f"write Format: {', '.join(FIELDS)}")
        if word.lower() != "dialogue":
            continue
        parts = rest.lstrip().split(",", len(fields) - 1)
        if len(parts) < len(fields):
            found.faults.add(where, f"the event has {len(parts)} of {len(fields)} fields", "write all of them, as in the line Format:")
            continue
        told = dict(zip(fields, parts, strict=True))
        event = SSAEvent(text=told["text"][:LONGEST_WRITTEN])
        if event.is_drawing or not event.plaintext.strip():
            drawn, empty = drawn + event.is_drawing, empty + (not event.is_drawing)
            continue
        try:
            start, end = clock.clock(_stamp(told["start"])), clock.clock(_stamp(told["end"]))
        except BadTime as error:
            found.faults.add(where, error.problem, error.fix)
            continue
        style = told.get("style", "").strip().lstrip("*")
        rows.append((Line(where, start, end, event.plaintext, told.get("name", told.get("actor", "")).strip(), told["end"].strip()), style))
        styles.add(style.lower())
        if len(rows) > MOST_CUES:
            break
    found.lines = _by_style(rows, reading)
    found.notes += [f"{empty} event(s) without text are left out"] if empty else []
    found.notes += [f"{drawn} drawing(s) are left out"] if drawn else []
    return found


def _by_style(rows: list[tuple[Line, str]], reading: Reading) -> list[Line]:
    """Where no event names an actor, a style that the manifest gives a voice, or that is not the default one, names the speaker."""
    if any(line.speaker for line, _ in rows):
        return [line for line, _ in rows]
    styles = {style for _, style in rows}
    known = {name_key(name) for name in reading.speakers} & {name_key(style) for style in styles}
    if known:
        return [replace(line, speaker="" if style.lower() in PLAIN_STYLES and name_key(style) not in known else style) for line, style in rows]
    return [line for line, _ in rows]


def _stamp(text: str) -> str:
    """H:MM:SS.cc as a clock time. Raises BadTime."""
    found = STAMP.fullmatch(text)
    if not found:
        raise BadTime(f"{text.strip()[:40]!r} is not a time of ASS", "write hours:minutes:seconds.hundredths, as 0:00:01.25")
    return f"{found[1]}:{found[2]}:{found[3]}.{found[4]}"
