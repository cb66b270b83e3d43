-- Database roles of the least rights, for a Postgres of your own. Run as the schema's owner (who migrates), after the first start and after each
-- upgrade:  psql -v ON_ERROR_STOP=1 -f roles.sql DATABASE     Safe to repeat: what a role may is what stands here, no more.
--
-- These are groups without a login. Make a user for each process and put its name into DUBWRIGHT_DATABASE_URL:
--   CREATE ROLE worker_1 LOGIN PASSWORD '...' IN ROLE dubwright_worker;
-- A user may be in several: one machine that does everything needs worker, submit, desk, and rights for who enters consent.
--
--   (owner)            migrates; `dubwright doctor --fix`, `backup`, `restore`. Nobody works under it day by day
--   dubwright_worker   dubwright worker, shards, and the jobs that `dubwright run` renders: leases, stages, takes, verdicts, deliveries
--   dubwright_submit   dubwright run, cancel, prioritise, pause, deploy's batches, the API, webhooks
--   dubwright_desk     dubwright serve: accounts, claims, notes, decisions
--   dubwright_rights   dubwright consent, erase, gc
--   dubwright_read     dubwright status, report, lineage, metrics

DO $$
DECLARE one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['dubwright_worker', 'dubwright_submit', 'dubwright_desk', 'dubwright_rights', 'dubwright_read'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = one) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', one);
        END IF;
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', one);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', one);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', one);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- What everybody may look at: work, takes, verdicts, lineage, consent. No accounts, no tokens, no secrets of webhooks.
GRANT SELECT ON
    alembic_version, batches, jobs, service, takes, windows, weights, take_weights, calibrations, verdicts, reviews, artifacts, edges, stage_results,
    stage_claims, deliveries, delivery_consents, consents, consent_subjects, erasures, events, queue
TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights, dubwright_read;

-- What every change of a job sets going, by triggers: the queue follows, an event may be on its way to a webhook (whose secret stays unseen).
GRANT INSERT ON events TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights;
GRANT INSERT, UPDATE, DELETE ON queue TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights;
GRANT SELECT, DELETE ON claims TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights;
GRANT SELECT (id, active, kinds, batch), REFERENCES (id) ON webhook_endpoints TO dubwright_worker, dubwright_desk, dubwright_rights;
GRANT INSERT ON webhook_deliveries TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights;
GRANT USAGE ON SEQUENCE desk_changes TO dubwright_worker, dubwright_submit, dubwright_desk, dubwright_rights;
GRANT SELECT ON SEQUENCE desk_changes TO dubwright_desk, dubwright_read;

-- Workers. What a job is (key, title, spec) is not theirs to change, a decision of a person or a consent record neither.
GRANT UPDATE (state, attempts, outages, not_before, token, worker, lease_expires, error, updated_at) ON jobs TO dubwright_worker;
GRANT INSERT ON takes, windows, weights, take_weights, calibrations, verdicts, artifacts, edges, stage_results, stage_claims, deliveries, delivery_consents TO dubwright_worker;
GRANT UPDATE ON takes, verdicts, stage_claims TO dubwright_worker;
GRANT UPDATE (created_at) ON calibrations TO dubwright_worker;
GRANT UPDATE (marked_at, gone_at, erasure_id) ON artifacts TO dubwright_worker;
GRANT DELETE ON stage_results TO dubwright_worker;
GRANT UPDATE (note) ON consents TO dubwright_worker;  -- lets it hold a record while it delivers (FOR SHARE); a trigger refuses any change

-- Those who submit and steer, and the API with its tokens and webhooks.
GRANT INSERT ON batches, jobs, api_tokens, kept_answers, webhook_endpoints, webhook_attempts TO dubwright_submit;
GRANT SELECT ON api_tokens, kept_answers, webhook_endpoints, webhook_deliveries, webhook_attempts TO dubwright_submit;
GRANT UPDATE ON batches, service, api_tokens, kept_answers, webhook_endpoints, webhook_deliveries TO dubwright_submit;
GRANT UPDATE (state, priority, spec, attempts, outages, not_before, token, worker, lease_expires, error, updated_at) ON jobs TO dubwright_submit;
GRANT DELETE ON kept_answers TO dubwright_submit;
GRANT INSERT ON reviews TO dubwright_submit;  -- `dubwright review` and the API decide, too

-- The desk: people and what they decide; it steers batches, and makes no takes, verdicts or deliveries.
GRANT SELECT ON accounts, sessions, sign_in_links, sign_in_states, sign_in_tries, pending, notes, saved_views, audit TO dubwright_desk;
GRANT INSERT ON accounts, sessions, sign_in_links, sign_in_states, sign_in_tries, claims, pending, notes, saved_views, audit, reviews TO dubwright_desk;
GRANT UPDATE ON accounts, sessions, sign_in_tries, claims, saved_views TO dubwright_desk;
GRANT UPDATE (bundle) ON pending TO dubwright_desk;  -- to lock it
GRANT DELETE ON sessions, sign_in_links, sign_in_states, sign_in_tries, pending, saved_views TO dubwright_desk;
GRANT UPDATE (state, attempts, outages, not_before, token, worker, lease_expires, error, updated_at) ON jobs TO dubwright_desk;
GRANT UPDATE (revoked_at, revoked_by, revoked_why) ON consents TO dubwright_desk;  -- operators revoke; nobody enters a record at the desk
GRANT UPDATE (control, priority) ON batches TO dubwright_desk;

-- Consent, erasure and removal. It revokes, holds and removes; takes, verdicts and deliveries it cannot touch.
GRANT INSERT ON consents, consent_subjects, erasures TO dubwright_rights;
GRANT UPDATE (revoked_at, revoked_by, revoked_why, hold) ON consents TO dubwright_rights;
GRANT UPDATE (marked_at, gone_at, erasure_id) ON artifacts TO dubwright_rights;
GRANT DELETE ON stage_results TO dubwright_rights;
GRANT UPDATE (licence, licence_class) ON weights TO dubwright_rights;  -- `dubwright models licence`
GRANT UPDATE (state, not_before, token, worker, lease_expires, error, updated_at) ON jobs TO dubwright_rights;
