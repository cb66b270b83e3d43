"""What a script file is: its bytes as text, and its format by its content first, then by its name."""

import codecs
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError
from tasks.scripts.faults import refused
from tasks.scripts.lines import Reading

LARGEST_BYTES = {"workbook": 32 * 2**20, "text": 8 * 2**20}  # fifty thousand cues are five MiB
KINDS = {
    "vtt": "WebVTT", "srt": "SRT", "ttml": "TTML", "ass": "ASS", "sheet": "a table", "xlsx": "an Excel workbook", "edl": "an edit list (CMX3600)", "text": "plain text",
}  # fmt: skip
SUFFIXES = {
    ".vtt": "vtt", ".webvtt": "vtt", ".srt": "srt", ".ttml": "ttml", ".dfxp": "ttml", ".imsc": "ttml", ".itt": "ttml", ".xml": "ttml", ".ass": "ass", ".ssa": "ass",
    ".csv": "sheet", ".tsv": "sheet", ".xlsx": "xlsx", ".xlsm": "xlsx", ".edl": "edl", ".txt": "text",
}  # fmt: skip
FOREIGN = {
    b"%PDF": ("a PDF", "save it as text or as a sheet"),
    b"{\\rtf": ("rich text", "save it as plain text in UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an older Office file", "save it as .xlsx or .csv"),
    b"Scenarist_SCC": ("closed captions (SCC)", "convert it to TTML or SRT"),
}
BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
WESTERN = {"cp1252", "latin_1", "iso8859_1", "iso8859_15", "ascii"}
SRT_LINE = re.compile(r"^\s*\d{1,3}:\d{1,2}:\d{1,2}[,.]\d{1,3}\s*-->", re.MULTILINE)
EDL_LINE = re.compile(r"^\s*\d{3,6}\s+\S+\s+\S+\s+\S.*?\d\d:\d\d:\d\d[:;.,]\d\d(?:\s+\d\d:\d\d:\d\d[:;.,]\d\d){3}\s*$", re.MULTILINE)
ASS_LINE = re.compile(r"^\s*(?:\[Script Info\]|\[Events\]|Dialogue:\s*\S+,\d+:\d\d:\d\d)", re.MULTILINE | re.IGNORECASE)
HEAD = 65_536  # characters that tell a format


@dataclass(frozen=True)
class Opened:
    """A script file: its kind, text ('' for a workbook), bytes, and what is to be said of its encoding and name."""

    kind: str
    text: str
    data: bytes
    notes: tuple[str, ...]


def open_script(path: Path, reading: Reading) -> Opened:
    """Read and recognise a file. Raises InputError where it is not there, ManifestError where it is too large, not text, or of no known format."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES["workbook"] + 1)
    except OSError as error:
        raise InputError(f"the script {path.name} cannot be read ({error.strerror})", code="store.missing", next_step="Check the path in the manifest.") from error
    named = SUFFIXES.get(path.suffix.lower(), "")
    most = LARGEST_BYTES["workbook" if data.startswith(b"PK\x03\x04") else "text"]
    if len(data) > most:
        raise refused("file", f"it is larger than {most >> 20} MiB", "split it into several scripts")
    for mark, (what, fix) in FOREIGN.items():
        if data.startswith(mark):
            raise refused("file", f"it is {what}, not a script", fix)
    kind, text, notes = "xlsx", "", list[str]()
    if data.startswith(b"PK\x03\x04"):
        _is_workbook(path)
    else:
        text, notes = decoded(data, reading.encoding, lenient=named == "sheet")
        kind = kind_of(text, named)
    if named and kind != named and {kind, named} != {"sheet", "xlsx"} and not (named == "text" and kind == "sheet"):
        notes.append(f"the script is named {path.suffix} and is {KINDS[kind]}; it was read as that")
    elif named != kind and kind == "xlsx":
        notes.append(f"the script is named {path.suffix} and is an Excel workbook; it was read as that")
    return Opened(kind, text, data, tuple(notes))


def _is_workbook(path: Path) -> None:
    """Raise ManifestError for a ZIP file that is no Excel workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise refused("file", f"it is a damaged ZIP file ({error})", "save the workbook anew") from error
    if "xl/workbook.xml" not in names:
        what = "a Word document" if "word/document.xml" in names else "an OpenDocument file" if "mimetype" in names else "a ZIP file"
        raise refused("file", f"it is {what}, not a script", "save it as .xlsx, .csv or text")


def decoded(data: bytes, encoding: str = "", lenient: bool = False) -> tuple[str, list[str]]:
    """Bytes as text, and notes on their encoding: Unicode by its mark or its looks, else what the manifest says.

    lenient: Western Windows text is read without being told so, as Excel writes it. Raises ManifestError for what is neither, with a guess.
    """
    notes: list[str] = []
    if encoding:
        try:
            text = data.decode(encoding)
        except (LookupError, UnicodeError) as error:
            raise refused("file", f"it cannot be read as {encoding[:30]} ({str(error)[:80]})", "correct `encoding` in the manifest") from error
        return text.lstrip("\ufeff"), notes
    name = next((name for mark, name in BOMS if data.startswith(mark)), "") or _unmarked(data)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        text, note = _guessed(data, error, lenient)
        notes.append(note)
    if name.startswith(("utf-16", "utf-32")):
        notes.append(f"the script is {name.upper()}; UTF-8 is safer")
    if "\x00" in text:
        raise refused(f"byte {data.find(0)}", "it is not text", "give a script, as WebVTT, SRT, TTML, ASS, a sheet, an edit list or text")
    return text, notes


def _unmarked(data: bytes) -> str:
    """UTF-16 without a mark shows by the zeros in every other byte of its ASCII letters."""
    head = data[:4096]
    half = len(head) // 2
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if half > 3 and zeros.count(0) > 0.4 * half and head.count(0) < 1.2 * half:
            return name
    return "utf-8"


def _guessed(data: bytes, error: UnicodeDecodeError, lenient: bool) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(data[: 1 << 18]).best() if error.encoding == "utf-8" else None
    guess = best.encoding if best is not None else ""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if lenient and text and guess in WESTERN:
        return text, "the table is not UTF-8; it was read as Windows-1252. Give `encoding` in the manifest where letters are wrong"
    name = "cp1252" if guess in WESTERN or not guess else guess
    sample = " ".join(text[max(0, error.start - 12) : error.start + 13].split()) if name == "cp1252" else ""
    looks = f"; it reads like {'Latin-1 (Windows-1252)' if name == 'cp1252' else name}{f', as {sample!r}' if sample else ''}"
    raise refused(f"byte {error.start}", f"the script is not UTF-8 text{looks}", f"save it as UTF-8, or say its encoding in the manifest, as encoding: {name}") from error


def kind_of(text: str, named: str = "") -> str:
    """The format of a text by its content; where that does not tell, by its name; else plain text."""
    head = text[:HEAD].lstrip("\ufeff \t\r\n")
    if head.startswith("WEBVTT"):
        return "vtt"
    if re.match(r"<\?xml|<(?:\w+:)?tt[\s>]|<!DOCTYPE|<!--", head):
        return "ttml"
    if ASS_LINE.search(head):
        return "ass"
    if SRT_LINE.search(head):
        return "srt"
    if EDL_LINE.search(head) or (head.startswith("TITLE:") and "FCM:" in head):
        return "edl"
    if named in ("", "text", "xlsx"):
        from tasks.scripts.sheets import is_table

        if is_table(head):
            return "sheet"
    return named if named and named != "xlsx" else "text"
