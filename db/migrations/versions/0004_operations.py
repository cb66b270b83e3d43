"""Operators' reach: jobs that wait after a fault, that are cancelled or come first; batches that pause; artifacts that may go."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATES = "state IN ('queued', 'running', 'delivered', 'flagged', 'rejected', 'failed'{})"
CONTROLS = "control IN ('open', 'paused', 'draining')"
# What a job's state may become. A delivered job stays delivered; a lease takes a larger token, and no token ever falls.
MOVES = """
CREATE FUNCTION job_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.token < OLD.token OR NEW.state = 'running' AND OLD.state <> 'running' AND NEW.token = OLD.token THEN
        RAISE EXCEPTION 'job % cannot go from token % to %', OLD.id, OLD.token, NEW.token USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = OLD.state
       OR OLD.state = 'queued' AND NEW.state IN ('running', 'failed', 'cancelled')
       OR OLD.state = 'running' AND NEW.state IN ('queued', 'delivered', 'flagged', 'failed', 'cancelled')
       OR OLD.state = 'flagged' AND NEW.state IN ('queued', 'rejected')
       OR OLD.state IN ('rejected', 'failed', 'cancelled') AND NEW.state = 'queued' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER job_moves BEFORE UPDATE OF state, token ON jobs FOR EACH ROW EXECUTE FUNCTION job_moves();
"""
# Whatever a delivery reaches, however far back, is never marked for removal.
REACHED = """
CREATE FUNCTION artifact_is_unreached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        WITH RECURSIVE above(sha256) AS (
            SELECT NEW.sha256 UNION SELECT e.sha256 FROM edges e JOIN above a ON e.source = a.sha256
        ) SELECT 1 FROM above a JOIN deliveries d ON d.sha256 = a.sha256
    ) THEN
        RAISE EXCEPTION 'artifact % is reached by a delivery', NEW.sha256 USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER artifact_is_unreached BEFORE UPDATE OF marked_at, gone_at ON artifacts FOR EACH ROW
    WHEN (NEW.marked_at IS NOT NULL) EXECUTE FUNCTION artifact_is_unreached();
"""


def upgrade() -> None:
    """Apply."""
    op.add_column("batches", sa.Column("control", sa.Text(), server_default="open", nullable=False))
    op.add_column("batches", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_batches_control"), "batches", CONTROLS)
    op.create_table(
        "service",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("control", sa.Text(), server_default="open", nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_service_one_row")),
        sa.CheckConstraint(CONTROLS, name=op.f("ck_service_control")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
    )
    op.execute("INSERT INTO service (id) VALUES (1)")
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("outages", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f("ck_jobs_state"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", STATES.format(", 'cancelled'"))
    op.create_check_constraint(op.f("ck_jobs_backoff"), "jobs", "not_before IS NULL OR state = 'queued'")
    op.create_check_constraint(op.f("ck_jobs_tries"), "jobs", "attempts >= 0 AND outages >= 0")
    op.add_column("artifacts", sa.Column("marked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("artifacts", sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_artifacts_marked_first"), "artifacts", "gone_at IS NULL OR marked_at IS NOT NULL")
    op.create_index("ix_artifacts_marked", "artifacts", ["marked_at"], unique=False, postgresql_where="marked_at IS NOT NULL AND gone_at IS NULL")
    op.create_index(op.f("ix_stage_results_sha256"), "stage_results", ["sha256"], unique=False)
    op.execute("UPDATE jobs SET state = 'cancelled' WHERE state = 'failed' AND error->>'code' = 'job.cancelled'")
    op.execute(MOVES)
    op.execute(REACHED)


def downgrade() -> None:
    """Undo. Cancelled jobs become failed ones that say so; pauses and priorities stay as events."""
    op.execute("DROP TRIGGER artifact_is_unreached ON artifacts; DROP FUNCTION artifact_is_unreached()")
    op.execute("DROP TRIGGER job_moves ON jobs; DROP FUNCTION job_moves()")
    op.execute("UPDATE jobs SET state = 'failed' WHERE state = 'cancelled'")
    op.drop_index(op.f("ix_stage_results_sha256"), table_name="stage_results")
    op.drop_index("ix_artifacts_marked", table_name="artifacts", postgresql_where="marked_at IS NOT NULL AND gone_at IS NULL")
    for name, table in (("artifacts_marked_first", "artifacts"), ("jobs_backoff", "jobs"), ("jobs_tries", "jobs"), ("jobs_state", "jobs"), ("batches_control", "batches")):
        op.drop_constraint(op.f(f"ck_{name}"), table)
    op.create_check_constraint(op.f("ck_jobs_state"), "jobs", STATES.format(""))
    op.drop_table("service")
    for table, columns in (("artifacts", ("gone_at", "marked_at")), ("jobs", ("not_before", "outages", "priority")), ("batches", ("priority", "control"))):
        for column in columns:
            op.drop_column(table, column)
