"""Whose face and voice may be used for what, without which nothing is delivered; and deliveries are signed files made from takes' videos.

One function, `consents_for`, says which records cover a use; plan, workers and the trigger on deliveries all ask it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from db.versions import contract

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WAS = """
CREATE OR REPLACE FUNCTION delivery_is_traceable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM take_weights WHERE take_id = NEW.take_id) THEN
        RAISE EXCEPTION 'delivery of job % has no weights in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM verdicts WHERE take_id = NEW.take_id AND verdict = 'pass')
       AND COALESCE((SELECT decision FROM reviews WHERE take_id = NEW.take_id AND video = NEW.sha256 ORDER BY id DESC LIMIT 1), '') <> 'approve' THEN
        RAISE EXCEPTION 'delivery of job % has no verdict that passes and no approval', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role = 'speech')
       OR NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role IN ('portrait', 'video')) THEN
        RAISE EXCEPTION 'delivery of job % has no portrait, video or speech in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""
MARKED = """
CREATE OR REPLACE FUNCTION delivery_is_traceable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE film text;
BEGIN
    SELECT video INTO film FROM takes WHERE id = NEW.take_id;
    IF NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND source = film AND role = 'render') THEN
        RAISE EXCEPTION 'delivery of job % is not a signed file made from its take', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM take_weights WHERE take_id = NEW.take_id) THEN
        RAISE EXCEPTION 'delivery of job % has no weights in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM verdicts WHERE take_id = NEW.take_id AND verdict = 'pass')
       AND COALESCE((SELECT decision FROM reviews WHERE take_id = NEW.take_id AND video = film ORDER BY id DESC LIMIT 1), '') <> 'approve' THEN
        RAISE EXCEPTION 'delivery of job % has no verdict that passes and no approval', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = film AND role = 'speech')
       OR NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = film AND role IN ('portrait', 'video')) THEN
        RAISE EXCEPTION 'delivery of job % has no portrait, video or speech in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""
# Results are named by content, so two people's videos may share one (who speaks when, say): the walk goes by what carries face or voice alone.
COVERS = """
CREATE FUNCTION consents_for(subject text, title text, locale text, uses text, territories text) RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
    SELECT c.id FROM consents c JOIN consent_subjects s ON s.consent_id = c.id
    WHERE s.sha256 = $1 AND c.revoked_at IS NULL AND c.starts <= clock_timestamp() AND (c.ends IS NULL OR c.ends > clock_timestamp())
      AND (c.titles = '[]' OR jsonb_exists(c.titles, $2))
      AND (c.locales = '[]' OR EXISTS (SELECT 1 FROM jsonb_array_elements_text(c.locales) AS l(name) WHERE $3 = l.name OR starts_with($3, l.name || '-')))
      AND (c.uses = '[]' OR $4 <> '' AND c.uses @> to_jsonb(string_to_array($4, ',')))
      AND (c.territories = '[]' OR $5 <> '' AND c.territories @> to_jsonb(string_to_array($5, ',')))
    ORDER BY c.created_at, c.id
$$;
CREATE FUNCTION consent_roots(file text) RETURNS TABLE (sha256 text, role text) LANGUAGE sql VOLATILE AS $$
    WITH RECURSIVE below(sha256, role) AS (
        SELECT $1, 'render'
        UNION SELECT e.source, e.role FROM edges e JOIN below b ON e.sha256 = b.sha256
        WHERE CASE b.role WHEN 'speech' THEN e.role = 'audio' ELSE e.role IN ('render', 'portrait', 'video', 'speech') END
    )
    SELECT DISTINCT b.sha256, b.role FROM below b
    WHERE b.role IN ('portrait', 'video', 'audio')
      AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.sha256 = b.sha256 AND e.role IN ('render', 'portrait', 'video', 'speech'))
$$;
"""
# Deferred to the commit, so that a delivery and the records it rests on may be entered in either order, and nothing is revoked in between.
ENFORCED = """
CREATE FUNCTION delivery_has_consent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted jobs%ROWTYPE;
    missing text;
BEGIN
    SELECT * INTO wanted FROM jobs WHERE id = NEW.job_id;
    IF NOT EXISTS (SELECT 1 FROM consent_roots(NEW.sha256)) THEN
        RAISE EXCEPTION 'delivery of job % has nobody in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT r.sha256 INTO missing FROM consent_roots(NEW.sha256) r WHERE NOT EXISTS (
        SELECT 1 FROM delivery_consents d
        WHERE d.job_id = NEW.job_id AND d.sha256 = r.sha256 AND d.consent_id IN (
            SELECT consents_for(r.sha256, wanted.title, wanted.locale, COALESCE(wanted.spec->>'use', ''), COALESCE(wanted.spec->>'territory', '')))
    ) LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'delivery of job % has no valid consent for %', NEW.job_id, missing USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER delivery_has_consent AFTER INSERT OR UPDATE ON deliveries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION delivery_has_consent();
"""
STAND = """
CREATE OR REPLACE FUNCTION consents_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'consents' THEN
        IF (to_jsonb(NEW) - '{revoked_at,revoked_by,revoked_why,hold}'::text[]) = (to_jsonb(OLD) - '{revoked_at,revoked_by,revoked_why,hold}'::text[])
           AND (OLD.revoked_at IS NULL OR (NEW.revoked_at, NEW.revoked_by, NEW.revoked_why) = (OLD.revoked_at, OLD.revoked_by, OLD.revoked_why)) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'consent records are never changed, but for their revocation and hold' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER consents_stand BEFORE UPDATE OR DELETE ON consents FOR EACH ROW EXECUTE FUNCTION consents_stand();
CREATE OR REPLACE TRIGGER consent_subjects_stand BEFORE UPDATE OR DELETE ON consent_subjects FOR EACH ROW EXECUTE FUNCTION consents_stand();
CREATE OR REPLACE TRIGGER delivery_consents_stand BEFORE UPDATE OR DELETE ON delivery_consents FOR EACH ROW EXECUTE FUNCTION consents_stand();
"""
# What a delivery reaches is marked for removal by an erasure alone.
REACHED = """
CREATE OR REPLACE FUNCTION artifact_is_unreached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {erasure}IF EXISTS (
        WITH RECURSIVE above(sha256) AS (
            SELECT NEW.sha256 UNION SELECT e.sha256 FROM edges e JOIN above a ON e.source = a.sha256
        ) SELECT 1 FROM above a JOIN deliveries d ON d.sha256 = a.sha256
    ) THEN
        RAISE EXCEPTION 'artifact % is reached by a delivery', NEW.sha256 USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""
ERASURE = """IF NEW.erasure_id IS NOT NULL THEN
        RETURN NEW;
    END IF;
    """
TABLES = ("consents", "consent_subjects", "delivery_consents", "erasures")
GONE = """DO $$ BEGIN
    IF to_regclass('kept_rights.gone') IS NOT NULL THEN
        UPDATE artifacts a SET erasure_id = g.erasure_id FROM kept_rights.gone g WHERE g.sha256 = a.sha256;
        DROP TABLE kept_rights.gone;
        DROP SCHEMA kept_rights;
    END IF;
END $$;
"""
BASES = "basis IN ('own-performance', 'replica', 'licence', 'employee', 'public-domain', 'synthetic')"


def upgrade() -> None:
    """Apply. Deliveries that are there stay; a worker of the version before can deliver nothing more."""
    op.execute(contract("0008"))
    if not _kept():
        _tables()
    op.add_column("artifacts", sa.Column("erasure_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_artifacts_erasure_id"), "artifacts", "erasures", ["erasure_id"], ["id"])
    for call in (COVERS, ENFORCED, STAND, REACHED.format(erasure=ERASURE), MARKED, GONE):
        op.execute(call)


def _kept() -> bool:
    """Bring back the records that a way down put aside. Returns whether there were any."""
    if op.get_bind().execute(sa.text("SELECT to_regclass('kept_rights.consents')")).scalar() is None:
        return False
    for table in TABLES:
        op.execute(f"ALTER TABLE kept_rights.{table} SET SCHEMA public")
    op.execute("ALTER TABLE delivery_consents DISABLE TRIGGER delivery_consents_stand")
    op.execute("DELETE FROM delivery_consents d WHERE NOT EXISTS (SELECT 1 FROM deliveries v WHERE v.job_id = d.job_id)")  # a way down to the first table and beyond
    op.execute("ALTER TABLE delivery_consents ENABLE TRIGGER delivery_consents_stand")
    _of_deliveries()
    return True


def _of_deliveries() -> None:
    op.create_foreign_key(op.f("fk_delivery_consents_job_id"), "delivery_consents", "deliveries", ["job_id"], ["job_id"])


def _tables() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        *(sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False) for name in ("titles", "locales", "territories", "uses")),
        sa.Column("starts", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evidence", sa.Text(), server_default="", nullable=False),
        sa.Column("minor", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in ("guardian", "note")),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in ("revoked_by", "revoked_why", "hold")),
        sa.CheckConstraint("id ~ '^c-[a-z0-9-]{2,60}$'", name=op.f("ck_consents_id")),
        sa.CheckConstraint("person <> ''", name=op.f("ck_consents_person")),
        sa.CheckConstraint(BASES, name=op.f("ck_consents_basis")),
        sa.CheckConstraint("evidence ~ '^([0-9a-f]{64})?$'", name=op.f("ck_consents_evidence")),
        sa.CheckConstraint("evidence <> '' OR basis IN ('public-domain', 'synthetic')", name=op.f("ck_consents_proven")),
        sa.CheckConstraint("NOT minor OR guardian <> ''", name=op.f("ck_consents_guardian")),
        sa.CheckConstraint("ends IS NULL OR ends > starts", name=op.f("ck_consents_term")),
        sa.CheckConstraint("revoked_at IS NULL OR revoked_by <> ''", name=op.f("ck_consents_revoked")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
    )
    op.create_index(op.f("ix_consents_person"), "consents", ["person"], unique=False)
    op.create_table(
        "consent_subjects",
        sa.Column("consent_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.Column("bound_by", sa.Text(), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_consent_subjects_sha256")),
        sa.CheckConstraint("kind IN ('portrait', 'video', 'voice')", name=op.f("ck_consent_subjects_kind")),
        sa.ForeignKeyConstraint(["consent_id"], ["consents.id"], name=op.f("fk_consent_subjects_consent_id")),
        sa.PrimaryKeyConstraint("consent_id", "sha256", name=op.f("pk_consent_subjects")),
    )
    op.create_index(op.f("ix_consent_subjects_sha256"), "consent_subjects", ["sha256"], unique=False)
    op.create_table(
        "delivery_consents",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("consent_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["consent_id", "sha256"], ["consent_subjects.consent_id", "consent_subjects.sha256"], name=op.f("fk_delivery_consents_consent_id")),
        sa.PrimaryKeyConstraint("job_id", "sha256", name=op.f("pk_delivery_consents")),
    )
    op.create_index(op.f("ix_delivery_consents_consent_id"), "delivery_consents", ["consent_id"], unique=False)
    _of_deliveries()
    op.create_table(
        "erasures",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("consents", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("artifacts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )


def downgrade() -> None:
    """Undo. Records are put aside for the next way up, with what rests on them and what was erased."""
    op.execute("COMMENT ON TABLE alembic_version IS NULL")
    op.execute(WAS)
    op.execute(REACHED.format(erasure=""))
    op.execute("DROP TRIGGER delivery_has_consent ON deliveries; DROP FUNCTION delivery_has_consent()")
    op.execute("DROP FUNCTION consents_for(text, text, text, text, text); DROP FUNCTION consent_roots(text)")
    op.execute("CREATE SCHEMA kept_rights")
    op.execute("CREATE TABLE kept_rights.gone AS SELECT sha256, erasure_id FROM artifacts WHERE erasure_id IS NOT NULL")
    op.drop_constraint(op.f("fk_artifacts_erasure_id"), "artifacts")
    op.drop_column("artifacts", "erasure_id")
    op.drop_constraint(op.f("fk_delivery_consents_job_id"), "delivery_consents")
    for table in TABLES:
        op.execute(f"ALTER TABLE public.{table} SET SCHEMA kept_rights")
