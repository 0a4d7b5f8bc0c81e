-- view: pg_namespace, pg_class, pg_attribute, pg_proc, pg_default_acl, pg_database, pg_auth_members (access control lists)
-- cost: 0.2 s for 10,000 tables of 200 tenants; lists are exploded once, nobody's privileges are asked one by one
-- privilege: none
-- checks: xtenant_grant xtenant_latent xtenant_member xtenant_owner shared_schema_create public_table_grant
-- public_table_latent default_acl_public db_public_connect
WITH RECURSIVE given AS MATERIALIZED (
  SELECT nullif(current_setting('neonmeter.posture', true), '')::jsonb AS it
), tmap AS MATERIALIZED (
  SELECT r.oid AS role, r.rolname::text AS name, t.value AS tenant
    FROM given, jsonb_each_text(it -> 'roles') AS t JOIN pg_catalog.pg_roles AS r ON r.rolname = t.key
   WHERE NOT r.rolsuper
), ns AS MATERIALIZED (
  SELECT n.oid, n.nspname::text AS schema, n.nspacl AS acl, n.nspowner AS owner, it -> 'schemas' ->> n.nspname AS tenant
    FROM given, pg_catalog.pg_namespace AS n
   WHERE it IS NOT NULL AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'neon', 'neon_migration')
     AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_namespace'::regclass
                        AND d.objid = n.oid AND d.deptype = 'e')
), edge AS MATERIALIZED (
  SELECT m.member, m.roleid, coalesce((to_jsonb(m) ->> 'set_option')::bool, true) OR m.admin_option AS becomes,
         coalesce((to_jsonb(m) ->> 'inherit_option')::bool, r.rolinherit) AS inherits
    FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
  UNION ALL
  SELECT d.datdba, 'pg_database_owner'::regrole, false, true FROM pg_catalog.pg_database AS d
   WHERE d.datname = current_database()
), becomes AS (
  SELECT role, tenant, role AS via FROM tmap
  UNION SELECT b.role, b.tenant, e.roleid FROM becomes AS b JOIN edge AS e ON e.member = b.via AND e.becomes
), acts AS (
  SELECT role, tenant, via FROM becomes
  UNION SELECT a.role, a.tenant, e.roleid FROM acts AS a JOIN edge AS e ON e.member = a.via AND e.inherits
), who AS MATERIALIZED (
  SELECT DISTINCT via, tenant FROM acts
), owners AS MATERIALIZED (
  SELECT r.oid FROM given, pg_catalog.pg_roles AS r
   WHERE EXISTS (SELECT 1 FROM jsonb_array_elements_text(it -> 'owners') AS o
                  WHERE r.rolname LIKE replace(replace(o, '_', '\_'), '*', '%'))
), ext AS MATERIALIZED (
  SELECT classid, objid FROM pg_catalog.pg_depend
   WHERE deptype = 'e' AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
), rel AS MATERIALIZED (
  SELECT c.oid, c.relname::text AS name, c.relkind, c.relacl AS acl, c.relowner AS owner, ns.oid AS ns, ns.schema, ns.tenant
    FROM pg_catalog.pg_class AS c JOIN ns ON ns.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
     AND NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_class'::regclass AND objid = c.oid)
), fun AS MATERIALIZED (
  SELECT p.oid, p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS name, p.proacl AS acl, p.proowner AS owner,
         ns.oid AS ns, ns.schema, ns.tenant
    FROM pg_catalog.pg_proc AS p JOIN ns ON ns.oid = p.pronamespace
   WHERE ns.tenant IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
), acl AS MATERIALIZED (
  SELECT ns.oid AS ns, ns.schema, ns.tenant, ns.owner, 'schema' AS kind, ns.schema AS object, x.grantee, x.privilege_type
    FROM ns, LATERAL aclexplode(coalesce(ns.acl, acldefault('n', ns.owner))) AS x
  UNION ALL
  SELECT rel.ns, rel.schema, rel.tenant, rel.owner, 'relation', rel.schema || '.' || rel.name, x.grantee, x.privilege_type
    FROM rel, LATERAL aclexplode(coalesce(rel.acl,
         acldefault(CASE WHEN rel.relkind = 'S' THEN 's' ELSE 'r' END::"char", rel.owner))) AS x
   WHERE rel.tenant IS NOT NULL OR rel.acl IS NOT NULL
  UNION ALL
  SELECT rel.ns, rel.schema, rel.tenant, rel.owner, 'column', rel.schema || '.' || rel.name || '.' || a.attname, x.grantee,
         x.privilege_type
    FROM rel JOIN pg_catalog.pg_attribute AS a ON a.attrelid = rel.oid, LATERAL aclexplode(a.attacl) AS x
   WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
  SELECT fun.ns, fun.schema, fun.tenant, fun.owner, 'function', fun.schema || '.' || fun.name, x.grantee, x.privilege_type
    FROM fun, LATERAL aclexplode(coalesce(fun.acl, acldefault('f', fun.owner))) AS x
   WHERE x.grantee <> 0
), entered AS MATERIALIZED (
  SELECT DISTINCT acl.ns, who.tenant FROM acl JOIN who ON who.via = acl.grantee
   WHERE acl.kind = 'schema' AND acl.privilege_type = 'USAGE' AND acl.tenant IS DISTINCT FROM who.tenant
), opened AS MATERIALIZED (
  SELECT DISTINCT acl.ns FROM acl
   WHERE acl.kind = 'schema' AND acl.privilege_type = 'USAGE'
     AND (acl.grantee = 0 OR (acl.grantee <> acl.owner AND acl.tenant IS NULL)
          OR EXISTS (SELECT 1 FROM entered WHERE entered.ns = acl.ns))
), public_usage AS MATERIALIZED (
  SELECT ns FROM acl WHERE kind = 'schema' AND privilege_type = 'USAGE' AND grantee = 0
), pairs AS MATERIALIZED (
  SELECT p.ns, p.grantee, count(*) AS tenants, (array_agg(who.tenant ORDER BY who.tenant))[1:3] AS some,
         bool_or(EXISTS (SELECT 1 FROM public_usage AS u WHERE u.ns = p.ns)
              OR EXISTS (SELECT 1 FROM entered AS e WHERE e.ns = p.ns AND e.tenant = who.tenant)) AS inside
    FROM (SELECT DISTINCT ns, grantee, tenant FROM acl WHERE tenant IS NOT NULL) AS p
    JOIN who ON who.via = p.grantee AND who.tenant <> p.tenant GROUP BY p.ns, p.grantee
), found (chk, tenant, other, object, detail) AS (
  SELECT CASE WHEN CASE acl.kind WHEN 'schema' THEN acl.privilege_type = 'CREATE' ELSE pairs.inside END
              THEN 'xtenant_grant' ELSE 'xtenant_latent' END, acl.tenant, pg_get_userbyid(acl.grantee)::text, acl.object,
         acl.privilege_type || ' by ' || array_to_string(pairs.some, ', ')
         || CASE WHEN pairs.tenants > 3 THEN ' and ' || pairs.tenants - 3 || ' more' ELSE '' END
    FROM acl JOIN pairs ON pairs.ns = acl.ns AND pairs.grantee = acl.grantee
  UNION ALL
  SELECT CASE WHEN acl.kind = 'schema' THEN CASE acl.privilege_type WHEN 'CREATE' THEN 'xtenant_grant'
              ELSE 'xtenant_latent' END ELSE 'xtenant_grant' END, acl.tenant, 'PUBLIC', acl.object, acl.privilege_type || ' by everybody'
    FROM acl WHERE acl.grantee = 0 AND acl.tenant IS NOT NULL
     AND (acl.kind = 'schema' OR EXISTS (SELECT 1 FROM opened WHERE opened.ns = acl.ns))
  UNION ALL
  SELECT 'xtenant_member', other.tenant, tmap.name, other.name, 'of tenant ' || tmap.tenant
    FROM acts JOIN tmap ON tmap.role = acts.role JOIN tmap AS other ON other.role = acts.via
   WHERE other.tenant <> tmap.tenant
  UNION ALL
  SELECT 'xtenant_owner', o.tenant, pg_get_userbyid(o.owner)::text, o.object, o.kind
    FROM (SELECT tenant, owner, schema AS object, 'schema' AS kind FROM ns
          UNION ALL SELECT tenant, owner, schema || '.' || name, 'relation' FROM rel
          UNION ALL SELECT tenant, owner, schema || '.' || name, 'function' FROM fun) AS o
   WHERE o.tenant IS NOT NULL AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.oid = o.owner)
     AND NOT EXISTS (SELECT 1 FROM tmap WHERE tmap.role = o.owner AND tmap.tenant = o.tenant)
  UNION ALL
  SELECT 'shared_schema_create', '', CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee)::text END,
         acl.object, 'CREATE' FROM acl
   WHERE acl.kind = 'schema' AND acl.tenant IS NULL AND acl.privilege_type = 'CREATE'
     AND (acl.grantee = 0 OR EXISTS (SELECT 1 FROM who WHERE who.via = acl.grantee))
  UNION ALL
  SELECT CASE WHEN EXISTS (SELECT 1 FROM opened WHERE opened.ns = acl.ns) THEN 'public_table_grant'
              ELSE 'public_table_latent' END, coalesce(acl.tenant, ''), 'PUBLIC', acl.object, acl.privilege_type
    FROM acl WHERE acl.grantee = 0 AND acl.kind IN ('relation', 'column')
  UNION ALL
  SELECT 'default_acl_public', coalesce(ns.tenant, made.tenant, ''),
         CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END,
         CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'n' THEN 'schemas'
              WHEN 'f' THEN 'functions' ELSE 'types' END || ' that ' || pg_get_userbyid(d.defaclrole) || ' makes'
         || coalesce(' in ' || ns.schema, ''), x.privilege_type
    FROM given, pg_catalog.pg_default_acl AS d LEFT JOIN ns ON ns.oid = d.defaclnamespace
    LEFT JOIN tmap AS made ON made.role = d.defaclrole, LATERAL aclexplode(d.defaclacl) AS x
   WHERE it IS NOT NULL AND ((x.grantee = 0 AND d.defaclobjtype IN ('r', 'S', 'n'))
      OR EXISTS (SELECT 1 FROM who WHERE who.via = x.grantee AND (who.tenant <> coalesce(ns.tenant, made.tenant)
         OR (d.defaclnamespace = 0 AND made.tenant IS NULL AND it -> 'schemas' <> '{}'))))
  UNION ALL
  SELECT 'db_public_connect', '', 'PUBLIC', d.datname::text, CASE x.privilege_type WHEN 'TEMPORARY' THEN 'TEMPORARY'
         ELSE x.privilege_type END
    FROM given, pg_catalog.pg_database AS d, LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
   WHERE it IS NOT NULL AND d.datname = current_database() AND x.grantee = 0
), groups AS MATERIALIZED (
  SELECT chk, tenant, other, count(DISTINCT object) AS count,
         (array_agg(DISTINCT object ORDER BY object))[1:20] AS objects, string_agg(DISTINCT detail, ', ') AS detail,
         row_number() OVER (PARTITION BY chk ORDER BY count(DISTINCT object) DESC, tenant, other) AS place
    FROM found GROUP BY chk, tenant, other
)
SELECT 'state' AS chk, '' AS tenant, CASE WHEN it IS NULL THEN 'unprepared' ELSE 'quiet' END AS other, 0::int8 AS count,
       '{}'::text[] AS objects, '' AS detail FROM given
UNION ALL
SELECT chk, tenant, other, count, CASE WHEN place <= 50 THEN objects ELSE '{}' END, left(detail, 300) FROM groups
 WHERE place <= 300
UNION ALL
SELECT chk, '', 'others', sum(count)::int8, '{}', '' FROM groups WHERE place > 300 GROUP BY chk
