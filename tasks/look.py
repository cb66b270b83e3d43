"""Inputs of a manifest's jobs: which files they name, by role, and what each says of itself. Every distinct one is fetched, hashed and looked at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.consents import unnumbered
from infra.errors import DubwrightError, InputError, classify
from infra.media import probe
from infra.settings import Settings
from models.types import Cue
from tasks.deliverables import asked as deliverables
from tasks.ingest import ROLES, Input, bring
from tasks.manifest import JobRow, Manifest
from tasks.rows import Face, Timecode
from tasks.scripts import SUFFIXES, Reading, open_cues
from tasks.speech.lexicon import read_lexicon
from tasks.speech.voices import CONFIG, VOICE, inputs_of

CHARACTERS_A_SECOND = 13.0
THREADS = 4
WORDS = tuple(SUFFIXES)  # a transcript of these suffixes is a file
SCRIPTS = ("script", "transcript")  # roles that are read as scripts


@dataclass(frozen=True)
class Looked:
    """What an input says of itself: seconds of speech, as far as it says, and the cues of a script."""

    seconds: float = 0.0
    cues: tuple[Cue, ...] = ()


class Inputs:
    """The distinct inputs of a manifest: fetched, and looked at by role. An error is kept for every job that names the input."""

    def __init__(self, manifest: Manifest, settings: Settings, tell: Callable[[int, int], None]) -> None:
        self.settings = settings
        self.found: dict[str, Input | DubwrightError] = {}
        self.looked: dict[tuple[str, str, Reading | None], Looked | DubwrightError] = {}
        places = sorted({place for row in manifest.jobs for place in places_of(row).values()})
        asks = sorted({(role, place, reading_for(row, role)) for row in manifest.jobs for role, place in places_of(row).items()}, key=repr)
        self.done, self.total, self.tell = 0, len(places) + len(asks), tell
        with ThreadPoolExecutor(THREADS) as pool:
            self._each(pool.map(lambda place: _tried(lambda: bring(place, manifest.base, settings)), places), places, self.found)
            self._each(pool.map(lambda ask: _tried(lambda: self._look(*ask)), asks), asks, self.looked)

    def _each(self, results: Iterable[Any], names: list[Any], into: dict[Any, Any]) -> None:
        for name, result in zip(names, results, strict=True):
            into[name] = result
            self.done += 1
            self.tell(self.done, self.total)

    def _look(self, role: str, place: str, reading: Reading | None) -> Looked:
        """What the input says of itself; raises what is wrong with it."""
        there = self.found[place]
        if isinstance(there, DubwrightError):
            return Looked()
        return _look_at_script(there.path, reading) if reading is not None else Looked(LOOKS[unnumbered(role)](there.path))


def _tried(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # every kind of failure is the input's, and is told as such
        return classify(error)


def _look_at_portrait(path: Path) -> float:
    from tasks.faces import read_portrait

    read_portrait(path)
    return 0.0


def _look_at_script(path: Path, reading: Reading) -> Looked:
    cues = open_cues(path, reading).cues
    return Looked(max(max(cue.end for cue in cues), sum(len(cue.text) for cue in cues) / CHARACTERS_A_SECOND) + 0.9, cues)


def _look_at_audio(path: Path) -> float:
    facts = probe(path)
    if not facts.audio_streams:
        raise InputError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
    return facts.seconds


def _look_at_video(path: Path) -> float:
    from infra.video import inspect

    return inspect(path).seconds


def _look_at_bed(path: Path) -> float:
    from tasks.sound import layout_of

    layout_of(path)
    return 0.0


def _look_at_nothing(path: Path) -> float:
    return 0.0


def _look_at_config(path: Path) -> float:
    from tasks.speech.voices.piper import read_config

    read_config(path)
    return 0.0


def _look_at_lexicon(path: Path) -> float:
    read_lexicon(path)
    return 0.0


LOOKS: dict[str, Callable[[Path], float]] = {
    "portrait": _look_at_portrait,
    "video": _look_at_video,
    "face": _look_at_portrait,
    "audio": _look_at_audio,
    "lexicon": _look_at_lexicon,
    "bed": _look_at_bed,
    VOICE: _look_at_nothing,
    CONFIG: _look_at_config,
}


def reading_for(row: JobRow, role: str) -> Reading | None:
    """How a job reads its script; None for inputs that are none."""
    if role not in SCRIPTS:
        return None
    timecode = row.timecode or Timecode()
    return Reading(timecode.rate, timecode.start, row.encoding, tuple(row.voices))


def places_of(row: JobRow) -> dict[str, str]:
    """The job's input files by role; a transcript is one when its name ends as scripts do."""
    found = {role: getattr(row, role) for role in ROLES if role != "face" and getattr(row, role)}
    if row.face and row.face.picture:
        found["face"] = row.face.picture
    found |= {role: face.picture for role, (_, face) in pictured(row).items()}
    if not found.get("transcript", "").lower().endswith(WORDS):
        found.pop("transcript", None)
    return found | deliverables.recordings_of(row.deliver) | (inputs_of(voices_of(row)) if not row.audio else {})


def pictured(row: JobRow) -> dict[str, tuple[str, Face]]:
    """Speakers whose face is told by a picture, by the picture's role: `face.1`, `face.2` and so on."""
    told = [(name, face) for name, face in sorted(row.faces.items()) if isinstance(face, Face) and face.picture]
    return {f"face.{number}": one for number, one in enumerate(told, 1)}


def voices_of(row: JobRow) -> tuple[str, ...]:
    """The voices that a job names, each once; '' is the locale's own."""
    return tuple(dict.fromkeys([row.voice, *row.voices.values()]))
