"""The tables of those who work with Dubwright over HTTP: tokens, answers kept for repeated requests, and webhooks with their deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Identity, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base

OUTCOMES = ("pending", "delivered", "given up")


class ApiToken(Base):
    """Who may call the API, and for what. Of the secret only its SHA-256 is kept; `prefix` is what names the token in lists and logs."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
        CheckConstraint("owner <> ''", name="owner"),
        CheckConstraint("jsonb_typeof(scopes) = 'array' AND scopes <> '[]'", name="scopes"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str]
    owner: Mapped[str]
    scopes: Mapped[list[Any]]
    prefix: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class KeptAnswer(Base):
    """What was answered to a request with an `Idempotency-Key`, by token and key. status: null while the request is under way, until `held_until`."""

    __tablename__ = "kept_answers"
    token_id: Mapped[int] = mapped_column(ForeignKey("api_tokens.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    answer: Mapped[str | None]
    began_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    held_until: Mapped[datetime]


class WebhookEndpoint(Base):
    """Who is told of what. Two secrets are valid until `previous_until`. note: why it is not active. rest_until: left alone after a failure."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (CheckConstraint("jsonb_typeof(kinds) = 'array'", name="kinds"), CheckConstraint("removed_at IS NULL OR NOT active", name="removed"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    url: Mapped[str]
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    kinds: Mapped[list[Any]] = mapped_column(server_default="[]")
    batch: Mapped[str] = mapped_column(server_default="")
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    note: Mapped[str] = mapped_column(server_default="")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    accepted_at: Mapped[datetime | None]
    rest_until: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]


class WebhookDelivery(Base):
    """An event on its way to an endpoint; a trigger makes it in the event's own transaction. `message` is its id, however often it is sent."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "event_id"),
        CheckConstraint("state IN ('pending', 'delivered', 'given up')", name="state"),
        Index("ix_webhook_deliveries_due", "next_at", postgresql_where="state = 'pending'"),
        Index("ix_webhook_deliveries_under_way", "endpoint_id", postgresql_where="claimed_until IS NOT NULL"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    message: Mapped[str] = mapped_column(unique=True, server_default=text("'msg_' || replace(gen_random_uuid()::text, '-', '')"))
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event_id: Mapped[int | None] = mapped_column(ForeignKey("events.id"), index=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    claimed_until: Mapped[datetime | None]
    tried_since: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class WebhookAttempt(Base):
    """One sending of a delivery: the status that came back, or what kept it from coming. Answers' bodies are not kept."""

    __tablename__ = "webhook_attempts"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("webhook_deliveries.id"), index=True)
    number: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float] = mapped_column(Float)
    status: Mapped[int | None]
    note: Mapped[str] = mapped_column(server_default="")
