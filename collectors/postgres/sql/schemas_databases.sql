-- view: pg_database (https://www.postgresql.org/docs/current/catalog-pg-database.html)
-- cost: well under 1 ms
-- privilege: none
SELECT datname::text AS datname FROM pg_catalog.pg_database
 WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres'
   AND pg_catalog.has_database_privilege(oid, 'CONNECT')
 ORDER BY oid
