-- view: pg_stat_replication_slots, https://www.postgresql.org/docs/current/monitoring-stats.html
-- cost: one row a logical slot, from shared memory
-- privilege: none
SELECT slot_name::pg_catalog.text AS slot_name,
       spill_txns, spill_count, spill_bytes,
       stream_txns, stream_count, stream_bytes,
       total_txns, total_bytes
  FROM pg_catalog.pg_stat_replication_slots
