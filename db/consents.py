"""Consent records: whose face and voice may be used for what; and which records a job and a delivery rest on.

Whether a record covers a use is decided by one function of the database, `consents_for` (migration 0008), for plan, workers and the
trigger on deliveries alike. A subject is a portrait, a video or a recording by its hash; a video that was made here stands for what it was
made from (`consent_roots`). A record may be of a face of a video instead (db/consent_faces.py): then each face that is redrawn needs one, and no
other face of it does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import tables as t
from db.consent_faces import faces_of
from db.session import Database
from infra.errors import ConsentError

ROLES = {"portrait": "portrait", "video": "video", "audio": "voice", "voice": "voice"}  # inputs that show or are a person, and the kind of subject each is
LOCK = 7_215_133_010  # of the numbering of records


def unnumbered(role: str) -> str:
    """What an input of a role is: further recordings are numbered (audio2, audio3), pictures of faces named (face.ana)."""
    return role.partition(".")[0].rstrip("0123456789")


def kind_of(role: str) -> str:
    """The kind of subject that an input of a role is; empty for none."""
    return ROLES.get(unnumbered(role), "")


@dataclass(frozen=True)
class Record:
    """A consent record as it is entered; empty lists limit nothing. subjects: (kind, hash, place). id: empty takes the next number of the year."""

    person: str
    basis: str
    id: str = ""
    titles: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    territories: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    starts: datetime | None = None
    ends: datetime | None = None
    evidence: str = ""
    minor: bool = False
    guardian: str = ""
    note: str = ""
    subjects: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Use:
    """What a job wants: title and locale, what for and where as the manifest says, the record that it names, and its subjects by role.

    redrawn: by the number of each face track of its video that is redrawn, the hashes of the faces it was found to be; None as long as nobody knows.
    """

    title: str
    locale: str
    use: str = ""
    territory: str = ""
    named: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    redrawn: Mapping[int, Sequence[str]] | None = None

    @classmethod
    def of_job(cls, title: str, locale: str, spec: Mapping[str, Any]) -> "Use":
        """What a job of the ledger wants."""
        inputs = {role: told for role, told in (spec.get("inputs") or {}).items() if kind_of(role)}
        return cls(
            title, locale, spec.get("use", ""), spec.get("territory", ""), spec.get("consent", ""),
            {role: told["sha256"] for role, told in inputs.items()}, {told["sha256"]: told.get("place", "") for told in inputs.values()},
        )  # fmt: skip


def add(database: Database, record: Record, by: str) -> str:
    """Enter a record; the same one under its own id again changes nothing. Returns its id. Raises ConsentError."""
    limits = ("titles", "locales", "territories", "uses")
    values: dict[str, Any] = {name: getattr(record, name) for name in ("person", "basis", "ends", "evidence", "minor", "guardian", "note")}
    values |= {name: list(getattr(record, name)) for name in limits} | ({"starts": record.starts} if record.starts else {})
    try:
        with database.begin() as session:
            number = record.id or _next(session)
            there = session.get(t.Consent, number)
            if there is None:
                session.execute(insert(t.Consent).values(id=number, entered_by=by, **values))
            elif any(getattr(there, name) != value for name, value in values.items()):
                raise ConsentError(f"there is another record {number}", code="consent.taken", next_step="Give another --id, or none, which takes the next number.")
            _bind(session, number, record.subjects, by)
            return number
    except IntegrityError as error:
        raise _refused(error) from error


def _refused(error: IntegrityError) -> ConsentError:
    broken = str(getattr(getattr(error.orig, "diag", None), "constraint_name", "") or "")
    said = {
        "ck_consents_proven": ("a record on this basis needs evidence", "Give --evidence FILE: the signed agreement, of which the hash is kept; only public-domain and synthetic go without."),
        "ck_consents_guardian": ("a minor's record needs a guardian", "Give --guardian NAME."),
        "ck_consents_basis": (f"the basis is none of {', '.join(t.BASES)}", "Give one of them as --basis."),
        "ck_consents_id": ("an id is c- and small letters, digits and dashes", "Give --id c-2026-0142, or none, which takes the next number."),
        "ck_consents_term": ("the record ends before it begins", "Correct --from and --until."),
        "ck_consent_subjects_face": ("what it calls a face of a video is no such name, or has another hash", "Give --face VIDEO@SECONDS,X,Y."),
        "ck_consents_person": ("the record names nobody", "Give --person NAME."),
    }
    words, step = said.get(broken, (f"the record is refused ({broken or str(error.orig).splitlines()[0]})", "Correct the record."))
    return ConsentError(words, code="consent.refused", next_step=step)


def _next(session: Session) -> str:
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    year = datetime.now(UTC).year
    taken = session.execute(select(func.max(t.Consent.id)).where(t.Consent.id.regexp_match(f"^c-{year}-[0-9]{{4}}$"))).scalar_one()
    return f"c-{year}-{int(taken[-4:]) + 1 if taken else 1:04d}"


def bind(database: Database, consent_id: str, subjects: Sequence[tuple[str, str, str]], by: str) -> int:
    """Bind further portraits, videos and voices (kind, hash, place) to a record; returns how many it has now. Raises ConsentError."""
    with database.begin() as session:
        row = _known(session, consent_id)
        if row.revoked_at:
            raise ConsentError(f"{consent_id} was revoked", code="consent.revoked", next_step="Add a new record.")
        _bind(session, consent_id, subjects, by)
        return session.execute(select(func.count()).select_from(t.ConsentSubject).where(t.ConsentSubject.consent_id == consent_id)).scalar_one()


def _bind(session: Session, consent_id: str, subjects: Sequence[tuple[str, str, str]], by: str) -> None:
    for kind, sha256, place in subjects:
        row = {"consent_id": consent_id, "sha256": sha256, "kind": kind, "place": place, "bound_by": by}
        session.execute(insert(t.ConsentSubject).values(**row).on_conflict_do_nothing())


def _known(session: Session, consent_id: str) -> t.Consent:
    row = session.execute(select(t.Consent).where(t.Consent.id == consent_id).with_for_update()).scalar_one_or_none()
    if row is None:
        raise ConsentError(f"there is no consent record {consent_id[:60]!r}", code="consent.unknown", next_step="`dubwright consent list` lists them.")
    return row


def resting_on(database: Database, uses: Sequence[Use]) -> list[dict[str, str] | ConsentError]:
    """For each use, the record that each of its subjects rests on (id by hash), or the error of one that rests on none."""
    with database.begin() as session:
        known: dict[str, dict[str, str]] = {}
        subjects = [roots(session, use.subjects, known) for use in uses]
        asks = [(sha256, use) for use, found in zip(uses, subjects, strict=True) for sha256 in found]
        covering = iter(_covering(session, asks))
        return [_chosen(session, use, {sha256: next(covering) for sha256 in found}) for use, found in zip(uses, subjects, strict=True)]


def roots(session: Session, subjects: Mapping[str, str], known: dict[str, dict[str, str]] | None = None) -> dict[str, str]:
    """What the inputs of a job lead back to: role by hash; an input that was made here stands for what it was made from.

    known: what was found of other inputs in the same transaction, which is added to.
    """
    found: dict[str, str] = {}
    known = {} if known is None else known
    for role, sha256 in subjects.items():
        if sha256 not in known:
            known[sha256] = _below(session, sha256)
        found |= known[sha256] or {sha256: role}
    return found


def _below(session: Session, sha256: str) -> dict[str, str]:
    return dict(session.execute(text("SELECT sha256, role FROM consent_roots(:file)"), {"file": sha256}).tuples().all())


def _covering(session: Session, asks: Sequence[tuple[str, Use]]) -> list[list[str]]:
    """The records that cover each (subject, use), the oldest first."""
    columns = [[sha256 for sha256, _ in asks], *([getattr(use, name) for _, use in asks] for name in ("title", "locale", "use", "territory"))]
    query = text(
        "SELECT k.n, ARRAY(SELECT consents_for(k.s, k.t, k.l, k.u, k.w)) FROM unnest(CAST(:s AS text[]), CAST(:t AS text[]), CAST(:l AS text[]), CAST(:u AS text[]), CAST(:w AS text[])) "
        "WITH ORDINALITY AS k(s, t, l, u, w, n) ORDER BY k.n"
    )
    return [list(found) for _, found in session.execute(query, dict(zip("stluw", columns, strict=True)))]


def _chosen(session: Session, use: Use, covering: dict[str, list[str]]) -> dict[str, str] | ConsentError:
    for sha256 in [sha256 for sha256, found in covering.items() if not found]:
        alone = [role for role, own in use.subjects.items() if own == sha256] == ["video"]  # its sound is nobody's recording besides
        faces = _by_faces(session, use, sha256) if alone else _missing(session, use, sha256)
        if isinstance(faces, ConsentError):
            return faces
        del covering[sha256]
        covering |= faces
    if use.named and not any(use.named in found for found in covering.values()):
        return _named(session, use)
    return {sha256: use.named if use.named in found else found[0] for sha256, found in covering.items()}


def _by_faces(session: Session, use: Use, video: str) -> dict[str, list[str]] | ConsentError:
    """The records of a video's faces that cover what is redrawn of it; as long as that is not known, those that cover anything."""
    named = [face.sha256 for face in faces_of(session, video)]
    covering = {sha256: found for sha256, found in zip(named, _covering(session, [(sha256, use) for sha256 in named]), strict=True) if found}
    if not covering:
        return _missing(session, use, video, named)
    if use.redrawn is None:
        return covering
    chosen = {track: next((one for one in faces if one in covering), "") for track, faces in use.redrawn.items()}
    without = [track for track, face in chosen.items() if not face]
    if chosen and not without:
        return {face: covering[face] for face in chosen.values()}
    own = [face for track in without for face in use.redrawn[track]]
    if own:
        return _missing(session, use, own[0])
    place = use.places.get(video) or video
    whose = f"nor of face track {', '.join(map(str, without))} of it, which is redrawn" if without else "and which of its faces are redrawn is not told"
    words = f"no consent record is of the whole video {place}, {whose}"
    step = f"Bind the face to its person's record: `dubwright consent bind ID --face {place}@SECONDS,X,Y`; `dubwright score` of the video shows its face tracks."
    return ConsentError(words, code="consent.face", job=f"{use.title}/{use.locale}", next_step=step)


def _missing(session: Session, use: Use, sha256: str, faces: Sequence[str] = ()) -> ConsentError:
    """Why no record covers a subject, or faces of it, and what to do."""
    place = use.places.get(sha256) or sha256
    role = next((role for role, own in use.subjects.items() if own == sha256), "portrait")
    query = select(t.Consent).join(t.ConsentSubject, t.ConsentSubject.consent_id == t.Consent.id).where(t.ConsentSubject.sha256.in_([sha256, *faces]))
    rows = session.execute(query.order_by(t.Consent.created_at.desc())).scalars().all()
    faults = [_fault(row, use) for row in rows]
    option = f"--{kind_of(role) or 'portrait'} {place}"
    if not rows:
        step = f"`dubwright consent add --person NAME --basis {'|'.join(t.BASES)} --evidence FILE {option}`, then run the same command again."
        return ConsentError(f"no consent record is bound to the {role} {place}", code="consent.missing", job=f"{use.title}/{use.locale}", next_step=step)
    code, words = faults[0]
    step = f"Add a record that allows it: `dubwright consent add --person NAME --basis ... {option}`; `dubwright consent show {rows[0].id}` shows this one."
    return ConsentError(f"{rows[0].id}, of the {role} {place}, {words}", code=code, job=f"{use.title}/{use.locale}", next_step=step)


def _fault(row: t.Consent, use: Use) -> tuple[str, str]:
    now = datetime.now(UTC)
    limited = [
        ("title", row.titles, use.title, use.title in row.titles), ("locale", row.locales, use.locale, any(use.locale == one or use.locale.startswith(f"{one}-") for one in row.locales)),
        ("use", row.uses, use.use, bool(use.use) and set(use.use.split(",")) <= set(row.uses)),
        ("territory", row.territories, use.territory, bool(use.territory) and set(use.territory.split(",")) <= set(row.territories)),
    ]  # fmt: skip
    if row.revoked_at:
        return "consent.revoked", f"was revoked on {row.revoked_at:%Y-%m-%d}"
    if row.ends and row.ends <= now:
        return "consent.expired", f"ended on {row.ends:%Y-%m-%d}"
    if row.starts > now:
        return "consent.expired", f"begins on {row.starts:%Y-%m-%d}"
    name, allowed, wanted, _ = next((one for one in limited if one[1] and not one[3]), ("use", row.uses, use.use, False))
    return "consent.scope", f"is limited to the {name} {', '.join(map(str, allowed))}; the job says {wanted or 'none'}"


def _named(session: Session, use: Use) -> ConsentError:
    row = session.get(t.Consent, use.named)
    if row is None:
        return ConsentError(f"there is no consent record {use.named[:60]!r}", code="consent.missing", job=f"{use.title}/{use.locale}", next_step="Correct `consent` in the manifest, or leave it out: the record is found by the input's hash.")
    bound = session.execute(select(t.ConsentSubject.sha256).where(t.ConsentSubject.consent_id == use.named)).scalars().all()
    code, words = _fault(row, use) if set(bound) & set(use.subjects.values()) else ("consent.scope", "is bound to none of the job's inputs")
    return ConsentError(f"{use.named} {words}", code=code, job=f"{use.title}/{use.locale}", next_step=f"`dubwright consent bind {use.named} --portrait FILE` binds an input; or leave `consent` out of the manifest.")


def enter_delivery(session: Session, job: t.Job, sha256: str, redrawn: Mapping[int, Sequence[str]] | None = None) -> None:
    """Enter what a delivery rests on, in its own transaction, the records held against revocation until it ends. Raises ConsentError.

    redrawn: as in Use; without it records of faces do not count.
    """
    below = _below(session, sha256)
    chosen = _settled(session, replace(Use.of_job(job.title, job.locale, job.spec), redrawn=redrawn or {}), below)
    hold(session, chosen.values())
    session.flush()
    for subject, consent_id in chosen.items():
        tracks = sorted(track for track, faces in (redrawn or {}).items() if subject in faces)
        session.add(t.DeliveryConsent(job_id=job.id, sha256=subject, consent_id=consent_id, **({"tracks": tracks} if tracks else {})))


def _settled(session: Session, use: Use, subjects: Mapping[str, str]) -> dict[str, str]:
    chosen = _chosen(session, use, dict(zip(subjects, _covering(session, [(one, use) for one in subjects]), strict=True)))
    if isinstance(chosen, ConsentError):
        raise chosen
    return chosen


def hold(session: Session, ids: Any) -> None:
    """Keep records from being revoked until the transaction ends."""
    session.execute(select(t.Consent.id).where(t.Consent.id.in_(list(ids))).order_by(t.Consent.id).with_for_update(read=True)).all()


@contextmanager
def held(database: Database, use: Use) -> Iterator[dict[str, str]]:
    """The records that a use rests on; while the block runs, whoever would revoke one waits. Raises ConsentError."""
    with database.begin() as session:
        found = roots(session, use.subjects)
        hold(session, _settled(session, use, found).values())
        chosen = _settled(session, use, found)  # once more now that they are held: one may just have been revoked
        hold(session, chosen.values())
        yield chosen
