"""Voices of a service that speaks OpenAI's protocol (`POST {address}/audio/speech`), hosted or one's own.

The address and the key are settings of whoever runs the workers, never of a manifest: who may send one must not choose whom a worker calls.
What names the voice in lineage and consent is its card: address, model and voice as JSON. The key is in no row, log or message.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from infra.errors import EngineError, InputError, MediaError, SetupError, VoiceUnavailable
from infra.media import read_audio
from infra.outbound import Allowed, Answer, OutboundError, parts, post
from tasks.speech import espeak
from tasks.speech.lexicon import Piece
from tasks.speech.voices import Named, Said
from tasks.speech.voices.timed import timed

if TYPE_CHECKING:
    from infra.settings import Settings

RATE = 24_000  # that answers are brought to: what these services speak at
TRIES, PAUSE, LONGEST_PAUSE = 4, 1.0, 60.0  # calls of one text; seconds before the second, doubled each time; the most that a service may ask for
LARGEST_ANSWER = 64 * 2**20
LONGEST_TEXT = 4096  # characters, OpenAI's own limit
LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # answers after which the same call may succeed
SPEEDS = (0.25, 4.0)
NEED = "Set DUBWRIGHT_SPEECH_URL, as https://api.openai.com/v1, and DUBWRIGHT_SPEECH_KEY."


@dataclass(frozen=True)
class Card:
    """A service's voice: whose it is, and under which names."""

    address: str
    model: str
    voice: str

    def data(self) -> bytes:
        """The card as it is kept: the same bytes for the same voice."""
        told = {"format": "dubwright.voice/1", "backend": "openai", "address": self.address, "model": self.model, "voice": self.voice}
        return (json.dumps(told, sort_keys=True) + "\n").encode()


def address_of(settings: "Settings | None") -> str:
    """The service's address by the settings. Raises SetupError."""
    address = settings.speech_url.rstrip("/") if settings else ""
    if not address:
        raise SetupError("no speech service is set", code="voice.endpoint", next_step=NEED)
    try:
        found, _, _ = parts(address)
    except OutboundError as error:
        raise SetupError(f"the speech service's address cannot be used: {error.message}", code="voice.endpoint", next_step=NEED) from error
    if found.query:
        raise SetupError("the speech service's address has a query", code="voice.endpoint", next_step=NEED)
    return address


def card_of(voice: Named, settings: "Settings | None") -> Card:
    """The card of a voice as a manifest names it (`MODEL/VOICE`). Raises InputError, SetupError."""
    model, slash, name = voice.name.rpartition("/")
    if not slash or not model or not name or len(voice.name) > 200 or not voice.name.isprintable():
        raise InputError(f"{voice.plain[:80]!r} does not name a model and a voice", code="voice.name", next_step="Write openai:MODEL/VOICE, as openai:tts-1/nova.")
    return Card(address_of(settings), model, name)


def read_card(path: Path) -> Card:
    """The card in a file. Raises InputError."""
    try:
        told = json.loads(path.read_bytes()[:65_536])
        return Card(*(str(told[name]) for name in ("address", "model", "voice")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is no voice's card", code="voice.card", next_step="Run the manifest again; the card is written anew.") from error


class EndpointVoice:
    """A service's voice. options: speed. tries, pause: as TRIES and PAUSE. calls: how often the service was called."""

    rate = RATE
    reads: frozenset[str] = frozenset()  # how a service reads numbers is not known, and the alignment has to

    def __init__(self, card: Card, locale: str, settings: "Settings | None", options: Mapping[str, str], *, tries: int = TRIES, pause: float = PAUSE) -> None:
        if address_of(settings) != card.address:
            raise SetupError(f"the job was planned with the speech service {card.address}, and this worker's is another", code="voice.endpoint", next_step="Set the same DUBWRIGHT_SPEECH_URL on every worker, or plan the manifest anew.")
        assert settings is not None
        self.card, self.tries, self.pause, self.calls = card, tries, pause, 0
        self._key, self._seconds = settings.speech_key, settings.speech_seconds
        self._reader = espeak.voice_for(locale)
        self._speed = _speed(options.get("speed", ""))

    def say(self, pieces: Sequence[Piece]) -> Said:
        """Say it; the phones are timed by alignment. Raises EngineError, and VoiceUnavailable after several tries."""
        text = " ".join("".join(piece.text for piece in pieces).split())
        if len(text) > LONGEST_TEXT:
            raise InputError(f"a cue of {len(text)} characters is more than a speech service takes ({LONGEST_TEXT})", code="voice.long", next_step="Split it into sentences or cues.")
        given = [piece.text for piece in pieces if piece.ipa]
        notes = [f"a speech service takes no IPA: {', '.join(given)} read by the letters"] if given else []
        sound = self._heard(self._asked(text))
        return timed(sound, RATE, pieces, self._reader, notes)

    def _asked(self, text: str) -> Answer:
        asked = {"model": self.card.model, "voice": self.card.voice, "input": text, "response_format": "wav", **({"speed": self._speed} if self._speed else {})}
        key = self._key.get_secret_value()
        headers = {"Content-Type": "application/json", "Accept": "audio/wav", "User-Agent": "dubwright", **({"Authorization": f"Bearer {key}"} if key else {})}
        allowed = Allowed.read(urlsplit(self.card.address).hostname or "")  # the operator's own choice
        pause, why = self.pause, ""
        for attempt in range(1, self.tries + 1):
            asks = 0.0
            self.calls += 1
            try:
                answer = post(f"{self.card.address}/audio/speech", json.dumps(asked).encode(), headers, allowed, self._seconds, LARGEST_ANSWER)
                if answer.status == 200:
                    return answer
                why, asks = f"it answered {answer.status}{_said(answer, key)}", answer.retry_after
                if answer.status not in LATER:
                    raise self._refused(answer.status, why)
            except OutboundError as error:
                if error.code in ("outbound.refused", "outbound.large"):
                    raise EngineError(f"the speech service cannot be used: {error.message}", code="voice.endpoint", next_step=NEED) from error
                why = error.message
            if attempt < self.tries:
                time.sleep(min(LONGEST_PAUSE, max(pause, asks)))
                pause *= 2
        raise VoiceUnavailable(f"the speech service {self.card.address} did not speak after {self.tries} tries: {why}")

    def _refused(self, status: int, why: str) -> EngineError | SetupError:
        if status in (401, 403):
            return SetupError(f"the speech service {self.card.address} does not accept the key: {why}", code="voice.denied", next_step="Correct DUBWRIGHT_SPEECH_KEY.")
        step = f"Check that it has the model {self.card.model!r} and the voice {self.card.voice!r}: `dubwright voices test`."
        return EngineError(f"the speech service {self.card.address} refuses: {why}", code="voice.refused", next_step=step)

    def _heard(self, answer: Answer) -> np.ndarray:
        """The sound of an answer float32 [samples] at RATE. Raises EngineError."""
        kind = answer.kind.partition(";")[0].strip().lower()
        if kind and not (kind.startswith("audio/") or kind == "application/octet-stream"):
            raise EngineError(f"the speech service {self.card.address} answered with {kind[:60]!r} and no sound", code="voice.answer", next_step="Check the address: it is what stands before /audio/speech.")
        with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
            path = Path(folder) / "answer"
            path.write_bytes(answer.body)
            try:
                sound = np.asarray(read_audio(path, RATE))
            except MediaError as error:
                raise EngineError(f"what the speech service {self.card.address} answered cannot be read as sound ({len(answer.body)} bytes)", code="voice.answer", next_step="Check that it can answer in WAV.") from error
        if len(sound) < RATE // 50 or not np.abs(sound).max(initial=0):
            raise EngineError(f"the speech service {self.card.address} answered with silence", code="voice.answer", next_step="Check the text and the voice.")
        return sound


def _said(answer: Answer, key: str) -> str:
    """What an answer says of its refusal, in a line, as far as it can be shown."""
    try:
        told = json.loads(answer.body)
        words = told["error"]["message"] if isinstance(told.get("error"), dict) else told.get("error") or told.get("detail") or ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    text = " ".join(str(words).split())[:200]
    text = text.replace(key, "...") if key else text
    return f" ({text})" if text else ""


def _speed(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SPEEDS[0] <= value <= SPEEDS[1]:
        raise InputError(f"the speed {text[:20]!r} of a voice is none", code="voice.name", next_step=f"Give a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}.")
    return value
