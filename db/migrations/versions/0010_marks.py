"""What is delivered is a signed file that was made from its take's video; the take's video itself leaves no more."""

from alembic import op

revision = "0010"
down_revision = "0004"
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


def upgrade() -> None:
    """Apply. Deliveries that are there stay; a worker of the version before can deliver nothing more."""
    op.execute(MARKED)


def downgrade() -> None:
    """Undo."""
    op.execute(WAS)
