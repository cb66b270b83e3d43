"""WebVTT (W3C) and SRT, line by line.

The libraries for these formats leave out what they cannot read and know no lines; a line left out is a line that nobody dubs, so every
line is accounted for here. Tests hold the result against those libraries on what both can read.
"""

import html
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from tasks.scripts.faults import BadTime, Faults
from tasks.scripts.lines import LONGEST_WRITTEN, SHARED, Found, Line, Reading, named, split
from tasks.scripts.times import Clock

TAG = re.compile(r"<[^<>]*>")
SRT_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?(?:[ \t]+([^<>]*))?>")
VTT_STAMP = r"(?:\d{2,4}:)?[0-5]\d:[0-5]\d\.\d{3}"
VTT_TIMES = re.compile(rf"\s*({VTT_STAMP})\s+-->\s+({VTT_STAMP})(?:\s.*)?")
SRT_STAMP = r"\d{1,3}:[0-5]?\d:[0-5]?\d[,.]\d{1,3}"
SRT_TIMES = re.compile(rf"\s*({SRT_STAMP})\s*-->\s*({SRT_STAMP})(?:\s.*)?")
ALMOST = re.compile(r"\s*\d{1,3}:\d{1,2}\S*\s*(?:-+>|=>|→|–>?|—>?)\s*\d{1,3}:\d{1,2}\S*\s*")
SHOWN_AS = {"vtt": "00:01.000 --> 00:03.500", "srt": "00:00:01,000 --> 00:00:03,500"}


def read_vtt(text: str, reading: Reading) -> Found:
    """Lines of a WebVTT file: voice tags are speakers; regions, styles and positions are left out, with a note."""
    found, clock = Found(ordered=True), reading.clock()
    blocks = list(_blocks(text))
    if not blocks or not re.match(r"WEBVTT(?:[ \t]|$)", blocks[0][1][0]):
        found.faults.add("line 1", "the file does not begin with WEBVTT", "write WEBVTT in the first line")
        return found
    left: dict[str, int] = {}
    shared = 0
    for number, block in blocks[1:] if not any("-->" in line for line in blocks[0][1][1:]) else [*_after_header(blocks[0]), *blocks[1:]]:
        word = re.match(r"(NOTE|STYLE|REGION)(?:\s|$)", block[0])
        if word and not any("-->" in line for line in block[:2]):
            if word[1] != "NOTE":
                left[f"{word[1].lower()}s"] = left.get(f"{word[1].lower()}s", 0) + 1
            continue
        at = next((i for i, line in enumerate(block[:2]) if "-->" in line), None)
        if at is None:
            found.faults.add(f"line {number}", f"{block[0].strip()[:40]!r} stands in no cue", f"give it times, as {SHOWN_AS['vtt']}, or remove it")
            continue
        times = _times(block[at], VTT_TIMES, f"line {number + at}", "vtt", clock, found.faults)
        stray = next((i for i, line in enumerate(block[at + 1 :], at + 1) if "-->" in line), None)
        if stray is not None:
            found.faults.add(f"line {number + stray}", "times stand inside a cue", "put an empty line above them")
        if times is None or stray is not None:
            continue
        left |= {"positions": left.get("positions", 0) + 1} if re.search(r"\b(?:region|line|position|align|size|vertical):", block[at]) else {}
        payload = "\n".join(block[at + 1 :])
        if len(payload) > LONGEST_WRITTEN:
            found.faults.add(f"line {number + at}", f"the cue has {len(payload)} characters", "split it into several cues")
            continue
        parts = list(_voices(payload))
        shared += len(parts) > 1
        found.lines += split(Line(f"line {number + at}", times[0], times[1], "", "", times[2]), parts)
        if found.full():
            break
    notes = [f"{', '.join(sorted(left))} of the WebVTT file are not used"] if left else []
    found.notes += notes + ([SHARED.format(count=shared)] if shared else [])
    return found


def read_srt(text: str, reading: Reading) -> Found:
    """Lines of an SRT file; formatting is left out, `ANNA: text` is Anna's where the manifest gives her a voice."""
    found, clock = Found(ordered=True), reading.clock()
    rows = text.split("\n")
    starts = [number for number, line in enumerate(rows) if "-->" in line and SRT_TIMES.fullmatch(line)]
    _stray(rows, set(starts), starts[0] if starts else len(rows), found.faults)
    for at, following in pairwise([*starts, len(rows)]):
        payload = rows[at + 1 : following]
        while payload and not payload[-1].strip():
            payload.pop()
        if following < len(rows) and payload and payload[-1].strip().isdecimal() and rows[following - 1].strip() and (len(payload) == 1 or not payload[-2].strip()):
            payload.pop()  # the number of the next cue
        times = _times(rows[at], SRT_TIMES, f"line {at + 1}", "srt", clock, found.faults)
        if times is not None:
            words = "\n".join(line for line in payload if line.strip())
            words = html.unescape(SRT_TAG.sub(" ", words)) if len(words) <= LONGEST_WRITTEN else words
            found.lines.append(Line(f"line {at + 1}", times[0], times[1], words, "", times[2]))
        if found.full():
            break
    found.lines = list(named(found.lines, reading, found.notes))
    return found


def _stray(rows: list[str], starts: set[int], first: int, faults: Faults) -> None:
    """Lines that look like times and are none would be spoken; text above the first cue would be lost."""
    for number, line in enumerate(rows):
        if number not in starts and ("-->" in line or ALMOST.fullmatch(line)) and re.match(r"\s*\d+:\d", line):
            faults.add(f"line {number + 1}", f"{line.strip()[:60]!r} is not a pair of times", f"write times as {SHOWN_AS['srt']}")
        elif number < first and line.strip() and not line.strip().isdecimal():
            faults.add(f"line {number + 1}", f"{line.strip()[:40]!r} stands above the first cue", "remove it, or give it times")


def _times(line: str, form: re.Pattern[str], where: str, kind: str, clock: Clock, faults: Faults) -> tuple[Fraction, Fraction, str] | None:
    """(start, end, end as written) of a line of times; None after telling what is wrong with it."""
    found = form.fullmatch(line)
    if not found:
        faults.add(where, f"{line.strip()[:60]!r} is not a pair of times", f"write times as {SHOWN_AS[kind]}")
        return None
    try:
        return clock.clock(found[1]), clock.clock(found[2]), found[2]
    except BadTime as error:
        faults.add(where, error.problem, error.fix)
        return None


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Groups of lines between empty lines, each with the number of its first line."""
    block: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            first = number if not block else first
            block.append(line)
        elif block:
            yield first, block
            block = []
    if block:
        yield first, block


def _after_header(header: tuple[int, list[str]]) -> list[tuple[int, list[str]]]:
    """A first cue that no empty line divides from the header, as some tools write it."""
    number, block = header
    at = next(i for i, line in enumerate(block) if "-->" in line)
    return [(number + at, block[at:])]


def _voices(payload: str) -> Iterator[tuple[str, str]]:
    """(speaker, text) of a WebVTT cue's payload: what each voice tag holds."""
    tags = list(VOICE.finditer(payload))
    edges = [tag.start() for tag in tags] + [len(payload)]
    pieces = [("", payload[: edges[0]])] + [(tag[1] or "", payload[tag.end() : end]) for tag, end in zip(tags, edges[1:], strict=True)]
    told = [(html.unescape(name).strip(), html.unescape(TAG.sub(" ", text))) for name, text in pieces]
    merged: list[tuple[str, str]] = []
    for name, text in told:
        if merged and merged[-1][0] == name:
            merged[-1] = (name, f"{merged[-1][1]} {text}")
        elif any(c.isalnum() for c in text) or (name and len(told) == 2):
            merged.append((name, text))
    yield from merged or [("", "")]
