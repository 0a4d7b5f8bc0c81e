-- view: pg_database_size(), https://www.postgresql.org/docs/current/functions-admin.html
-- cost: a stat() of every file: 51 ms for 53 databases, so it is the dear one here. It takes no lock.
--   On Neon each is one question to the page server.
-- privilege: CONNECT on the database or pg_read_all_stats (in pg_monitor). The function raises where the role may not,
--   and one error would lose all sizes: so it is asked only where it will answer.
SELECT d.datname::pg_catalog.text AS datname,
       pg_catalog.pg_database_size(d.oid) AS size
  FROM pg_catalog.pg_database AS d
 WHERE NOT d.datistemplate
   AND (pg_catalog.has_database_privilege(d.oid, 'CONNECT')
        OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'))
