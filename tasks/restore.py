"""Shipped weights that are not what their card says, brought back from the package: from the checkout's commit, or from a wheel that is given.

A pair of weights and card is taken only where the card's hash is the file's; nothing is fetched.
"""

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from infra.errors import WeightsError
from infra.version import ROOT
from models import checkpoints

Read = Callable[[str], bytes | None]


def broken() -> list[tuple[str, str, bool]]:
    """Weights that are wrong: name, what is wrong, and whether they ship with the project; missing ones that every job needs among them."""
    found = [(name, problem) for name, problem in checkpoints.verify() if problem]
    return [(name, problem, not (checkpoints.imported_folder() / name).with_suffix(".safetensors").exists() or _place(name).exists()) for name, problem in found]


def _place(name: str) -> Path:
    engine, _, part = name.partition("/")
    return checkpoints.ROOT / engine / "weights" / f"{part}.safetensors"


def restore(name: str, package: Path | None = None) -> str:
    """Write a pair anew; where it came from. Raises WeightsError where neither commit nor wheel holds one that agrees with itself."""
    place = _place(name)
    inside = place.relative_to(checkpoints.ROOT.parent).as_posix()
    for source, read in (("the commit", _committed), *([(str(package), _wheel(package))] if package else [])):
        data, card = read(inside), read(inside.removesuffix(".safetensors") + ".json")
        if data is None or card is None or json.loads(card).get("sha256") != hashlib.sha256(data).hexdigest():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        for path, content in ((place, data), (place.with_suffix(".json"), card)):
            fresh = path.with_name(f".{path.name}.fresh")
            fresh.write_bytes(content)
            fresh.replace(path)
        return source
    step = "Install the package anew, or give its wheel: dubwright doctor --fix --package dubwright-....whl"
    raise WeightsError(f"the weights {name} are nowhere here as their card says", code="weights.no_source", next_step=step)


def _committed(path: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "cat-file", "blob", f"HEAD:{path}"], capture_output=True, check=False, timeout=60)  # noqa: S607 (git from the user's path)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _wheel(package: Path) -> Read:
    def read(path: str) -> bytes | None:
        try:
            with zipfile.ZipFile(package) as held:
                return held.read(path)
        except (OSError, KeyError, zipfile.BadZipFile):
            return None

    return read
