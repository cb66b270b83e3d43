"""Cue sheets as edit lists (CMX 3600): an event's record times are a cue's, the comments under it carry what is said and by whom."""

import re
from dataclasses import replace
from fractions import Fraction

from tasks.scripts.faults import BadTime
from tasks.scripts.lines import Found, Line, Reading, named

CODE = r"\d{2}:\d{2}:\d{2}[:;.,]\d{2,3}"
EVENT = re.compile(rf"\s*(\d{{3,6}})\s+\S+\s+\S+\s+\S.*?({CODE})\s+({CODE})\s+({CODE})\s+({CODE})\s*")
COMMENT = re.compile(r"\s*\*\s*([A-Za-z][A-Za-z _-]{1,30}?)\s*:\s*(.*)")
SPEAKERS = ("speaker", "character", "actor", "role", "voice", "talent")
TEXTS = ("text", "dialogue", "dialog", "line", "subtitle", "caption", "translation", "comment")


def read_edl(text: str, reading: Reading) -> Found:
    """Lines of an edit list. Its rate stands in no such list: the manifest gives it. Events without text are cuts, and are left out."""
    found, clock = Found(), reading.clock()
    silent = 0
    event: Line | None = None

    def close() -> None:
        nonlocal event, silent
        if event is not None and event.text:
            found.lines.append(event)
        silent += event is not None and not event.text
        event = None

    for number, row in enumerate(text.split("\n"), 1):
        where = f"line {number}"
        if mode := re.match(r"\s*FCM\s*:\s*(NON[- ]?)?DROP[- ]?FRAME", row, re.IGNORECASE):
            _agree(bool(not mode[1]), where, clock.rate, found)
        elif times := EVENT.fullmatch(row):
            close()
            try:
                start, end = clock.code(times[4]), clock.code(times[5])
            except BadTime as error:
                found.faults.add(where, error.problem, error.fix)
                start, end = Fraction(number), Fraction(number + 1)  # its text is judged all the same
            event = Line(where, start, end, "", "", times[5])
        elif comment := COMMENT.fullmatch(row):
            event = _told(event, comment[1].lower().strip(), comment[2].strip())
        elif re.match(r"\s*\d{3,6}\s+\S", row) and re.search(r"\d\d:\d\d", row):
            found.faults.add(where, f"{row.strip()[:60]!r} is not an event", "write number, reel, track, cut, and four timecodes")
        if found.full() or len(found.faults.rows) >= 1000:
            break
    close()
    if silent and found.lines:
        found.notes.append(f"{silent} event(s) of the edit list carry no text and are left out")
    elif silent:
        found.faults.add("file", "no event carries text", "put what is said under its event, as * TEXT: ... and * SPEAKER: ...")
    found.lines = list(named(found.lines, reading, found.notes))
    return found


def _told(event: Line | None, key: str, value: str) -> Line | None:
    if event is None or not value:
        return event
    if key in SPEAKERS:
        return replace(event, speaker=value)
    return replace(event, text=f"{event.text} {value}".strip()) if key in TEXTS else event


def _agree(drop: bool, where: str, rate: object, found: Found) -> None:
    """Whether the list's own frame count mode goes with the manifest's rate."""
    own = getattr(rate, "drop", None)
    if own is not None and own != drop:
        found.faults.add(where, f"the list is {'' if drop else 'non-'}drop-frame, the manifest's rate is not", f"give the rate as {'29.97df or 59.94df' if drop else 'one without df'}")
