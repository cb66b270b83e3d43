"""The tables. The database guards what must hold: unique submissions and deliveries, known states, no dangling lineage."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db import tables_desk, tables_events  # noqa: F401 (their tables belong to the same schema)
from db.base import Base, one_of

JOB_STATES = ("queued", "running", "delivered", "flagged", "rejected", "failed", "cancelled")
CONTROLS = ("open", "paused", "draining")
VERDICTS = ("pass", "flag", "fail", "unscorable")
DECISIONS = ("approve", "reject", "again")
TRACED = "traced"  # kind of the event that names a job's trace (flows/observed.py)
BASES = ("own-performance", "replica", "licence", "employee", "public-domain", "synthetic")
SUBJECTS = ("portrait", "video", "voice", "face")


class Batch(Base):
    """One submitted manifest; `key` is the hash of what it asks for.

    ladder: how far its jobs may climb, where the manifest says. control: whether its jobs are leased. priority: before batches of less.
    """

    __tablename__ = "batches"
    __table_args__ = (CheckConstraint(one_of("control", CONTROLS), name="control"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    output: Mapped[str]
    ladder: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    control: Mapped[str] = mapped_column(server_default="open")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Service(Base):
    """Whether jobs are leased at all: one row, over all batches."""

    __tablename__ = "service"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), CheckConstraint(one_of("control", CONTROLS), name="control"))
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    control: Mapped[str] = mapped_column(server_default="open")
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Job(Base):
    """One output to make. `token` grows with every lease; a write under an older one is refused.

    attempts: leases since it was queued, those given back or ended by an outage left out. outages: how many ended by one. not_before:
    when a queued job may be leased again.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("batch_id", "title", "locale"),
        CheckConstraint(one_of("state", JOB_STATES), name="state"),
        CheckConstraint("(state = 'running') = (lease_expires IS NOT NULL)", name="lease"),
        CheckConstraint("not_before IS NULL OR state = 'queued'", name="backoff"),
        CheckConstraint("attempts >= 0 AND outages >= 0", name="tries"),
        Index("ix_jobs_waiting", "batch_id", "position", postgresql_where="state IN ('queued', 'running')"),
        Index("ix_jobs_next", "batch_id", text("priority DESC"), "position", postgresql_where="state = 'queued'"),
        Index("ix_jobs_title", "title", "locale", "id"),
        Index("ix_jobs_running", "batch_id", postgresql_where="state = 'running'"),  # without lease_expires: a renewal touches no index
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"))
    position: Mapped[int]
    key: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    locale: Mapped[str]
    engine: Mapped[str]
    preset: Mapped[str]
    spec: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="queued")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    outages: Mapped[int] = mapped_column(Integer, server_default="0")
    not_before: Mapped[datetime | None]
    token: Mapped[int] = mapped_column(BigInteger, server_default="0")
    worker: Mapped[str | None]
    lease_expires: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Artifact(Base):
    """Immutable bytes in the object store. marked_at: nothing may stand on it any more; gone_at: its object was removed, its row tells of it.

    erasure_id: it was removed since a person's data were, whatever rests on it.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        CheckConstraint("size >= 0", name="size"),
        CheckConstraint("gone_at IS NULL OR marked_at IS NOT NULL", name="marked_first"),
        Index("ix_artifacts_marked", "marked_at", postgresql_where="marked_at IS NOT NULL AND gone_at IS NULL"),
    )
    sha256: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str]
    marked_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]
    erasure_id: Mapped[int | None] = mapped_column(ForeignKey("erasures.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Weights(Base):
    """A weights file that some take used."""

    __tablename__ = "weights"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    engine: Mapped[str]
    name: Mapped[str]
    licence: Mapped[str]
    licence_class: Mapped[str]


class Take(Base):
    """One attempt at a job: engine, parameters, seed, code, machine, seconds by stage, and the video that came out."""

    __tablename__ = "takes"
    __table_args__ = (UniqueConstraint("job_id", "number"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    engine: Mapped[str]
    preset: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    code_version: Mapped[str]
    machine: Mapped[dict[str, Any]]
    seconds: Mapped[dict[str, Any]]
    video: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TakeWeights(Base):
    """Which weights a take used."""

    __tablename__ = "take_weights"
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("weights.sha256"), primary_key=True)


class Window(Base):
    """Rendered frames of a take, in order, with the seconds they took."""

    __tablename__ = "windows"
    __table_args__ = (CheckConstraint("last_frame > first_frame", name="frames"),)
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    first_frame: Mapped[int]
    last_frame: Mapped[int]
    seconds: Mapped[float] = mapped_column(Float)


class Calibration(Base):
    """Thresholds of one scorer version."""

    __tablename__ = "calibrations"
    __table_args__ = (UniqueConstraint("scorer", "thresholds"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    scorer: Mapped[str] = mapped_column(index=True)
    thresholds: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Verdict(Base):
    """The gate's decision on a take, with the score and the thresholds it rests on."""

    __tablename__ = "verdicts"
    __table_args__ = (
        CheckConstraint(one_of("verdict", VERDICTS), name="verdict"),
        CheckConstraint("verdict = 'unscorable' OR confidence IS NOT NULL", name="scored"),
    )
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"), primary_key=True)
    calibration_id: Mapped[int] = mapped_column(ForeignKey("calibrations.id"))
    verdict: Mapped[str]
    reasons: Mapped[list[Any]]
    offset_frames: Mapped[int | None]
    distance: Mapped[float | None]
    confidence: Mapped[float | None]
    curve: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Review(Base):
    """A person's decision on a take; rows are never changed. `video` and `verdict` are what the take was then, and what the gate had said.

    changes: what another take is to be rendered with. seconds: from opening the take to deciding, where the desk was used.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint(one_of("decision", DECISIONS), name="decision"),
        CheckConstraint("decision <> 'reject' OR reason <> ''", name="reason"),
        CheckConstraint("actor <> ''", name="actor"),
        CheckConstraint(one_of("verdict", VERDICTS), name="verdict"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"), index=True)
    actor: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    video: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    verdict: Mapped[str]
    changes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    seconds: Mapped[float | None] = mapped_column(Float)


class StageResult(Base):
    """What a stage made under a key of its inputs, parameters, weights and code."""

    __tablename__ = "stage_results"
    key: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(index=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"), index=True)
    seconds: Mapped[float] = mapped_column(Float)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StageClaim(Base):
    """Which job makes what is under a stage's key, as long as its lease under that token holds; others wait for it."""

    __tablename__ = "stage_claims"
    key: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    token: Mapped[int] = mapped_column(BigInteger)


class Edge(Base):
    """An artifact was made from another, which played a role."""

    __tablename__ = "edges"
    __table_args__ = (CheckConstraint("sha256 <> source", name="not_itself"), Index("ix_edges_source", "source"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"), primary_key=True)
    source: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)


class Delivery(Base):
    """A job's one delivery: a passed take's video at a URL."""

    __tablename__ = "deliveries"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"), unique=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    url: Mapped[str] = mapped_column(unique=True)
    files: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Consent(Base):
    """What allows a person's face or voice to be used, for what, where and until when; never changed, but for its revocation and hold.

    titles, locales, territories, uses: what it is limited to; an empty list is no limit. evidence: SHA-256 of the document that proves it.
    hold: why a court or authority wants the person's material kept; empty for no hold.
    """

    __tablename__ = "consents"
    __table_args__ = (
        CheckConstraint("id ~ '^c-[a-z0-9-]{2,60}$'", name="id"),
        CheckConstraint("person <> ''", name="person"),
        CheckConstraint(one_of("basis", BASES), name="basis"),
        CheckConstraint("evidence ~ '^([0-9a-f]{64})?$'", name="evidence"),
        CheckConstraint("evidence <> '' OR basis IN ('public-domain', 'synthetic')", name="proven"),
        CheckConstraint("NOT minor OR guardian <> ''", name="guardian"),
        CheckConstraint("ends IS NULL OR ends > starts", name="term"),
        CheckConstraint("revoked_at IS NULL OR revoked_by <> ''", name="revoked"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(index=True)
    basis: Mapped[str]
    titles: Mapped[list[Any]] = mapped_column(server_default="[]")
    locales: Mapped[list[Any]] = mapped_column(server_default="[]")
    territories: Mapped[list[Any]] = mapped_column(server_default="[]")
    uses: Mapped[list[Any]] = mapped_column(server_default="[]")
    starts: Mapped[datetime] = mapped_column(server_default=func.now())
    ends: Mapped[datetime | None]
    evidence: Mapped[str] = mapped_column(server_default="")
    minor: Mapped[bool] = mapped_column(server_default=text("false"))
    guardian: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    entered_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str] = mapped_column(server_default="")
    revoked_why: Mapped[str] = mapped_column(server_default="")
    hold: Mapped[str] = mapped_column(server_default="")


class ConsentSubject(Base):
    """A portrait, video or recording, by its hash, that a consent record is of; or a face of a video (db/consent_faces.py). place: where it lay then, or the face's name."""

    __tablename__ = "consent_subjects"
    __table_args__ = (
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        CheckConstraint(one_of("kind", SUBJECTS), name="kind"),
        CheckConstraint("kind <> 'face' OR place ~ '^[0-9a-f]{64}@[0-9]+[.][0-9]{3},[01][.][0-9]{4},[01][.][0-9]{4}$' AND sha256 = encode(sha256(convert_to(place, 'UTF8')), 'hex')", name="face"),
        Index("ix_consent_subjects_video", text("left(place, 64)"), postgresql_where=text("kind = 'face'")),
    )
    consent_id: Mapped[str] = mapped_column(ForeignKey("consents.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True, index=True)
    kind: Mapped[str]
    place: Mapped[str] = mapped_column(server_default="")
    bound_by: Mapped[str]
    bound_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeliveryConsent(Base):
    """The record that a delivery rests on, for each portrait, video and recording that it leads back to, or for faces of a video.

    tracks: the numbers, in the take's track file, of the face tracks that a face's record stands for.
    """

    __tablename__ = "delivery_consents"
    __table_args__ = (ForeignKeyConstraint(["consent_id", "sha256"], ["consent_subjects.consent_id", "consent_subjects.sha256"]),)
    job_id: Mapped[int] = mapped_column(ForeignKey("deliveries.job_id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    consent_id: Mapped[str] = mapped_column(index=True)
    tracks: Mapped[list[Any] | None]


class Erasure(Base):
    """A removal of a person's material: who did it, by which records, and how many artifacts went."""

    __tablename__ = "erasures"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    consents: Mapped[list[Any]]
    artifacts: Mapped[int]


class Event(Base):
    """What happened, in order; rows are never changed."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    kind: Mapped[str]
    detail: Mapped[dict[str, Any]]
