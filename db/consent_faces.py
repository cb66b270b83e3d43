"""Records that are limited to a face of a video: the one that a point of its picture lies in at a time.

Such a subject is named by what a person can check, `VIDEO@SECONDS,X,Y`: the video's SHA-256, a time, and shares of width and height. Numbers of
tracks would mean somebody else once another version follows faces; which track the point lies in is found in the very track file that a take was
made with (tasks/consent.py). Its hash is that of its name, which the database holds it to (migration 0011).
"""

import hashlib
import re
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import tables as t
from db.session import Database

KIND = "face"
NAME = re.compile(r"([0-9a-f]{64})@([0-9]+(?:\.[0-9]+)?),([01](?:\.[0-9]+)?),([01](?:\.[0-9]+)?)")
HASH = 64  # characters of the video's hash, with which a name begins


@dataclass(frozen=True)
class FacePoint:
    """A face of a video: the one that (x, y), shares of width and height, lies in at a time in seconds from the first picture."""

    video: str
    at: float
    x: float
    y: float

    @property
    def name(self) -> str:
        """What it is called among a record's subjects."""
        return f"{self.video}@{self.at:.3f},{self.x:.4f},{self.y:.4f}"

    @property
    def sha256(self) -> str:
        """The subject's hash."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @classmethod
    def read(cls, name: str) -> "FacePoint | None":
        """The face of a name; None for what names none."""
        found = NAME.fullmatch(name)
        made = cls(found[1], float(found[2]), float(found[3]), float(found[4])) if found else None
        return made if made and made.x <= 1 and made.y <= 1 else None


def known_faces(database: Database, video: str) -> list[FacePoint]:
    """As `faces_of`, in a transaction of its own."""
    with database.begin() as session:
        return faces_of(session, video)


def faces_of(session: Session, video: str) -> list[FacePoint]:
    """The faces of a video that any record is bound to, whether it is valid or not."""
    query = select(t.ConsentSubject.place).where(t.ConsentSubject.kind == KIND, func.left(t.ConsentSubject.place, HASH) == video).distinct().order_by(t.ConsentSubject.place)
    return [face for name in session.execute(query).scalars() if (face := FacePoint.read(name)) is not None]


def videos_of(session: Session, ids: list[str]) -> dict[str, list[str]]:
    """The faces' hashes that records are bound to, by the video that each is of."""
    query = select(t.ConsentSubject.place, t.ConsentSubject.sha256).where(t.ConsentSubject.kind == KIND, t.ConsentSubject.consent_id.in_(ids))
    found: dict[str, list[str]] = {}
    for name, sha256 in session.execute(query.distinct().order_by(t.ConsentSubject.sha256)):
        found.setdefault(name[:HASH], []).append(sha256)
    return found
