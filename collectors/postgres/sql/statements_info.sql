-- view: pg_stat_statements_info, https://www.postgresql.org/docs/current/pgstatstatements.html
-- cost: one row from shared memory
-- privilege: none
SELECT dealloc,
       pg_catalog.date_part('epoch', stats_reset) AS stats_reset,
       pg_catalog.current_setting('pg_stat_statements.max', true)::pg_catalog.int8 AS max
  FROM pg_stat_statements_info
