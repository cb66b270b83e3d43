"""Artifacts: immutable bytes named by their SHA-256, in an object store, with local copies."""

from dataclasses import dataclass
from pathlib import Path

from infra.errors import AlreadyThere, StoreError
from infra.settings import Settings
from infra.store import Store, beside, open_store, sha256_of


@dataclass(frozen=True)
class Artifact:
    """One artifact: hash, size in bytes, kind (its role and suffix, as `render.mp4`), key in the store."""

    sha256: str
    size: int
    kind: str
    key: str


class Artifacts:
    """Artifacts of one store, and their local copies in a cache folder."""

    def __init__(self, store: Store, cache: Path) -> None:
        self.store, self.cache = store, cache

    def put(self, source: bytes | Path, kind: str) -> Artifact:
        """Store bytes under their hash; what is there already is left as it is."""
        digest = sha256_of(source)
        key = f"sha256/{digest[:2]}/{digest}"
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        found = self.store.info(key)
        if found is None or found.size != size:
            try:
                self.store.put(key, source, if_absent=found is None)
            except AlreadyThere:
                pass
        return Artifact(digest, size, kind, key)

    def path(self, digest: str) -> Path:
        """A local copy of an artifact, its hash checked when it is fetched."""
        place = self.cache / digest[:2] / digest
        if not place.exists():
            fresh = beside(place)
            self.fetch(digest, fresh)
            fresh.replace(place)
        return place

    def fetch(self, digest: str, path: Path) -> None:
        """An artifact into a file of the caller's own. Raises ObjectMissing and StoreError, for other bytes than its own too, and leaves nothing then."""
        self.store.download(f"sha256/{digest[:2]}/{digest}", path)
        found = sha256_of(path)
        if found != digest:
            path.unlink()
            raise StoreError(f"artifact {digest} holds other bytes: {found}", code="store.corrupt", next_step="Restore the object, or delete it and run again.")


def open_artifacts(settings: Settings) -> Artifacts:
    """The artifacts that the settings name."""
    return Artifacts(open_store(settings.store_url or str(settings.home / "artifacts"), settings), settings.cache)
