"""Who calls over HTTP and who is told: tokens, kept answers, webhooks; and the event of a batch that has ended."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What events are called outside (db/webhooks.py says the same in Python), and whether an endpoint wants one.
NAMES = """
CREATE FUNCTION webhook_kind(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'delivered' THEN 'job.delivered' WHEN 'flagged' THEN 'job.flagged' WHEN 'failed' THEN 'job.failed' WHEN 'set aside' THEN 'job.failed'
        WHEN 'cancelled' THEN 'job.cancelled' WHEN 'rejected' THEN 'job.rejected' WHEN 'review' THEN 'review.decided' WHEN 'ended' THEN 'batch.ended'
    END
$$;
CREATE FUNCTION webhook_wants(kinds jsonb, wanted text, kind text, batch text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT (kinds = '[]' OR kinds ? kind)
       AND (wanted IN ('', batch) OR right(wanted, 1) = '*' AND starts_with(batch, left(wanted, -1)))
$$;
"""
# The outbox: a delivery is made in the transaction that makes the event, so there is none without the other.
OUTBOX = """
CREATE FUNCTION event_goes_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (endpoint_id, event_id, kind)
    SELECT w.id, NEW.id, webhook_kind(NEW.kind) FROM webhook_endpoints w JOIN batches b ON b.id = NEW.batch_id
    WHERE w.active AND webhook_wants(w.kinds, w.batch, webhook_kind(NEW.kind), b.name);
    RETURN NULL;
END $$;
CREATE TRIGGER event_goes_out AFTER INSERT ON events FOR EACH ROW WHEN (webhook_kind(NEW.kind) IS NOT NULL) EXECUTE FUNCTION event_goes_out();
"""
# A batch ends with its last open job. Two transactions may each end one of the last two, and neither sees the other: at its commit each takes the
# batch's lock before it looks, so the second sees both. The lock comes last and is nobody else's, so nothing can wait in a ring for it.
ENDED = """
CREATE FUNCTION batch_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('dubwright.ended', true) = NEW.batch_id::text THEN
        RETURN NULL;  -- said in this transaction
    END IF;
    PERFORM pg_advisory_xact_lock(7215135, (NEW.batch_id % 2147483647)::int);
    IF EXISTS (SELECT 1 FROM jobs WHERE batch_id = NEW.batch_id AND state IN ('queued', 'running')) THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('dubwright.ended', NEW.batch_id::text, true);
    INSERT INTO events (batch_id, kind, detail)
    SELECT NEW.batch_id, 'ended', jsonb_build_object('jobs', COALESCE(jsonb_object_agg(state, n), '{}'))
    FROM (SELECT state, count(*) AS n FROM jobs WHERE batch_id = NEW.batch_id GROUP BY state) counted;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER batch_ends AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.kind IN ('submitted', 'delivered', 'flagged', 'failed', 'set aside', 'cancelled')) EXECUTE FUNCTION batch_ends();
"""


def at(name: str, **rest: Any) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), **rest)


def number() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def upgrade() -> None:
    """Apply."""
    now, no_list = sa.text("now()"), sa.text("'[]'")
    op.create_table(
        "api_tokens",
        number(),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "owner", "prefix", "digest")),
        sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        at("created_at", server_default=now, nullable=False),
        at("expires_at"), at("last_used"), at("revoked_at"),
        sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_api_tokens_digest")),
        sa.CheckConstraint("owner <> ''", name=op.f("ck_api_tokens_owner")),
        sa.CheckConstraint("jsonb_typeof(scopes) = 'array' AND scopes <> '[]'", name=op.f("ck_api_tokens_scopes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_tokens_prefix")),
    )  # fmt: skip
    op.create_table(
        "kept_answers",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.Text()),
        at("began_at", server_default=now, nullable=False),
        at("held_until", nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["api_tokens.id"], name=op.f("fk_kept_answers_token_id")),
        sa.PrimaryKeyConstraint("token_id", "key", name=op.f("pk_kept_answers")),
    )
    op.create_index(op.f("ix_kept_answers_began_at"), "kept_answers", ["began_at"], unique=False)
    op.create_table(
        "webhook_endpoints",
        number(),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text()),
        at("previous_until"),
        sa.Column("kinds", postgresql.JSONB(astext_type=sa.Text()), server_default=no_list, nullable=False),
        sa.Column("batch", sa.Text(), server_default="", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        at("accepted_at"), at("rest_until"),
        sa.Column("created_by", sa.Text(), nullable=False),
        at("created_at", server_default=now, nullable=False),
        at("removed_at"),
        sa.CheckConstraint("jsonb_typeof(kinds) = 'array'", name=op.f("ck_webhook_endpoints_kinds")),
        sa.CheckConstraint("removed_at IS NULL OR NOT active", name=op.f("ck_webhook_endpoints_removed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )  # fmt: skip
    op.create_table(
        "webhook_deliveries",
        number(),
        sa.Column("message", sa.Text(), server_default=sa.text("'msg_' || replace(gen_random_uuid()::text, '-', '')"), nullable=False),
        sa.Column("endpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        at("next_at", server_default=now, nullable=False),
        at("claimed_until"),
        at("tried_since", server_default=now, nullable=False),
        at("created_at", server_default=now, nullable=False),
        at("ended_at"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'given up')", name=op.f("ck_webhook_deliveries_state")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_deliveries_endpoint_id")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_webhook_deliveries_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("endpoint_id", "event_id", name=op.f("uq_webhook_deliveries_endpoint_id_event_id")),
        sa.UniqueConstraint("message", name=op.f("uq_webhook_deliveries_message")),
    )
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["next_at"], unique=False, postgresql_where="state = 'pending'")
    op.create_index("ix_webhook_deliveries_under_way", "webhook_deliveries", ["endpoint_id"], unique=False, postgresql_where="claimed_until IS NOT NULL")
    op.create_index(op.f("ix_webhook_deliveries_event_id"), "webhook_deliveries", ["event_id"], unique=False)
    op.create_table(
        "webhook_attempts",
        number(),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        at("at", server_default=now, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["webhook_deliveries.id"], name=op.f("fk_webhook_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
    )
    op.create_index(op.f("ix_webhook_attempts_delivery_id"), "webhook_attempts", ["delivery_id"], unique=False)
    for statement in (NAMES, OUTBOX, ENDED):
        op.execute(statement)


def downgrade() -> None:
    """Undo. Tokens, endpoints and what was sent go with their tables; the ledger's events stay, those of ended batches as well."""
    op.execute("DROP TRIGGER batch_ends ON events; DROP FUNCTION batch_ends(); DROP TRIGGER event_goes_out ON events; DROP FUNCTION event_goes_out()")
    for table in ("webhook_attempts", "webhook_deliveries", "webhook_endpoints", "kept_answers", "api_tokens"):
        op.drop_table(table)
    op.execute("DROP FUNCTION webhook_wants(jsonb, text, text, text); DROP FUNCTION webhook_kind(text)")
