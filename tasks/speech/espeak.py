"""espeak-ng: text to sound, with the phones that it speaks and when. Each utterance runs in a process of its own (voice.py)."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import EngineError, InputError, SetupError
from models.avct.phonemes import from_ipa
from models.types import Phone

PROGRAM = Path(__file__).with_name("voice.py")
LONGEST_SECONDS = 120  # that one utterance may take to make
SWITCH = re.compile(r"\([a-z]{2,}[\w-]*\)")  # where another language's voice goes on, among the sounds: (en)
VOICES = {
    "en": "en-us", "en-us": "en-us", "en-gb": "en-gb", "en-au": "en-gb", "es": "es", "es-es": "es", "es-mx": "es-419", "es-419": "es-419", "es-us": "es-419",
    "es-ar": "es-419", "fr": "fr", "fr-fr": "fr", "fr-be": "fr-be", "fr-ch": "fr-ch", "fr-ca": "fr", "pt": "pt", "pt-pt": "pt", "pt-br": "pt-br", "zh": "cmn",
    "zh-cn": "cmn", "zh-tw": "cmn", "zh-hk": "yue", "nb": "nb", "no": "nb", "nb-no": "nb", "fil": "tl", "he": "he", "iw": "he",
}  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """Sound float32 [samples] at `rate`, and its phones in seconds; `unknown` holds IPA symbols the phone table does not know, `ipa` what
    the voice said, a symbol a sound.
    """

    sound: np.ndarray
    rate: int
    phones: tuple[Phone, ...]
    unknown: tuple[str, ...]
    ipa: tuple[str, ...] = ()


def _ask(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        done = subprocess.run(  # an argument vector of our own; the text goes in by standard input
            [sys.executable, str(PROGRAM)], input=json.dumps(request).encode(), capture_output=True, timeout=LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"espeak-ng did not finish within {LONGEST_SECONDS} s", code="engine.slow", next_step="Split the text into shorter cues.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said and ("Error" in said[-1] and "espeak" in said[-1]):
            raise SetupError(f"espeak-ng does not load ({said[-1]})", code="setup.espeak", next_step="pip install espeakng-loader.")
        raise EngineError(f"espeak-ng ended with code {done.returncode} ({said[-1] if said else 'no message'})", code="engine.voice", next_step="Change the cue's text.")
    line, _, pcm = done.stdout.partition(b"\n")
    return json.loads(line), pcm


@functools.cache
def voices() -> dict[str, str]:
    """Language codes that espeak-ng speaks, each with the identifier of its first voice. Raises SetupError."""
    answer, _ = _ask({"voices": True})
    if "voices" not in answer:
        raise SetupError("espeak-ng does not start: its data is missing", code="setup.espeak", next_step="pip install --force-reinstall espeakng-loader.")
    return answer["voices"]


def voice_for(locale: str, voice: str = "") -> str:
    """espeak's voice for a locale such as `es-ES`, or the one that `voice` (`espeak:es+f3`) names. Raises InputError."""
    name = voice.removeprefix("espeak:") if voice else VOICES.get(locale.lower(), "")
    known = voices()
    if not name:
        name = next((n for n in (locale.lower(), locale.split("-")[0].lower()) if n in known), "")
    base = name.split("+")[0]
    if base not in known and base not in VOICES.values():
        near = ", ".join(get_close_matches((voice or locale).lower(), sorted({*known, *VOICES}), 4, 0.4)) or "none"
        raise InputError(f"no voice speaks {voice or locale!r}; near it: {near}", code="input.locale", next_step="Use a locale such as es-ES, or voice: espeak:CODE.")
    return name


def named(voice: str, sounds: Sequence[str]) -> dict[str, str]:
    """The IPA of sounds by espeak's names for them, as a voice says them; '' for names that it does not know. Raises EngineError."""
    answer, _ = _ask({"named": list(sounds), "names": _names(voice)})
    if "ipa" not in answer:
        raise EngineError(f"espeak-ng refuses the voice {voice!r}", code="engine.voice", next_step="Leave `voice` out, or name one of espeak-ng's language codes.")
    return answer["ipa"]


def clauses(texts: Sequence[str], voice: str) -> list[list[tuple[str, str]]]:
    """(IPA with stress and spaces between words, the text it is of) of each clause of each text; no sound is made. Raises EngineError."""
    answer, _ = _ask({"clauses": list(texts), "names": _names(voice)})
    if "clauses" not in answer:
        raise EngineError(f"espeak-ng refuses the voice {voice!r}", code="engine.voice", next_step="Leave `voice` out, or name one of espeak-ng's language codes.")
    return [[(SWITCH.sub("", ipa), read) for ipa, read in told] for told in answer["clauses"]]


def _names(voice: str) -> list[str]:
    """A voice's names, to be tried in order."""
    base, _, variant = voice.partition("+")
    return [voice, voices().get(base, base) + (f"+{variant}" if variant else "")]


def speak(text: str, voice: str, words_a_minute: int = 165, sounds: bool = False) -> Spoken:
    """Speak text with one of espeak's voices; `sounds`: espeak's names of sounds stand in [[ ]] (tasks/speech/sounds.py).

    Raises EngineError when the voice is refused or nothing comes out.
    """
    answer, pcm = _ask({"text": text, "names": _names(voice), "pace": words_a_minute, "sounds": sounds})
    if answer.get("error") == "voice":
        raise EngineError(f"espeak-ng refuses the voice {voice!r}", code="engine.voice", next_step="Leave `voice` out, or name one of espeak-ng's language codes.")
    if "error" in answer:
        raise EngineError(f"espeak-ng says nothing to {text[:60]!r}", code="engine.silent", next_step="Check that the text is in the job's language.")
    sound = np.frombuffer(pcm[: answer["bytes"]], "<i2").astype(np.float32) / 32768
    marks = [(start, symbol) for start, symbol in answer["marks"] if not SWITCH.fullmatch(symbol)]
    phones, unknown = _phones(marks, len(sound) / answer["rate"])
    return Spoken(sound, answer["rate"], phones, unknown, tuple(symbol for _, symbol in marks if symbol))


def _phones(marks: list[tuple[float, str]], seconds: float) -> tuple[tuple[Phone, ...], tuple[str, ...]]:
    phones: list[Phone] = []
    unknown: list[str] = []
    for (start, symbol), end in zip(marks, [m[0] for m in marks[1:]] + [seconds], strict=True):
        mapped, strange = from_ipa(symbol)
        unknown += strange
        step = (end - start) / max(1, len(mapped))
        phones += [Phone(p, start + i * step, start + (i + 1) * step) for i, p in enumerate(mapped) if p != "SIL" and step > 0]
    return tuple(phones), tuple(dict.fromkeys(unknown))
