"""Mouth closures of a video that lies there as a file: its phones by its transcript, and how the score is told."""

from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from models.quality.closures import SHUT
from models.types import ROW_RATE, SAMPLE_RATE, Cue, Phone
from tasks.score import sound_of
from tasks.scripts import SUFFIXES, from_text, open_cues
from tasks.speech import phones_said
from tasks.speech.activity import voice_activity, widened

ABOUT = 0.3  # seconds about a timed cue in which its words are looked for, as far as its neighbours leave room
LONGEST = 120.0  # seconds of words without times: their alignment takes memory by the square of the sound
LEAST = 0.1  # seconds of voice in which words can be found


def phones_of(video: Path, transcript: str, locale: str) -> tuple[list[Phone], list[str]]:
    """Phones of a video's sound, in seconds after its first picture, and what is to be said of them.

    transcript: what is said, or the name of a file that ends as a script does; of a timed one each cue is found for itself, and cues from
    off screen are left out; of "" there are none. Raises InputError, ManifestError, MediaError.
    """
    if not transcript:
        return [], []
    if not locale:
        raise InputError("the language of the transcript is not known", code="input.no_locale", next_step="Give it with --locale, as en-GB.")
    wave = sound_of(video)
    cues = _placed(open_cues(Path(transcript)).cues if transcript.lower().endswith(tuple(SUFFIXES)) else from_text(transcript), len(wave) / SAMPLE_RATE)
    activity = widened(wave, voice_activity(wave))
    phones, notes = list[Phone](), list[str]()
    for number, cue in enumerate(cues):
        low = max(0.0, cue.start - ABOUT, min(cue.start, cues[number - 1].end) if number else 0.0)
        high = min(cue.end + ABOUT, max(cue.end, cues[number + 1].start) if number + 1 < len(cues) else np.inf, len(wave) / SAMPLE_RATE)
        heard = activity[int(low * ROW_RATE) : int(max(low, high) * ROW_RATE)]
        if cue.off:
            continue
        if heard.sum() < LEAST * ROW_RATE:
            notes.append(f"nobody is heard at {cue.start:.2f} s, where the transcript says {cue.text[:40]!r}")
            continue
        found, told = phones_said(np.asarray(wave[int(low * SAMPLE_RATE) : int(high * SAMPLE_RATE)]), heard, cue.text, locale)
        phones += [Phone(phone.symbol, phone.start + low, phone.end + low) for phone in found]
        notes += told
    return phones, list(dict.fromkeys(notes))


def _placed(cues: tuple[Cue, ...], seconds: float) -> tuple[Cue, ...]:
    """Cues with times: those of a timed transcript, or one of all words. Raises InputError where the words are too long for that."""
    if any(cue.end > 0 for cue in cues):
        return cues
    if seconds > LONGEST:
        raise InputError(
            f"a transcript without times serves up to {LONGEST:.0f} s, and the video lasts {seconds:.0f}", code="input.untimed_transcript",
            next_step="Give it as a timed script, such as WebVTT or SRT.",
        )  # fmt: skip
    return (Cue(0.0, seconds, " ".join(cue.text for cue in cues)),)


def told(tree: dict[str, Any]) -> str:
    """A score's closures (of `values.score_tree`) in a sentence, "" where there are none."""
    found = tree.get("closures") or []
    if not found:
        return ""
    open_ = [(sound, at, gap) for sound, at, gap in found if gap > SHUT]
    chance = tree["extra"].get("closed_elsewhere")
    words = f"the lips close at {len(found) - len(open_)} of {len(found)} of p, b and m" + ("" if chance is None else f" (moved elsewhere: at {chance:.0%})")
    few = ", ".join(f"{sound.lower()} at {at:.2f} s ({gap:.2f} mouth widths)" for sound, at, gap in open_[:8])
    return words + (f"; apart at {few}" if few else "") + (f" and {len(open_) - 8} more" if len(open_) > 8 else "")
