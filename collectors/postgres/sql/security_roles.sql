-- view: pg_roles, pg_auth_members, pg_stat_activity
-- cost: some milliseconds; one row for each login role and for each role with an attribute, at most 2,000
-- privilege: pg_monitor for the sessions of others
WITH RECURSIVE edge AS MATERIALIZED (
  SELECT m.member, m.roleid, coalesce((to_jsonb(m) ->> 'set_option')::bool, true) OR m.admin_option AS becomes,
         coalesce((to_jsonb(m) ->> 'inherit_option')::bool, true) AS inherits
    FROM pg_catalog.pg_auth_members AS m
), becomes AS (
  SELECT r.oid AS role, r.oid AS via FROM pg_catalog.pg_roles AS r WHERE r.rolname !~ '^pg_' AND NOT r.rolsuper
  UNION SELECT b.role, e.roleid FROM becomes AS b JOIN edge AS e ON e.member = b.via AND e.becomes
), acts AS (
  SELECT role, via FROM becomes
  UNION SELECT a.role, e.roleid FROM acts AS a JOIN edge AS e ON e.member = a.via AND e.inherits
), attr AS MATERIALIZED (
  SELECT r.oid, array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'createrole' END,
           CASE WHEN r.rolcreatedb THEN 'createdb' END, CASE WHEN r.rolreplication THEN 'replication' END,
           CASE WHEN r.rolbypassrls THEN 'bypassrls' END], NULL) AS found
    FROM pg_catalog.pg_roles AS r
), borrowed AS (
  SELECT b.role, array_agg(DISTINCT f ORDER BY f) AS found
    FROM becomes AS b JOIN attr ON attr.oid = b.via, LATERAL unnest(attr.found) AS f WHERE b.via <> b.role GROUP BY b.role
), predefined AS (
  SELECT a.role, array_agg(DISTINCT p.rolname::text ORDER BY p.rolname::text) AS found
    FROM acts AS a JOIN pg_catalog.pg_roles AS p ON p.oid = a.via
   WHERE p.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files',
                       'pg_write_server_files', 'pg_signal_backend', 'pg_create_subscription', 'pg_maintain') GROUP BY a.role
), neon AS (
  SELECT a.role FROM acts AS a JOIN pg_catalog.pg_roles AS p ON p.oid = a.via
   WHERE p.rolname = 'neon_superuser' AND a.role <> p.oid
), active AS (
  SELECT DISTINCT usesysid FROM pg_catalog.pg_stat_activity
), told AS (
  SELECT r.rolname::text AS name, r.rolcanlogin AS login, attr.found AS attributes, coalesce(b.found, '{}') AS borrowed,
         EXISTS (SELECT 1 FROM neon WHERE neon.role = r.oid) AS acts_as_neon, coalesce(p.found, '{}') AS predefined,
         CASE WHEN isfinite(r.rolvaliduntil) THEN extract(epoch FROM r.rolvaliduntil)::float8 END AS valid_until,
         r.rolconnlimit AS connections, EXISTS (SELECT 1 FROM active WHERE usesysid = r.oid) AS seen,
         row_number() OVER (ORDER BY cardinality(attr.found) + cardinality(coalesce(b.found, '{}')) DESC, r.rolname) AS place
    FROM pg_catalog.pg_roles AS r JOIN attr ON attr.oid = r.oid LEFT JOIN borrowed AS b ON b.role = r.oid
    LEFT JOIN predefined AS p ON p.role = r.oid
   WHERE r.rolname !~ '^pg_' AND (r.rolcanlogin OR cardinality(attr.found) > 0)
)
SELECT name, login, attributes, borrowed, acts_as_neon, predefined, valid_until, connections, seen,
       (SELECT count(*) FROM told) AS roles FROM told WHERE place <= 2000
