-- view: pg_database and pg_stat_database, https://www.postgresql.org/docs/current/monitoring-stats.html
-- cost: one row a database; the counters come from shared memory, no table is touched and no user database is entered.
--   Templates come with their ages alone: they take part in the wraparound too.
-- privilege: none
SELECT d.datname::pg_catalog.text AS datname,
       CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit END AS connection_limit,
       pg_catalog.age(d.datfrozenxid)::pg_catalog.int8 AS xid_age,
       pg_catalog.mxid_age(d.datminmxid)::pg_catalog.int8 AS multixact_age,
       s.numbackends, s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit,
       s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted,
       s.conflicts, s.temp_files, s.temp_bytes, s.deadlocks, s.checksum_failures,
       s.blk_read_time, s.blk_write_time,
       s.session_time, s.active_time, s.idle_in_transaction_time,
       s.sessions, s.sessions_abandoned, s.sessions_fatal, s.sessions_killed
  FROM pg_catalog.pg_database AS d
  LEFT JOIN pg_catalog.pg_stat_database AS s ON s.datid = d.oid AND NOT d.datistemplate
