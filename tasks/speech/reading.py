"""How figures are read aloud: dates, amounts of money, decimals, ordinals and numbers as words of the locale, by num2words and CLDR (Babel).

A voice that reads a kind of them well by itself is left to do so. What a lexicon or SSML says of a place is never touched. What neither
library can say stays as it is written, and the voice reads it.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from tasks.speech.kana import date_in_kana, in_kana
from tasks.speech.lexicon import Piece

MOST_TOLD = 40  # readings that notes name
LONGEST = 15  # digits of a number that is read as one
SIGNS = {"€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₴": "UAH", "₪": "ILS", "₫": "VND", "฿": "THB", "zł": "PLN", "Kč": "CZK", "¥": "JPY", "$": "USD", "R$": "BRL", "US$": "USD"}
SHARED = ("$", "¥", "£")  # signs of several currencies: the territory's own where it uses the sign
CODES = ("EUR", "USD", "GBP", "JPY", "CHF", "CNY", "INR", "BRL", "MXN", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "TRY", "RUB", "UAH", "KRW")
RENAMED = {"nb": "no", "nn": "no", "kk": "kz"}  # languages by num2words' own codes
SUFFIXES = {"en": r"st|nd|rd|th", "fr": r"er|re|ère|e|ème", "es": r"\.?[ºª]", "it": r"[ºª°]", "pt": r"\.?[ºª]"}  # of ordinals
FEMININE = ("ª", "re", "ère")
LETTERS = r"A-Za-zÀ-ÖØ-öø-ÿ"
DECIMALS = ("en", "de", "fr", "it", "pt", "nl", "sv", "no", "da", "fi", "ru", "uk", "pl", "cs", "hu", "ro", "id", "tr")  # languages whose decimals num2words says as they are said
DOTTED = ("de", "no", "da", "fi", "cs", "sk", "sl", "hu", "pl", "tr", "et", "is", "hr", "sr", "lv")  # 3. is the third
UNSPACED = ("ja", "zh", "ko", "th", "yue", "cmn")  # dates keep CLDR's digits: a year's word would be said twice
AMOUNT = r"\d{1,3}(?:[.,’'\u00a0\u202f ]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?"
SIGN = "|".join(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True))
SPACE = "[\u00a0\u202f ]?"
OUTSIDE = r"(?<![A-Za-z0-9.,:/-])"
AFTER = r"(?![A-Za-z0-9/]|[.,:-]\d)"
ISO = re.compile(rf"{OUTSIDE}(\d{{4}})-(\d{{2}})-(\d{{2}}){AFTER}")
SHORT = re.compile(rf"{OUTSIDE}(\d{{1,4}})(\. |[./-])(\d{{1,2}})\2(\d{{1,4}})(\.(?!\d))?{AFTER}")
MONEY = re.compile(rf"(?<![A-Za-z0-9.,])(?:(?P<before>{SIGN}|\b(?:{'|'.join(CODES)})\b){SPACE}(?P<first>{AMOUNT})|(?P<second>{AMOUNT}){SPACE}(?P<after>{SIGN}|(?:{'|'.join(CODES)})\b))(?![\d])")
NUMBER = re.compile(r"(?<![\w.,:/\u2212-])(-|\u2212)?(\d{1,3}(?:[.,’'\u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?)(?![\w:/]|[.,:-]\d)")
ACRONYM = re.compile(r"(?<![\w'’-])([BCDFGHJKLMNPQRSTVWXZ]{2,6})(?![\w'’-])")


@dataclass(frozen=True)
class Reader:
    """Reads figures of a locale such as `es-ES`."""

    locale: str

    @functools.cached_property
    def language(self) -> str:
        """num2words' code of the locale; '' where it does not know the language."""
        from num2words import CONVERTER_CLASSES

        parts = self.locale.replace("_", "-").split("-")
        first = RENAMED.get(parts[0].lower(), parts[0].lower())
        found = [f"{first}_{part.upper()}" for part in parts[1:] if len(part) == 2] + [first]
        return next((name for name in found if name in CONVERTER_CLASSES), "")

    @functools.cached_property
    def cldr(self) -> Any:
        """Babel's locale, or None where CLDR has none."""
        from babel import Locale, UnknownLocaleError

        for name in (self.locale, self.locale.split("-")[0]):
            try:
                return Locale.parse(name, sep="-")
            except (ValueError, UnknownLocaleError, TypeError):
                continue
        return None

    @functools.cached_property
    def order(self) -> str:
        """Order of day, month and year in the locale's short dates, as `dmy`."""
        pattern = re.sub(r"'[^']*'", "", str(self.cldr.date_formats["short"].pattern).lower()) if self.cldr else "y-m-d"
        return "".join(dict.fromkeys(c for c in pattern if c in "dmy"))

    def read(self, text: str, left: frozenset[str] = frozenset()) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The text with its figures as words, and (written, read) of each. left: kinds that are not touched: number, decimal, ordinal, acronym."""
        told: list[tuple[str, str]] = []

        def put(pattern: re.Pattern[str], said: Callable[[re.Match[str]], str]) -> None:
            nonlocal text
            text = pattern.sub(lambda found: self._told(found, said, told), text)

        if any(c.isdecimal() for c in text):
            put(ISO, lambda found: self.date(int(found[1]), int(found[2]), int(found[3])))
            put(SHORT, self._short)
            put(MONEY, self._money)
            if "ordinal" not in left and (suffix := SUFFIXES.get(self.locale.split("-")[0].lower())):
                put(re.compile(rf"(?<![\w.,])(\d{{1,6}})({suffix})(?![\w])", re.IGNORECASE), self._ordinal)
            put(NUMBER, lambda found: self._number(found, left))
        if "acronym" not in left and any(c.islower() for c in text):
            put(ACRONYM, lambda found: ".".join(found[1]) + ".")
        return text, tuple(told)

    def _told(self, found: re.Match[str], said: Callable[[re.Match[str]], str], told: list[tuple[str, str]]) -> str:
        try:
            words = in_kana(said(found)) if self.language == "ja" else said(found)
        except Exception:  # what a library cannot say, whatever it raises, is left to the voice
            words = ""
        if not words or words == found[0]:
            return found[0]
        both = found[0].endswith(".") and words.endswith(".")  # a sentence's end is no part of it
        told.append((found[0][:-1], words[:-1]) if both else (found[0], words))
        return words

    def date(self, year: int, month: int, day: int) -> str:
        """A day in words, in the order of the locale's long dates; '' where it is none."""
        from babel.dates import format_date

        when = date(year, month, day)
        if self.cldr is None:
            return ""
        if self.language == "ja":
            return date_in_kana(year, month, day, self._words)
        pattern = re.sub(r"\s*'[^']{1,2}(?:\.'|'\.)", "", str(self.cldr.date_formats["long"].pattern))  # without "г." after the year
        words = format_date(when, pattern, locale=self.cldr)
        if not self.language or self.language in UNSPACED:
            return words
        figures = {str(year): self._year(year), str(day): self._day(day, pattern)}
        return re.sub(r"\d+(?:\.(?=\s|$))?", lambda found: figures.get(found[0].rstrip("."), found[0]), words)

    def _year(self, year: int) -> str:
        try:
            return self._words(year, to="year")
        except (NotImplementedError, TypeError, KeyError, AttributeError):
            return self._words(year)

    def _day(self, day: int, pattern: str) -> str:
        """A day of the month: an ordinal where the language's dates have one."""
        first = self.locale.split("-")[0].lower()
        ordinal = first == "en" or re.search(r"d\.", pattern) or (day == 1 and first in ("fr", "it"))
        try:
            words = self._words(day, to="ordinal") if ordinal else self._words(day)
            return f"{words}n" if first == "de" else words  # am sechsundzwanzigsten
        except (NotImplementedError, TypeError, KeyError, AttributeError):
            return str(day)

    def _words(self, number: int | float | Decimal, **how: Any) -> str:
        from num2words import num2words

        if not self.language:
            raise NotImplementedError
        how |= {"reading": True} if self.language == "ja" else {}
        return " ".join(str(num2words(number, lang=self.language, **how)).split())

    def _short(self, found: re.Match[str]) -> str:
        parts = (found[1], found[3], found[4])
        order = "ymd" if len(found[1]) == 4 else self.order.replace("y", "") + "y" if len(found[4]) == 4 else ""
        if len(order) != 3 or sum(len(part) > 2 for part in parts) != 1:
            return ""
        told = dict(zip(order, map(int, parts), strict=True))
        words = self.date(told["y"], told["m"], told["d"])
        return words + (found[5] or "") if words and self.language != "hu" else words  # there the point belongs to the day

    def _value(self, text: str) -> Decimal:
        """A number as the locale writes it. Raises NumberFormatError."""
        from babel.numbers import get_decimal_symbol, get_group_symbol, parse_decimal

        decimal, group = get_decimal_symbol(self.cldr), get_group_symbol(self.cldr)
        plain = re.sub("[\u00a0\u202f ’']", "", text)
        if re.fullmatch(r"\d+", plain) or re.fullmatch(rf"\d+{re.escape(decimal)}\d+", plain):
            return Decimal(plain.replace(decimal, "."))
        return Decimal(str(parse_decimal(plain, locale=self.cldr, strict=group in plain)))

    def currency(self, sign: str) -> str:
        """The ISO 4217 code that a sign stands for in the locale."""
        from babel.core import get_global
        from babel.numbers import get_currency_symbol

        if sign in CODES:
            return sign
        territory = self.cldr.territory or get_global("likely_subtags").get(self.cldr.language, "").rpartition("_")[2]
        if sign in SHARED and territory:
            own = [code for code, _, last, tender in get_global("territory_currencies").get(territory, []) if tender and last is None]
            if own and (get_currency_symbol(own[0], self.cldr).endswith(sign) or get_currency_symbol(own[0], f"{self.cldr.language}_{territory}").endswith(sign)):
                return str(own[0])
        return SIGNS[sign]

    def _money(self, found: re.Match[str]) -> str:
        from babel.numbers import get_currency_name, get_currency_precision

        code, value = self.currency(found["before"] or found["after"]), self._value(found["first"] or found["second"])
        whole = value == value.to_integral_value()
        try:
            if not whole and get_currency_precision(code) != 2:
                raise NotImplementedError
            cut = {"separator": "|"} if whole else {}  # that there are no cents is not said
            return self._words(value.quantize(Decimal("0.01")), to="currency", currency=code, **cut).partition("|")[0].strip()
        except (NotImplementedError, KeyError, TypeError, AttributeError, IndexError, ValueError):
            number = self._words(int(value)) if whole and self.language else (found["first"] or found["second"])
            return f"{number} {get_currency_name(code, count=value, locale=self.cldr)}"

    def _ordinal(self, found: re.Match[str]) -> str:
        words = self._words(int(found[1]), to="ordinal")
        first = self.locale.split("-")[0].lower()
        if any(found[2].lower().endswith(end) for end in FEMININE) and first in ("es", "it", "pt"):
            return re.sub(r"o\b", "a", words)
        return "première" if first == "fr" and found[2].lower() in FEMININE else words

    def _number(self, found: re.Match[str], left: frozenset[str]) -> str:
        plain = found[2].isdecimal()
        if plain and self.language in DOTTED and re.match(r"\.\s+\S", found.string[found.end() :]):
            return ""  # an ordinal, or a sentence's end: the voice knows
        if (plain and "number" in left) or (plain and found[2][0] == "0") or sum(c.isdecimal() for c in found[2]) > LONGEST:
            return ""
        value = self._value(found[2])
        whole = value == value.to_integral_value() and "." not in str(value)
        if not whole and ("decimal" in left or self.language.partition("_")[0] not in DECIMALS):
            return ""
        words = self._words(int(value) if whole else float(value))
        return f"{self._minus} {words}" if found[1] and self._minus else "" if found[1] else words

    @functools.cached_property
    def _minus(self) -> str:
        """The word that num2words puts before a negative number."""
        return self._words(-1).removesuffix(self._words(1)).strip()


@dataclass
class Readings:
    """What a reader read in the texts of a job."""

    reader: Reader
    told: dict[tuple[str, str], int] = field(default_factory=dict)

    def of(self, pieces: Sequence[Piece], left: frozenset[str] = frozenset()) -> tuple[Piece, ...]:
        """A text's pieces with their figures as words; what is settled stays."""
        return tuple(piece if piece.settled or piece.ipa else self._read(piece, left) for piece in pieces)

    def _read(self, piece: Piece, left: frozenset[str]) -> Piece:
        text, told = self.reader.read(piece.text, left)
        for one in told:
            self.told[one] = self.told.get(one, 0) + 1
        return replace(piece, text=text)

    def notes(self) -> list[str]:
        """What was read how, and how often."""
        several = [f"{written} as {words!r}{f' ({count} times)' if count > 1 else ''}" for (written, words), count in self.told.items()]
        more = f" and {len(several) - MOST_TOLD} more" if len(several) > MOST_TOLD else ""
        return [f"read: {'; '.join(several[:MOST_TOLD])}{more}"] if several else []
