"""Mouth closures of a video that lies there as a file: its phones by its transcript, and how the score is told."""

from pathlib import Path
from typing import Any

from infra.errors import InputError
from models.quality.closures import SHUT, on_screen
from models.types import SAMPLE_RATE, Phone
from tasks.score import sound_of
from tasks.scripts import SUFFIXES, from_text, open_cues
from tasks.speech.activity import voice_activity, widened
from tasks.speech.recorded import phones_of_cues, too_long


def phones_of(video: Path, transcript: str, locale: str) -> tuple[list[Phone], list[str]]:
    """Phones of a video's sound, in seconds after its first picture, and what is to be said of them.

    transcript: what is said, or the name of a file that ends as a script does, of which cues from off screen are left out; of "" there are
    none. Raises InputError, ManifestError, MediaError.
    """
    if not transcript:
        return [], []
    if not locale:
        raise InputError("the language of the transcript is not known", code="input.no_locale", next_step="Give it with --locale, as en-GB.")
    wave = sound_of(video)
    cues = open_cues(Path(transcript)).cues if transcript.lower().endswith(tuple(SUFFIXES)) else from_text(transcript)
    too_long(len(wave) / SAMPLE_RATE, cues)
    phones, notes = phones_of_cues(wave, widened(wave, voice_activity(wave)), cues, locale)
    return on_screen(phones, cues), notes


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
