-- view: the settings max_replication_slots and max_wal_senders, and what is taken of them
-- cost: counts rows of shared memory; counted here because the other queries leave Neon's own out
-- privilege: none
SELECT pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8 AS slots_max,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots) AS slots_used,
       pg_catalog.current_setting('max_wal_senders')::pg_catalog.int8 AS senders_max,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication) AS senders_used
