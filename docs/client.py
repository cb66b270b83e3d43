"""A small client of the API: submit a manifest, wait until its batch has ended, fetch the videos. `python client.py ADDRESS manifest.yaml FOLDER`."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx


class Dubwright:
    """The API at an address, as `https://desk.example.com/api`."""

    def __init__(self, address: str, token: str) -> None:
        self.http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=300)

    def ask(self, method: str, path: str, **rest: Any) -> Any:
        """Send a request, again where the server says when to come back. Raises RuntimeError with what it says is wrong."""
        while True:
            answer = self.http.request(method, path, **rest)
            if answer.status_code in (409, 429, 503) and "Retry-After" in answer.headers:
                time.sleep(float(answer.headers["Retry-After"]))
                continue
            if answer.is_error:
                told = answer.json()
                raise RuntimeError(f"{told['code']}: {told['detail']}. {told['next_step']}")
            return answer.json()

    def submit(self, manifest: bytes) -> dict[str, Any]:
        """Enter a manifest in YAML. Its hash is the key, so that a repeat after a lost answer is no second request."""
        key = hashlib.sha256(manifest).hexdigest()
        return dict(self.ask("POST", "/v1/batches", content=manifest, headers={"Content-Type": "application/yaml", "Idempotency-Key": f'"{key}"'}))

    def wait(self, batch: int, seconds: float = 10.0) -> dict[str, Any]:
        """Until a batch has ended. A webhook for `batch.ended` saves the asking."""
        while not (found := self.ask("GET", f"/v1/batches/{batch}"))["ended"]:
            time.sleep(seconds)
        return dict(found)

    def results(self, batch: int) -> Iterator[dict[str, Any]]:
        """All deliveries of a batch."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.ask("GET", f"/v1/batches/{batch}/deliveries", params={"cursor": cursor})
            yield from page["items"]
            cursor = page["next"]

    def fetch(self, result: dict[str, Any], folder: Path) -> Path:
        """Download a video by its signed link and check its hash."""
        path, digest = folder / Path(result["url"]).name, hashlib.sha256()
        with httpx.stream("GET", result["links"]["video"]) as answer, path.open("wb") as out:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                digest.update(piece)
                out.write(piece)
        if digest.hexdigest() != result["sha256"]:
            raise RuntimeError(f"{path} holds other bytes than were delivered")
        return path


if __name__ == "__main__":
    client = Dubwright(sys.argv[1], os.environ["DUBWRIGHT_TOKEN"])
    entered = client.submit(Path(sys.argv[2]).read_bytes())
    sys.stderr.write(f"batch {entered['batch']}: {entered['next_step']}\n")
    sys.stderr.write(f"ended: {client.wait(entered['batch'])['jobs']}\n")
    for row in client.results(entered["batch"]):
        sys.stdout.write(f"{client.fetch(row, Path(sys.argv[3]))}\n")
