"""Languages from text to mouth shapes: `python -m benchmarks.locales` prints a row a locale, `--docs` writes docs/languages.md.

What a voice says is held against the phone table: a symbol that the table does not know is told, here and in the notes of a job.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.avct.phonemes import IGNORED, IPA, from_ipa
from tasks.speech.espeak import speak, voice_for
from tasks.speech.visemes import VISEME_OF, VISEMES

PAGE = Path(__file__).parent.parent / "docs" / "languages.md"
STRESS = "ˈˌ"
INTRODUCTION = """
# Languages: from sounds to mouth shapes

Written by `python -m benchmarks.locales --docs`; the suite holds it against what the voices say.

Speech of any language becomes AVCT's 41 phones by one table, a sound the phone whose lips and jaw come closest: place and lip shape count, voicing
and nasality hardly. Phones fall into MPEG-4's visemes. Stress, length, tone and other marks have no lips of their own and are passed over.
A symbol that is not in the table is named in the job's notes, and the rest of its sound is mapped.
"""
COVERED = """
## What each language was seen to need

A sentence of each locale through its voice: how many different sounds the voice said, how many of them became phones, how many of the 41 phones and of the visemes
other than rest came of them, and symbols that the table does not know. Other locales of espeak-ng work as well; these are checked with every change.
`dubwright evaluate locales` prints it.
"""
SENTENCES = {
    "en-US": "The quick brown fox jumps over the lazy dog, then asks why.",
    "en-GB": "Bob might view the path again.",
    "es-ES": "Hola, ¿qué tal? Mañana veremos un jabalí y un pingüino.",
    "es-MX": "Buenos días, amigos, ¿listos para viajar?",
    "fr-FR": "Un bon vin blanc, où est le feu d'artifice de juin?",
    "de-DE": "Schöne Grüße, ich möchte zwölf Brötchen und Käse.",
    "it-IT": "Gli gnocchi sono pronti, che bella giornata.",
    "pt-BR": "Não há ninguém aqui, mas o pão está quente.",
    "pt-PT": "Boa tarde, queria uma bica e água.",
    "nl-NL": "Goedemorgen, het huis ligt bij de gracht.",
    "pl-PL": "Dzień dobry, w Szczebrzeszynie chrząszcz brzmi.",
    "ru-RU": "Здравствуйте, съешь ещё этих мягких булок.",
    "uk-UA": "Добрий день, як ваші справи?",
    "tr-TR": "Günaydın, çocuklar bahçede oynuyor.",
    "ar-SA": "مرحبا بكم في العرض الجديد",
    "hi-IN": "नमस्ते, आप कैसे हैं?",
    "zh-CN": "你好，今天天气很好。",
    "ja-JP": "こんにちは、おげんきですか。",
    "ko-KR": "안녕하세요, 만나서 반갑습니다.",
    "sv-SE": "God morgon, sju sjösjuka sjömän.",
    "fi-FI": "Hyvää päivää, yötä myöten.",
    "cs-CZ": "Dobrý den, třistatřicet stříbrných křepelek.",
    "el-GR": "Καλημέρα, πώς είστε σήμερα;",
    "hu-HU": "Jó napot, hogy vannak a gyerekek?",
    "ro-RO": "Bună ziua, ce mai faceți?",
    "vi-VN": "Xin chào, hôm nay trời đẹp.",
    "id-ID": "Selamat pagi, apa kabar?",
    "da-DK": "Godmorgen, rødgrød med fløde på en grøn ø.",
    "nb-NO": "God morgen, vi reiser til fjorden i kveld.",
    "bg-BG": "Добро утро, жълтата дюля е щастлива.",
}


@dataclass(frozen=True)
class Coverage:
    """What a locale's sentence showed: the voice, its sounds in IPA, phones and visemes they became, symbols that are unknown."""

    locale: str
    voice: str
    ipa: tuple[str, ...]
    phones: tuple[str, ...]
    visemes: tuple[str, ...]
    unknown: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """The locale's row of the table."""
        return (self.locale, f"`{self.voice}`", str(len(self.ipa)), str(len(self.ipa) - len(self.unmapped())), str(len(self.phones)), f"{len(self.visemes)} of {len(VISEMES) - 1}", " ".join(self.unknown) or "none")

    def unmapped(self) -> tuple[str, ...]:
        """Sounds that became no phone at all."""
        return tuple(symbol for symbol in self.ipa if not from_ipa(symbol)[0])


HEADERS = ("locale", "voice", "sounds", "mapped", "phones", "visemes", "unknown symbols")


def coverage(locale: str) -> Coverage:
    """Speak a locale's sentence and map what the voice says. Raises InputError, EngineError."""
    voice = voice_for(locale)
    spoken = speak(SENTENCES[locale], voice)
    ipa = tuple(sorted({"".join(c for c in symbol if c not in STRESS) for symbol in spoken.ipa} - {""}))
    ipa = tuple(symbol for symbol in ipa if set(symbol) - IGNORED)
    phones = tuple(sorted({phone.symbol for phone in spoken.phones}))
    visemes = tuple(name for name in VISEMES if name in {VISEME_OF[phone] for phone in phones})
    return Coverage(locale, voice, ipa, phones, visemes, spoken.unknown)


def table_of_ipa() -> Iterable[tuple[str, str, str]]:
    """(viseme, phone, IPA symbols that become it) of the whole phone table."""
    for viseme, phones in VISEMES.items():
        for phone in phones:
            symbols = " ".join(symbol for symbol, to in IPA.items() if to == phone)
            if symbols:
                yield viseme, phone, symbols


def page(found: Iterable[Coverage]) -> str:
    """docs/languages.md."""
    ipa = [f"| {viseme} | `{phone}` | {symbols} |" for viseme, phone, symbols in table_of_ipa()]
    rows = ["| " + " | ".join(one.row()) + " |" for one in found]
    return "\n".join([*INTRODUCTION.strip().split("\n"), "", "| viseme | phone | IPA |", "|---|---|---|", *ipa, "", *COVERED.strip().split("\n"), "", "| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS), *rows, ""])


def run() -> dict[str, Any]:
    """Every locale's coverage, as figures and a table."""
    found = [coverage(locale) for locale in SENTENCES]
    figures = {
        "locales": len(found), "locales_without_unknown": sum(not one.unknown for one in found), "sounds": len({symbol for one in found for symbol in one.ipa}),
        "sounds_mapped": len({symbol for one in found for symbol in one.ipa if symbol not in one.unmapped()}),
        "least_visemes": min(len(one.visemes) for one in found),
    }  # fmt: skip
    rows = [[cell.strip("`") for cell in one.row()] for one in found]
    return {"figures": figures, "coverage": [vars(one) for one in found], "tables": [{"title": "", "columns": list(HEADERS), "rows": rows}]}


def gated(locales: Sequence[str] = tuple(SENTENCES)) -> dict[str, Any]:
    """One portrait take of each locale's sentence, scored and gated by the shipped thresholds, without a ladder's further takes; what does
    not pass says why. Consent, marks and delivery are not part of it.
    """
    from benchmarks import pipeline
    from tasks.gate import decide, load_thresholds
    from tasks.gating.source import Source
    from tasks.score import score_video
    from tasks.scripts import from_text
    from tasks.speech import synthesise

    face, thresholds, rows = pipeline.portrait(), load_thresholds(), list[list[str]]()
    with pipeline.scratch() as folder:
        for locale in locales:
            track = synthesise(from_text(SENTENCES[locale]), locale)
            film = pipeline.film(track, face, folder)
            score = score_video(film, Source.still(face))
            verdict = decide(score, thresholds)
            rows.append([locale, verdict.verdict, f"{track.speech.seconds:.1f} s", f"{score.offset:+d}", f"{score.confidence:.3f}", "; ".join(verdict.reasons) if verdict.verdict != "pass" else ""])
    figures = {"locales": len(rows), "pass": sum(row[1] == "pass" for row in rows), "told_why": sum(row[1] != "pass" and bool(row[5]) for row in rows)}
    return {"figures": figures, "tables": [{"title": "", "columns": ["locale", "verdict", "video", "offset", "confidence", "why"], "rows": rows}]}


def main() -> None:
    """Print the table, with --docs write the page, with --gate [LOCALE ...] render and gate a take of each."""
    if "--gate" in sys.argv:
        for row in (made := gated(sys.argv[sys.argv.index("--gate") + 1 :] or tuple(SENTENCES)))["tables"][0]["rows"]:
            sys.stdout.write("  ".join(cell.ljust(8) for cell in row) + "\n")
        sys.stdout.write(f"{made['figures']}\n")
        return
    found = [coverage(locale) for locale in SENTENCES]
    if "--docs" in sys.argv:
        PAGE.write_text(page(found))
    sys.stdout.write("\n".join("  ".join(cell.ljust(14) for cell in one.row()) + f"  {' '.join(one.ipa)}" for one in found) + "\n")


if __name__ == "__main__":
    main()
