-- Remove a household that has left from Dagster's database; its own database is dropped as a whole:
--   psql --set household=smiths --file remove.sql postgresql://aperture_dagster@localhost/aperture_dagster
-- Stop its code server and take it out of workspace.yaml first. Other households may be at work.
\set ON_ERROR_STOP on
BEGIN;
CREATE TEMPORARY TABLE gone_runs ON COMMIT DROP AS
  SELECT run_id FROM run_tags WHERE key = 'aperture/household' AND value = :'household';
CREATE TEMPORARY TABLE gone_events ON COMMIT DROP AS
  SELECT id FROM event_logs WHERE run_id IN (SELECT run_id FROM gone_runs)
    OR starts_with(asset_key, '["' || :'household' || '", ');
DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM gone_events);
DELETE FROM event_logs WHERE id IN (SELECT id FROM gone_events);
DELETE FROM asset_check_executions WHERE starts_with(asset_key, '["' || :'household' || '", ');
DELETE FROM asset_keys WHERE starts_with(asset_key, '["' || :'household' || '", ');
DELETE FROM asset_daemon_asset_evaluations WHERE asset_key ~ ('"' || :'household' || '\\?"');
DELETE FROM dynamic_partitions WHERE starts_with(partitions_def_name, :'household' || '/');
DELETE FROM concurrency_slots WHERE starts_with(concurrency_key, :'household' || '/');
DELETE FROM concurrency_limits WHERE starts_with(concurrency_key, :'household' || '/');
DELETE FROM pending_steps WHERE starts_with(concurrency_key, :'household' || '/');
-- Backfills name assets or the code location, in JSON or in JSON within JSON.
CREATE TEMPORARY TABLE gone_backfills ON COMMIT DROP AS
  SELECT key FROM bulk_actions WHERE body ~ ('"' || :'household' || '\\?"');
DELETE FROM backfill_tags WHERE backfill_id IN (SELECT key FROM gone_backfills);
DELETE FROM bulk_actions WHERE key IN (SELECT key FROM gone_backfills);
-- Schedules and sensors with their ticks and cursors.
CREATE TEMPORARY TABLE gone_jobs ON COMMIT DROP AS
  SELECT job_origin_id, selector_id FROM jobs WHERE job_body LIKE '%"location_name": "' || :'household' || '"%';
DELETE FROM job_ticks WHERE selector_id IN (SELECT selector_id FROM gone_jobs)
  OR job_origin_id IN (SELECT job_origin_id FROM gone_jobs);
DELETE FROM instigators WHERE selector_id IN (SELECT selector_id FROM gone_jobs);
DELETE FROM jobs WHERE selector_id IN (SELECT selector_id FROM gone_jobs);
-- Last: by them, the others were found.
DELETE FROM run_tags WHERE run_id IN (SELECT run_id FROM gone_runs);
DELETE FROM runs WHERE run_id IN (SELECT run_id FROM gone_runs);
COMMIT;
