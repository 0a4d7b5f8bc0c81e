-- view: pg_locks and pg_blocking_pids(), https://www.postgresql.org/docs/current/view-pg-locks.html
-- cost: pg_locks copies the lock table under its partition locks: well under a millisecond for some hundred locks.
--   pg_blocking_pids() holds all of them together, so it is asked for at most 50 sessions, and only for waiting ones.
-- privilege: none
WITH waits AS MATERIALIZED (
  SELECT pid, pg_catalog.max(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - waitstart)) AS waited
    FROM pg_catalog.pg_locks
   WHERE NOT granted
   GROUP BY pid
)
SELECT pg_catalog.count(*) AS waiting,
       pg_catalog.max(waited) AS longest,
       (SELECT pg_catalog.count(DISTINCT blocker)
          FROM (SELECT pid FROM waits LIMIT 50) AS first
         CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(first.pid)) AS blocker) AS blocking
  FROM waits
