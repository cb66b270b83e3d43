"""Two hundred cues in five languages against their slots: `python -m benchmarks.isochrony`; `--fit` writes tasks/speech/pace.json first.

The texts are a dialogue of eight lines and their neighbours' halves in each language; slots are drawn by seed from what the lines take in
another of the languages, with the rests of a conversation: some wide, some tight, some touching. Every cue is foreseen from its text, then
spoken and fitted. What is told: rates within 0.85 and 1.20, and of whatever goes past its slot all the same, a figure and syllables to lose.
"""

import itertools
import json
import sys
from typing import Any

import numpy as np

from benchmarks import rows
from benchmarks.locales import SENTENCES
from models.types import Cue
from tasks.speech import espeak, synthesise
from tasks.speech.fit import FASTEST, GAP, SLOWEST, TOLD, CueFit, fitted
from tasks.speech.foresee import PACE, Foreseen, foreseen, pace, sounds_of
from tasks.speech.slots import LATE

CUES = 40  # of a language
LINES = {
    "en-GB": ("Good evening.", "Did you hear the rain last night?", "No, not at all.", "It kept me awake for hours, and then the dog began.", "Poor you.",
              "I made some tea, read a book, and waited for the morning.", "You should have called.", "At four o'clock? Never."),
    "de-DE": ("Guten Abend.", "Hast du heute Nacht den Regen gehört?", "Nein, gar nicht.", "Er hat mich stundenlang wach gehalten, und dann fing der Hund an.",
              "Du Armer.", "Ich habe Tee gekocht, ein Buch gelesen und auf den Morgen gewartet.", "Du hättest anrufen sollen.", "Um vier Uhr? Niemals."),
    "es-ES": ("Buenas noches.", "¿Oíste la lluvia anoche?", "No, para nada.", "Me tuvo despierto durante horas, y luego empezó el perro.", "Pobre de ti.",
              "Hice un té, leí un libro y esperé la mañana.", "Deberías haber llamado.", "¿A las cuatro? Nunca."),
    "fr-FR": ("Bonsoir.", "As-tu entendu la pluie cette nuit?", "Non, pas du tout.", "Elle m'a tenu éveillé pendant des heures, puis le chien a commencé.",
              "Mon pauvre.", "J'ai fait du thé, lu un livre, et attendu le matin.", "Tu aurais dû appeler.", "À quatre heures? Jamais."),
    "ja-JP": ("こんばんは。", "ゆうべの あめを きいた?", "いいえ、ぜんぜん。", "なんじかんも ねむれなくて、それから いぬが ほえた。", "かわいそうに。",
              "おちゃを いれて、ほんを よんで、あさを まった。", "よんで くれれば よかったのに。", "よじに? まさか。"),
}  # fmt: skip


def lengths(texts: tuple[str, ...], locale: str) -> list[float]:
    """Seconds that each text takes as spoken."""
    voice = espeak.voice_for(locale)
    return [max(phone.end for phone in espeak.speak(text, voice).phones) for text in texts]


def script(locale: str, other: list[float], seed: int) -> tuple[Cue, ...]:
    """CUES cues of a language in slots drawn about what the lines take in another one."""
    random = np.random.default_rng(seed)
    found, clock = [], 0.5
    for number in range(CUES):
        line = number % len(other)
        length = max(0.4, other[line] * float(random.normal(1.0, 0.12)))
        found.append(Cue(round(clock, 3), round(clock + length, 3), LINES[locale][line]))
        clock += length + float(random.choice([0.0, 0.1, 0.3, 0.8, 1.6]))
    return tuple(found)


def fit() -> dict[str, Any]:
    """Seconds of sounds by least squares over the five languages, then a factor for every locale by its own sentence, and its halves."""
    table: list[list[float]] = []
    took: list[float] = []
    samples: dict[str, tuple[str, ...]] = {locale: (text, *_halves(text)) for locale, text in SENTENCES.items()}
    for locale, texts in LINES.items():
        samples[locale] = (*texts, *samples.get(locale, ()))
    measured = {locale: (sounds_of(texts, espeak.voice_for(locale)), lengths(texts, locale)) for locale, texts in samples.items()}
    for locale in LINES:
        for sounds, seconds in zip(*measured[locale], strict=True):
            table.append([1.0, sounds.consonants, sounds.vowels, sounds.rests])
            took.append(seconds)
    from scipy.optimize import nnls

    ends, consonant, vowel, rest = nnls(np.array(table), np.array(took))[0]
    known: dict[str, Any] = {"ends": round(float(ends), 4), "consonant": round(float(consonant), 4), "vowel": round(float(vowel), 4), "rest": round(float(rest), 4), "factors": {}}
    plain = [known["ends"], known["consonant"], known["vowel"], known["rest"]]
    for locale, (several, spoken) in measured.items():
        expected = np.array([np.dot(plain, [1.0, one.consonants, one.vowels, one.rests]) for one in several])
        known["factors"][locale] = round(float(np.dot(expected, spoken) / np.dot(expected, expected)), 3)
    for language, group in itertools.groupby(sorted(known["factors"]), key=lambda name: name.split("-")[0]):
        known["factors"][language] = round(float(np.mean([known["factors"][name] for name in list(group)])), 3)
    return known


def _halves(text: str) -> tuple[str, ...]:
    words = text.split()
    return (" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])) if len(words) > 3 else ()


def run() -> dict[str, Any]:
    """Every cue, as figures and a table of the languages."""
    took = {locale: lengths(texts, locale) for locale, texts in LINES.items()}
    found: dict[str, tuple[tuple[CueFit, ...], tuple[Foreseen, ...]]] = {}
    locales, kept = list(LINES), list[bool]()
    for seed, locale in enumerate(locales):
        cues = script(locale, took[locales[seed - 1]], seed)
        seconds = cues[-1].end + 0.5
        _, fits = fitted(synthesise(cues, locale), seconds, "fit")
        found[locale] = fits, foreseen(cues, seconds, locale)
        kept += [_kept(fit, max(fit.end, after.start - GAP)) for fit, after in zip(fits, [*cues[1:], Cue(seconds, 0, "")], strict=True)]
    every = [fit for fits, _ in found.values() for fit in fits]
    error = [abs(ahead.natural - fit.natural) / fit.natural for fits, several in found.values() for fit, ahead in zip(fits, several, strict=True)]
    agreed = [(ahead.excess > 0) == (fit.excess > TOLD) for fits, several in found.values() for fit, ahead in zip(fits, several, strict=True)]
    figures: dict[str, float] = {
        "cues": len(every), "inside_or_reported": sum(kept) / len(kept), "inside": sum(fit.excess <= TOLD and not fit.lost for fit in every), "to_rewrite": sum(fit.excess > TOLD for fit in every),
        "fastest": max(fit.rate for fit in every), "slowest": min(fit.rate for fit in every), "hurried": sum(fit.rate > 1.001 for fit in every),
        "borrowing": sum(fit.borrowed > TOLD for fit in every), "earliest_seconds": max(fit.early for fit in every), "foreseen_error_median": float(np.median(error)),
        "foreseen_error_p90": float(np.percentile(error, 90)), "rewrites_foreseen": float(np.mean(agreed)),
    }  # fmt: skip
    rows.add({f"isochrony_{name}": ("share", [figures[name]]) for name in ("inside_or_reported", "foreseen_error_median", "rewrites_foreseen")} | {"isochrony_fastest": ("ratio", [figures["fastest"]])})
    table = [[locale, str(len(fits)), f"{max(f.rate for f in fits):.2f}", str(sum(f.rate > 1.001 for f in fits)), f"{sum(f.borrowed for f in fits):.1f} s",
              str(sum(f.excess > TOLD for f in fits)), str(sum(f.syllables for f in fits if f.excess > TOLD))] for locale, (fits, _) in found.items()]  # fmt: skip
    return {"figures": figures, "tables": [{"title": "", "columns": ["locale", "cues", "fastest", "hurried", "borrowed", "to rewrite", "syllables to lose"], "rows": table}]}


def _kept(fit: CueFit, deadline: float) -> bool:
    """Whether a cue is within its bounds, or its report says by how much it is not."""
    inside = fit.ends <= deadline + LATE + 2 * TOLD and fit.lost <= TOLD
    told = (fit.excess > TOLD and fit.syllables > 0) or fit.late > TOLD or fit.lost > TOLD
    return SLOWEST <= fit.rate <= FASTEST + 1e-9 and (inside or told)


def main() -> None:
    """Print the table, after --fit with a pace fitted anew."""
    if "--fit" in sys.argv:
        PACE.write_text(json.dumps(fit(), indent=1) + "\n")
        pace.cache_clear()
    tree = run()
    for table in tree["tables"]:
        sys.stdout.write("\n".join("  ".join(cell.ljust(17) for cell in row) for row in [table["columns"], *table["rows"]]) + "\n\n")
    sys.stdout.write("\n".join(f"{name:24} {value:.4g}" for name, value in tree["figures"].items()) + "\n")


if __name__ == "__main__":
    main()
