-- view: pg_stat_subscription, https://www.postgresql.org/docs/current/monitoring-stats.html
-- cost: one row a subscription worker, from shared memory. It covers all databases, also those we never enter.
-- privilege: none
SELECT subname::pg_catalog.text AS subname,
       pg_catalog.count(*) AS workers
  FROM pg_catalog.pg_stat_subscription
 WHERE pid IS NOT NULL
 GROUP BY subname
