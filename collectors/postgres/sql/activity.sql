-- view: pg_stat_activity, https://www.postgresql.org/docs/current/monitoring-stats.html
-- cost: one look at each backend in shared memory; grouped there, so that 4,000 connections leave as a few dozen rows.
--   No query text leaves the server.
-- privilege: pg_read_all_stats (in pg_monitor), else other roles' sessions show no state and no times
SELECT backend_type,
       state,
       datname::pg_catalog.text AS datname,
       usename::pg_catalog.text AS usename,
       application_name,
       wait_event_type,
       pg_catalog.count(*) AS sessions,
       pg_catalog.max(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - xact_start)) AS transaction_seconds,
       pg_catalog.max(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - query_start)) AS query_seconds,
       pg_catalog.max(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - state_change)) AS state_seconds,
       pg_catalog.max(pg_catalog.age(backend_xmin))::pg_catalog.int8 AS xmin_age
  FROM pg_catalog.pg_stat_activity
 WHERE pid <> pg_catalog.pg_backend_pid()
   AND (datname IS NOT NULL OR usename IS NOT NULL)
 GROUP BY backend_type, state, datname, usename, application_name, wait_event_type
