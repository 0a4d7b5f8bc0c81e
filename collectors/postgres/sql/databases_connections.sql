-- view: the settings max_connections and superuser_reserved_connections, and the client backends of pg_stat_database
-- cost: counts rows of shared memory
-- privilege: none
SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int8 AS max,
       pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
         + coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int8 AS reserved,
       (SELECT pg_catalog.sum(numbackends)::pg_catalog.int8 FROM pg_catalog.pg_stat_database) AS used
