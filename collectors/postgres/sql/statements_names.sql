-- view: pg_roles and pg_database: names for the ids of pg_stat_statements
-- cost: one row a role and a database. A name per statement row would be sent a thousand times over.
-- privilege: none
SELECT 'user' AS kind, oid, rolname::pg_catalog.text AS name FROM pg_catalog.pg_roles
UNION ALL
SELECT 'database', oid, datname::pg_catalog.text FROM pg_catalog.pg_database
