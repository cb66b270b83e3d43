"""Consent for what benchmarks and tests render: the portraits, videos and recordings of manifests, and files, under a record of nobody."""

import hashlib
from pathlib import Path

from db import consents
from db.session import open_database
from infra.errors import DubwrightError
from infra.settings import Settings
from infra.store import sha256_of, within
from tasks.manifest import load_manifest

MANIFESTS = (".json", ".yaml", ".csv")


def allow(settings: Settings, *places: Path) -> None:
    """Enter a record that is bound to files, and to what manifests name; what is not there is left out."""
    found = {path for place in places for path in (_named(place) if place.suffix in MANIFESTS else [place]) if path.is_file()}
    if not found:
        return
    subjects = tuple(sorted(("portrait", sha256_of(path), path.name) for path in found))
    number = f"c-{hashlib.sha256(repr(subjects).encode()).hexdigest()[:16]}"
    database = open_database(settings)
    try:
        consents.add(database, consents.Record("Nobody", "synthetic", number, subjects=subjects), "benchmarks")
    finally:
        database.close()


def _named(place: Path) -> list[Path]:
    """The inputs of a manifest that show or are somebody; of one that cannot be read none."""
    try:
        manifest = load_manifest(place)
    except DubwrightError:
        return []
    named = [getattr(row, role) for row in manifest.jobs for role in ("portrait", "video", "audio") if getattr(row, role)]
    return [Path(within(manifest.base, name)) for name in set(named) if not name.startswith("s3://")]
