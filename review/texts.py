"""The pages' words in the reader's language: catalogues of gettext under locale/, read once. English is the source."""

import functools
import io
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

FOLDER = Path(__file__).parent / "locale"
LOCALES = {"en": "English", "es": "Español", "de": "Deutsch"}


@functools.cache
def catalogue(locale: str) -> NullTranslations:
    """The texts of a locale; English where there are none."""
    path = FOLDER / locale / "LC_MESSAGES" / "desk.po"
    if locale not in LOCALES or not path.exists():
        return NullTranslations()
    with path.open("rb") as file:
        compiled = io.BytesIO()
        write_mo(compiled, read_po(file, locale=Locale.parse(locale)))
    compiled.seek(0)
    return Translations(compiled, "messages")


def chosen(own: str, accepted: str) -> str:
    """The locale for a reader: what their account says, else the best of Accept-Language, else English."""
    if own in LOCALES:
        return own
    asked = sorted((_weighed(part) for part in accepted.split(",")[:20] if part.strip()), reverse=True)
    names = [name.replace("-", "_") for weight, name in asked if weight > 0]
    return negotiate_locale(names, list(LOCALES)) or "en"


def _weighed(part: str) -> tuple[float, str]:
    name, _, rest = part.strip().partition(";")
    try:
        return float(rest.replace(" ", "").removeprefix("q=") or 1), name
    except ValueError:
        return 0.0, name
