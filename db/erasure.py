"""Consent withdrawn: revocation with what it stops and what was delivered, legal holds, and the erasure of a person's material.

An erasure walks lineage forward from what the person's records are bound to. Rows stay, objects go; what a hold keeps stays as a whole,
and so does the record itself, which is the proof that what was delivered was allowed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from db import tables as t
from db.consent_faces import videos_of
from db.consents import Use, resting_on
from db.session import Database
from infra.errors import ConsentError

# By what carries face or voice: results without either may be shared with other people's jobs, which are not walked into through them.
FORWARD = """
    WITH RECURSIVE made(sha256, role) AS (
        SELECT unnest(CAST(:first AS text[])), ''
        UNION SELECT e.sha256, e.role FROM edges e JOIN made m ON e.source = m.sha256 JOIN artifacts a ON a.sha256 = e.sha256
        WHERE e.role IN ('portrait', 'video', 'audio', 'render') AND NOT (e.role = 'video' AND a.kind LIKE 'speech.%') OR e.role = 'speech' AND m.role = 'audio'
    ) SELECT DISTINCT sha256 FROM made"""
OPEN = ("queued", "running")


def records(database: Database, person: str = "", consent_id: str = "", most: int | None = None) -> list[dict[str, Any]]:
    """Records as plain values with their subjects and how many deliveries rest on each, of all, of a person, or one; the newest first, so many at most."""
    query = select(t.Consent).order_by(t.Consent.created_at.desc(), t.Consent.id.desc())
    query = query.where(t.Consent.id == consent_id) if consent_id else query.where(t.Consent.person == person) if person else query
    query = query.limit(most)
    with database.begin() as session:
        rows = session.execute(query).scalars().all()
        ids = [row.id for row in rows]
        bound: dict[str, list[dict[str, str]]] = {}
        for one in session.execute(select(t.ConsentSubject).where(t.ConsentSubject.consent_id.in_(ids)).order_by(t.ConsentSubject.bound_at, t.ConsentSubject.sha256)).scalars():
            bound.setdefault(one.consent_id, []).append({"kind": one.kind, "sha256": one.sha256, "place": one.place})
        rests = select(t.DeliveryConsent.consent_id, func.count(t.DeliveryConsent.job_id.distinct())).where(t.DeliveryConsent.consent_id.in_(ids))
        counts = dict(session.execute(rests.group_by(t.DeliveryConsent.consent_id)).tuples().all())
        now = session.execute(select(func.now())).scalar_one()
    return [_row(row, now) | {"subjects": bound.get(row.id, []), "deliveries": counts.get(row.id, 0)} for row in rows]


def _row(row: t.Consent, now: Any) -> dict[str, Any]:
    state = "revoked" if row.revoked_at else "ended" if row.ends and row.ends <= now else "to come" if row.starts > now else "valid"
    told = {name: getattr(row, name) for name in ("id", "person", "basis", "titles", "locales", "territories", "uses", "evidence", "minor", "guardian", "note", "entered_by", "revoked_by", "revoked_why", "hold")}
    times = {name: getattr(row, name) and getattr(row, name).isoformat() for name in ("starts", "ends", "created_at", "revoked_at")}
    return {**told, **times, "state": state}


def revoke(database: Database, consent_id: str, by: str, why: str) -> dict[str, Any]:
    """Revoke a record for good: jobs that waited or ran and that no other record covers are cancelled, and what was delivered is listed.

    Whoever is delivering on it just now ends first. Raises ConsentError for a record that is not there.
    """
    with database.begin() as session:
        row = session.execute(select(t.Consent).where(t.Consent.id == consent_id).with_for_update()).scalar_one_or_none()
        if row is None:
            raise ConsentError(f"there is no consent record {consent_id[:60]!r}", code="consent.unknown", next_step="`dubwright consent list` lists them.")
        if row.revoked_at is None:
            row.revoked_at, row.revoked_by, row.revoked_why = session.execute(select(func.now())).scalar_one(), by, why
        made, faces = made_of(session, [consent_id]), videos_of(session, [consent_id])
    return {"consent": consent_id, "cancelled": _cancel(database, made, by, f"{by} revoked {consent_id}", faces), "delivered": delivered(database, [consent_id])}


def made_of(session: Session, ids: Iterable[str]) -> set[str]:
    """The hashes of what records are bound to, and of all that was made from it; whoever is a face of a video is to be seen in the whole of it."""
    bound = session.execute(select(t.ConsentSubject.sha256).where(t.ConsentSubject.consent_id.in_(list(ids)))).scalars().all()
    return set(session.execute(text(FORWARD), {"first": [*bound, *videos_of(session, list(ids))]}).scalars())


def _cancel(database: Database, made: set[str], by: str, why: str, faces: Mapping[str, list[str]] = MappingProxyType({}), *, every: bool = False) -> list[str]:
    """Cancel open jobs with such an input that no record covers any more, or every one.

    faces: hashes of faces by their video. Whether an open job redraws one of them is not known: those are cancelled that would lack its record.
    """
    with database.begin() as session:
        touching = text("EXISTS (SELECT 1 FROM jsonb_each(CASE jsonb_typeof(jobs.spec->'inputs') WHEN 'object' THEN jobs.spec->'inputs' ELSE '{}' END) i WHERE i.value->>'sha256' = ANY(:made))")
        found = session.execute(select(t.Job.id, t.Job.title, t.Job.locale, t.Job.spec).where(t.Job.state.in_(OPEN), touching), {"made": sorted(made)}).all()
    uses = [Use.of_job(title, locale, spec) for _, title, locale, spec in found]
    lacking = [{number: (face,) for number, face in enumerate(faces.get(use.subjects.get("video", ""), ()))} for use in uses]
    rests = [None] * len(found) if every else resting_on(database, [replace(use, redrawn=some or None) for use, some in zip(uses, lacking, strict=True)])
    lost = [row[0] for row, rest in zip(found, rests, strict=True) if not isinstance(rest, dict)]
    names = []
    with database.begin() as session:
        for job in session.execute(select(t.Job).where(t.Job.id.in_(lost), t.Job.state.in_(OPEN)).order_by(t.Job.id).with_for_update()).scalars():
            was, job.state, job.token = job.state, "cancelled", job.token + 1  # whoever works on it can write nothing more
            job.lease_expires, job.worker, job.not_before = None, None, None
            job.error = {
                "code": "consent.revoked", "message": f"{why}; it was {was}", "job": f"{job.title}/{job.locale}",
                "next_step": "Bind its inputs to another record, then `dubwright run --retry` of its manifest.",
            }  # fmt: skip
            job.updated_at = session.execute(select(func.now())).scalar_one()
            session.add(t.Event(batch_id=job.batch_id, job_id=job.id, kind="cancelled", detail={"actor": by, "was": was, "token": job.token, "why": why}))
            names.append(f"{job.title}/{job.locale}")
    return names


def delivered(database: Database, ids: Iterable[str]) -> list[dict[str, Any]]:
    """What was delivered of what records are bound to, before and since there were records, with where it lies."""
    with database.begin() as session:
        made = made_of(session, ids)
        resting = select(t.DeliveryConsent.job_id).where(t.DeliveryConsent.consent_id.in_(list(ids)))
        query = select(t.Delivery, t.Job).join(t.Job, t.Job.id == t.Delivery.job_id).where(or_(t.Delivery.sha256.in_(made), t.Delivery.job_id.in_(resting))).order_by(t.Job.id)
        return [{"job": f"{job.title}/{job.locale}", "batch": job.batch_id, "url": row.url, "files": row.files, "at": row.created_at.isoformat()} for row, job in session.execute(query)]


def keep(database: Database, consent_id: str, why: str) -> None:
    """Put a record under legal hold, or with an empty reason release it. Raises ConsentError."""
    with database.begin() as session:
        found = session.execute(update(t.Consent).where(t.Consent.id == consent_id).values(hold=why).returning(t.Consent.id)).first()
    if found is None:
        raise ConsentError(f"there is no consent record {consent_id[:60]!r}", code="consent.unknown", next_step="`dubwright consent list` lists them.")


def erase(database: Database, person: str, by: str, delete: Callable[[str, str], None], *, dry_run: bool = False) -> dict[str, Any]:
    """Remove what was made of a person's portraits, videos and voices, and these themselves, by `delete(key, sha256)`; records are revoked.

    Returns `records`, `artifacts` and `bytes` removed, `kept` (under a hold, this person's or another's), `cancelled` jobs, and `delivered`:
    copies that lie at outputs, which are their owner's to remove. Safe to repeat. Raises ConsentError where nobody is known by that name,
    or all of it is held.
    """
    with database.begin() as session:
        rows = session.execute(select(t.Consent).where(t.Consent.person == person)).scalars().all()
        held = list(session.execute(select(t.Consent.id).where(t.Consent.hold != "")).scalars())
        if not rows:
            raise ConsentError(f"no consent record is of {person[:60]!r}", code="consent.unknown", next_step="`dubwright consent list` shows names as they were entered.")
        free = [row.id for row in rows if not row.hold]
        if not free:
            raise ConsentError(f"all that is of {person} is under legal hold: {rows[0].hold}", code="consent.held", next_step="`dubwright consent hold ID --release` ends a hold.")
        made, kept = made_of(session, free), made_of(session, held)
        going = made - kept
        sizes = session.execute(select(func.count(), func.coalesce(func.sum(t.Artifact.size), 0)).where(t.Artifact.sha256.in_(going), t.Artifact.gone_at.is_(None))).one()
    told: dict[str, Any] = {"person": person, "records": free, "artifacts": sizes[0], "bytes": int(sizes[1]), "kept": len(made & kept), "dry_run": dry_run}
    if dry_run:
        return told | {"cancelled": [], "delivered": delivered(database, free)}
    for consent_id in free:
        revoke(database, consent_id, by, "erasure")
    cancelled = _cancel(database, going, by, f"{by} erased what is of a person", every=True)
    with database.begin() as session:
        shown = select(t.Job.error["picture"].astext).where(t.Job.error["picture"].astext.is_not(None), t.Job.spec["inputs"]["portrait"]["sha256"].astext.in_(going))
        for sha256 in session.execute(shown).scalars():
            delete(f"sha256/{sha256[:2]}/{sha256}", sha256)  # a picture of a portrait that was refused, for the report; no row is of it
        number = session.execute(text("INSERT INTO erasures (actor, consents, artifacts) VALUES (:by, to_jsonb(CAST(:ids AS text[])), :count) RETURNING id"), {"by": by, "ids": free, "count": sizes[0]}).scalar_one()
        session.execute(update(t.Artifact).where(t.Artifact.sha256.in_(going), t.Artifact.gone_at.is_(None)).values(marked_at=func.now(), erasure_id=number))
        session.execute(text("DELETE FROM stage_results WHERE sha256 = ANY(:going)"), {"going": sorted(going)})
    _remove(database, going, delete)
    return told | {"cancelled": cancelled, "delivered": delivered(database, free)}


def _remove(database: Database, going: set[str], delete: Callable[[str, str], None]) -> None:
    """Delete objects and say so, each in a transaction of its own: whoever is cut off begins again where it stopped."""
    with database.begin() as session:
        waiting = list(session.execute(select(t.Artifact.sha256).where(t.Artifact.sha256.in_(going), t.Artifact.erasure_id.is_not(None), t.Artifact.gone_at.is_(None))).scalars())
    for sha256 in waiting:
        with database.begin() as session:
            row = session.execute(select(t.Artifact).where(t.Artifact.sha256 == sha256).with_for_update()).scalar_one()
            delete(row.key, row.sha256)
            row.gone_at = session.execute(select(func.now())).scalar_one()


