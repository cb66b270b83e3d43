"""Figures read aloud: by num2words and CLDR in a handful of locales, without a crash in all; what a lexicon says stays."""

import pytest

from benchmarks.locales import SENTENCES
from tasks.speech.lexicon import Entry, Lexicon
from tasks.speech.reading import Reader, Readings
from tasks.speech.voices.embedded import EspeakVoice
from tasks.speech.voices.endpoint import EndpointVoice

READ = [
    ("en-US", "On 11/26/2026 for $1,234.50, the 21st", "On November twenty-sixth, twenty twenty-six for one thousand, two hundred and thirty-four dollars, fifty cents, the twenty-first"),
    ("en-GB", "26/11/2026: £5 and 3.5 BBC", "twenty-sixth November twenty twenty-six: five pounds sterling and three point five B.B.C."),
    ("es-ES", "El 26/11/2026: 1.234,50 € y la 3ª de 21", "El veintiséis de noviembre de dos mil veintiséis: mil doscientos treinta y cuatro euros con cincuenta céntimos y la tercera de veintiuno"),
    ("es-MX", "$5 el 1/2/2026", "cinco pesos el uno de febrero de dos mil veintiséis"),
    ("fr-FR", "Le 1/5/2026, 80 € et 2,5", "Le premier mai deux mille vingt-six, quatre-vingts euros et deux virgule cinq"),
    ("fr-CH", "71", "septante et un"),
    ("ru-RU", "26.11.2026", "двадцать шесть ноября две тысячи двадцать шесть"),
    ("de-DE", "am 26.11.2026, 1.234 und 2,5, am 3. Mai", "am sechsundzwanzigsten November zweitausendsechsundzwanzig, eintausendzweihundertvierunddreißig und zwei Komma fünf, am 3. Mai"),
    ("it-IT", "il 1/5/2026, 3,50 €", "il primo maggio duemilaventisei, tre euro e cinquanta centesimi"),
    ("pt-BR", "em 03/04/2026, 7", "em três de abril de dois mil e vinte e seis, sete"),
    ("nl-NL", "26-11-2026", "zesentwintig november tweeduizendzesentwintig"),
    ("pl-PL", "26.11.2026", "dwadzieścia sześć listopada dwa tysiące dwadzieścia sześć"),
    ("hu-HU", "2026. 11. 26.", "kétezer-huszonhat november huszonhatodik"),
    ("zh-CN", "2026-11-26", "2026年11月26日"),
    ("ja-JP", "¥500 2026-04-20 $20", "ごひゃくえん にせんにじゅうろくねんしがつはつか にじゅう ドル"),
    ("ko-KR", "2026-11-26", "2026년 11월 26일"),
    ("el-GR", "5 €", "5 ευρώ"),
]
LEFT = ["10:30", "1.2.3", "v2.0", "555-1234", "007", "2026-13-45", "31/31/2026", "9" * 40, "1e5", "3/4", "A4", "192.168.0.1"]


@pytest.mark.parametrize(("locale", "written", "said"), READ)
def test_figures_are_read_as_the_locale_reads_them(locale: str, written: str, said: str) -> None:
    text, told = Reader(locale).read(written, EndpointVoice.reads)
    assert text == said and told


@pytest.mark.parametrize("locale", [*SENTENCES, "xx", "sr-Latn-RS", "he-IL", "th-TH"])
def test_no_locale_fails_and_what_is_no_figure_stays(locale: str) -> None:
    reader = Reader(locale)
    for left in (EspeakVoice.reads, EndpointVoice.reads):
        text, told = reader.read("26/11/2026 2026-11-26 12.5.2026 1.234,50 € $1,234.50 €5 5 kr -7 3,5 1 234 21st 3ª ١٢ ½ ² 0 " + " ".join(LEFT), left)
        assert text and all(words for _, words in told)
    assert reader.read(SENTENCES.get(locale, "a b"), EspeakVoice.reads)[1] == ()
    for written in ("10:30", "v2.0", "007", "2026-13-45", "9" * 40):
        assert reader.read(f"a {written} b", EndpointVoice.reads)[0] == f"a {written} b"


def test_a_voice_that_reads_numbers_keeps_them_and_a_lexicon_stands_in_front() -> None:
    lexicon, readings = Lexicon((Entry("5 €", "un fiver"),)), Readings(Reader("es-ES"))
    pieces = readings.of(lexicon.say('Son 5 € y 6 €, 3 y <sub alias="4 €">x</sub>'), EspeakVoice.reads)
    assert "".join(piece.text for piece in pieces) == "Son un fiver y seis euros, 3 y 4 €"
    assert readings.notes() == ["read: 6 € as 'seis euros'"] and Readings(Reader("es-ES")).notes() == []
