"""Voices: who says a text. One interface for every back end, and the registry that tells them apart by how a voice's name begins.

A voice is named in a manifest as `espeak:es+f3`, `piper:voices/es.onnx` or `openai:tts-1/nova`, with options behind a question mark. Recordings
are no voice: they are said already (`tasks.speech.from_recording`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

import numpy as np

from infra.errors import InputError
from infra.store import within
from models.types import Phone
from tasks.speech.lexicon import Piece

if TYPE_CHECKING:
    from infra.settings import Settings

VOICE, CONFIG = "voice", "voice_config"  # roles of a job's inputs, each followed by a dot and a number


@dataclass(frozen=True)
class Said:
    """A text said: sound float32 [samples] at `rate`, its phones in seconds, IPA symbols that the phone table does not know, what is to be told."""

    sound: np.ndarray
    rate: int
    phones: tuple[Phone, ...]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Voice(Protocol):
    """Says texts. rate: samples a second of what it says. reads: kinds of numbers (tasks/speech/reading.py) that it reads well by itself."""

    rate: int
    reads: frozenset[str]

    def say(self, pieces: Sequence[Piece]) -> Said:
        """Say a text in pieces. Raises EngineError, and VoiceUnavailable where a service does not answer."""
        ...


@dataclass(frozen=True)
class Named:
    """A voice by its name: back end, what that calls it, options."""

    backend: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        """The name without options: what lineage and consent know the voice by."""
        return f"{self.backend}:{self.name}"


@dataclass(frozen=True)
class Room:
    """Where voices find what they need: files by the place that names them, and settings (None: no service, and nothing is kept).

    job: the files are a job's inputs; a voice that is not among them has nobody's consent, and is not opened.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    settings: "Settings | None" = None
    job: bool = False


class Backend(Protocol):
    """A kind of voices. options: what may stand behind the question mark."""

    options: frozenset[str]

    def inputs(self, voice: Named) -> dict[str, str]:
        """Places of the files that a job with this voice stands on, by role."""
        ...

    def open(self, voice: Named, locale: str, room: Room) -> Voice:
        """The voice, ready. Raises InputError, SetupError."""
        ...


class Embedded:
    """espeak-ng's voices: part of the installation, and nobody's."""

    options: frozenset[str] = frozenset()

    def inputs(self, voice: Named) -> dict[str, str]:
        """None."""
        return {}

    def open(self, voice: Named, locale: str, room: Room) -> Voice:
        """The voice that is named, or the locale's own where the name is empty."""
        from tasks.speech import espeak
        from tasks.speech.voices.embedded import EspeakVoice

        return EspeakVoice(espeak.voice_for(locale, voice.plain if voice.name else ""))


class Piper:
    """Piper's voice files: an ONNX network and the JSON beside it."""

    options = frozenset({"speaker", "pace", "noise", "rhythm", "sha256"})

    def inputs(self, voice: Named) -> dict[str, str]:
        """The network and its description."""
        return {VOICE: voice.name, CONFIG: f"{voice.name}.json"}

    def open(self, voice: Named, locale: str, room: Room) -> Voice:
        """The voice of two files."""
        from tasks.speech.voices.kept import kept
        from tasks.speech.voices.piper import PiperVoice

        model, config = (room.files.get(place) for place in (voice.name, f"{voice.name}.json"))
        if model is None or config is None:
            raise _missing(voice)
        return kept(PiperVoice(model, config, voice.options, voice.name), voice, locale, room, model, config)


class Endpoint:
    """Voices of a service that speaks OpenAI's protocol, at the address of the settings."""

    options = frozenset({"speed"})

    def inputs(self, voice: Named) -> dict[str, str]:
        """The card that says which service, model and voice it is."""
        return {VOICE: voice.plain}

    def open(self, voice: Named, locale: str, room: Room) -> Voice:
        """The voice of a service. Raises SetupError where no service is set, or not the one that the job was planned with."""
        from tasks.speech.voices.endpoint import EndpointVoice, card_of, read_card
        from tasks.speech.voices.kept import kept

        card = room.files.get(voice.plain)
        if card is None and room.job:
            raise _missing(voice)
        told = read_card(card) if card else card_of(voice, room.settings)
        return kept(EndpointVoice(told, locale, room.settings, voice.options), voice, locale, room, *([card] if card else []))


def _missing(voice: Named) -> InputError:
    return InputError(f"the voice {voice.plain} is not among the job's inputs", code="voice.missing", next_step="Name it in the manifest as voice or in voices, and run that.")


BACKENDS: dict[str, Backend] = {"espeak": Embedded(), "piper": Piper(), "openai": Endpoint()}


def named(voice: str) -> Named:
    """A voice by how a manifest names it; a name without a back end is espeak-ng's, as is the empty one. Raises InputError."""
    head, colon, rest = voice.partition(":")
    if not colon or head not in BACKENDS:
        return Named("espeak", voice)
    name, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    strange = sorted(set(options) - BACKENDS[head].options)
    if not name or strange or (query and not options):
        problem = f"has the unknown option {strange[0][:40]!r}" if strange else "names none" if not name else "has no option behind its question mark"
        known = ", ".join(sorted(BACKENDS[head].options)) or "none"
        raise InputError(f"the voice {voice[:80]!r} {problem}; options of {head} are: {known}", code="voice.name", next_step="Write espeak:es+f3, piper:voices/es.onnx?speaker=2 or openai:tts-1/nova.")
    return Named(head, name, options)


def inputs_of(voices: Iterable[str]) -> dict[str, str]:
    """Places of the files that a job's voices stand on, by role: `voice.1`, `voice_config.1` and so on, each voice once."""
    found: dict[str, str] = {}
    known = {(one.backend, one.name): one for one in map(named, voices)}
    several = [told for one in known.values() if (told := BACKENDS[one.backend].inputs(one))]
    for number, told in enumerate(several, 1):
        found |= {f"{role}.{number}": place for role, place in told.items()}
    return found


def placed(voice: str, base: str) -> str:
    """A voice with the full name of its file, as somebody at `base` names it."""
    found = named(voice)
    if found.backend != "piper":
        return voice
    return f"piper:{within(base, found.name)}{voice[len(found.plain) :]}"


def open_voice(voice: str, locale: str, room: Room | None = None) -> Voice:
    """A voice by how a manifest names it. Raises InputError, SetupError."""
    found = named(voice)
    return BACKENDS[found.backend].open(found, locale, room or Room())


def espeak_of(locale: str, voice: str) -> str:
    """The voice of espeak-ng by whose sounds a voice's words are written: its own, or the locale's. Raises InputError."""
    from tasks.speech.espeak import voice_for

    return voice_for(locale, voice if named(voice).backend == "espeak" else "")
