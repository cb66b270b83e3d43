"""A record may be limited to a face of a video. Then a delivery rests on a record for each face that its take redrew, where none covers the whole file."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KINDS = "kind IN ({})"
NAMED = "kind <> 'face' OR place ~ '^[0-9a-f]{64}@[0-9]+[.][0-9]{3},[01][.][0-9]{4},[01][.][0-9]{4}$' AND sha256 = encode(sha256(convert_to(place, 'UTF8')), 'hex')"
# The file itself must be what the take was dubbed from: of one that was made here, the records of what it was made from count, for the whole of them.
FACES = """
CREATE FUNCTION consent_by_faces(job bigint, take bigint, video text, title text, locale text, uses text, territories text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE((
        SELECT jsonb_array_length(t.parameters->'redrawn') > 0 AND NOT EXISTS (
            SELECT 1 FROM jsonb_array_elements(t.parameters->'redrawn') AS redrawn(track) WHERE NOT EXISTS (
                SELECT 1 FROM delivery_consents d JOIN consent_subjects s ON s.consent_id = d.consent_id AND s.sha256 = d.sha256
                WHERE d.job_id = $1 AND s.kind = 'face' AND left(s.place, 64) = $3 AND d.tracks @> redrawn.track
                  AND d.consent_id IN (SELECT consents_for(d.sha256, $4, $5, $6, $7))))
        FROM takes t JOIN edges e ON e.sha256 = t.video AND e.source = $3 AND e.role = 'video'
        WHERE t.id = $2 AND jsonb_typeof(t.parameters->'redrawn') = 'array'), false)
$$;
"""
ENFORCED = """
CREATE OR REPLACE FUNCTION delivery_has_consent() RETURNS trigger LANGUAGE plpgsql AS $$
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
    ){faces} LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'delivery of job % has no valid consent for %', NEW.job_id, missing USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
"""
OR_FACES = """
    AND NOT (r.role = 'video' AND consent_by_faces(NEW.job_id, NEW.take_id, r.sha256, wanted.title, wanted.locale, COALESCE(wanted.spec->>'use', ''), COALESCE(wanted.spec->>'territory', '')))"""
# Rows that stand: put aside, not removed.
ASIDE = """
ALTER TABLE {0} DISABLE TRIGGER {0}_stand;
DELETE FROM {0} WHERE (consent_id, sha256) IN (SELECT consent_id, sha256 FROM kept_faces.consent_subjects);
ALTER TABLE {0} ENABLE TRIGGER {0}_stand;
"""


def _kinds(*kinds: str) -> None:
    op.drop_constraint(op.f("ck_consent_subjects_kind"), "consent_subjects")
    op.create_check_constraint(op.f("ck_consent_subjects_kind"), "consent_subjects", KINDS.format(", ".join(f"'{kind}'" for kind in kinds)))


def upgrade() -> None:
    """Apply. Records of whole files stay what they are, and so do the deliveries that rest on them."""
    _kinds("portrait", "video", "voice", "face")
    op.create_check_constraint(op.f("ck_consent_subjects_face"), "consent_subjects", NAMED)
    op.create_index("ix_consent_subjects_video", "consent_subjects", [sa.text("left(place, 64)")], postgresql_where=sa.text("kind = 'face'"))
    op.add_column("delivery_consents", sa.Column("tracks", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute(FACES)
    op.execute(ENFORCED.format(faces=OR_FACES))
    if op.get_bind().execute(sa.text("SELECT to_regclass('kept_faces.consent_subjects')")).scalar() is not None:
        op.execute("INSERT INTO consent_subjects SELECT * FROM kept_faces.consent_subjects")
        op.execute("INSERT INTO delivery_consents SELECT * FROM kept_faces.delivery_consents d WHERE EXISTS (SELECT 1 FROM deliveries v WHERE v.job_id = d.job_id)")
        op.execute("DROP SCHEMA kept_faces CASCADE")


def downgrade() -> None:
    """Undo. Bonds to faces are put aside for the next way up, with what deliveries rest on them: code of before knows none."""
    op.execute("CREATE SCHEMA kept_faces")
    op.execute("CREATE TABLE kept_faces.consent_subjects AS SELECT * FROM consent_subjects WHERE kind = 'face'")
    op.execute("CREATE TABLE kept_faces.delivery_consents AS SELECT d.* FROM delivery_consents d JOIN kept_faces.consent_subjects s USING (consent_id, sha256)")
    for table in ("delivery_consents", "consent_subjects"):
        op.execute(ASIDE.format(table))
    op.execute(ENFORCED.format(faces=""))
    op.execute("DROP FUNCTION consent_by_faces(bigint, bigint, text, text, text, text, text)")
    op.drop_column("delivery_consents", "tracks")
    op.drop_index("ix_consent_subjects_video", "consent_subjects")
    op.drop_constraint(op.f("ck_consent_subjects_face"), "consent_subjects")
    _kinds("portrait", "video", "voice")
