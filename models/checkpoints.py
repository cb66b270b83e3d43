"""Weights on disk: safetensors with a card beside each, checked by hash before a tensor is made.

`models/<engine>/weights/<name>.safetensors` and `<name>.json`; what a user imported lies in the same form under the home folder
(`weights/<engine>`). Nothing else is ever loaded: no pickle, no file without a card, nothing fetched. Training checkpoints are
another matter; models/publish.py turns one into weights, models/imports.py those that other projects published.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from infra.errors import WeightsError
from infra.settings import get_settings
from infra.store import sha256_of
from infra.version import code_version

ROOT = Path(__file__).parent
PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*")  # engine and weights names; no separators, no suffix
LICENCE_CLASSES = ("open", "research")  # commercial use allowed; not allowed


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a weights file is: where from, under which licence, how good, and how it was made."""

    name: str
    engine: str
    preset: str
    sha256: str
    licence: str
    licence_class: str  # one of LICENCE_CLASSES
    data: str
    attribution: str
    command: str
    parameters: int
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    code: str = ""  # version of the code that made the file


def place(engine: str, name: str) -> Path:
    """Where a weights file lies. Raises WeightsError for a name that is not a plain word (a path, a name with a suffix)."""
    for word in (engine, name):
        if not PLAIN.fullmatch(word):
            raise WeightsError(f"{word!r} is no name of weights: only safetensors that ship with a card are loaded", code="weights.name")
    shipped = ROOT / engine / "weights" / f"{name}.safetensors"
    imported = imported_folder() / engine / shipped.name
    return imported if not shipped.exists() and imported.exists() else shipped


def imported_folder() -> Path:
    """Where weights lie that a user imported, a folder for each engine."""
    return get_settings().home / "weights"


def card(engine: str, name: str) -> Card:
    """The card of a weights file. Raises WeightsError when it is missing, malformed, or another file's."""
    path = place(engine, name).with_suffix(".json")
    try:
        found = Card(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise WeightsError(f"weights {engine}/{name} have no card at {path}", code="weights.no_card") from error
    except (ValueError, TypeError) as error:
        raise WeightsError(f"the card of weights {engine}/{name} is malformed ({error})", code="weights.card") from error
    if (found.engine, found.name) != (engine, name):
        raise WeightsError(f"the card of weights {engine}/{name} is that of {found.engine}/{found.name}", code="weights.card")
    return found


@contextmanager
def _opened(engine: str, name: str) -> Iterator[BufferedReader]:
    path = place(engine, name)
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise WeightsError(f"weights file {path} is missing", code="weights.missing") from error
    except SafetensorError as error:
        raise WeightsError(f"weights {engine}/{name} are not safetensors ({error})", code="weights.format") from error


def _check(engine: str, name: str, expected: str, found: str) -> None:
    if found != expected:
        raise WeightsError(f"weights {engine}/{name} are not what their card says: expected {expected}, found {found}", code="weights.hash")


def load(engine: str, name: str) -> dict[str, Any]:
    """The tensors of a weights file, floating ones as float32; hashed and parsed from the same bytes.

    Raises WeightsError: weights.missing, weights.no_card, weights.card, weights.name, weights.format, or weights.hash, which names
    the expected and the found SHA-256.
    """
    from safetensors.torch import load as parse

    expected = card(engine, name).sha256
    with _opened(engine, name) as file:
        data = file.read()
        _check(engine, name, expected, sha256_of(data))
        return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in parse(data).items()}


def mapped(engine: str, name: str) -> dict[str, Any]:
    """As `load`, for weights that are wanted now and then: float32 tensors that stay in their file, whose pages come into memory as
    they are read and leave it with the last tensor. The file is hashed and mapped through one handle, so that another cannot take its
    place in between; who may write into it in place is trusted.
    """
    from safetensors.torch import load_file

    expected = card(engine, name).sha256
    with _opened(engine, name) as file:
        _check(engine, name, expected, hashlib.file_digest(file, "sha256").hexdigest())
        handle = Path(f"/proc/self/fd/{file.fileno()}")
        tensors = load_file(handle if handle.exists() else file.name)
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def sha256(engine: str, name: str) -> str:
    """The hash that the card states."""
    return card(engine, name).sha256


def save(tensors: dict[str, Any], *, imported: bool = False, **facts: Any) -> Card:
    """Write tensors and their card (the fields of Card but `sha256`, `parameters`, `code`), replacing what was there.

    imported: into the home folder instead of the project's own.

    Raises ValueError for a licence class that does not exist, WeightsError for a name that is not plain.
    """
    from safetensors.torch import save as pack

    data = pack({key: value.contiguous() for key, value in tensors.items()})
    made = Card(sha256=sha256_of(data), parameters=sum(v.numel() for v in tensors.values()), code=code_version(), **facts)
    if made.licence_class not in LICENCE_CLASSES:
        raise ValueError(f"licence class {made.licence_class!r} is none of {LICENCE_CLASSES}")
    path = place(made.engine, made.name)
    if imported:
        path = imported_folder() / made.engine / path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, data)
    _replace(path.with_suffix(".json"), (json.dumps(asdict(made), indent=2) + "\n").encode())
    return made


def relicense(engine: str, name: str, licence: str, licence_class: str) -> Card:
    """Say anew under which licence weights are; what their card says else stays. Raises WeightsError, ValueError for a class that does not exist."""
    if licence_class not in LICENCE_CLASSES:
        raise ValueError(f"licence class {licence_class!r} is none of {LICENCE_CLASSES}")
    made = replace(card(engine, name), licence=licence, licence_class=licence_class)
    _replace(place(engine, name).with_suffix(".json"), (json.dumps(asdict(made), indent=2) + "\n").encode())
    return made


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)


def cards() -> list[Card]:
    """The card of every weights file that is there, by engine and name; a file without a card raises WeightsError."""
    return [card(engine, path.stem) for engine, path in _files() if path.suffix == ".safetensors"]


def _files() -> list[tuple[str, Path]]:
    """Every file that lies among weights, with its engine: the project's own, then imported ones."""
    own = [(path.parts[-3], path) for path in sorted(ROOT.glob("*/weights/*"))]
    return own + [(path.parts[-2], path) for path in sorted(imported_folder().glob("*/*"))]


def verify() -> list[tuple[str, str]]:
    """Every weights file with "" when it is what its card says, else what is wrong; files that do not belong are named too."""
    found = []
    for engine, path in _files():
        name = path.stem
        try:
            if path.suffix == ".safetensors":
                with _opened(engine, name) as file:
                    _check(engine, name, card(engine, name).sha256, hashlib.file_digest(file, "sha256").hexdigest())
            elif path.suffix == ".json":
                if not path.with_suffix(".safetensors").exists():
                    found.append((f"{engine}/{name}", "a card without its weights file"))
                continue
            else:
                found.append((f"{engine}/{path.name}", "not safetensors; such a file is never loaded"))
                continue
            found.append((f"{engine}/{name}", ""))
        except WeightsError as error:
            found.append((f"{engine}/{name}", error.message))
    return found
