-- view: pg_settings, https://www.postgresql.org/docs/current/view-pg-settings.html
-- cost: builds some 370 rows in memory (about a millisecond); only what differs from the built-in default, or is listed
--   below, is sent. A value leaves as its hash unless it is listed: some settings hold passwords.
--   reset_val, not setting: the timeouts of our own session are set by us and would hide the server's.
-- privilege: none; pg_read_all_settings (in pg_monitor) adds the ones that only superusers see
WITH listed (name) AS (VALUES
  ('autovacuum_freeze_max_age'), ('autovacuum_max_workers'), ('checkpoint_timeout'), ('deadlock_timeout'),
  ('effective_cache_size'), ('hash_mem_multiplier'), ('idle_in_transaction_session_timeout'),
  ('idle_replication_slot_timeout'), ('idle_session_timeout'), ('lock_timeout'), ('log_min_duration_statement'),
  ('logical_decoding_work_mem'), ('maintenance_work_mem'), ('max_connections'), ('max_logical_replication_workers'),
  ('max_parallel_workers'), ('max_prepared_transactions'), ('max_replication_slots'), ('max_slot_wal_keep_size'),
  ('max_wal_senders'), ('max_wal_size'), ('max_worker_processes'), ('neon.max_cluster_size'), ('random_page_cost'),
  ('shared_buffers'), ('statement_timeout'), ('temp_file_limit'), ('transaction_timeout'), ('wal_sender_timeout'),
  ('work_mem'),
  ('autovacuum'), ('data_checksums'), ('password_encryption'), ('server_version'), ('ssl'), ('synchronous_commit'),
  ('track_io_timing'), ('wal_level')
)
SELECT s.name,
       CASE WHEN l.name IS NOT NULL THEN s.reset_val END AS value,
       s.unit,
       s.vartype,
       s.reset_val IS DISTINCT FROM s.boot_val AS changed,
       pg_catalog.md5(s.reset_val) AS hash,
       s.pending_restart
  FROM pg_catalog.pg_settings AS s
  LEFT JOIN listed AS l ON l.name = s.name
 WHERE s.source <> 'client'
   AND (l.name IS NOT NULL OR s.reset_val IS DISTINCT FROM s.boot_val OR s.pending_restart
        OR s.name = ANY (string_to_array(current_setting('neonmeter.wanted', true), ',')))
