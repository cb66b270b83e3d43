"""Inputs: found and hashed once at preflight, kept as artifacts at submission, fetched by hash by whoever works on the job.

Sound and video are decoded to their end by the guard (docs/hostile.md) before a stage of the worker's own reads them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import ledger
from infra.artifacts import Artifacts
from infra.guard.door import admit
from infra.settings import Settings, get_settings
from infra.store import beside, fetch, sha256_of
from tasks.stages import Work

MEDIA = ("video", "audio")
ROLES = ("portrait", "video", "face", "script", "audio", "transcript", "lexicon")


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
        return Path(self.place).suffix.lower()[:8]


def bring(place: str, base: str, settings: Settings) -> Input:
    """Fetch an input into the cache, named by its hash. Raises StoreError."""
    folder = settings.cache / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = beside(folder / "input")
    try:
        fetch(place, fresh, settings, base)
        digest, size = sha256_of(fresh), fresh.stat().st_size
        path = folder / (digest + Path(place).suffix.lower()[:8])
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return Input(place, digest, size, path)


def warm(artifacts: Artifacts, inputs: dict[str, Any]) -> None:
    """Bring a job's inputs into the cache before it is leased, and have them looked at: `ingest` finds that done. Raises StoreError, MediaError."""
    for role, facts in inputs.items():
        path = artifacts.path(facts["sha256"])
        if role in MEDIA:
            admit(path, whole=get_settings().guard_whole)


def ingest(work: Work) -> None:
    """Local copies of the job's inputs under their own suffixes; they enter lineage. Raises StoreError, and MediaError for media that the guard refuses."""
    rows = []
    for role, facts in work.spec["inputs"].items():
        local = work.artifacts.path(facts["sha256"])
        named = work.folder / f"{role}{facts['suffix']}"
        if not named.exists():
            named.symlink_to(local.absolute())
        if role in MEDIA and not work.spec.get("fault"):
            admit(named, whole=work.settings.guard_whole)
        work.inputs[role] = named
        key = f"sha256/{facts['sha256'][:2]}/{facts['sha256']}"
        rows.append(ledger.ArtifactRow(facts["sha256"], f"{role}{facts['suffix']}", facts["size"], key))
    ledger.record_artifacts(work.database, work.lease, rows)
