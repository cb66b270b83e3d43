"""espeak-ng through its C library, from a wheel: text to sound, with the phones that it speaks and when.

The library is one per process and keeps its voice between calls, so every call takes a lock and sets the voice anew.
"""

import ctypes
import functools
import threading
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from infra.errors import EngineError, InputError, SetupError
from models.avct.phonemes import from_ipa
from models.types import Phone

RETRIEVAL, PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 1, 0x0001, 0x0002, 0x8000
WORD, END, PHONEME = 1, 5, 7
UTF8, END_PAUSE = 1, 0x1000
RATE_PARAMETER = 1
VOICES = {
    "en": "en-us", "en-us": "en-us", "en-gb": "en-gb", "en-au": "en-gb", "es": "es", "es-es": "es", "es-mx": "es-419", "es-419": "es-419", "es-us": "es-419",
    "es-ar": "es-419", "fr": "fr", "fr-fr": "fr", "fr-be": "fr-be", "fr-ch": "fr-ch", "fr-ca": "fr", "pt": "pt", "pt-pt": "pt", "pt-br": "pt-br", "zh": "cmn",
    "zh-cn": "cmn", "zh-tw": "cmn", "zh-hk": "yue", "nb": "nb", "no": "nb", "nb-no": "nb", "fil": "tl", "he": "he", "iw": "he",
}  # fmt: skip
LOCK = threading.Lock()


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("rest", ctypes.c_char * 16),
    ]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Spoken:
    """Sound float32 [samples] at `rate`, and its phones in seconds; `unknown` holds IPA symbols the phone table does not know."""

    sound: np.ndarray
    rate: int
    phones: tuple[Phone, ...]
    unknown: tuple[str, ...]


@functools.cache
def _library() -> tuple[Any, int]:
    try:
        import espeakng_loader

        library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
    except (ImportError, OSError) as error:
        raise SetupError(f"espeak-ng's library does not load ({error})", code="setup.espeak", next_step="pip install espeakng-loader.") from error
    rate = library.espeak_Initialize(RETRIEVAL, 0, data, PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT)
    if rate <= 0:
        raise SetupError("espeak-ng does not start: its data is missing", code="setup.espeak", next_step="pip install --force-reinstall espeakng-loader.")
    return library, rate


@functools.cache
def voices() -> dict[str, str]:
    """Language codes that espeak-ng speaks, each with the identifier of its first voice."""
    with LOCK:
        library, _ = _library()
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        rows, at = library.espeak_ListVoices(None), 0
        found: dict[str, str] = {}
        while rows[at]:
            found.setdefault(rows[at].contents.languages[1:].decode(), rows[at].contents.identifier.decode())
            at += 1
    return dict(sorted(found.items()))


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


def speak(text: str, voice: str, words_a_minute: int = 165) -> Spoken:
    """Speak text with one of espeak's voices. Raises EngineError when the voice is refused or nothing comes out."""
    base, _, variant = voice.partition("+")
    identifier = voices().get(base, base) + (f"+{variant}" if variant else "")
    with LOCK:
        library, rate = _library()
        if all(library.espeak_SetVoiceByName(name.encode()) != 0 for name in (voice, identifier)):
            raise EngineError(f"espeak-ng refuses the voice {voice!r}", code="engine.voice", next_step="Leave `voice` out, or name one of espeak-ng's language codes.")
        library.espeak_SetParameter(RATE_PARAMETER, words_a_minute, 0)
        parts: list[np.ndarray] = []
        marks: list[tuple[float, str]] = []

        def receive(samples: Any, count: int, events: Any) -> int:
            if count > 0:
                parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            at = 0
            while events[at].type != 0:
                if events[at].type == PHONEME:
                    marks.append((events[at].audio_position / 1000, events[at].id.string.decode("utf-8", "ignore")))
                at += 1
            return 0

        callback = CALLBACK(receive)
        library.espeak_SetSynthCallback(callback)
        data = text.encode() + b"\0"
        code = library.espeak_Synth(data, len(data), 0, 0, 0, UTF8 | END_PAUSE, None, None)
        library.espeak_Synchronize()
    if code != 0 or not parts:
        raise EngineError(f"espeak-ng says nothing to {text[:60]!r}", code="engine.silent", next_step="Check that the text is in the job's language.")
    sound = np.concatenate(parts).astype(np.float32) / 32768
    phones, unknown = _phones(marks, len(sound) / rate)
    return Spoken(sound, rate, phones, unknown)


def _phones(marks: list[tuple[float, str]], seconds: float) -> tuple[tuple[Phone, ...], tuple[str, ...]]:
    phones: list[Phone] = []
    unknown: list[str] = []
    for (start, symbol), end in zip(marks, [m[0] for m in marks[1:]] + [seconds], strict=True):
        mapped, strange = from_ipa(symbol)
        unknown += strange
        step = (end - start) / max(1, len(mapped))
        phones += [Phone(p, start + i * step, start + (i + 1) * step) for i, p in enumerate(mapped) if p != "SIL" and step > 0]
    return tuple(phones), tuple(dict.fromkeys(unknown))
