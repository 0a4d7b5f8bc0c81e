-- view: the history tables of migration tools, wherever pg_class has one with the columns that the tool makes
-- cost: one pass over pg_class, then a read of each history table; 2 ms for each of 200 tenants. Takes ACCESS SHARE on
--       them for a moment, waits for a lock no longer than lock_timeout, and gives up after two that are locked
-- privilege: SELECT on the history tables; one that may not be read is named, not skipped
DO $neonmeter$
DECLARE
  entry record;
  found jsonb;
  parts text[] := '{}';
  seen text[] := '{}';
  locked int := 0;
  why text;
BEGIN
  FOR entry IN
    WITH tools (rank, tool, relname, columns, history) AS (VALUES
      (1, 'sqitch', 'changes', '{change_id,script_hash,change,project,committed_at,planned_at}', $q$
        SELECT c.project || ':' || c.change AS id, c.script_hash::text AS checksum, 'applied' AS state,
               extract(epoch FROM c.committed_at)::float8 AS at, extract(epoch FROM c.committed_at)::float8 AS place
          FROM %1$I.changes AS c
        UNION ALL
        SELECT e.project || ':' || e.change, NULL, 'failed', extract(epoch FROM e.committed_at)::float8,
               extract(epoch FROM e.committed_at)::float8
          FROM (SELECT DISTINCT ON (change_id) * FROM %1$I.events ORDER BY change_id, committed_at DESC) AS e
         WHERE e.event = 'fail'
        UNION ALL
        SELECT e.project || ':' || e.change, NULL, 'rolled_back', extract(epoch FROM e.committed_at)::float8,
               extract(epoch FROM e.committed_at)::float8
          FROM %1$I.events AS e WHERE e.event = 'revert' $q$),
      (2, 'flyway', 'flyway_schema_history', '{installed_rank,version,description,type,checksum,installed_on,success}', $q$
        SELECT id, checksum, CASE WHEN NOT success THEN 'failed' ELSE 'applied' END AS state, at, place
          FROM (SELECT DISTINCT ON (coalesce(version, 'R__' || description)) success, type, checksum::text AS checksum,
                       coalesce(version, 'R__' || description) AS id, extract(epoch FROM installed_on)::float8 AS at,
                       installed_rank::float8 AS place
                  FROM %1$I.%2$I WHERE type <> 'SCHEMA'
                 ORDER BY coalesce(version, 'R__' || description), installed_rank DESC) AS newest
         WHERE type NOT LIKE 'UNDO%%' AND type <> 'DELETE'
        UNION ALL
        SELECT coalesce(version, 'R__' || description), NULL, 'rolled_back', extract(epoch FROM installed_on)::float8,
               installed_rank::float8 FROM %1$I.%2$I WHERE type LIKE 'UNDO%%' AND success $q$),
      (3, 'liquibase', 'databasechangelog', '{id,author,filename,dateexecuted,orderexecuted,exectype,md5sum}', $q$
        SELECT filename || '::' || id || '::' || author AS id, md5sum::text AS checksum,
               CASE exectype WHEN 'FAILED' THEN 'failed' WHEN 'SKIPPED' THEN 'skipped' ELSE 'applied' END AS state,
               extract(epoch FROM dateexecuted)::float8 AS at, orderexecuted::float8 AS place FROM %1$I.%2$I $q$),
      (4, 'prisma', '_prisma_migrations', '{migration_name,checksum,finished_at,logs,rolled_back_at,started_at}', $q$
        SELECT migration_name::text AS id, checksum::text,
               CASE WHEN finished_at IS NOT NULL THEN 'applied' WHEN logs IS NOT NULL THEN 'failed' ELSE 'running' END
               AS state, extract(epoch FROM coalesce(finished_at, started_at))::float8 AS at,
               extract(epoch FROM started_at)::float8 AS place
          FROM (SELECT DISTINCT ON (migration_name) * FROM %1$I.%2$I ORDER BY migration_name, started_at DESC) AS newest
         WHERE rolled_back_at IS NULL
        UNION ALL
        SELECT migration_name, NULL, 'rolled_back', extract(epoch FROM rolled_back_at)::float8,
               extract(epoch FROM started_at)::float8 FROM %1$I.%2$I WHERE rolled_back_at IS NOT NULL $q$),
      (5, 'typeorm', 'migrations', '{id,timestamp,name}', $q$
        SELECT name::text AS id, NULL::text AS checksum, 'applied' AS state, NULL::float8 AS at,
               "timestamp"::float8 AS place FROM %1$I.%2$I $q$),
      (6, 'alembic', 'alembic_version', '{version_num}', $q$
        SELECT version_num::text AS id, NULL::text AS checksum, 'applied' AS state, NULL::float8 AS at,
               0::float8 AS place FROM %1$I.%2$I $q$),
      (7, 'django', 'django_migrations', '{app,name,applied}', $q$
        SELECT app || '.' || name AS id, NULL::text AS checksum, 'applied' AS state,
               extract(epoch FROM applied)::float8 AS at, extract(epoch FROM applied)::float8 AS place
          FROM %1$I.%2$I $q$),
      (8, 'golang-migrate', 'schema_migrations', '{version,dirty}', $q$
        SELECT version::text AS id, NULL::text AS checksum, CASE WHEN dirty THEN 'failed' ELSE 'applied' END AS state,
               NULL::float8 AS at, version::float8 AS place FROM %1$I.%2$I $q$),
      (9, 'rails', 'schema_migrations', '{version}', $q$
        SELECT version::text AS id, NULL::text AS checksum, 'applied' AS state, NULL::float8 AS at,
               0::float8 AS place FROM %1$I.%2$I $q$),
      (10, 'knex', 'knex_migrations', '{id,name,batch,migration_time}', $q$
        SELECT name::text AS id, NULL::text AS checksum, 'applied' AS state,
               extract(epoch FROM migration_time)::float8 AS at, id::float8 AS place FROM %1$I.%2$I $q$),
      (11, 'goose', 'goose_db_version', '{id,version_id,is_applied,tstamp}', $q$
        SELECT version_id::text AS id, NULL::text AS checksum,
               CASE WHEN is_applied THEN 'applied' ELSE 'rolled_back' END AS state,
               extract(epoch FROM tstamp)::float8 AS at, id::float8 AS place
          FROM (SELECT DISTINCT ON (version_id) * FROM %1$I.%2$I ORDER BY version_id, id DESC) AS newest
         WHERE version_id <> 0 $q$),
      (12, 'drizzle', '__drizzle_migrations', '{id,hash,created_at}', $q$
        SELECT created_at::text AS id, hash::text AS checksum, 'applied' AS state, NULL::float8 AS at,
               created_at::float8 AS place FROM %1$I.%2$I $q$),
      (13, 'atlas', 'atlas_schema_revisions', '{version,applied,total,executed_at,error,hash}', $q$
        SELECT version::text AS id, hash::text AS checksum,
               CASE WHEN applied < total OR coalesce(error, '') <> '' THEN 'failed' ELSE 'applied' END AS state,
               extract(epoch FROM executed_at)::float8 AS at, extract(epoch FROM executed_at)::float8 AS place
          FROM %1$I.%2$I WHERE version <> '.atlas_cloud_identifier' $q$)
    )
    SELECT DISTINCT ON (n.nspname, c.relname) t.tool, n.nspname::text AS schema, c.relname::text AS name, t.history,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND (t.tool <> 'sqitch' OR has_table_privilege(to_regclass(format('%I.events', n.nspname)), 'SELECT'))
           AS readable
      FROM tools AS t JOIN pg_catalog.pg_class AS c ON c.relname = t.relname AND c.relkind IN ('r', 'p')
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'neon', 'neon_migration', 'neon_auth')
       AND t.columns::text[] <@ (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute AS a
                                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
     ORDER BY n.nspname, c.relname, t.rank
  LOOP
    found := NULL;
    why := NULL;
    IF NOT coalesce(entry.readable, false) THEN
      why := 'no_privilege';
    ELSIF locked >= 2 THEN
      why := 'timeout';
    ELSE
      BEGIN
        EXECUTE format($q$
          SELECT jsonb_build_object(
                   'digest', md5(coalesce(string_agg(id || chr(31) || coalesce(checksum, '') || chr(31) || state,
                                                     chr(30) ORDER BY id COLLATE "C", state)
                                          FILTER (WHERE state <> 'rolled_back'), '')),
                   'rollbacks', count(*) FILTER (WHERE state = 'rolled_back'),
                   'last', max(at) FILTER (WHERE state = 'applied'),
                   'rows', coalesce(jsonb_agg(jsonb_build_array(id, checksum, state, at) ORDER BY place, id COLLATE "C")
                                    FILTER (WHERE state <> 'rolled_back'), '[]'))
            FROM (%s) AS migrations $q$, format(entry.history, entry.schema, entry.name)) INTO found;
        IF entry.tool || (found ->> 'digest') = ANY (seen) THEN
          found := found - 'rows';
        ELSE
          seen := seen || (entry.tool || (found ->> 'digest'));
        END IF;
      EXCEPTION
        WHEN lock_not_available THEN
          locked := locked + 1;
          why := 'timeout';
        WHEN insufficient_privilege THEN
          why := 'no_privilege';
        WHEN query_canceled THEN
          RAISE;
        WHEN OTHERS THEN
          why := 'unsupported';
      END;
    END IF;
    parts := parts || (coalesce(found, '{}') || jsonb_build_object('tool', entry.tool, 'schema', entry.schema,
      'table', entry.name, 'error', why))::text;
  END LOOP;
  PERFORM set_config('neonmeter.migrations', '[' || array_to_string(parts, ',') || ']', true);
END
$neonmeter$
