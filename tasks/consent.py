"""Consent where jobs meet it: asked at the plan, before a job's first stage, and held while it is delivered; records read from files."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db import consents
from db.consents import Record, Use
from db.session import Database
from infra.errors import ConsentError
from infra.settings import Settings
from infra.store import fetch, sha256_of
from tasks import licences
from tasks.ingest import CARD, card
from tasks.stages import Work

SUBJECTS = {"portraits": "portrait", "videos": "video", "voices": "voice"}
LISTS = ("titles", "locales", "territories", "uses")
FIELDS = {"id", "person", "basis", "starts", "ends", "evidence", "minor", "guardian", "note", "subjects", *LISTS, *SUBJECTS}


def use_of(work: Work) -> Use:
    """What a leased job wants to use."""
    return Use.of_job(work.lease.title, work.lease.locale, work.spec)


def check(work: Work) -> None:
    """Raises ConsentError where no valid record covers a face or voice that the job uses, LicenceError where what would render it may not be used so."""
    licences.check(work)
    (found,) = consents.resting_on(work.database, [use_of(work)])
    if isinstance(found, ConsentError):
        raise found


@contextmanager
def held(work: Work) -> Iterator[list[str]]:
    """The records that the job rests on, none of which can be revoked while the block runs. Raises ConsentError."""
    with consents.held(work.database, use_of(work)) as found:
        yield sorted(set(found.values()))


def digest(place: str, settings: Settings, base: str = "") -> str:
    """The hash of a file: a path, an `s3://` place, or a SHA-256 as it is; of a voice as a manifest names it, of what it is known by. Raises StoreError."""
    if place.startswith(CARD):
        return hashlib.sha256(card(place.partition("?")[0], settings)).hexdigest()
    place = place.removeprefix("piper:").partition("?")[0] if place.startswith("piper:") else place
    if re.fullmatch(r"[0-9a-f]{64}", place):
        return place
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        fetch(place, Path(folder) / "subject", settings, base)
        return sha256_of(Path(folder) / "subject")


def moment(text: str) -> datetime | None:
    """A day or a time of ISO 8601, of UTC where it names no zone. Raises ConsentError."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConsentError(f"{text[:40]!r} is no day", code="consent.refused", next_step="Write it as 2027-12-31.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def read_records(path: Path, settings: Settings) -> list[Record]:
    """Records of a YAML or JSON file: a list under `consents`, as `consent export` writes it. Files are named relative to it. Raises ConsentError."""
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = tree["consents"]
        assert isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AssertionError) as error:
        raise ConsentError(f"{path.name} holds no list of records under `consents`", code="consent.refused", next_step="Write consents: [{person: ..., basis: ..., portraits: [...]}].") from error
    return [_record(row, settings, str(path.absolute().parent)) for row in rows]


def _record(row: Mapping[str, Any], settings: Settings, base: str) -> Record:
    known = {name: value for name, value in row.items() if name in FIELDS and value not in (None, "")}
    named = [(kind, str(place)) for name, kind in SUBJECTS.items() for place in known.get(name, ())]
    subjects = [(kind, digest(place, settings, base), place) for kind, place in named]
    subjects += [(one["kind"], one["sha256"], one.get("place", "")) for one in known.get("subjects", ())]
    evidence = str(known.get("evidence", ""))
    return Record(
        str(known.get("person", "")), str(known.get("basis", "")), str(known.get("id", "")), **{name: tuple(map(str, known.get(name, ()))) for name in LISTS},
        starts=moment(str(known.get("starts", ""))), ends=moment(str(known.get("ends", ""))), evidence=digest(evidence, settings, base) if evidence else "",
        minor=bool(known.get("minor", False)), guardian=str(known.get("guardian", "")), note=str(known.get("note", "")), subjects=tuple(subjects),
    )  # fmt: skip


def enter(database: Database, path: Path, settings: Settings, by: str) -> list[str]:
    """Enter the records of a file; those that are there stay as they are. Returns their ids. Raises ConsentError, StoreError."""
    return [consents.add(database, record, by) for record in read_records(path, settings)]
