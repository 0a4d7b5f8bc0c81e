-- view: databasechangeloglock, knex_migrations_lock: the lock rows of Liquibase and Knex
-- cost: a row each
-- privilege: SELECT on the lock tables
DO $neonmeter$
DECLARE
  entry record;
  found jsonb;
  parts text[] := '{}';
BEGIN
  FOR entry IN
    SELECT n.nspname::text AS schema, c.relname::text AS name, CASE c.relname
             WHEN 'databasechangeloglock' THEN $q$SELECT jsonb_build_object('tool', 'liquibase', 'schema', %1$L,
               'held', bool_or(locked), 'since', extract(epoch FROM min(lockgranted) FILTER (WHERE locked)),
               'now', extract(epoch FROM localtimestamp), 'by', max(lockedby) FILTER (WHERE locked)) FROM %1$I.%2$I$q$
             ELSE $q$SELECT jsonb_build_object('tool', 'knex', 'schema', %1$L, 'held', bool_or(is_locked = 1)) FROM %1$I.%2$I$q$
           END AS lock_row
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relname IN ('databasechangeloglock', 'knex_migrations_lock') AND c.relkind = 'r'
       AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
     ORDER BY 1, 2
  LOOP
    BEGIN
      EXECUTE format(entry.lock_row, entry.schema, entry.name) INTO found;
      parts := parts || found::text;
    EXCEPTION
      WHEN query_canceled THEN
        RAISE;
      WHEN OTHERS THEN
        NULL;
    END;
  END LOOP;
  PERFORM set_config('neonmeter.migration_locks', '[' || array_to_string(parts, ',') || ']', true);
END
$neonmeter$
