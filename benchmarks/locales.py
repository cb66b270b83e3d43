"""Languages from text to mouth shapes: `python -m benchmarks.locales` prints a row a locale, `--docs` writes docs/languages.md;
`--gate` runs a job of each.

What a voice says is held against the phone table: a symbol that the table does not know is told, here and in the notes of a job.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from models.avct.phonemes import IGNORED, IPA, from_ipa
from tasks.speech.espeak import speak, voice_for
from tasks.speech.visemes import VISEME_OF, VISEMES

PAGE = Path(__file__).parent.parent / "docs" / "languages.md"
GATED = Path(__file__).with_suffix(".json")  # what the last run of all locales' jobs came to
SECONDS, TAKES = 6.0, 4  # of speech in a job, and how often it may be tried
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


GATE_HEADERS = ("locale", "state", "takes", "engine", "video", "offset", "confidence", "lips closed", "why not")
GATE = """
## Through the gate

A job of each locale as `dubwright run` makes it, from text to delivery: the demo's portrait says a sentence (`benchmarks/locales.py`) as often as fills six seconds, in up to four takes.
{delivered} of {locales} were delivered, {first} by their first take, by the shipped thresholds ([gate.md](gate.md)). `lips closed`: the part of p, b and m at which the lips come
together ([scoring.md](scoring.md#mouth-closures)). `dubwright evaluate locales --gate` runs it; `python -m benchmarks.locales --gate --docs` writes this table.
"""
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
    through = gate_page(json.loads(GATED.read_text())) if GATED.exists() else []
    return "\n".join([*INTRODUCTION.strip().split("\n"), "", "| viseme | phone | IPA |", "|---|---|---|", *ipa, "", *COVERED.strip().split("\n"), "", "| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS), *rows, "", *through])


def gate_page(made: dict[str, Any]) -> list[str]:
    """Lines of the page on the jobs that were run."""
    figures = made["figures"]
    text = GATE.format(delivered=figures["gate_delivered"], locales=figures["gate_locales"], first=figures["gate_first_take"])
    left = [locale for locale in SENTENCES if locale not in {row[0] for row in made["rows"]}]
    text += f"Not run: {', '.join(left)}.\n" if left else ""
    cells = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in made["rows"]]
    return [*text.strip().split("\n"), "", "| " + " | ".join(GATE_HEADERS) + " |", "|" + "---|" * len(GATE_HEADERS), *cells, ""]


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


def gated(locales: Sequence[str] = tuple(SENTENCES), home: Path | None = None) -> dict[str, Any]:
    """A job of each locale as the command runs it, from text to delivery: a portrait says the locale's sentence, as often as fills SECONDS, in up
    to TAKES takes; what is not delivered says why. home: a folder to work in; one that is kept lets a run that was cut off go on.
    """
    from benchmarks import ladder, pipeline

    lines = [(locale, _filling(locale)) for locale in locales]
    with pipeline.scratch() as folder:
        jobs = ladder.jobs_of([pipeline.PORTRAIT], lines, TAKES, home or folder)
    rows = sorted((_told(job) for job in jobs), key=lambda row: locales.index(row[0]))
    figures = {
        "gate_locales": len(rows), "gate_delivered": sum(row[1] == "delivered" for row in rows), "gate_first_take": sum(row[1:3] == ["delivered", "1"] for row in rows),
        "gate_told_why": sum(row[1] != "delivered" and bool(row[-1]) for row in rows),
    }  # fmt: skip
    return {"figures": figures, "tables": [{"title": "", "columns": list(GATE_HEADERS), "rows": rows}]}


def _filling(locale: str) -> str:
    """A locale's sentence, as often as fills SECONDS."""
    once = speak(SENTENCES[locale], voice_for(locale)).phones[-1].end
    return " ".join([SENTENCES[locale]] * ceil(SECONDS / once))


def _told(job: dict[str, Any]) -> list[str]:
    """A finished job's row: its best take, or why there is none."""
    from tasks.ladder import of_row

    if not job["takes"]:
        return [job["locale"], job["state"], "0", *[""] * 5, (job["error"] or {}).get("message", "")]
    best = max(job["takes"], key=of_row)
    curve = best["curve"] or {}
    closed, frames = (curve.get("extra") or {}).get("closed"), best["parameters"].get("frames") or 0
    why = "" if job["state"] == "delivered" else "; ".join(best["reasons"])
    sure = ["" if best[name] is None else f"{best[name]:{form}}" for name, form in (("offset", "+d"), ("confidence", ".2f"))]
    return [job["locale"], job["state"], str(len(job["takes"])), best["engine"], f"{frames / 25:.1f} s", *sure, "" if closed is None else f"{closed:.0%}", why]


def main() -> None:
    """Print the table, with --docs write the page; with --gate [LOCALE ...] run a job of each, which --docs keeps for the page."""
    if "--gate" in sys.argv:
        asked = [word for word in sys.argv[1:] if not word.startswith("--")]
        made = gated(asked or tuple(SENTENCES))
        for row in [made["tables"][0]["columns"], *made["tables"][0]["rows"]]:
            sys.stdout.write("  ".join(cell.ljust(10) for cell in row) + "\n")
        sys.stdout.write(f"{made['figures']}\n")
        if "--docs" in sys.argv and not asked:
            GATED.write_text(json.dumps({"figures": made["figures"], "rows": made["tables"][0]["rows"]}, ensure_ascii=False, indent=1) + "\n")
    found = [coverage(locale) for locale in SENTENCES]
    if "--docs" in sys.argv:
        PAGE.write_text(page(found))
    sys.stdout.write("\n".join("  ".join(cell.ljust(14) for cell in one.row()) + f"  {' '.join(one.ipa)}" for one in found) + "\n")


if __name__ == "__main__":
    main()
