"""Phones of sound that is there already and whose words are known: a recording with its transcript, or a finished video."""

from collections.abc import Sequence
from math import inf

import numpy as np

from infra.errors import InputError
from infra.samples import Wave
from models.types import ROW_RATE, SAMPLE_RATE, Cue, Phone
from tasks.speech import align as aligner
from tasks.speech import espeak, letters, sounds
from tasks.speech.lexicon import Lexicon
from tasks.speech.reading import Reader, Readings
from tasks.speech.voices import espeak_of
from tasks.speech.voices.embedded import EspeakVoice, without_sound

WHOLE = 60.0  # seconds up to which words are laid along all of the sound, whatever times they have
LONGEST = 240.0  # seconds of words without times: their alignment takes memory by the square of the sound, or gets as coarse as a picture
ABOUT = 0.3  # seconds about a timed cue in which its words are looked for, as far as its neighbours leave room
LEAST = 0.1  # seconds of voice in which words can be found
MOST_TOLD = 5  # cues that notes of one kind name


def phones_of_cues(
    wave: Wave, activity: np.ndarray, cues: Sequence[Cue], locale: str, voice: str = "", lexicon: Lexicon | None = None
) -> tuple[list[Phone], list[str]]:
    """Phones of a sound [samples] at 16 kHz by the cues that are said in it, in seconds, and what is to be said of them. activity: float32
    [rows] at 100 Hz. Of a long sound each timed cue is found about its own time, so memory does not grow with it.

    Raises InputError where words without times are too long, nobody speaks at any of the times, or a locale has no voice; EngineError.
    """
    too_long(len(wave) / SAMPLE_RATE, cues)
    reader = _Words(locale, voice, lexicon or Lexicon())
    if len(wave) <= WHOLE * SAMPLE_RATE or not timed(cues):
        found = reader.phones(np.asarray(wave), activity, " ".join(cue.text for cue in cues))
        return found, reader.notes()
    found = []
    for number, cue in enumerate(cues):
        low = max(0.0, cue.start - ABOUT, min(cue.start, cues[number - 1].end) if number else 0.0)
        high = min(cue.end + ABOUT, max(cue.end, cues[number + 1].start) if number + 1 < len(cues) else inf)
        heard = activity[int(low * ROW_RATE) : int(high * ROW_RATE)]
        if heard.sum() < LEAST * ROW_RATE:
            reader.unheard.append(cue)
            continue
        here = reader.phones(np.asarray(wave[int(low * SAMPLE_RATE) : int(high * SAMPLE_RATE)]), heard, cue.text, f" at {cue.start:.2f} s")
        found += [Phone(phone.symbol, phone.start + low, phone.end + low) for phone in here]
    if not found:
        raise InputError(
            "nobody speaks at any of the transcript's times", code="input.transcript_elsewhere",
            next_step="Check that it is this recording's, and where its times begin (timecode: {start: ...}).",
        )  # fmt: skip
    return sorted(found, key=lambda phone: phone.start), reader.notes()


def timed(cues: Sequence[Cue]) -> bool:
    """Whether a transcript's cues have times."""
    return any(cue.end > 0 for cue in cues)


def too_long(seconds: float, cues: Sequence[Cue]) -> None:
    """Raise InputError where words without times belong to a sound that is too long for them."""
    if not timed(cues) and seconds > LONGEST:
        raise InputError(
            f"a transcript without times serves up to {LONGEST:.0f} s of sound, and this is {seconds:.0f} s", code="input.untimed_transcript",
            next_step="Give the transcript as a timed script, such as WebVTT or SRT.",
        )  # fmt: skip


class _Words:
    """Words of a locale laid along sounds, and what is to be said of all of them."""

    def __init__(self, locale: str, voice: str, lexicon: Lexicon) -> None:
        self.name, self.readings, self.lexicon = espeak_of(locale, voice), Readings(Reader(locale)), lexicon
        self.told: list[str] = []
        self.doubtful: list[str] = []
        self.unheard: list[Cue] = []

    def phones(self, wave: np.ndarray, activity: np.ndarray, words: str, where: str = "") -> list[Phone]:
        """Phones of a sound float32 [samples] at 16 kHz in which these words are said, in seconds."""
        pieces = self.readings.of(self.lexicon.say(" ".join(words.split())), EspeakVoice.reads)
        request, with_sounds, strange = sounds.request(pieces, self.name)
        if unknown := letters.unread(request, self.name):
            self.told.append(letters.guessed(unknown, self.name))
            return list(aligner.decode(wave))
        found = aligner.align(wave, activity, espeak.speak(request, self.name, sounds=with_sounds))
        self.told += without_sound(self.name, strange)
        if found.cost > aligner.DOUBTFUL:
            self.doubtful.append(f"transcript and recording agree badly{where} (distance {found.cost:.2f}): check that the words are those spoken")
        return list(found.phones)

    def notes(self) -> list[str]:
        """What is to be said; of many cues alike the first few."""
        unheard = [f"nobody is heard at {cue.start:.2f} s, where the transcript says {cue.text[:40]!r}" for cue in self.unheard]
        return [*_few(list(dict.fromkeys(self.told))), *self.lexicon.notes(), *self.readings.notes(), *_few(self.doubtful), *_few(unheard)]


def _few(notes: list[str]) -> list[str]:
    return notes if len(notes) <= MOST_TOLD else [*notes[:MOST_TOLD], f"and of {len(notes) - MOST_TOLD} more cues the same"]
