"""What every format's reader finds, and the rules that hold for all of them when it becomes cues.

Overlapping cues stay as they are: one voice speaks after the other (docs/speech.md). Cues out of order are a fault in formats whose
cues are in order by definition, and are put in order, with a note, in those in which they need not be.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

from models.types import Cue
from tasks.scripts.faults import Faults
from tasks.scripts.offscreen import seen_name, seen_text
from tasks.scripts.times import Clock

MOST_CUES = 50_000  # a long film has some two thousand
LONGEST_TEXT = 5_000  # characters of a cue: some minutes of speech
LONGEST_WRITTEN = 10 * LONGEST_TEXT  # with its tags
LATEST = 24 * 3600  # seconds at which a cue may end
LATE_START = 3600  # a first cue from here on shows that the programme does not start at 0
SHARED = "{count} cue(s) hold two voices; each voice has the share of its letters of the cue's time"
NAMED = re.compile(r"\s*-?\s*([^:：\n]{1,60})[:：]\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """How a script is to be read: the manifest's rate and start of its timecodes, its encoding, and the speakers that have voices."""

    rate: str = ""
    start: str = ""
    encoding: str = ""
    speakers: tuple[str, ...] = ()

    def clock(self) -> Clock:
        """The reader of its times. Raises BadTime."""
        return Clock(self.rate, self.start)


@dataclass(frozen=True)
class Line:
    """One cue as a reader found it: where, seconds from the programme's start (None: without times), what is said, by whom."""

    where: str
    start: Fraction | None
    end: Fraction | None
    text: str
    speaker: str = ""
    written: str = ""  # the times as they stand in the script


@dataclass
class Found:
    """What a reader hands on: lines, faults, notes. ordered: the format's cues are in order by definition."""

    lines: list[Line] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    notes: list[str] = field(default_factory=list)
    ordered: bool = False

    def full(self) -> bool:
        """Whether there are more lines than a script may have."""
        return len(self.lines) > MOST_CUES


def words_of(text: str) -> str:
    """Text on one line: control characters and half surrogates are gone, white space is one space each."""
    plain = "".join(" " if (kind := unicodedata.category(c)) == "Cc" or c == "\ufeff" else "" if kind == "Cs" else c for c in text)
    return " ".join(plain.split())


def name_key(name: str) -> str:
    """A speaker's name as it is compared: ANNA, Anna, ' anna ' and ANNA (OFF) are one."""
    return seen_name(" ".join(unicodedata.normalize("NFKC", name).casefold().split()))[0]


def cues_of(found: Found, reading: Reading) -> tuple[Cue, ...]:
    """The lines as cues. Raises ManifestError with every fault of the script."""
    faults = found.faults
    if found.full():
        faults.add("file", f"it has more than {MOST_CUES} cues", "split it into several scripts")
        faults.end()
    good = [line for line in found.lines if _fits(line, faults)]
    if found.ordered:
        for before, line in pairwise(good):
            if line.start is not None and before.start is not None and line.start < before.start:
                faults.add(line.where, "it starts before the cue above it", "put the cues in order")
    elif any(a.start is not None and b.start is not None and b.start < a.start for a, b in pairwise(good)):
        good.sort(key=lambda line: line.start or 0)
        found.notes.append("the script's cues are out of order; they were put in order by their starts")
    if not found.lines and not faults.rows:
        faults.add("file", "it holds no cue", "add a cue")
    first = min((line.start for line in good if line.start is not None), default=Fraction(0))
    if first >= LATE_START and not reading.start and not faults.rows:
        hours = int(first) // 3600
        faults.add(good[0].where, f"the first cue comes after {hours} h: the programme seems to start at {hours:02d}:00:00:00", f'give the start in the manifest, as timecode: {{start: "{hours:02d}:00:00:00"}}; "00:00:00:00" where the time is meant')
    faults.end()
    return tuple(map(_cue, good))


def _cue(line: Line) -> Cue:
    """A good line as a cue; a mark that its speaker is off screen is not said."""
    speaker, unseen = seen_name(words_of(line.speaker))
    text, off = seen_text(words_of(line.text))
    return Cue(float(line.start or 0), float(line.end or 0), text, speaker, unseen or off)


def _fits(line: Line, faults: Faults) -> bool:
    """Whether a line can be spoken; says why not."""
    before = faults.count
    if not any(c.isalnum() for c in line.text):
        faults.add(line.where, "it holds no word", "write what is said, or remove the cue")
    elif len(line.text) > LONGEST_TEXT:
        faults.add(line.where, f"its text has {len(line.text)} characters, more than {LONGEST_TEXT}", "split it into several cues")
    if line.start is not None and line.end is not None:
        if line.start < 0:
            faults.add(line.where, "it starts before the programme does", "correct `timecode: {start: ...}` in the manifest, or its time")
        elif line.end <= line.start:
            faults.add(line.where, f"it ends at {line.written or float(line.end)}, not after its start", "correct its times")
        elif line.end > LATEST:
            faults.add(line.where, f"it ends after {LATEST // 3600} h", "correct its times, or give the programme's start in the manifest")
    return faults.count == before


def named(lines: Iterable[Line], reading: Reading, notes: list[str]) -> Iterator[Line]:
    """Lines of a format without speakers, in which `ANNA: text` is Anna's where the manifest gives ANNA a voice.

    A name in capitals that has none is a speaker all the same where the manifest maps any, and is said aloud, with a note, where it maps none.
    """
    known = {name_key(name) for name in reading.speakers}
    loud: list[str] = []
    shared = 0
    for line in lines:
        parts = [("", line.text)] if line.speaker or len(line.text) > LONGEST_TEXT else list(_parts(line.text, known, loud))
        shared += len(parts) > 1
        yield from [line] if line.speaker else split(line, parts)
    if loud:
        notes.append(f"words before a colon are spoken with the rest ({', '.join(loud[:8])}): give them voices in the manifest if they are speakers")
    if shared:
        notes.append(SHARED.format(count=shared))


def _parts(text: str, known: set[str], loud: list[str]) -> Iterator[tuple[str, str]]:
    """(speaker, text) of a cue's rows; a row that begins with a speaker's name begins what they say."""
    speaker, said = "", list[str]()
    for row in text.split("\n"):
        found = NAMED.fullmatch(row)
        name = found[1].strip() if found else ""
        capital = len(name) > 1 and name.isupper() and len(name.split()) <= 4
        if found and (name_key(name) in known or (known and capital)):
            if said:
                yield speaker, "\n".join(said)
            speaker, said = name, [found[2]]
            continue
        loud += [name] if capital and name not in loud else []
        said.append(row)
    yield speaker, "\n".join(said)


def split(whole: Line, parts: list[tuple[str, str]]) -> list[Line]:
    """A cue of several speakers as one for each, in shares of their letters."""
    if len(parts) == 1 or whole.start is None or whole.end is None:
        return [replace(whole, speaker=name, text=text) for name, text in parts]
    letters = [max(1, len(text.strip())) for _, text in parts]
    at, span, made = whole.start, whole.end - whole.start, []
    for (name, text), count in zip(parts, letters, strict=True):
        until = at + span * count / sum(letters)
        made.append(replace(whole, start=at, end=until, speaker=name, text=text))
        at = until
    return made
