"""Lexicons as files: CSV with named columns, and what people entered of a title written beside what its file says. What a word sounds like is not told here."""

import csv
import io
import unicodedata
from collections.abc import Mapping

COLUMNS = {"written": "written", "word": "written", "grapheme": "written", "term": "written", "spoken": "spoken", "alias": "spoken", "say": "spoken", "ipa": "ipa", "phoneme": "ipa", "pronunciation": "ipa", "locale": "locale", "lang": "locale", "language": "locale"}
WRITTEN = ("written", "spoken", "ipa", "locale")  # as they are written by this project


def table(text: str) -> tuple[list[str], list[list[str]]]:
    """A lexicon's columns by the names that are known here, empty for others, and its further rows. Raises csv.Error."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    return [COLUMNS.get(cell.strip().lower(), "") for cell in rows[0]] if rows else [], rows[1:]


def speaks(row: str, locale: str) -> bool:
    """Whether a row of a locale, or of a language, is for the job's."""
    return not row or not locale or row.lower() in (locale.lower(), locale.lower().split("-")[0])


def beside(sounds: Mapping[str, str], text: str, locale: str) -> str:
    """A lexicon of a locale as CSV: words with their IPA, then what a lexicon's text says of other words. Raises csv.Error."""
    known = {unicodedata.normalize("NFC", word): ipa.strip("/[]") for word, ipa in sounds.items()}
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(WRITTEN)
    rows.writerows([_cell(word), "", ipa, locale] for word, ipa in sorted(known.items()))
    names, more = table(text)
    for row in more:
        told = {name: cell.strip() for name, cell in zip(names, row, strict=False) if name}
        if any(told.values()) and speaks(told.get("locale", ""), locale) and unicodedata.normalize("NFC", told.get("written", "")) not in known:
            rows.writerow([_cell(told.get(name, "")) for name in WRITTEN])
    return out.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; the space goes when it is read."""
    return f" {text}" if text[:1] in "=+-@" and text else text
