"""The review desk's tables: who may look and decide, what waits for a person, who holds it, and decisions that can still be taken back."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Identity, Index, Integer, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, one_of

ROLES = ("viewer", "reviewer", "operator", "admin")  # each may do what those before it may


class Account(Base):
    """Somebody who may use the desk. password: argon2's hash; subject: issuer and subject of OpenID Connect; locale: of the pages."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(one_of("role", ROLES), name="role"),
        CheckConstraint("name <> '' AND name = lower(name)", name="name"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password: Mapped[str | None]
    subject: Mapped[str | None] = mapped_column(unique=True)
    locale: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]


class SignedIn(Base):
    """A session of an account. id: SHA-256 of what the cookie holds; secret: signs the session's forms and its links to media."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    secret: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class SignInLink(Base):
    """A link that signs an account in once. id: SHA-256 of what the link holds."""

    __tablename__ = "sign_in_links"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    expires_at: Mapped[datetime]


class SignInState(Base):
    """A sign-in by OpenID Connect under way. id: SHA-256 of its state."""

    __tablename__ = "sign_in_states"
    id: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str]
    verifier: Mapped[str]
    expires_at: Mapped[datetime]


class SignInTries(Base):
    """How often a sign-in was tried for a name, or from an address, until `ends_at`. key: SHA-256 of which; one row each, for all server processes."""

    __tablename__ = "sign_in_tries"
    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)
    ends_at: Mapped[datetime] = mapped_column(index=True)


class Audit(Base):
    """What somebody did at the desk beside decisions: signed in, claimed, changed an account; rows are never changed."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    action: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Waiting(Base):
    """A flagged job, with the take that stands best, as the queue shows it. Triggers on jobs and batches keep these rows (migration 0006).

    speaker: the picture or video that it was made from. speakers: whom its maps of voices and faces name (migration 0010). kinds: why it
    was flagged. shortfall: how far below what passes, 0 to 1. urgency: hours, without the time of reading (db/desk.py).
    """

    __tablename__ = "queue"
    __table_args__ = (
        Index("ix_queue_urgency", "urgency", "job_id"),
        *(Index(f"ix_queue_{name}", name, "urgency", "job_id") for name in ("batch_id", "locale", "engine", "speaker")),
        Index("ix_queue_kinds", "kinds", postgresql_using="gin"),
        Index("ix_queue_speakers", "speakers", postgresql_using="gin"),
    )
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True, autoincrement=False)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"))
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"))
    locale: Mapped[str]
    engine: Mapped[str]
    speaker: Mapped[str]
    speakers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    priority: Mapped[int] = mapped_column(Integer)
    shortfall: Mapped[float] = mapped_column(Float)
    flagged_at: Mapped[datetime]
    urgency: Mapped[float] = mapped_column(Float)


class Claim(Base):
    """The right to decide on a flagged job for a while: one row a job, so that two people never work on one."""

    __tablename__ = "claims"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class Pending(Base):
    """A decision that its maker may still take back; at `due_at` it becomes a review. bundle: decisions that were made together."""

    __tablename__ = "pending"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True, autoincrement=False)
    take_id: Mapped[int] = mapped_column(ForeignKey("takes.id"))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    decision: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    changes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    seconds: Mapped[float | None] = mapped_column(Float)
    bundle: Mapped[str] = mapped_column(index=True)
    due_at: Mapped[datetime] = mapped_column(index=True)


class Note(Base):
    """What somebody left for the next person who looks at a job; rows are never changed."""

    __tablename__ = "notes"
    __table_args__ = (CheckConstraint("text <> ''", name="text"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    text: Mapped[str]


class SavedView(Base):
    """Filters of the queue under a name."""

    __tablename__ = "saved_views"
    __table_args__ = (UniqueConstraint("account_id", "name"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    query: Mapped[dict[str, Any]]
