"""Short-lived signed links to objects in buckets, for those who hold no keys to them. What lies in a folder has none."""

from datetime import UTC, datetime, timedelta
from typing import Any

from infra.artifacts import open_artifacts
from infra.errors import StoreError
from infra.settings import Settings
from infra.store import S3Store, Store, open_store


class Links:
    """Links of one answer; buckets are opened once."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self._stores = settings, dict[str, Store]()

    def of(self, url: str) -> str | None:
        """A link to an object's URL; None where it has none, or the store does not sign."""
        if not url.startswith("s3://"):
            return None
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            store = self._stores.setdefault(bucket, open_store(f"s3://{bucket}", self.settings))
            return store.presign(key, self.settings.api_link_seconds)
        except StoreError:
            return None

    def to_artifact(self, sha256: str) -> str | None:
        """A link to an artifact, where they lie in a bucket."""
        store = self._stores.setdefault("artifacts", open_artifacts(self.settings).store)
        try:
            return store.presign(f"sha256/{sha256[:2]}/{sha256}", self.settings.api_link_seconds) if isinstance(store, S3Store) else None
        except StoreError:
            return None

    def delivery(self, row: dict[str, Any]) -> dict[str, Any]:
        """A delivery with its links."""
        found = {role: link for role, url in {"video": row["url"], **row["files"]}.items() if (link := self.of(url))}
        until = datetime.now(UTC) + timedelta(seconds=self.settings.api_link_seconds) if found else None
        return {**row, "links": found, "links_until": until}
