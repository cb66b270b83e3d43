"""What voices said, kept on this machine by content: a changed cue of forty is asked for alone, and a job that goes on pays nothing twice.

Under the cache's `speech`, a folder for each voice named by the hash of its file, so that an erasure finds it; the oldest go first.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from infra.media import whole_samples
from infra.store import beside, sha256_of
from infra.version import source_hash
from models.types import Phone
from tasks.speech.lexicon import Piece
from tasks.speech.voices import Named, Room, Said, Voice

MOST_BYTES = 2**31  # of a voice's folder
CODE = ("tasks/speech/voices", "tasks/speech/align.py", "tasks/speech/espeak.py", "tasks/speech/voice.py", "tasks/speech/sounds.py", "models/avct/phonemes.py")


def kept(voice: Voice, name: Named, locale: str, room: Room, *files: Path) -> Voice:
    """The voice, with what it says kept where the room has settings. files: what it is, the one that consent is bound to first."""
    if room.settings is None or not files:
        return voice
    hashes = [sha256_of(path) for path in files]
    asks: list[object] = [source_hash(*CODE), hashes, dict(sorted(name.options.items())), locale]
    return Remembering(voice, room.settings.cache / "speech" / hashes[0], asks)


class Remembering:
    """A voice that says nothing twice. made: how often it had to speak."""

    def __init__(self, voice: Voice, folder: Path, asks: list[object]) -> None:
        self.voice, self.folder, self.asks, self.made = voice, folder, asks, 0
        self.rate, self.reads = voice.rate, voice.reads

    def say(self, pieces: Sequence[Piece]) -> Said:
        """What was said of this text before, or what the voice says now."""
        key = hashlib.sha256(json.dumps([self.asks, [[piece.text, piece.ipa] for piece in pieces]], sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{key}.npz"
        found = _read(path)
        if found is None:
            self.made += 1
            _write(path, self.voice.say(pieces))
            self._trim()
            found = _read(path)
        assert found is not None
        return found

    def _trim(self) -> None:
        there = sorted((path.stat() for path in self.folder.glob("*.npz")), key=lambda facts: facts.st_mtime)
        if sum(facts.st_size for facts in there) > MOST_BYTES:
            old = {facts.st_ino for facts in there[: len(there) // 2]}
            for path in self.folder.glob("*.npz"):
                if path.stat().st_ino in old:
                    path.unlink(missing_ok=True)


def _write(path: Path, said: Said) -> None:
    told = {"rate": said.rate, "phones": [asdict(phone) for phone in said.phones], "unknown": said.unknown, "notes": said.notes}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = beside(path)
    try:
        with fresh.open("wb") as out:
            np.savez(out, told=np.frombuffer(json.dumps(told).encode(), np.uint8), sound=whole_samples(said.sound))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read(path: Path) -> Said | None:
    """What was kept; None where there is nothing, or nothing whole."""
    try:
        with np.load(path, allow_pickle=False) as held:
            told, sound = json.loads(held["told"].tobytes()), held["sound"].astype(np.float32) / 32768
        with suppress(OSError):
            os.utime(path)
        return Said(sound, told["rate"], tuple(Phone(**phone) for phone in told["phones"]), tuple(told["unknown"]), tuple(told["notes"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):  # cut off, or of another making
        path.unlink(missing_ok=True)
        return None
