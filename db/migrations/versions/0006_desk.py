"""The review desk: accounts, sessions, the queue of flagged jobs that triggers keep, claims, decisions that can be taken back, notes, audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Why a take was flagged, from the gate's own words; tests/test_db_desk.py holds them against every word that it has.
KINDS = """
CREATE FUNCTION queue_kinds(verdict text, reasons jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(SELECT k.kind FROM (VALUES
        ('unscorable', verdict = 'unscorable'),
        ('sync', verdict = 'fail' OR reasons::text ~ 'under the [0-9.-]+ that passes|leads the lips|lead the sound|lips and speech|second opinion'),
        ('mouth', reasons::text ~ 'the mouth (moves|stands|is)'),
        ('identity', reasons::text ~ 'the face has become another'),
        ('picture', reasons::text ~ 'the lower face flickers|an edge '),
        ('speech', reasons::text ~ 'are not heard'),
        ('face', reasons::text ~ 'who speaks is not certain'),
        ('person', reasons::text ~ 'asked for another take|rejected it')
    ) AS k(kind, is_so) WHERE k.is_so)
$$;
"""
# How far a take is below the prominence that passes, as a part of it; 1 where nothing could be scored, 0 where no level is stored.
SHORTFALL = """
CREATE FUNCTION queue_shortfall(verdict text, curve jsonb, thresholds jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    WITH level AS (
        SELECT (l->>'passes')::double precision AS passes, (l->>'seconds')::double precision AS seconds,
               (l->>'seconds')::double precision <= coalesce((curve->'extra'->>'seconds')::double precision, 0) + 0.5 AS reached
        FROM jsonb_array_elements(CASE jsonb_typeof(thresholds->'levels') WHEN 'array' THEN thresholds->'levels' ELSE '[]' END) AS l
        ORDER BY reached DESC, CASE WHEN (l->>'seconds')::double precision <= coalesce((curve->'extra'->>'seconds')::double precision, 0) + 0.5
                               THEN -(l->>'seconds')::double precision ELSE (l->>'seconds')::double precision END
        LIMIT 1
    )
    SELECT CASE WHEN verdict = 'unscorable' THEN 1 ELSE coalesce((
        SELECT least(1, greatest(0, (passes - (curve->'extra'->>'prominence')::double precision) / nullif(passes, 0))) FROM level), 0) END
$$;
"""
# The row of a flagged job, with its best take as tasks/ladder.py ranks takes, of those that say what the newest says. A point of priority counts as an hour of waiting, a take that is
# as far below the limit as can be as a day.
PUT = """
CREATE FUNCTION queue_put(job bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO queue (job_id, batch_id, take_id, locale, engine, speaker, kinds, priority, shortfall, flagged_at, urgency)
    SELECT j.id, j.batch_id, best.id, j.locale, best.engine,
           regexp_replace(regexp_replace(coalesce(j.spec->'inputs'->'video'->>'place', j.spec->'inputs'->'portrait'->>'place', ''), '^.*/', ''), '\\.[^.]*$', ''),
           queue_kinds(best.verdict, best.reasons), j.priority + b.priority, best.shortfall, j.updated_at,
           j.priority + b.priority + 24 * best.shortfall - extract(epoch FROM j.updated_at)::double precision / 3600
    FROM jobs j JOIN batches b ON b.id = j.batch_id
    JOIN LATERAL (
        SELECT t.id, t.engine, v.verdict, v.reasons, queue_shortfall(v.verdict, v.curve, c.thresholds) AS shortfall
        FROM takes t JOIN verdicts v ON v.take_id = t.id JOIN calibrations c ON c.id = v.calibration_id
        WHERE t.job_id = j.id
        ORDER BY (t.parameters->'text', t.parameters->'voice', t.parameters->'cue_texts') IS NOT DISTINCT FROM (
                     SELECT (n.parameters->'text', n.parameters->'voice', n.parameters->'cue_texts') FROM takes n WHERE n.job_id = j.id ORDER BY n.number DESC LIMIT 1) DESC,
                 array_position(ARRAY['pass', 'flag', 'fail', 'unscorable'], v.verdict), coalesce(abs(v.offset_frames) <= 1, false) DESC,
                 coalesce((v.curve->'extra'->>'prominence')::double precision, 0) DESC, coalesce(v.confidence, 0) DESC, t.number
        LIMIT 1
    ) best ON true
    WHERE j.id = job
    ON CONFLICT (job_id) DO UPDATE SET take_id = excluded.take_id, engine = excluded.engine, kinds = excluded.kinds, priority = excluded.priority,
        shortfall = excluded.shortfall, flagged_at = excluded.flagged_at, urgency = excluded.urgency
$$;
"""
FOLLOW = """
CREATE FUNCTION queue_follows_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'flagged' THEN
        PERFORM queue_put(NEW.id);
    ELSIF OLD.state = 'flagged' THEN
        DELETE FROM queue WHERE job_id = NEW.id;
        DELETE FROM claims WHERE job_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER queue_follows_jobs AFTER UPDATE OF state, priority ON jobs FOR EACH ROW
    WHEN (NEW.state = 'flagged' OR OLD.state = 'flagged') EXECUTE FUNCTION queue_follows_jobs();
CREATE FUNCTION queue_follows_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE queue SET priority = priority + NEW.priority - OLD.priority, urgency = urgency + NEW.priority - OLD.priority WHERE batch_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER queue_follows_batches AFTER UPDATE OF priority ON batches FOR EACH ROW
    WHEN (NEW.priority <> OLD.priority) EXECUTE FUNCTION queue_follows_batches();
"""
# A number that grows whenever what the queue shows changes: readers ask for it instead of for the rows.
CHANGES = """
CREATE SEQUENCE desk_changes;
CREATE FUNCTION desk_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('desk_changes'); RETURN NULL; END $$;
CREATE TRIGGER queue_changed AFTER INSERT OR UPDATE OR DELETE ON queue FOR EACH STATEMENT EXECUTE FUNCTION desk_changed();
CREATE TRIGGER pending_changed AFTER INSERT OR DELETE ON pending FOR EACH STATEMENT EXECUTE FUNCTION desk_changed();
CREATE TRIGGER claims_changed AFTER INSERT OR DELETE ON claims FOR EACH ROW EXECUTE FUNCTION desk_changed();
CREATE TRIGGER claims_passed_on AFTER UPDATE ON claims FOR EACH ROW WHEN (NEW.account_id <> OLD.account_id) EXECUTE FUNCTION desk_changed();
"""
STAND = """
CREATE OR REPLACE FUNCTION desk_rows_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never changed', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER audit_stands BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION desk_rows_stand();
CREATE OR REPLACE TRIGGER notes_stand BEFORE UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION desk_rows_stand();
"""
ROLES = "role IN ('viewer', 'reviewer', 'operator', 'admin')"
KEPT = ("saved_views", "audit", "accounts")
LOST = ("notes", "pending", "claims", "queue", "sign_in_states", "sign_in_links", "sessions")


def _id() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)


def _when(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()") if now else None, nullable=nullable)


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default=default, nullable=nullable)


def _of(table: str, column: str) -> sa.ForeignKeyConstraint:
    home = {"account_id": "accounts", "job_id": "jobs", "batch_id": "batches", "take_id": "takes"}[column]
    return sa.ForeignKeyConstraint([column], [f"{home}.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    """Apply."""
    op.add_column("reviews", sa.Column("changes", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("reviews", sa.Column("seconds", sa.Float(), nullable=True))
    _kept()
    _people()
    _work()
    for call in (KINDS, SHORTFALL, PUT, FOLLOW, CHANGES, STAND):
        op.execute(call)
    # A way down leaves these of reviews, and notes, as events.
    op.execute("ALTER TABLE reviews DISABLE TRIGGER reviews_stand")
    op.execute(
        "UPDATE reviews r SET changes = coalesce(e.detail->'changes', '{}'), seconds = (e.detail->>'seconds')::double precision FROM events e "
        "WHERE e.kind = 'review' AND e.detail ? 'changes' AND (e.detail->>'take')::bigint = r.take_id AND e.at = r.at"
    )
    op.execute("ALTER TABLE reviews ENABLE TRIGGER reviews_stand")
    op.execute(
        "INSERT INTO notes (at, job_id, account_id, text) SELECT e.at, e.job_id, a.id, e.detail->>'text' FROM events e "
        "JOIN accounts a ON a.name = e.detail->>'actor' WHERE e.kind = 'note' ORDER BY e.id"
    )
    op.execute("SELECT queue_put(id) FROM jobs WHERE state = 'flagged'")


def _kept() -> None:
    """Accounts, views and the audit log: as a way down put them aside, or new."""
    bind = op.get_bind()
    if bind.execute(sa.text("SELECT to_regclass('kept.accounts')")).scalar() is not None:
        for table in KEPT:
            op.execute(f"ALTER TABLE kept.{table} SET SCHEMA public")
        op.execute("DROP SCHEMA kept")
        return
    op.create_table(
        "accounts", _id(), _text("name"), _text("role"), _text("password", nullable=True), _text("subject", nullable=True), _text("locale", ""),
        _when("created_at", now=True), _when("disabled_at", nullable=True),
        sa.CheckConstraint(ROLES, name=op.f("ck_accounts_role")),
        sa.CheckConstraint("name <> '' AND name = lower(name)", name=op.f("ck_accounts_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")), sa.UniqueConstraint("subject", name=op.f("uq_accounts_subject")),
    )  # fmt: skip
    op.create_table(
        "audit", _id(), _when("at", now=True), _text("actor"), _text("action"), sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )  # fmt: skip
    op.create_table(
        "saved_views", _id(), sa.Column("account_id", sa.BigInteger(), nullable=False), _text("name"), sa.Column("query", postgresql.JSONB(), nullable=False),
        _of("saved_views", "account_id"), sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_views")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_saved_views_account_id_name")),
    )  # fmt: skip


def _people() -> None:
    op.create_table(
        "notes", _id(), _when("at", now=True), sa.Column("job_id", sa.BigInteger(), nullable=False), sa.Column("account_id", sa.BigInteger(), nullable=False),
        _text("text"), sa.CheckConstraint("text <> ''", name=op.f("ck_notes_text")), _of("notes", "job_id"), _of("notes", "account_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )  # fmt: skip
    op.create_index(op.f("ix_notes_job_id"), "notes", ["job_id"], unique=False)
    op.create_table(
        "sessions", _text("id"), sa.Column("account_id", sa.BigInteger(), nullable=False), _text("secret"), _when("created_at", now=True),
        _when("seen_at", now=True), _when("expires_at"), _of("sessions", "account_id"), sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )  # fmt: skip
    op.create_index(op.f("ix_sessions_account_id"), "sessions", ["account_id"], unique=False)
    op.create_table(
        "sign_in_links", _text("id"), sa.Column("account_id", sa.BigInteger(), nullable=False), _when("expires_at"), _of("sign_in_links", "account_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_links")),
    )  # fmt: skip
    op.create_table(
        "sign_in_states", _text("id"), _text("nonce"), _text("verifier"), _when("expires_at"), sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_states")),
    )  # fmt: skip


def _work() -> None:
    number = sa.BigInteger()
    op.create_table(
        "queue", *(sa.Column(name, number, autoincrement=False, nullable=False) for name in ("job_id", "batch_id", "take_id")),
        _text("locale"), _text("engine"), _text("speaker"), sa.Column("kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False), sa.Column("shortfall", sa.Float(), nullable=False), _when("flagged_at"),
        sa.Column("urgency", sa.Float(), nullable=False), _of("queue", "job_id"), _of("queue", "batch_id"), _of("queue", "take_id"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_queue")),
    )  # fmt: skip
    op.create_index("ix_queue_urgency", "queue", ["urgency", "job_id"], unique=False)
    for name in ("batch_id", "locale", "engine", "speaker"):
        op.create_index(f"ix_queue_{name}", "queue", [name, "urgency", "job_id"], unique=False)
    op.create_index("ix_queue_kinds", "queue", ["kinds"], unique=False, postgresql_using="gin")
    op.create_table(
        "claims", sa.Column("job_id", number, autoincrement=False, nullable=False), sa.Column("account_id", number, nullable=False),
        _when("at", now=True), _when("expires_at"), _of("claims", "job_id"), _of("claims", "account_id"), sa.PrimaryKeyConstraint("job_id", name=op.f("pk_claims")),
    )  # fmt: skip
    op.create_index(op.f("ix_claims_account_id"), "claims", ["account_id"], unique=False)
    op.create_table(
        "pending", sa.Column("job_id", number, autoincrement=False, nullable=False), sa.Column("take_id", number, nullable=False),
        sa.Column("account_id", number, nullable=False), _text("decision"), _text("reason", ""), _text("note", ""),
        sa.Column("changes", postgresql.JSONB(), server_default="{}", nullable=False), sa.Column("seconds", sa.Float(), nullable=True),
        _text("bundle"), _when("due_at"), _of("pending", "job_id"), _of("pending", "take_id"), _of("pending", "account_id"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_pending")),
    )  # fmt: skip
    op.create_index(op.f("ix_pending_bundle"), "pending", ["bundle"], unique=False)
    op.create_index(op.f("ix_pending_due_at"), "pending", ["due_at"], unique=False)


def downgrade() -> None:
    """Undo. Accounts, views and the audit log are put aside for the next way up, notes stay as events; who is signed in or holds a claim is forgotten."""
    op.execute("DROP TRIGGER queue_follows_batches ON batches; DROP FUNCTION queue_follows_batches()")
    op.execute("DROP TRIGGER queue_follows_jobs ON jobs; DROP FUNCTION queue_follows_jobs()")
    op.execute("DROP FUNCTION queue_put(bigint); DROP FUNCTION queue_shortfall(text, jsonb, jsonb); DROP FUNCTION queue_kinds(text, jsonb)")
    for table in LOST:
        op.drop_table(table)
    op.execute("DROP FUNCTION desk_changed(); DROP SEQUENCE desk_changes")
    op.execute("CREATE SCHEMA kept")
    for table in KEPT:
        op.execute(f"ALTER TABLE public.{table} SET SCHEMA kept")
    op.drop_column("reviews", "seconds")
    op.drop_column("reviews", "changes")
