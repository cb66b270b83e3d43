"""A delivery's video may lead back to a video that was dubbed, as well as to a portrait."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TRACEABLE = """
CREATE OR REPLACE FUNCTION delivery_is_traceable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM take_weights WHERE take_id = NEW.take_id) THEN
        RAISE EXCEPTION 'delivery of job % has no weights in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM verdicts WHERE take_id = NEW.take_id AND verdict = 'pass') THEN
        RAISE EXCEPTION 'delivery of job % has no verdict that passes', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role = 'speech')
       OR NOT EXISTS (SELECT 1 FROM edges WHERE sha256 = NEW.sha256 AND role IN ({faces})) THEN
        RAISE EXCEPTION 'delivery of job % has no {words} or speech in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
"""


def upgrade() -> None:
    """Apply."""
    op.execute(TRACEABLE.format(faces="'portrait', 'video'", words="portrait, video"))


def downgrade() -> None:
    """Undo. Deliveries of dubbed videos stay as they are."""
    op.execute(TRACEABLE.format(faces="'portrait'", words="portrait"))
