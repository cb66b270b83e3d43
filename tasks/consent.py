"""Consent where jobs meet it: asked at the plan, before a job's first stage, once it is known whose lips are redrawn, and held while it is delivered; records read from files."""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db import consents
from db.consent_faces import KIND, FacePoint, known_faces
from db.consents import Record, Use
from db.lineage import source_of
from db.session import Database
from infra.errors import ConsentError
from infra.settings import Settings
from infra.store import fetch, sha256_of
from tasks import licences
from tasks.dubbing.tracks import TrackFile
from tasks.ingest import CARD, card
from tasks.stages import Take, Work

SUBJECTS = {"portraits": "portrait", "videos": "video", "voices": "voice", "faces": "face"}
MOST_TOLD = 8  # faces
LISTS = ("titles", "locales", "territories", "uses")
FIELDS = {"id", "person", "basis", "starts", "ends", "evidence", "minor", "guardian", "note", "subjects", *LISTS, *SUBJECTS}


def use_of(work: Work, take: Take | None = None) -> Use:
    """What a leased job wants to use; with a take, which faces of its video it redrew."""
    use = Use.of_job(work.lease.title, work.lease.locale, work.spec)
    return use if take is None or "video" not in work.inputs else replace(use, redrawn=_redrawn_by(work, take))


def check(work: Work, use: Use | None = None) -> None:
    """Raises ConsentError where no valid record covers a face or voice that the job uses, LicenceError where what would render it may not be used so."""
    licences.check(work)
    (found,) = consents.resting_on(work.database, [use or use_of(work)])
    if isinstance(found, ConsentError):
        raise found


def faces(work: Work) -> None:
    """The stage between cast and render: raises ConsentError where a face would be redrawn that neither a record of the video covers nor one of its own."""
    from tasks.dubbing.redub import redrawn_in

    assert work.tracks is not None and work.cast is not None
    redrawn = _met(work, work.tracks, redrawn_in(work.cast))
    try:
        check(work, replace(use_of(work), redrawn=redrawn))
    except ConsentError as error:
        if error.code == "consent.face" and redrawn:
            lacking = [_point_of(work, number) for number, known in redrawn.items() if not known]
            error.next_step = f"Bind the face to its person's record, then run the same command again: `dubwright consent bind ID {' '.join(lacking[:MOST_TOLD])}`" + (" and so on." if len(lacking) > MOST_TOLD else ".")
        raise


def _point_of(work: Work, number: int) -> str:
    """The option that names the face of a track: its middle, where it is seen first."""
    from infra.video import inspect

    assert work.tracks is not None
    face, facts = next(work.tracks.of(number)), inspect(work.inputs["video"])
    at = float(work.tracks.times[face.frame] - work.tracks.times[0])
    return f"--face {work.spec['inputs']['video']['place']}@{at:.3f},{face.square.x / facts.width:.4f},{face.square.y / facts.height:.4f}"


def _redrawn_by(work: Work, take: Take) -> dict[int, tuple[str, ...]]:
    """What a take redrew, by the track file that it was made with; nothing for a take that does not say."""
    numbers, made_with = take.parameters.get("redrawn") or [], source_of(work.database, take.made["render"].sha256, "tracks")
    if not numbers or not made_with or not known_faces(work.database, work.spec["inputs"]["video"]["sha256"]):
        return dict.fromkeys(numbers, ())
    with TrackFile.open(work.artifacts.path(made_with)) as tracks:
        return _met(work, tracks, numbers)


def _met(work: Work, tracks: TrackFile, numbers: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """By track, the faces of consent records that it is: whose point lies in it in the picture that is shown then."""
    from infra.video import inspect

    found: dict[int, tuple[str, ...]] = dict.fromkeys(numbers, ())
    told = known_faces(work.database, work.spec["inputs"]["video"]["sha256"])
    facts = inspect(work.inputs["video"]) if told else None
    for face in told:
        assert facts is not None
        seen = tracks.shown(face.at, (face.x * facts.width, face.y * facts.height))
        if seen in found:
            found[seen] += (face.sha256,)
    return found


@contextmanager
def held(work: Work, use: Use) -> Iterator[list[str]]:
    """The records that the job rests on, none of which can be revoked while the block runs. Raises ConsentError."""
    with consents.held(work.database, use) as found:
        yield sorted(set(found.values()))


def face_of(told: str, settings: Settings, base: str = "") -> tuple[str, str, str]:
    """The subject that a face of a video is, told as VIDEO@SECONDS,X,Y: (kind, hash, name). Raises ConsentError, StoreError."""
    place, _, point = told.rpartition("@")
    face = FacePoint.read(f"{'0' * 64}@{point}")
    if not place or face is None:
        raise ConsentError(f"{told[:80]!r} names no face", code="consent.refused", next_step="Write VIDEO@SECONDS,X,Y: master.mp4@2.0,0.31,0.42, a point in the face as shares of width and height.")
    face = replace(face, video=digest(place, settings, base))
    return KIND, face.sha256, face.name


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
    subjects = [face_of(place, settings, base) if kind == KIND else (kind, digest(place, settings, base), place) for kind, place in named]
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
