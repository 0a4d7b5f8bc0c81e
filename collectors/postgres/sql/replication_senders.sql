-- view: pg_stat_replication, https://www.postgresql.org/docs/current/monitoring-stats.html
-- cost: one row a walsender, from shared memory
-- privilege: pg_read_all_stats (in pg_monitor), else all but the pid and the application name is NULL
SELECT r.pid,
       r.usename::pg_catalog.text AS usename,
       r.application_name,
       r.state,
       pg_catalog.pg_wal_lsn_diff(here.lsn, r.sent_lsn)::pg_catalog.int8 AS sent_lag,
       pg_catalog.pg_wal_lsn_diff(here.lsn, r.write_lsn)::pg_catalog.int8 AS write_lag,
       pg_catalog.pg_wal_lsn_diff(here.lsn, r.flush_lsn)::pg_catalog.int8 AS flush_lag,
       pg_catalog.pg_wal_lsn_diff(here.lsn, r.replay_lsn)::pg_catalog.int8 AS replay_lag,
       pg_catalog.date_part('epoch', r.write_lag) AS write_seconds,
       pg_catalog.date_part('epoch', r.flush_lag) AS flush_seconds,
       pg_catalog.date_part('epoch', r.replay_lag) AS replay_seconds
  FROM pg_catalog.pg_stat_replication AS r
 CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
                         THEN coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
                         ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS here
