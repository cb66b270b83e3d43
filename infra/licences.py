"""Licences of what is installed: of each package its SPDX expression and its class, by license-expression's database of licences.

What counts is the closure of what this project requires, what only tests need left out. Weights are models/checkpoints.py's: they have cards.
"""

import functools
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CLASSES = ("permissive", "weak copyleft", "strong copyleft", "proprietary", "non-commercial", "unknown")  # from what asks least to what is not known
SELLABLE = CLASSES[:4]
PROJECT = "dubwright"
EXTRAS = ("", "world")  # of the project: what renders
CATEGORIES = {"Permissive": 0, "Public Domain": 0, "Copyleft Limited": 1, "Copyleft": 2}
NON_COMMERCIAL = re.compile(r"-NC\b|non-?commercial|research[- ]only|academic", re.IGNORECASE)
# What a package's metadata does not say, or not all: the licence of its wheel as a whole, read in the wheel itself.
READ = {
    "av": "BSD-3-Clause AND GPL-2.0-or-later",  # the wheel carries FFmpeg with x264
    "espeakng-loader": "MIT AND GPL-3.0-or-later",  # the library espeak-ng and its voices
    "imageio-ffmpeg": "BSD-2-Clause AND GPL-3.0-or-later",  # the program ffmpeg
    "opencv-contrib-python": "Apache-2.0 AND LGPL-2.1-or-later",  # carries FFmpeg, built without GPL's parts
    "psycopg-binary": "LGPL-3.0-only",
    "python-dateutil": "Apache-2.0 AND BSD-3-Clause",
    "pyworld": "MIT",
    "soundfile": "BSD-3-Clause AND LGPL-2.1-or-later",  # libsndfile
    "text-unidecode": "Artistic-1.0-Perl OR GPL-2.0-or-later",
}
NVIDIA = re.compile(r"(nvidia|cuda)-.*")  # CUDA's libraries, which the CUDA build of torch brings: NVIDIA's own terms
CLASSIFIED = {
    "MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause", "ISC License (ISCL)": "ISC", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0", "The Unlicense (Unlicense)": "Unlicense", "zlib/libpng License": "Zlib",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.1-or-later", "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only", "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later", "GNU Affero General Public License v3": "AGPL-3.0-only",
}  # fmt: skip
CALLED = {"bsd": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "mit license": "MIT", "apache 2.0": "Apache-2.0", "apache": "Apache-2.0", "psfl": "PSF-2.0"}


@dataclass(frozen=True)
class Package:
    """An installed package: its licence as an SPDX expression, or in its own words, and the class of it (one of CLASSES)."""

    name: str
    version: str
    licence: str
    licence_class: str


@functools.cache
def packages() -> tuple[Package, ...]:
    """What this project needs of the packages that are installed, by name; of a checkout that is not installed, all that are there."""
    return tuple(sorted((_package(one) for one in _needed()), key=lambda one: one.name))


def hindering(accepted: Iterable[str] = ()) -> list[Package]:
    """Packages that may not be used commercially, or of which that is not known, but for those whose licences somebody accepted by name."""
    known = {plain(name) for name in accepted}
    return [one for one in packages() if one.licence_class not in SELLABLE and plain(one.name) not in known]


def class_of(expression: str) -> str:
    """The class of an SPDX expression: of licences that hold together the one that asks most, of alternatives the least."""
    from license_expression import ExpressionError

    if NON_COMMERCIAL.search(expression):
        return "non-commercial"
    try:
        return CLASSES[_rank(_spdx().parse(expression, validate=True))]
    except ExpressionError:
        return "unknown"


def _rank(parsed: object) -> int:
    parts = [_rank(part) for part in getattr(parsed, "args", ())]
    if parts:
        return min(parts) if type(parsed).__name__ == "OR" else max(parts)
    if hasattr(parsed, "exception_symbol"):
        return min(_rank(parsed.license_symbol), CATEGORIES.get(_categories().get(parsed.exception_symbol.key, ""), 5))  # type: ignore[attr-defined]
    return CATEGORIES.get(_categories().get(getattr(parsed, "key", ""), ""), 5)


@functools.cache
def _spdx():  # type: ignore[no-untyped-def]
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@functools.cache
def _categories() -> dict[str, str]:
    """What the library's own database says of each licence, by its SPDX key, older keys among them."""
    import license_expression

    rows = json.loads((Path(license_expression.__file__).parent / "data" / "scancode-licensedb-index.json").read_text(encoding="utf-8"))
    return {key: row["category"] for row in rows for key in (row.get("spdx_license_key"), *row.get("other_spdx_license_keys", ())) if key}


def _package(found: importlib.metadata.Distribution) -> Package:
    name = found.metadata["Name"]
    if NVIDIA.fullmatch(plain(name)):
        return Package(name, found.version, "LicenseRef-NVIDIA", "proprietary")
    said = READ.get(plain(name)) or _said(found)
    return Package(name, found.version, said, class_of(said))


def _said(found: importlib.metadata.Distribution) -> str:
    """What a package's metadata says: its expression, else its licence where that is short, else its classifiers."""
    told = found.metadata.json
    field, expression = (str(told.get(name) or "").strip() for name in ("license", "license_expression"))
    names = [one.rpartition(" :: ")[2] for one in told.get("classifier") or () if one.startswith("License :: ")]
    for candidate in (expression, field, CALLED.get(field.lower(), "")):
        if candidate and len(candidate) < 100 and class_of(candidate) != "unknown":
            return candidate
    mapped = [CLASSIFIED[name] for name in names if name in CLASSIFIED]
    return " AND ".join(mapped) if mapped and len(mapped) == len(names) else expression or field[:60] or ", ".join(names)


def _needed() -> Iterator[importlib.metadata.Distribution]:
    """The closure of the project's requirements, as far as it is installed."""
    from packaging.requirements import Requirement

    try:
        waiting = [Requirement(line) for line in importlib.metadata.requires(PROJECT) or ()]
    except importlib.metadata.PackageNotFoundError:
        yield from importlib.metadata.distributions()
        return
    waiting = [one for one in waiting if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in EXTRAS)]
    seen: set[tuple[str, str]] = set()
    given: set[str] = set()
    while waiting:
        asked = waiting.pop()
        for extra in ("", *sorted(asked.extras)):
            if (plain(asked.name), extra) in seen:
                continue
            seen.add((plain(asked.name), extra))
            try:
                found = importlib.metadata.distribution(asked.name)
            except importlib.metadata.PackageNotFoundError:
                continue
            inner = [Requirement(line) for line in found.requires or ()]
            waiting += [one for one in inner if one.marker is None or one.marker.evaluate({"extra": extra})]
            if plain(asked.name) not in given:
                given.add(plain(asked.name))
                yield found


def plain(name: str) -> str:
    """A package's name as indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
