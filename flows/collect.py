"""Removal of artifacts that nothing needs any more, from the store and from this machine's cache. What may go is db/retention.py's to say."""

import re
from typing import Any

from db import retention
from db.session import Database
from infra.artifacts import Artifacts
from infra.errors import InputError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(age: str) -> float:
    """Seconds of an age as `30d`, `12h` or `2w`. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if not found:
        raise InputError(f"{age[:40]!r} is no age", code="gc.age", next_step="Write a number with s, m, h, d or w, as 30d.")
    return float(found[1]) * UNITS[found[2]]


def collect(database: Database, artifacts: Artifacts, age: float, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove artifacts older than `age` seconds that nothing needs; returns what was or, with `dry_run`, would be removed.

    Safe to repeat and to kill; raises StoreError where the store refuses, after which the same call goes on.
    """
    found = retention.unused(database, age)
    if dry_run:
        return {"dry_run": True, **found}
    marked = retention.mark(database, age)

    def delete(key: str, sha256: str) -> None:
        artifacts.store.delete(key)
        (artifacts.cache / sha256[:2] / sha256).unlink(missing_ok=True)

    return {"dry_run": False, "marked": marked, **retention.remove(database, delete), "kinds": found["kinds"]}
