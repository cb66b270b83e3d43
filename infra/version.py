"""Which code made a thing: a hash of the source tree, and the commit where the tree is a checkout."""

import functools
import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kernels", "models", "tasks", "flows", "db", "infra")
VERSION = "0.1.0"


@functools.cache
def code_version() -> str:
    """Version, then the first 12 digits of the hash of every source file of the product."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{VERSION}+{digest.hexdigest()[:12]}"


@functools.cache
def source_hash(*packages: str) -> str:
    """Hash of some packages' or files' source, for the keys of stages that depend on them alone."""
    digest = hashlib.sha256()
    for name in packages:
        place = ROOT / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def commit() -> str:
    """The checkout's commit, or an empty string."""
    try:
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=5)  # noqa: S607 (fixed arguments; git from the user's path)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
