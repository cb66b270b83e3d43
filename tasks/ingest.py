"""Inputs: found and hashed once at preflight, kept as artifacts at submission, fetched by hash by whoever works on the job.

Sound and video are decoded to their end by the guard (docs/hostile.md) before a stage of the worker's own reads them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import ledger
from db.consents import unnumbered
from infra.artifacts import Artifacts
from infra.guard.door import admit
from infra.settings import Settings, get_settings
from infra.store import beside, fetch, sha256_of
from tasks.stages import Work

MEDIA = ("video", "audio", "bed")  # further recordings (audio2) too
ROLES = ("portrait", "video", "face", "script", "audio", "transcript", "lexicon", "bed")
CARD = "openai:"  # how a place begins that is a service's voice and no file


@dataclass(frozen=True)
class Input:
    """One input file: where it was named, its hash and size, and a local copy."""

    place: str
    sha256: str
    size: int
    path: Path

    @property
    def suffix(self) -> str:
        """The name's suffix, which tells formats apart."""
        return suffix_of(self.place)


def suffix_of(place: str) -> str:
    """The suffix of a place's name; of a service's voice that of its card."""
    return ".json" if place.startswith(CARD) else Path(place).suffix.lower()[:8]


def card(place: str, settings: Settings) -> bytes:
    """The card of a service's voice, as `openai:tts-1/nova`. Raises InputError, SetupError."""
    from tasks.speech.voices import named
    from tasks.speech.voices.endpoint import card_of

    return card_of(named(place), settings).data()


def bring(place: str, base: str, settings: Settings) -> Input:
    """Fetch an input into the cache, named by its hash; of a service's voice its card. Raises StoreError, InputError, SetupError."""
    folder = settings.cache / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = beside(folder / "input")
    try:
        if place.startswith(CARD):
            fresh.write_bytes(card(place, settings))
        else:
            fetch(place, fresh, settings, base)
        digest, size = sha256_of(fresh), fresh.stat().st_size
        path = folder / (digest + suffix_of(place))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return Input(place, digest, size, path)


def warm(artifacts: Artifacts, inputs: dict[str, Any]) -> None:
    """Bring a job's inputs into the cache before it is leased, and have them looked at: `ingest` finds that done. Raises StoreError, MediaError."""
    for role, facts in inputs.items():
        path = artifacts.path(facts["sha256"])
        if unnumbered(role) in MEDIA:
            admit(path, whole=get_settings().guard_whole)


def ingest(work: Work) -> None:
    """Local copies of the job's inputs under their own suffixes; they enter lineage. Raises StoreError, and MediaError for media that the guard refuses."""
    rows = []
    for role, facts in work.spec["inputs"].items():
        local = work.artifacts.path(facts["sha256"])
        named = work.folder / f"{role}{facts['suffix']}"
        if not named.exists():
            named.symlink_to(local.absolute())
        if unnumbered(role) in MEDIA and not work.spec.get("fault"):
            admit(named, whole=work.settings.guard_whole)
        work.inputs[role] = named
        key = f"sha256/{facts['sha256'][:2]}/{facts['sha256']}"
        rows.append(ledger.ArtifactRow(facts["sha256"], f"{role}{facts['suffix']}", facts["size"], key))
    ledger.record_artifacts(work.database, work.lease, rows)
