"""Scripts to cues: WebVTT, SRT, TTML and IMSC, ASS and SSA, dubbing sheets (CSV, Excel), edit lists, plain text.

Every fault is reported with its line or row and its fix; docs/scripts.md says how each format is read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.types import Cue
from tasks.scripts.faults import BadTime, refused
from tasks.scripts.kinds import SUFFIXES, Opened, open_script
from tasks.scripts.lines import Found, Line, Reading, cues_of, named, words_of

__all__ = ["SUFFIXES", "Reading", "Script", "from_text", "from_webvtt", "open_cues", "read_script"]

SENTENCE = re.compile(r"(?<=[.!?…。！？।؟])[\s]+|(?<=[。！？])|\n\s*\n")
PLAIN = Reading()


@dataclass(frozen=True)
class Script:
    """A script's cues in seconds (start and end 0 where it has no times), what a reader should know of it, and its kind."""

    cues: tuple[Cue, ...]
    notes: tuple[str, ...] = ()
    kind: str = "text"

    @property
    def speakers(self) -> tuple[str, ...]:
        """The names of those who speak, in order."""
        return tuple(dict.fromkeys(cue.speaker for cue in self.cues if cue.speaker))


def from_text(text: str, reading: Reading = PLAIN) -> tuple[Cue, ...]:
    """Sentences as cues without times (start and end 0). Raises ManifestError when there is no word in it."""
    return cues_of(_read_text(text, reading), reading)


def from_webvtt(text: str, reading: Reading = PLAIN) -> tuple[Cue, ...]:
    """Cues of a WebVTT file, in seconds, voice tags as speakers. Raises ManifestError with every fault and its line."""
    from tasks.scripts.subtitles import read_vtt

    return cues_of(read_vtt(_lines(text), reading), reading)


def read_script(path: Path, reading: Reading = PLAIN) -> tuple[Cue, ...]:
    """Cues of a script file of any kind. Raises ManifestError, and InputError where it cannot be read."""
    return open_cues(path, reading).cues


def open_cues(path: Path, reading: Reading = PLAIN) -> Script:
    """A script file of any kind, known by its content first, then by its name. Raises ManifestError, and InputError where it cannot be read."""
    opened = open_script(path, reading)
    try:
        found = _reader(opened)(reading)
    except BadTime as error:  # of the manifest's own rate or start
        raise refused("timecode", error.problem, error.fix) from error
    return Script(cues_of(found, reading), (*opened.notes, *found.notes), opened.kind)


def _reader(opened: Opened) -> Callable[[Reading], Found]:
    """What reads a kind; loaded when it is needed."""
    if opened.kind in ("vtt", "srt"):
        from tasks.scripts import subtitles

        read = subtitles.read_vtt if opened.kind == "vtt" else subtitles.read_srt
        return lambda reading: read(_lines(opened.text), reading)
    if opened.kind == "ttml":
        from tasks.scripts.ttml import read_ttml

        return lambda reading: read_ttml(opened.data, opened.text, reading)
    if opened.kind == "ass":
        from tasks.scripts.substation import read_ass

        return lambda reading: read_ass(_lines(opened.text), reading)
    if opened.kind in ("sheet", "xlsx"):
        from tasks.scripts import sheets

        return lambda reading: sheets.read_table(_lines(opened.text), reading) if opened.kind == "sheet" else sheets.read_workbook(opened.data, reading)
    if opened.kind == "edl":
        from tasks.scripts.edl import read_edl

        return lambda reading: read_edl(_lines(opened.text), reading)
    return lambda reading: _read_text(opened.text, reading)


def _lines(text: str) -> str:
    """Text with one kind of line end and no mark in front."""
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _read_text(text: str, reading: Reading) -> Found:
    found = Found()
    if not any(c.isalnum() for c in text):
        found.faults.add("text", "the text holds no word", "write what is to be said")
        return found
    for speaker, said in _turns(_lines(text), reading, found.notes):
        parts = [part for part in SENTENCE.split(said) if part and part.strip()]
        joined: list[str] = []
        for part in parts:  # marks alone belong to the sentence before them
            joined[-1:] = [f"{joined[-1]} {part}"] if joined and not any(c.isalnum() for c in part) else [*joined[-1:], part]
        found.lines += [Line(f"sentence {number}", None, None, part, speaker) for number, part in enumerate(joined, len(found.lines) + 1) if words_of(part)]
    return found


def _turns(text: str, reading: Reading, notes: list[str]) -> list[tuple[str, str]]:
    """(speaker, text) of plain text: `ANNA: ...` at a line's beginning is Anna's up to the next such line, where she has a voice."""
    turns: list[tuple[str, list[str]]] = []
    for line in named((Line("", None, None, line) for line in text.split("\n")), reading, notes):
        if line.speaker or not turns:
            turns.append((line.speaker, []))
        turns[-1][1].append(line.text)
    return [(speaker, "\n".join(lines)) for speaker, lines in turns]
