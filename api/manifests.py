"""Manifests that come over HTTP: read by the same code as files, and held to places that a stranger may name.

Names of folders are refused unless an operator listed the folder, since they would be read with the server's rights; buckets must be
buckets, so that no part of a name can lead a request anywhere but to the object store.
"""

import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import ManifestError
from infra.settings import Settings
from infra.store import within
from tasks.deliverables.asked import ORIGINAL, Deliver, deliver_from
from tasks.ingest import CARD
from tasks.look import WORDS, places_of
from tasks.manifest import Manifest, check, parse
from tasks.rows import voices_from
from tasks.speech.voices import placed

YAML_BYTES = 2**20  # YAML is read a hundred times slower than JSON
TYPES = {"application/json": ".json", "application/yaml": ".yaml", "application/x-yaml": ".yaml", "text/yaml": ".yaml"}
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Places:
    """What manifests may name: folders, and prefixes of buckets (any bucket where none is listed)."""

    folders: tuple[Path, ...]
    prefixes: tuple[str, ...]

    @classmethod
    def read(cls, settings: Settings) -> "Places":
        """As the settings list them."""
        words = settings.api_places.split()
        folders = tuple(Path(word).resolve() for word in words if not word.startswith("s3://"))
        return cls(folders, tuple(word.rstrip("/") + "/" for word in words if word.startswith("s3://")))

    @property
    def base(self) -> str:
        """Where relative names start: the first folder; without one they are refused."""
        return str(self.folders[0]) if self.folders else "/"

    def refusal(self, place: str, *, file: bool = True) -> str:
        """Why a place may not be named; nothing where it may. file: it names an object, not where objects go."""
        if place.startswith("s3://"):
            return self._of_bucket(place, file)
        if place.startswith("~") or not self.folders:
            return "folders of the server cannot be named over HTTP"
        real = Path(within(self.base, place)).resolve()
        return "" if any(real.is_relative_to(folder) for folder in self.folders) else "it lies outside of the folders that may be named"

    def _of_bucket(self, place: str, file: bool) -> str:
        bucket, _, key = place.removeprefix("s3://").partition("/")
        try:
            ipaddress.ip_address(bucket)
            return "a bucket has a name, not an address"
        except ValueError:
            pass
        if not BUCKET.fullmatch(bucket) or ".." in bucket:
            return "this is no name of a bucket"
        if (file and not key.strip("/")) or any(part in ("..", ".") for part in key.split("/")) or any(ord(c) < 32 or c in "?#\\" for c in key):
            return "this is no name of an object"
        listed = any((place.rstrip("/") + "/").startswith(prefix) for prefix in self.prefixes)
        return "" if listed or not self.prefixes else "it lies outside of the buckets that may be named"


def read(body: bytes, content_type: str, settings: Settings) -> tuple[Manifest, dict[str, Any]]:
    """A request's body as a manifest, and as a tree with full names that anybody can read. Raises ManifestError with every fault."""
    suffix = TYPES.get(content_type.partition(";")[0].strip().lower())
    if suffix is None:
        raise ManifestError("a manifest is sent as application/json or application/yaml", code="manifest.type", next_step="Set the header Content-Type.")
    if suffix == ".yaml" and len(body) > YAML_BYTES:
        raise ManifestError(f"a manifest in YAML is at most {YAML_BYTES >> 20} MiB", code="manifest.too_large", next_step="Send it as JSON.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError("the manifest is not UTF-8 text", code="manifest.not_text", next_step="Send it as UTF-8.") from error
    tree = parse(text, suffix)
    if not all(_storable(value) for value in _leaves(tree)):
        raise ManifestError("the manifest holds characters or numbers that cannot be stored (NUL, half characters, NaN, infinity)", next_step="Remove them.")
    places = Places.read(settings)
    found = check(tree, places.base)
    if places.folders:  # relative names become full ones, so that the batch is the same wherever its manifest is read
        tree = _with_full_names(tree, places.base)
        found = check(tree, places.base)
    faults = list(_misplaced(found, places))
    if faults:
        first = faults[0]
        raise ManifestError(f"the manifest names {len(faults)} place(s) that it may not: {first['row']}, {first['field']}: {first['problem']}", code="manifest.place", faults=faults)
    return found, tree


def _leaves(tree: Any) -> Iterator[Any]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
        else:
            yield value


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any(0xD800 <= ord(c) < 0xE000 for c in value)
    return not isinstance(value, float) or math.isfinite(value)


def _misplaced(manifest: Manifest, places: Places) -> Iterator[dict[str, str]]:
    fix = "name it as s3://bucket/key" + (f", or under {' or '.join(map(str, places.folders))}" if places.folders else "")
    if why := places.refusal(manifest.output, file=False):
        yield {"row": "manifest", "field": "output", "problem": why, "fix": fix}
    known: dict[str, str] = {}
    for number, row in enumerate(manifest.jobs, 1):
        for role, place in places_of(row).items():
            if place not in known:
                known[place] = "" if place.startswith(CARD) else places.refusal(place)  # a service's voice is no file; whose it is the settings say
            if known[place]:
                yield {"row": f"job {number} ({row.title[:40]})", "field": role, "problem": known[place], "fix": fix}


def _within(face: Any, base: str) -> Any:
    return {**face, "picture": within(base, face["picture"])} if isinstance(face, dict) and face.get("picture") else face


def _with_full_tracks(deliver: Any, base: str) -> dict[str, Any]:
    asked = Deliver.model_validate(deliver_from(deliver)).model_dump(mode="json", exclude_defaults=True)
    for track in asked.get("tracks", ()):
        track["audio"] = track["audio"] if track["audio"] == ORIGINAL else within(base, track["audio"])
    return asked


def _with_full_names(tree: dict[str, Any], base: str) -> dict[str, Any]:
    def full(fields: Any) -> Any:
        named: dict[str, Any] = {role: within(base, fields[role]) for role in ("portrait", "video", "script", "audio", "lexicon", "bed") if fields.get(role)}
        if isinstance(fields.get("voice"), str):
            named["voice"] = placed(fields["voice"], base)
        if isinstance(voices := voices_from(fields.get("voices")), dict):
            named["voices"] = {speaker: placed(voice, base) for speaker, voice in voices.items()}
        words = fields.get("transcript") or ""
        if words.lower().endswith(WORDS):
            named["transcript"] = within(base, words)
        if fields.get("face"):
            named["face"] = _within(fields["face"], base)
        if isinstance(fields.get("faces"), dict):
            named["faces"] = {name: _within(own, base) for name, own in fields["faces"].items()}
        if fields.get("deliver"):
            named["deliver"] = _with_full_tracks(fields["deliver"], base)
        return {**fields, **named}

    return {**tree, "output": within(base, tree["output"]), "defaults": full(tree.get("defaults") or {}), "jobs": [full(job) for job in tree["jobs"]]}
