"""A delivery that counts as commercial is not made by weights whose licence forbids that."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Jobs that say nothing are commercial: those of older code as well, which then deliver nothing by such weights.
LICENSED = """
CREATE FUNCTION delivery_is_licensed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE closed text;
BEGIN
    IF (SELECT spec->>'commercial' FROM jobs WHERE id = NEW.job_id) = 'false' THEN
        RETURN NULL;
    END IF;
    SELECT w.engine || '/' || w.name INTO closed FROM take_weights u JOIN weights w ON w.sha256 = u.sha256
    WHERE u.take_id = NEW.take_id AND w.licence_class <> 'open' LIMIT 1;
    IF closed IS NOT NULL THEN
        RAISE EXCEPTION 'delivery of job % is commercial, and the weights % may not be used so', NEW.job_id, closed USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER delivery_is_licensed AFTER INSERT OR UPDATE ON deliveries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION delivery_is_licensed();
"""


def upgrade() -> None:
    """Apply. Deliveries that are there stay."""
    op.execute(LICENSED)


def downgrade() -> None:
    """Undo."""
    op.execute("DROP TRIGGER delivery_is_licensed ON deliveries; DROP FUNCTION delivery_is_licensed()")
