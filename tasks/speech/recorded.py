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


def phones_of_cues(
    wave: Wave, activity: np.ndarray, cues: Sequence[Cue], locale: str, voice: str = "", lexicon: Lexicon | None = None
) -> tuple[list[Phone], list[str]]:
    """Phones of a sound [samples] at 16 kHz by the cues that are said in it, in seconds, and what is to be said of them. activity: float32
    [rows] at 100 Hz. Of a long sound each timed cue is found about its own time, so memory does not grow with it.

    Raises InputError where words without times are too long, or a locale has no voice; EngineError.
    """
    seconds, lexicon = len(wave) / SAMPLE_RATE, lexicon or Lexicon()
    too_long(seconds, cues)
    if seconds <= WHOLE or not timed(cues):
        phones, notes = phones_said(np.asarray(wave), activity, " ".join(cue.text for cue in cues), locale, voice, lexicon)
        return phones, [*notes, *lexicon.notes()]
    found, told = list[Phone](), list[str]()
    for number, cue in enumerate(cues):
        low = max(0.0, cue.start - ABOUT, min(cue.start, cues[number - 1].end) if number else 0.0)
        high = min(cue.end + ABOUT, max(cue.end, cues[number + 1].start) if number + 1 < len(cues) else inf, seconds)
        heard = activity[int(low * ROW_RATE) : int(max(low, high) * ROW_RATE)]
        if heard.sum() < LEAST * ROW_RATE:
            told.append(f"nobody is heard at {cue.start:.2f} s, where the transcript says {cue.text[:40]!r}")
            continue
        phones, notes = phones_said(np.asarray(wave[int(low * SAMPLE_RATE) : int(high * SAMPLE_RATE)]), heard, cue.text, locale, voice, lexicon)
        found += [Phone(phone.symbol, phone.start + low, phone.end + low) for phone in phones]
        told += [f"at {cue.start:.2f} s: {note}" if aligner.BADLY in note else note for note in notes]
    return sorted(found, key=lambda phone: phone.start), [*dict.fromkeys(told), *lexicon.notes()]


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


def phones_said(wave: np.ndarray, activity: np.ndarray, words: str, locale: str, voice: str, lexicon: Lexicon) -> tuple[list[Phone], list[str]]:
    """Phones of a sound float32 [samples] in which some words are said, in seconds, and what is to be said of them but for the lexicon."""
    name, readings = espeak_of(locale, voice), Readings(Reader(locale))
    request, with_sounds, strange = sounds.request(readings.of(lexicon.say(" ".join(words.split())), EspeakVoice.reads), name)
    if unknown := letters.unread(request, name):
        return list(aligner.decode(wave)), [letters.guessed(unknown, name)]
    found = aligner.align(wave, activity, espeak.speak(request, name, sounds=with_sounds))
    doubt = [f"{aligner.BADLY} (distance {found.cost:.2f}): check that the words are those spoken"] if found.cost > aligner.DOUBTFUL else []
    return list(found.phones), [*without_sound(name, strange), *readings.notes(), *doubt]
