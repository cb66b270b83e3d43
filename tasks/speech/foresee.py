"""How long cues will be before anything is spoken, and which of them need rewriting: for translators, from `dubwright plan`.

A text's length comes of its phones, which espeak-ng tells without speaking: seconds of a consonant, a vowel and a clause's rest, times how
slow the language is (pace.json, written by `python -m benchmarks.isochrony --fit`). Voices of other makers speak at paces of their own.
"""

import csv
import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from models.avct.phonemes import VOWELS, from_ipa
from models.types import Cue
from tasks.speech import BREATH, espeak
from tasks.speech.assigned import voices_for
from tasks.speech.fit import FASTEST, GAP, TOLD
from tasks.speech.lexicon import plain
from tasks.speech.slots import Place, Slot, placed
from tasks.speech.voices import espeak_of

PACE = Path(__file__).with_name("pace.json")
REST = 0.5  # of a pause, which it can give


@dataclass(frozen=True)
class Sounds:
    """What a text is made of: consonants, vowels (a syllable each), and rests between clauses."""

    consonants: int
    vowels: int
    rests: int


@dataclass(frozen=True)
class Foreseen:
    """What is to be expected of a cue; seconds. natural: its length as spoken; rate: how fast it would be played; borrowed: from silence
    about its slot and its own pauses; excess: what does not go in at the fastest rate, and syllables: about how many that are.
    """

    number: int
    cue: Cue
    natural: float
    rate: float
    borrowed: float
    excess: float
    syllables: int


@functools.cache
def pace() -> dict[str, Any]:
    """Seconds of a consonant, a vowel, a rest and a text's ends; and factors by language."""
    found: dict[str, Any] = json.loads(PACE.read_text())
    return found


def sounds_of(texts: Sequence[str], voice: str) -> list[Sounds]:
    """What texts are made of, as a voice of espeak-ng reads them. Raises EngineError."""
    found = []
    for told in espeak.clauses([plain(text) for text in texts], voice):
        clauses = [ipa for ipa, _ in told]
        phones = [phone for clause in clauses for word in clause.split() for phone in from_ipa(word)[0] if phone != "SIL"]
        vowels = sum(phone in VOWELS for phone in phones)
        found.append(Sounds(len(phones) - vowels, vowels, max(0, sum(any(c.isalpha() for c in clause) for clause in clauses) - 1)))
    return found


def seconds_of(sounds: Sounds, locale: str) -> float:
    """How long it takes to say."""
    told = pace()
    factor = told["factors"].get(locale, told["factors"].get(locale.split("-")[0], 1.0))
    return float(factor * (told["ends"] + told["consonant"] * sounds.consonants + told["vowel"] * sounds.vowels + told["rest"] * sounds.rests))


def foreseen(cues: Sequence[Cue], seconds: float, locale: str, voice: str = "", voices: Mapping[str, str] | None = None) -> tuple[Foreseen, ...]:
    """What is to be expected of timed cues in a picture of `seconds`. Raises as `synthesise` does of speakers and voices."""
    names = [espeak_of(locale, own) for own in voices_for(cues, voice, voices or {})]
    sounds: dict[int, Sounds] = {}
    for name in dict.fromkeys(names):
        mine = [at for at, own in enumerate(names) if own == name]
        sounds |= dict(zip(mine, sounds_of([cues[at].text for at in mine], name), strict=True))
    slots = []
    for at, cue in enumerate(cues):
        natural, rests = seconds_of(sounds[at], locale), pace()["rest"] * sounds[at].rests
        slots.append(Slot(cue.start, cue.end, natural, rests * (1 - REST), rests * REST))
    places = placed(slots, seconds, FASTEST, gap=GAP, breath=BREATH)
    return tuple(_told(at, cues, slots[at], place, sounds[at], seconds) for at, place in enumerate(places))


def _told(at: int, cues: Sequence[Cue], slot: Slot, place: Place, sounds: Sounds, seconds: float) -> Foreseen:
    speech = slot.natural - slot.rests - slot.give
    shortest, hurried = slot.rests + speech / FASTEST, place.length - slot.rests
    rate = 1.0 if place.length >= slot.natural - slot.give - 1e-6 else min(FASTEST, speech / max(hurried, 1e-6))
    following = cues[at + 1].start if at + 1 < len(cues) else seconds
    room = min(seconds, max(slot.end, following - GAP)) - min(place.start, slot.start)
    excess = max(0.0, shortest - room)
    borrowed = max(0.0, slot.start - place.start) + max(0.0, place.start + place.length - max(slot.end, place.start)) + min(slot.give, max(0.0, slot.natural - place.length))
    lose = ceil(sounds.vowels * excess * FASTEST / max(speech, 1e-6) - 1e-6) if excess > TOLD else 0
    return Foreseen(at + 1, cues[at], slot.natural, rate, borrowed, excess if excess > TOLD else 0.0, lose)


def rewrites(found: Sequence[Foreseen]) -> list[Foreseen]:
    """The cues that have to become shorter."""
    return [one for one in found if one.excess > 0]


def sheet(found: Sequence[Foreseen]) -> str:
    """Cues as a dubbing sheet (CSV), for a translator, who may send it back as a script: it reads back with the same times and speakers."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(["Cue", "TC In", "TC Out", "Speaker", "Text", "Syllables to lose", "Seconds too long", "Expected seconds", "Rate", "Borrowed"])
    for one in found:
        speaker = f"{one.cue.speaker} (OFF)".strip() if one.cue.off and one.cue.speaker else one.cue.speaker
        figures = [one.syllables, f"{one.excess:.2f}", f"{one.natural:.2f}", f"{one.rate:.2f}", f"{one.borrowed:.2f}"]
        rows.writerow([one.number, _clock(one.cue.start), _clock(one.cue.end), _safe(speaker), _safe(one.cue.text), *figures])
    return "\ufeff" + out.getvalue()


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"\u2060{text}" if text[:1] in "=+-@\t" and text else text


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
