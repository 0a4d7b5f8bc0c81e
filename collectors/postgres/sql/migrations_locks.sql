-- view: pg_locks, pg_stat_activity (https://www.postgresql.org/docs/current/view-pg-locks.html)
-- cost: one pass over the lock table
-- privilege: pg_monitor shows since when another user's session is in its transaction; without it the age is unknown
SELECT (l.classid::int8 << 32) | l.objid::int8 AS key, l.objsubid::int4 AS halves, l.granted,
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8 AS age,
       coalesce(a.application_name, '') AS application
  FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'advisory'
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
