"""Dubbing sheets: a row a cue, in CSV or Excel, columns known by what their headers say; order and further columns do not matter."""

import csv
import datetime
import io
import re
import unicodedata
import warnings
import zipfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from typing import Any

from infra.errors import ManifestError
from tasks.scripts.faults import BadTime, refused
from tasks.scripts.lines import MOST_CUES, Found, Line, Reading
from tasks.scripts.times import Clock

HEADERS = {  # as normalised by `_plain`; of several columns that fit, the first name wins
    "start": ("start", "in", "tcin", "timecodein", "timein", "intime", "tcstart", "starttc", "starttime", "starttimecode", "begin", "cuein", "inpoint", "startdestimecodes", "anfang", "inicio", "debut", "timecode", "tc", "time"),
    "end": ("end", "out", "tcout", "timecodeout", "timeout", "outtime", "tcend", "endtc", "endtime", "endtimecode", "stop", "cueout", "outpoint", "ende", "fin"),
    "length": ("duration", "dur", "length", "laenge", "dauer", "duracion", "duree"),
    "speaker": ("speaker", "character", "charactername", "actor", "role", "talent", "who", "voice", "personaje", "personnage", "personaggio", "figur", "rolle", "sprecher", "name"),
    "text": ("translation", "translatedtext", "translateddialogue", "targettext", "target", "adaptation", "dubbedtext", "dub", "dialogue", "dialog", "text", "line", "script", "subtitle", "caption", "traduccion", "traduction", "uebersetzung", "texto", "texte", "dialogo"),
}  # fmt: skip
DELIMITERS = ",;\t|"
HEAD_ROWS = 20  # in which the headers are looked for
MOST_ROWS, MOST_COLUMNS = 100_000, 200
LARGEST_UNPACKED = 256 * 2**20  # bytes of an Excel workbook
CHARACTERS_A_SECOND = 13  # of a last cue without an end
WHITE = re.compile(r"[\W_]+")
Row = tuple[int, Sequence[Any]]


def is_table(text: str) -> bool:
    """Whether a text begins with a table's headers: what is said, and when or by whom."""
    lines = "\n".join(text.split("\n")[:HEAD_ROWS])
    columns = _columns([cell for _, cell in _first(_split(lines, _delimiter(lines)))], [])
    return "text" in columns and bool({"start", "speaker"} & set(columns))


def read_table(text: str, reading: Reading) -> Found:
    """Lines of a CSV table; the delimiter is the one by which most headers are known."""
    found = Found()
    lines = text.split("\n")
    first = 1
    mark = re.fullmatch(r"\s*sep=(.)\s*", lines[0]) if lines else None
    if mark:
        first, lines = 2, lines[1:]
    delimiter = mark[1] if mark else _delimiter("\n".join(lines[:HEAD_ROWS]))
    try:
        _read(_split("\n".join(lines), delimiter, first), reading, found, "row")
    except csv.Error as error:
        raise refused("file", f"it is not CSV ({error})", "export the table as comma-separated UTF-8") from error
    return found


def read_workbook(data: bytes, reading: Reading) -> Found:
    """Lines of the first sheet of an Excel workbook that has a dubbing sheet's headers. Formulas count by their last result."""
    from openpyxl import load_workbook

    _weigh(data)
    warnings.filterwarnings("ignore", module="openpyxl")  # of styles and checks that no script has use for
    found = Found()
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        for sheet in sheets:
            head = list(islice(sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True), HEAD_ROWS))
            if any(map(_known, head)) or sheet is sheets[-1]:
                if len(sheets) > 1:
                    found.notes.append(f"of the workbook's sheets {sheet.title[:40]!r} is read")
                rows = sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True)
                _read(enumerate(rows, 1), reading, found, "row")
                break
    except ManifestError:
        raise
    except Exception as error:  # a damaged workbook fails in openpyxl, zipfile, zlib or expat, in as many ways as it can be damaged
        raise refused("file", f"the workbook cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:80]})", "save it anew as .xlsx, or as .csv") from error
    if not found.lines and not found.faults.rows:
        found.faults.add("file", "its sheets hold no cue", "give a sheet with the headers start, end, speaker, text")
    return found


def _weigh(data: bytes) -> None:
    """Refuse workbooks that unpack to more than a script can be. Raises ManifestError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise refused("file", f"it is a damaged workbook ({error})", "save it anew") from error
    if len(parts) > 2000 or sum(part.file_size for part in parts) > LARGEST_UNPACKED:
        raise refused("file", f"the workbook unpacks to more than {LARGEST_UNPACKED >> 20} MiB", "save the script alone, without pictures, or as .csv")


def _split(text: str, delimiter: str, first: int = 1) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    at = first
    for row in reader:
        yield at, row
        at = first + reader.line_num


def _delimiter(text: str) -> str:
    return max(DELIMITERS, key=lambda mark: max((_known(row) for _, row in _first_rows(text, mark)), default=0))


def _first_rows(text: str, mark: str) -> list[Row]:
    try:
        return list(islice(_split(text, mark), HEAD_ROWS))
    except csv.Error:
        return []


def _first(rows: Iterable[Row]) -> list[tuple[int, Any]]:
    """The cells of the first row that is not empty."""
    try:
        return [(number, cell) for number, row in rows if any(_cell(c) for c in row) for cell in row][:MOST_COLUMNS]
    except csv.Error:
        return []


def _plain(header: Any) -> str:
    """A header as it is looked up: letters and digits alone, in small letters, without what stands in brackets."""
    text = unicodedata.normalize("NFKD", re.sub(r"[(\[].*?[)\]]", " ", _cell(header))).casefold()
    return WHITE.sub("", "".join(c for c in text if not unicodedata.combining(c)))


def _columns(row: Sequence[Any], notes: list[str]) -> dict[str, int]:
    """Which column holds what, by the headers of a row."""
    names = [_plain(cell) for cell in row[:MOST_COLUMNS]]
    found: dict[str, int] = {}
    for what, known in HEADERS.items():
        fitting = [(known.index(name), at) for at, name in enumerate(names) if name in known]
        if fitting:
            found[what] = min(fitting)[1]
        if len(fitting) > 1:
            others = ", ".join(_cell(row[at])[:30] for _, at in sorted(fitting)[1:])
            notes.append(f"the column {_cell(row[found[what]])[:30]!r} is taken for {what}, not {others}")
    return found


def _known(row: Sequence[Any]) -> int:
    """How many columns a row names, if it names the one of what is said."""
    columns = _columns(row, [])
    return len(columns) if "text" in columns else 0


def _read(rows: Iterable[Row], reading: Reading, found: Found, word: str) -> None:
    """Headers, then a line for each row that is not empty."""
    clock, stream = reading.clock(), iter(rows)
    head = list(islice(stream, HEAD_ROWS))
    best = max(head, key=lambda row: _known(row[1]), default=None)
    columns = _columns(best[1], found.notes) if best else {}
    if best is None or "text" not in columns:
        found.faults.add("headers", "no column is named for what is said", "name the columns, as start, end, speaker, text")
        return
    if "end" in columns and "start" not in columns:
        found.faults.add("headers", "there is a column of ends and none of starts", "name the other column start")
        return
    after = [row for row in head if row[0] > best[0]]
    open_ended: list[int] = []
    for number, cells in chain(after, stream):
        told = {what: cells[at] if at < len(cells) else None for what, at in columns.items()}
        if not any(_cell(value) for value in told.values()):
            continue
        if number > MOST_ROWS or found.full():
            found.faults.add(f"{word} {number}", f"the sheet has more than {MOST_CUES} cues, or cues below row {MOST_ROWS}", "split it into several scripts")
            return
        line = _line(told, f"{word} {number}", clock, found)
        if line is not None:
            open_ended += [len(found.lines)] if line.start is not None and line.end is None else []
            found.lines.append(line)
    _close(found, open_ended)


def _line(told: dict[str, Any], where: str, clock: Clock, found: Found) -> Line | None:
    """A row as a line; None after telling what is wrong with it."""
    text, speaker = _cell(told.get("text")), _cell(told.get("speaker"))
    if re.fullmatch(r"#(?:REF|N/A|NAME|VALUE|DIV/0|NULL|NUM)[!?]?", text):
        found.faults.add(where, f"its text is {text}, a formula that fails", "mend the formula, or write the text")
        return None
    if "start" not in told:
        return Line(where, None, None, text, speaker)
    times: dict[str, Fraction] = {}
    for what in ("start", "end", "length"):
        if _cell(told.get(what)):
            try:
                times[what] = _time(told[what], clock, what)
            except BadTime as error:
                found.faults.add(where, f"{what}: {error.problem}", error.fix)
                return None
    if "start" not in times:
        found.faults.add(where, "it has no start", "give its start, or remove the row")
        return None
    end = times.get("end", times["start"] + times["length"] if "length" in times else None)
    return Line(where, times["start"], end, text, speaker, _cell(told.get("end") or told.get("length")))


def _time(value: Any, clock: Clock, what: str) -> Fraction:
    """Seconds of a cell: Excel's own times, numbers as seconds, else text. Raises BadTime."""
    origin = clock.origin() if what != "length" else Fraction(0)
    if isinstance(value, datetime.timedelta):
        return Fraction(round(value.total_seconds() * 1_000_000), 1_000_000) - origin
    if isinstance(value, datetime.datetime) and value.year < 1905:  # a time of more than 24 h
        return Fraction(round((value - datetime.datetime(1899, 12, 30)).total_seconds() * 1_000_000), 1_000_000) - origin
    if isinstance(value, datetime.time):
        return value.hour * 3600 + value.minute * 60 + value.second + Fraction(value.microsecond, 1_000_000) - origin
    if what == "length":
        bare = Clock("", "")
        bare.rate = clock.rate
        return bare.either(_cell(value))
    return clock.either(_cell(value))


def _close(found: Found, open_ended: list[int]) -> None:
    """Cues without an end may last until the next one begins; a last one as long as its letters take."""
    starts = sorted({line.start for line in found.lines if line.start is not None})
    for at in open_ended:
        line = found.lines[at]
        assert line.start is not None
        following = bisect_right(starts, line.start)
        letters = line.start + max(Fraction(1), Fraction(len(line.text), CHARACTERS_A_SECOND))
        found.lines[at] = replace(line, end=starts[following] if following < len(starts) else letters)
    if open_ended:
        found.notes.append(f"{len(open_ended)} cue(s) have no end: each may last until the next one begins")


def _cell(value: Any) -> str:
    """A cell's text; numbers that are whole without a point."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
