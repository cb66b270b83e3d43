"""Lay down the tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# A delivery is refused unless its take names weights and its video's inputs lead back to a portrait and to speech.
COMPLETE = """
CREATE FUNCTION delivery_is_traceable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM take_weights WHERE take_id = NEW.take_id) THEN
        RAISE EXCEPTION 'delivery of job % has no weights in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM verdicts WHERE take_id = NEW.take_id AND verdict = 'pass') THEN
        RAISE EXCEPTION 'delivery of job % has no verdict that passes', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (SELECT count(DISTINCT role) FROM edges WHERE sha256 = NEW.sha256 AND role IN ('portrait', 'speech')) < 2 THEN
        RAISE EXCEPTION 'delivery of job % has no portrait or speech in its lineage', NEW.job_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER delivery_is_traceable AFTER INSERT OR UPDATE ON deliveries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delivery_is_traceable();
CREATE FUNCTION events_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER events_stand BEFORE UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_stand();
"""

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table('artifacts',
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f('ck_artifacts_sha256')),
    sa.CheckConstraint('size >= 0', name=op.f('ck_artifacts_size')),
    sa.PrimaryKeyConstraint('sha256', name=op.f('pk_artifacts'))
    )
    op.create_table('batches',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('output', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_batches')),
    sa.UniqueConstraint('key', name=op.f('uq_batches_key'))
    )
    op.create_table('calibrations',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('scorer', sa.Text(), nullable=False),
    sa.Column('thresholds', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_calibrations')),
    sa.UniqueConstraint('scorer', 'thresholds', name=op.f('uq_calibrations_scorer_thresholds'))
    )
    op.create_index(op.f('ix_calibrations_scorer'), 'calibrations', ['scorer'], unique=False)
    op.create_table('weights',
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('engine', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('licence', sa.Text(), nullable=False),
    sa.Column('licence_class', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('sha256', name=op.f('pk_weights'))
    )
    op.create_table('edges',
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.CheckConstraint('sha256 <> source', name=op.f('ck_edges_not_itself')),
    sa.ForeignKeyConstraint(['sha256'], ['artifacts.sha256'], name=op.f('fk_edges_sha256')),
    sa.ForeignKeyConstraint(['source'], ['artifacts.sha256'], name=op.f('fk_edges_source')),
    sa.PrimaryKeyConstraint('sha256', 'source', 'role', name=op.f('pk_edges'))
    )
    op.create_index('ix_edges_source', 'edges', ['source'], unique=False)
    op.create_table('jobs',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('batch_id', sa.BigInteger(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('locale', sa.Text(), nullable=False),
    sa.Column('engine', sa.Text(), nullable=False),
    sa.Column('preset', sa.Text(), nullable=False),
    sa.Column('spec', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('state', sa.Text(), server_default='queued', nullable=False),
    sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('token', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('worker', sa.Text(), nullable=True),
    sa.Column('lease_expires', sa.DateTime(timezone=True), nullable=True),
    sa.Column('error', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("(state = 'running') = (lease_expires IS NOT NULL)", name=op.f('ck_jobs_lease')),
    sa.CheckConstraint("state IN ('queued', 'running', 'delivered', 'flagged', 'failed')", name=op.f('ck_jobs_state')),
    sa.ForeignKeyConstraint(['batch_id'], ['batches.id'], name=op.f('fk_jobs_batch_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_jobs')),
    sa.UniqueConstraint('batch_id', 'title', 'locale', name=op.f('uq_jobs_batch_id_title_locale'))
    )
    op.create_index(op.f('ix_jobs_key'), 'jobs', ['key'], unique=False)
    op.create_index('ix_jobs_waiting', 'jobs', ['batch_id', 'position'], unique=False, postgresql_where="state IN ('queued', 'running')")
    op.create_table('stage_results',
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('stage', sa.Text(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('seconds', sa.Float(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['sha256'], ['artifacts.sha256'], name=op.f('fk_stage_results_sha256')),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_stage_results'))
    )
    op.create_index(op.f('ix_stage_results_stage'), 'stage_results', ['stage'], unique=False)
    op.create_table('events',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('batch_id', sa.BigInteger(), nullable=False),
    sa.Column('job_id', sa.BigInteger(), nullable=True),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('detail', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['batch_id'], ['batches.id'], name=op.f('fk_events_batch_id')),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_events_job_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_events'))
    )
    op.create_index(op.f('ix_events_batch_id'), 'events', ['batch_id'], unique=False)
    op.create_index(op.f('ix_events_job_id'), 'events', ['job_id'], unique=False)
    op.create_table('takes',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('job_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('engine', sa.Text(), nullable=False),
    sa.Column('preset', sa.Text(), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('code_version', sa.Text(), nullable=False),
    sa.Column('machine', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('seconds', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('video', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_takes_job_id')),
    sa.ForeignKeyConstraint(['video'], ['artifacts.sha256'], name=op.f('fk_takes_video')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_takes')),
    sa.UniqueConstraint('job_id', 'number', name=op.f('uq_takes_job_id_number'))
    )
    op.create_table('deliveries',
    sa.Column('job_id', sa.BigInteger(), nullable=False),
    sa.Column('take_id', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('files', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_deliveries_job_id')),
    sa.ForeignKeyConstraint(['sha256'], ['artifacts.sha256'], name=op.f('fk_deliveries_sha256')),
    sa.ForeignKeyConstraint(['take_id'], ['takes.id'], name=op.f('fk_deliveries_take_id')),
    sa.PrimaryKeyConstraint('job_id', name=op.f('pk_deliveries')),
    sa.UniqueConstraint('take_id', name=op.f('uq_deliveries_take_id')),
    sa.UniqueConstraint('url', name=op.f('uq_deliveries_url'))
    )
    op.create_table('take_weights',
    sa.Column('take_id', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['sha256'], ['weights.sha256'], name=op.f('fk_take_weights_sha256')),
    sa.ForeignKeyConstraint(['take_id'], ['takes.id'], name=op.f('fk_take_weights_take_id')),
    sa.PrimaryKeyConstraint('take_id', 'sha256', name=op.f('pk_take_weights'))
    )
    op.create_table('verdicts',
    sa.Column('take_id', sa.BigInteger(), nullable=False),
    sa.Column('calibration_id', sa.BigInteger(), nullable=False),
    sa.Column('verdict', sa.Text(), nullable=False),
    sa.Column('reasons', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('offset_frames', sa.Integer(), nullable=True),
    sa.Column('distance', sa.Float(), nullable=True),
    sa.Column('confidence', sa.Float(), nullable=True),
    sa.Column('curve', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("verdict = 'unscorable' OR confidence IS NOT NULL", name=op.f('ck_verdicts_scored')),
    sa.CheckConstraint("verdict IN ('pass', 'flag', 'fail', 'unscorable')", name=op.f('ck_verdicts_verdict')),
    sa.ForeignKeyConstraint(['calibration_id'], ['calibrations.id'], name=op.f('fk_verdicts_calibration_id')),
    sa.ForeignKeyConstraint(['take_id'], ['takes.id'], name=op.f('fk_verdicts_take_id')),
    sa.PrimaryKeyConstraint('take_id', name=op.f('pk_verdicts'))
    )
    op.create_table('windows',
    sa.Column('take_id', sa.BigInteger(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('first_frame', sa.Integer(), nullable=False),
    sa.Column('last_frame', sa.Integer(), nullable=False),
    sa.Column('seconds', sa.Float(), nullable=False),
    sa.CheckConstraint('last_frame > first_frame', name=op.f('ck_windows_frames')),
    sa.ForeignKeyConstraint(['take_id'], ['takes.id'], name=op.f('fk_windows_take_id')),
    sa.PrimaryKeyConstraint('take_id', 'number', name=op.f('pk_windows'))
    )
    op.execute(COMPLETE)


def downgrade() -> None:
    """Take back."""
    op.execute("DROP TRIGGER events_stand ON events; DROP FUNCTION events_stand()")
    op.execute("DROP TRIGGER delivery_is_traceable ON deliveries; DROP FUNCTION delivery_is_traceable()")
    op.drop_table('windows')
    op.drop_table('verdicts')
    op.drop_table('take_weights')
    op.drop_table('deliveries')
    op.drop_table('takes')
    op.drop_index(op.f('ix_events_job_id'), table_name='events')
    op.drop_index(op.f('ix_events_batch_id'), table_name='events')
    op.drop_table('events')
    op.drop_index(op.f('ix_stage_results_stage'), table_name='stage_results')
    op.drop_table('stage_results')
    op.drop_index('ix_jobs_waiting', table_name='jobs', postgresql_where="state IN ('queued', 'running')")
    op.drop_index(op.f('ix_jobs_key'), table_name='jobs')
    op.drop_table('jobs')
    op.drop_index('ix_edges_source', table_name='edges')
    op.drop_table('edges')
    op.drop_table('weights')
    op.drop_index(op.f('ix_calibrations_scorer'), table_name='calibrations')
    op.drop_table('calibrations')
    op.drop_table('batches')
    op.drop_table('artifacts')
