"""The desk: tries to sign in are counted by all server processes together, a title's jobs are found by it, the queue knows who speaks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Names of a job's speakers, as its maps of voices and faces have them. A trigger of its own: what fills the queue (migration 0006) stays as it is.
SPEAKERS = """
CREATE FUNCTION queue_speakers(spec jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(SELECT DISTINCT name FROM (VALUES (spec->'voices'), (spec->'dubbing'->'faces')) AS maps(map),
        LATERAL jsonb_object_keys(CASE jsonb_typeof(map) WHEN 'object' THEN map ELSE '{}' END) AS name ORDER BY name)
$$;
CREATE FUNCTION queue_names_speakers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.speakers := coalesce((SELECT queue_speakers(spec) FROM jobs WHERE id = NEW.job_id), '{}');
    RETURN NEW;
END $$;
CREATE TRIGGER queue_names_speakers BEFORE INSERT ON queue FOR EACH ROW EXECUTE FUNCTION queue_names_speakers();
UPDATE queue q SET speakers = queue_speakers(j.spec) FROM jobs j WHERE j.id = q.job_id;
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sign_in_tries",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_tries")),
    )
    op.create_index(op.f("ix_sign_in_tries_ends_at"), "sign_in_tries", ["ends_at"], unique=False)
    op.create_index("ix_jobs_title", "jobs", ["title", "locale", "id"], unique=False)
    op.add_column("queue", sa.Column("speakers", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.create_index("ix_queue_speakers", "queue", ["speakers"], unique=False, postgresql_using="gin")
    op.execute(SPEAKERS)


def downgrade() -> None:
    """Undo. Tries are forgotten; a filter by speaker that somebody keeps is left out."""
    op.execute("DROP TRIGGER queue_names_speakers ON queue; DROP FUNCTION queue_names_speakers(); DROP FUNCTION queue_speakers(jsonb)")
    op.drop_index("ix_queue_speakers", table_name="queue")
    op.drop_column("queue", "speakers")
    op.drop_index("ix_jobs_title", table_name="jobs")
    op.drop_table("sign_in_tries")
