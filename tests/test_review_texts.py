"""The desk's words: every text of its pages has a translation in every language, with the same places to fill."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from review import pages, texts

ROOT = Path(texts.__file__).parent


def wanted() -> set[str | tuple[str, ...]]:
    ways = [("templates/**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    found = extract_from_dir(str(ROOT), ways, options_map={"templates/**.html": {"extensions": "jinja2.ext.i18n"}}, keywords={"_": None, "ngettext": (1, 2), "say": None})
    return {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found}


@pytest.mark.parametrize("locale", ["es", "de"])
def test_every_text_is_translated_and_none_is_left_over(locale: str) -> None:
    with (ROOT / "locale" / locale / "LC_MESSAGES" / "desk.po").open("rb") as file:
        known = {message.id: message.string for message in read_po(file, locale=locale) if message.id}
    assert wanted() == set(known)
    for given, said in known.items():
        pairs = zip(given, said, strict=True) if isinstance(given, tuple) else [(given, said)]
        for source, words in pairs:
            assert words and sorted(re.findall(r"%\(\w+\)\w|%%", source)) == sorted(re.findall(r"%\(\w+\)\w|%%", words)), source


def test_the_reader_s_language_is_chosen() -> None:
    for own, accepted, locale in (("de", "es", "de"), ("", "fr, es-MX;q=0.8, en;q=0.5", "es"), ("", "de-AT", "de"), ("", "en;q=0.2, de;q=0.9", "de"), ("", "", "en"), ("xx", "ja", "en"), ("", ";q=x, ,", "en")):
        assert texts.chosen(own, accepted) == locale
    assert texts.catalogue("es").ugettext("Queue") == "Cola" and texts.catalogue("en").ugettext("Queue") == "Queue"
    assert "Warteschlange" in pages.environment("de").from_string("{{ _('Queue') }}").render()
