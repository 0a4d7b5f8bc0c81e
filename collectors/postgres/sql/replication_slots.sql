-- view: pg_replication_slots, https://www.postgresql.org/docs/current/view-pg-replication-slots.html
-- cost: one row a slot, from shared memory. Read through to_jsonb, so that a column which this version lacks is NULL
--   and one text serves 14 to 18. A replica has no current WAL position: there it is what has been received.
-- privilege: none
SELECT s.slot_name::pg_catalog.text AS slot_name,
       s.plugin::pg_catalog.text AS plugin,
       s.slot_type,
       s.database::pg_catalog.text AS datname,
       s.temporary,
       s.active,
       s.active_pid,
       s.wal_status,
       s.safe_wal_size,
       pg_catalog.pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::pg_catalog.int8 AS confirmed_lag,
       pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn)::pg_catalog.int8 AS retained,
       pg_catalog.age(s.catalog_xmin)::pg_catalog.int8 AS catalog_xmin_age,
       (also.row ->> 'two_phase')::pg_catalog.bool AS two_phase,
       (also.row ->> 'conflicting')::pg_catalog.bool AS conflicting,
       (also.row ->> 'failover')::pg_catalog.bool AS failover,
       also.row ->> 'invalidation_reason' AS invalidation_reason,
       pg_catalog.date_part('epoch', (also.row ->> 'inactive_since')::pg_catalog.timestamptz) AS inactive_since
  FROM pg_catalog.pg_replication_slots AS s
 CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(s) AS row) AS also
 CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
                         THEN coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
                         ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS here
