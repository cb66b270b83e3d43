"""People's decisions on takes, jobs that they reject, deliveries that they approve, and how far a batch's jobs may climb."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = "state IN ('queued', 'running', 'delivered', 'flagged', {}'failed')"
DELIVERABLE = """
CREATE OR REPLACE FUNCTION delivery_is_traceable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM take_weights WHERE take_id = NEW.take_id) THEN
        RAISE EXCEPTION 'delivery of job % has no weights in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM verdicts WHERE take_id = NEW.take_id AND verdict = 'pass') {approved} THEN
        RAISE EXCEPTION 'delivery of job % has no verdict that passes{words}', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role = 'speech')
       OR NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role IN ('portrait', 'video')) THEN
        RAISE EXCEPTION 'delivery of job % has no portrait, video or speech in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""
APPROVED = """
       AND COALESCE((SELECT decision FROM reviews WHERE take_id = NEW.take_id AND video = NEW.sha256 ORDER BY id DESC LIMIT 1), '') <> 'approve'"""
STAND = """
CREATE FUNCTION reviews_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'reviews are never changed' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER reviews_stand BEFORE UPDATE OR DELETE ON reviews FOR EACH ROW EXECUTE FUNCTION reviews_stand();
"""
# Events outlive these tables: every review is one, too, so that a way down and up again loses nothing.
RESTORE = """
INSERT INTO reviews (at, take_id, actor, decision, reason, note, video, verdict)
SELECT at, (detail->>'take')::bigint, detail->>'actor', detail->>'decision', detail->>'reason', detail->>'note', detail->>'video', detail->>'verdict'
FROM events WHERE kind = 'review' ORDER BY id;
UPDATE jobs SET state = 'rejected' WHERE state = 'flagged' AND error->>'code' = 'review.rejected';
UPDATE batches SET ladder = e.detail FROM (
    SELECT DISTINCT ON (batch_id) batch_id, CASE kind WHEN 'ladder' THEN detail ELSE detail->'ladder' END AS detail
    FROM events WHERE kind = 'ladder' OR kind = 'submitted' AND detail ? 'ladder' ORDER BY batch_id, id DESC
) e WHERE e.batch_id = batches.id;
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("batches", sa.Column("ladder", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False))
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("take_id", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("video", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.CheckConstraint("decision IN ('approve', 'reject', 'again')", name=op.f("ck_reviews_decision")),
        sa.CheckConstraint("decision <> 'reject' OR reason <> ''", name=op.f("ck_reviews_reason")),
        sa.CheckConstraint("actor <> ''", name=op.f("ck_reviews_actor")),
        sa.CheckConstraint("verdict IN ('pass', 'flag', 'fail', 'unscorable')", name=op.f("ck_reviews_verdict")),
        sa.ForeignKeyConstraint(["take_id"], ["takes.id"], name=op.f("fk_reviews_take_id")),
        sa.ForeignKeyConstraint(["video"], ["artifacts.sha256"], name=op.f("fk_reviews_video")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_take_id"), "reviews", ["take_id"], unique=False)
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", STATES.format("'rejected', "))
    op.execute(DELIVERABLE.format(approved=APPROVED, words=" and no approval"))
    op.execute(RESTORE)
    op.execute(STAND)


def downgrade() -> None:
    """Undo. Reviews and limits stay as events, rejected jobs become flagged ones; deliveries that were approved stay as they are."""
    op.execute(DELIVERABLE.format(approved="", words=""))
    op.execute("UPDATE jobs SET state = 'flagged' WHERE state = 'rejected'")
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", STATES.format(""))
    op.execute("DROP TRIGGER reviews_stand ON reviews; DROP FUNCTION reviews_stand()")
    op.drop_index(op.f("ix_reviews_take_id"), table_name="reviews")
    op.drop_table("reviews")
    op.drop_column("batches", "ladder")
