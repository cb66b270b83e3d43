"""How words are said: a title's lexicon and SSML's phoneme and sub elements, applied to a cue's text before it is spoken.

What it leaves is read by tasks/speech/reading.py: dates, amounts and what else a voice would not read well.
"""

import csv
import functools
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ManifestError
from infra.lexicons import speaks, table
from tasks.scripts.faults import Faults
from tasks.scripts.kinds import decoded

LARGEST_BYTES, MOST_ENTRIES, LONGEST = 4 * 2**20, 20_000, 200
ELEMENT = re.compile(r"<(phoneme|sub)\b([^<>]*)>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts that put no space between words
MARKS = "ːˑʰʲʷˠˤ˞ʼⁿˡ˥˦˧˨˩↓↑"  # of IPA; where a voice has no such sound, the plain one is said


@dataclass(frozen=True)
class Piece:
    """A part of what is said: text, or where ipa is not empty the sounds of it. settled: somebody wrote how it is said."""

    text: str
    ipa: str = ""
    settled: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Entry:
    """A word as it is written, and as it is said: in other letters, or in IPA."""

    written: str
    spoken: str = ""
    ipa: str = ""
    where: str = ""


@dataclass(frozen=True)
class Lexicon:
    """The entries of a locale, and how often each was used so far."""

    entries: tuple[Entry, ...] = ()
    used: Counter[str] = field(default_factory=Counter, compare=False)

    def beside(self, sounds: Mapping[str, str]) -> "Lexicon":
        """This lexicon with IPA for further words, which comes before what it says of them."""
        if not sounds:
            return self
        own = tuple(Entry(unicodedata.normalize("NFC", word), "", ipa.strip("/[]"), "review") for word, ipa in sorted(sounds.items()))
        given = {entry.written for entry in own}
        return Lexicon((*own, *(entry for entry in self.entries if entry.written not in given)))

    def say(self, text: str) -> tuple[Piece, ...]:
        """The text in pieces, SSML's elements and the lexicon's words replaced by how they are said."""
        pieces: list[Piece] = []
        at = 0
        for found in ELEMENT.finditer(text):
            pieces += self._words(text[at : found.start()])
            given = {name.lower(): html.unescape(one or other) for name, one, other in ATTRIBUTE.findall(found[2])}
            inner = plain(found[3])
            if found[1].lower() == "sub":
                pieces.append(Piece(given.get("alias", inner), settled=True))
            else:
                pieces.append(Piece(inner, given.get("ph", "") if given.get("alphabet", "ipa").lower() == "ipa" else "", settled=True))
            at = found.end()
        return tuple(piece for piece in (*pieces, *self._words(text[at:])) if piece.text)

    def _words(self, text: str) -> list[Piece]:
        text = unicodedata.normalize("NFC", text)
        pieces: list[Piece] = []
        at = 0
        for found in self._pattern.finditer(text) if self.entries else ():
            first, last = found.span()
            entry = self._exact.get(found[0]) or self._loose.get(found[0].casefold())
            if entry is None or not (_edge(text, first, first - 1) and _edge(text, last - 1, last)):
                continue
            pieces += [Piece(text[at:first]), Piece(entry.spoken or found[0], entry.ipa, settled=True)]
            self.used[entry.written] += 1
            at = last
        return [*pieces, Piece(text[at:])]

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = sorted((re.escape(entry.written) for entry in self.entries), key=len, reverse=True)
        return re.compile("|".join(words), re.IGNORECASE)

    @functools.cached_property
    def _exact(self) -> Mapping[str, Entry]:
        return {entry.written: entry for entry in self.entries}

    @functools.cached_property
    def _loose(self) -> Mapping[str, Entry]:
        return {entry.written.casefold(): entry for entry in self.entries if entry.written == entry.written.lower()}

    def notes(self) -> list[str]:
        """Which entries were used, and how often."""
        told = ", ".join(f"{word}{f' ({count} times)' if count > 1 else ''}" for word, count in self.used.most_common(40))
        more = f" and {len(self.used) - 40} more" if len(self.used) > 40 else ""
        return [f"said by the lexicon: {told}{more}"] if self.used else ["no word of the lexicon is in the script"] if self.entries else []


def plain(text: str) -> str:
    """Text as it is shown: SSML's elements replaced by the words in them."""
    return " ".join(ELEMENT.sub(lambda found: found[3], text).split()) if "<" in text else text


def _edge(text: str, inside: int, outside: int) -> bool:
    """Whether a word ends between two neighbouring characters of a text."""
    if not 0 <= outside < len(text):
        return True
    if unicodedata.category(text[outside])[0] not in "LMN":
        return True
    return all(unicodedata.name(text[at], "").startswith(UNSPACED) for at in (inside, outside)) and unicodedata.category(text[outside])[0] != "M"


def read_lexicon(path: Path, locale: str = "") -> Lexicon:
    """A lexicon: CSV with the columns written, spoken or ipa (or both), and perhaps locale. Raises ManifestError with every fault and its row."""
    faults = Faults()
    data = path.read_bytes()[: LARGEST_BYTES + 1]
    if len(data) > LARGEST_BYTES:
        raise _refused([("file", f"it is larger than {LARGEST_BYTES >> 20} MiB", "keep the words that the title needs")])
    text, _ = decoded(data, lenient=True)
    entries: dict[str, Entry] = {}
    try:
        names, rows = table(text)
    except csv.Error as error:
        raise _refused([("file", f"it is not CSV ({error})", "export it as comma-separated UTF-8")]) from error
    if "written" not in names or not {"spoken", "ipa"} & set(names):
        raise _refused([("row 1", "the columns are not named", "begin with a row written,spoken or written,ipa")])
    for number, row in enumerate(rows, 2):
        told = {name: cell.strip() for name, cell in zip(names, row, strict=False) if name}
        if not any(told.values()) or not speaks(told.get("locale", ""), locale):
            continue
        entry = _entry(told, f"row {number}", faults)
        if entry is not None and entries.setdefault(entry.written, entry) is not entry:
            faults.add(entry.where, f"{entry.written[:40]!r} is in {entries[entry.written].where} already", "keep one of the two")
        if len(entries) > MOST_ENTRIES:
            faults.add(f"row {number}", f"it has more than {MOST_ENTRIES} entries", "keep the words that the title needs")
            break
    if faults.rows:
        raise _refused(faults.rows)
    return Lexicon(tuple(entries.values()))


def _entry(told: Mapping[str, str], where: str, faults: Faults) -> Entry | None:
    written, spoken = unicodedata.normalize("NFC", told.get("written", "")), told.get("spoken", "")
    ipa = told.get("ipa", "") or (spoken if re.fullmatch(r"/.+/|\[.+\]", spoken) else "")
    if not any(c.isalnum() for c in written):
        faults.add(where, "no word is written", "write the word, or remove the row")
    elif not spoken and not ipa:
        faults.add(where, f"it does not say how {written[:40]!r} is said", "fill spoken or ipa")
    elif max(len(written), len(spoken), len(ipa)) > LONGEST:
        faults.add(where, f"it is longer than {LONGEST} characters", "give words, not sentences")
    else:
        return Entry(written, "" if ipa else spoken, ipa.strip("/[]"), where)
    return None


def _refused(rows: Sequence[tuple[str, str, str]]) -> ManifestError:
    faults = [{"row": "lexicon", "field": where, "problem": problem, "fix": fix} for where, problem, fix in rows]
    text = "; ".join(f"{where}: {problem}" for where, problem, _ in rows[:20])
    return ManifestError(f"the lexicon has {len(rows)} fault(s): {text}", code="lexicon.invalid", faults=faults, next_step=f"{rows[0][2]}.")


def check(lexicon: Lexicon, voice: str) -> None:
    """Raise ManifestError that names every entry whose IPA a voice of espeak-ng cannot say."""
    from tasks.speech.sounds import mnemonics

    rows = []
    for entry in lexicon.entries:
        strange = mnemonics(entry.ipa, voice)[1] if entry.ipa else ()
        if strange:
            rows.append((entry.where, f"the voice {voice} has no sound for {' '.join(strange)} in {entry.written[:40]!r}", "use sounds of the voice's language, or write it in letters in the column spoken"))
    if rows:
        raise _refused(rows)
