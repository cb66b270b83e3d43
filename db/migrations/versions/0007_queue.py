"""The queue at scale: the next job of a batch and the running ones are found without reading the others; who makes what several jobs share."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_jobs_next", "jobs", ["batch_id", sa.text("priority DESC"), "position"], postgresql_where="state = 'queued'")
    op.create_index("ix_jobs_running", "jobs", ["batch_id"], postgresql_where="state = 'running'")
    op.create_table(
        "stage_claims",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_stage_claims_job_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stage_claims")),
    )


def downgrade() -> None:
    """Undo. What was claimed is made by whoever comes to it."""
    op.drop_table("stage_claims")
    op.drop_index("ix_jobs_running", table_name="jobs", postgresql_where="state = 'running'")
    op.drop_index("ix_jobs_next", table_name="jobs", postgresql_where="state = 'queued'")
