"""The queue at scale: the next job of a batch, and the running ones, are found without reading the others."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_jobs_next", "jobs", ["batch_id", sa.text("priority DESC"), "position"], postgresql_where="state = 'queued'")
    op.create_index("ix_jobs_running", "jobs", ["batch_id"], postgresql_where="state = 'running'")


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_jobs_running", table_name="jobs", postgresql_where="state = 'running'")
    op.drop_index("ix_jobs_next", table_name="jobs", postgresql_where="state = 'queued'")
