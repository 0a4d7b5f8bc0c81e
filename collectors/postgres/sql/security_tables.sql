-- view: pg_class, pg_attribute, pg_policy, pg_rewrite, pg_depend (row security, and what goes round it)
-- cost: 0.3 s for 10,000 tables; reads the text of policies only while nobody holds or awaits an exclusive lock
-- privilege: none
-- checks: rls_off rls_off_latent rls_not_forced rls_no_policy policy_rls_off policy_rls_off_latent view_definer
-- view_definer_latent matview_over_rls matview_over_rls_latent agent_reads
-- checks when quiet: policy_true policy_true_read policy_no_tenant_ref policy_guc_missing_ok
WITH RECURSIVE given AS MATERIALIZED (
  SELECT nullif(current_setting('neonmeter.posture', true), '')::jsonb AS it
), quiet AS MATERIALIZED (
  SELECT NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_locks AS l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation >= 16384 AND l.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) AS now
), cols AS MATERIALIZED (
  SELECT c AS name FROM given, jsonb_array_elements_text(it -> 'columns') AS c
), listed AS MATERIALIZED (
  SELECT r.oid FROM given, pg_catalog.pg_roles AS r
   WHERE r.rolsuper OR EXISTS (SELECT 1 FROM jsonb_array_elements_text(it -> 'owners') AS o
                                WHERE r.rolname LIKE replace(replace(o, '_', '\_'), '*', '%'))
), edge AS MATERIALIZED (
  SELECT m.member, m.roleid FROM pg_catalog.pg_auth_members AS m
   WHERE coalesce((to_jsonb(m) ->> 'set_option')::bool, true) OR m.admin_option
      OR coalesce((to_jsonb(m) ->> 'inherit_option')::bool, true)
  UNION ALL SELECT datdba, 'pg_database_owner'::regrole FROM pg_catalog.pg_database WHERE datname = current_database()
), used AS (
  SELECT r.oid, r.oid AS via FROM pg_catalog.pg_roles AS r
   WHERE r.rolcanlogin AND NOT EXISTS (SELECT 1 FROM listed WHERE listed.oid = r.oid)
  UNION SELECT used.oid, edge.roleid FROM used JOIN edge ON edge.member = used.via
), reached AS MATERIALIZED (
  SELECT DISTINCT via AS oid FROM used
), ns AS MATERIALIZED (
  SELECT n.oid, n.nspname::text AS schema, it -> 'schemas' ->> n.nspname AS tenant
    FROM given, pg_catalog.pg_namespace AS n
   WHERE it IS NOT NULL AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'neon', 'neon_migration')
), ext AS MATERIALIZED (
  SELECT objid FROM pg_catalog.pg_depend WHERE deptype = 'e' AND classid = 'pg_class'::regclass
), rel AS MATERIALIZED (
  SELECT c.oid, c.relname::text AS name, c.relkind, c.relacl, c.relowner, c.relrowsecurity, c.relforcerowsecurity,
         c.reloptions, c.relispartition, ns.schema, ns.tenant, ns.schema || '.' || c.relname AS object
    FROM pg_catalog.pg_class AS c JOIN ns ON ns.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relpersistence <> 't'
     AND NOT EXISTS (SELECT 1 FROM ext WHERE objid = c.oid)
), granted AS MATERIALIZED (
  SELECT DISTINCT rel.oid FROM rel, LATERAL aclexplode(rel.relacl) AS x
   WHERE x.grantee <> rel.relowner AND (x.grantee = 0 OR x.grantee IN (SELECT oid FROM reached))
  UNION SELECT DISTINCT rel.oid FROM rel JOIN pg_catalog.pg_attribute AS a ON a.attrelid = rel.oid,
               LATERAL aclexplode(a.attacl) AS x
   WHERE a.attacl IS NOT NULL AND (x.grantee = 0 OR x.grantee IN (SELECT oid FROM reached))
  UNION SELECT rel.oid FROM rel WHERE rel.relowner IN (SELECT oid FROM reached)
), tcol AS MATERIALIZED (
  SELECT a.attrelid AS oid, (array_agg(a.attname::text))[1] AS col,
         '\m(' || string_agg(a.attname::text, '|') || ')\M' AS pattern
    FROM pg_catalog.pg_attribute AS a JOIN cols ON cols.name = a.attname
   WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
), tt AS MATERIALIZED (
  SELECT rel.*, tcol.col, EXISTS (SELECT 1 FROM granted WHERE granted.oid = rel.oid) AS live
    FROM rel JOIN tcol ON tcol.oid = rel.oid WHERE rel.relkind IN ('r', 'p') AND rel.tenant IS NULL
), pol AS MATERIALIZED (
  SELECT rel.oid, rel.object || '.' || p.polname AS object, rel.relrowsecurity, rel.tenant, p.polcmd, p.polpermissive,
         p.polroles, tcol.pattern, tcol.oid IS NOT NULL AND rel.tenant IS NULL AS shared,
         regexp_replace(lower(pg_get_expr(p.polqual, p.polrelid)), '[()\s]', '', 'g') AS qual,
         regexp_replace(lower(pg_get_expr(p.polwithcheck, p.polrelid)), '[()\s]', '', 'g') AS chk,
         concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) AS text,
         NOT (p.polroles <@ (SELECT coalesce(array_agg(oid), '{}') FROM listed)) AS bounds
    FROM quiet, pg_catalog.pg_policy AS p JOIN rel ON rel.oid = p.polrelid LEFT JOIN tcol ON tcol.oid = rel.oid
   WHERE quiet.now
), loose AS MATERIALIZED (
  SELECT pol.*, coalesce(qual, '') IN ('true', '1=1') OR coalesce(chk, '') IN ('true', '1=1') AS always,
         pol.text !~ pol.pattern AS silent
    FROM pol
   WHERE pol.polpermissive AND pol.bounds AND pol.relrowsecurity
     AND NOT EXISTS (SELECT 1 FROM pol AS r WHERE r.oid = pol.oid AND NOT r.polpermissive AND r.polroles @> '{0}'
                        AND r.polcmd IN ('*', pol.polcmd) AND r.text ~ r.pattern)
), barred AS MATERIALIZED (
  SELECT rel.oid, rel.object, rel.relowner, rel.relforcerowsecurity, rel.tenant FROM rel
   WHERE rel.relrowsecurity AND rel.relkind IN ('r', 'p')
), uses AS MATERIALIZED (
  SELECT DISTINCT w.ev_class AS view, d.refobjid AS oid
    FROM pg_catalog.pg_rewrite AS w JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass
     AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
    JOIN rel ON rel.oid = w.ev_class AND rel.relkind IN ('v', 'm')
), through (view, oid, acting) AS (
  SELECT uses.view, uses.oid, rel.relowner FROM uses JOIN rel ON rel.oid = uses.view
  UNION SELECT t.view, u.oid, CASE WHEN v.reloptions::text ~* 'security_invoker=(true|on|1|yes)' THEN t.acting
                              ELSE v.relowner END
    FROM through AS t JOIN rel AS m ON m.oid = t.view AND m.relkind = 'm'
    JOIN rel AS v ON v.oid = t.oid AND v.relkind = 'v' JOIN uses AS u ON u.view = v.oid
), owns AS (
  SELECT rel.relowner AS oid, rel.relowner AS via FROM rel WHERE rel.relkind IN ('v', 'm')
  UNION SELECT owns.oid, m.roleid FROM owns JOIN pg_catalog.pg_auth_members AS m ON m.member = owns.via
), found (chk, tenant, other, object, detail) AS (
  SELECT CASE WHEN live THEN 'rls_off' ELSE 'rls_off_latent' END, '', '', object, col FROM tt WHERE NOT relrowsecurity
  UNION ALL
  SELECT 'rls_not_forced', '', pg_get_userbyid(relowner)::text, object, '' FROM tt
   WHERE relrowsecurity AND NOT relforcerowsecurity AND relowner IN (SELECT oid FROM reached)
  UNION ALL
  SELECT 'rls_no_policy', coalesce(tenant, ''), '', object, '' FROM barred
   WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_policy AS p WHERE p.polrelid = barred.oid)
  UNION ALL
  SELECT CASE WHEN EXISTS (SELECT 1 FROM granted WHERE granted.oid = rel.oid) THEN 'policy_rls_off'
              ELSE 'policy_rls_off_latent' END, coalesce(rel.tenant, ''), '', rel.object, '' FROM rel
   WHERE NOT rel.relrowsecurity AND EXISTS (SELECT 1 FROM pg_catalog.pg_policy AS p WHERE p.polrelid = rel.oid)
  UNION ALL
  SELECT CASE WHEN polcmd = 'r' AND NOT shared THEN 'policy_true_read' ELSE 'policy_true' END, coalesce(tenant, ''), '',
         object, CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                 ELSE 'all' END FROM loose WHERE always
  UNION ALL
  SELECT 'policy_no_tenant_ref', '', '', object, '' FROM loose WHERE shared AND silent AND NOT always
  UNION ALL
  SELECT 'policy_guc_missing_ok', coalesce(tenant, ''), '', object, '' FROM pol
   WHERE text ~* 'current_setting\([^()]*,\s*true\)' AND text !~* '(coalesce|nullif|is not null|is distinct)'
  UNION ALL
  SELECT CASE WHEN view.relkind = 'm' THEN 'matview_over_rls' ELSE 'view_definer' END
         || CASE WHEN bypasses.now AND EXISTS (SELECT 1 FROM granted WHERE granted.oid = view.oid) THEN '' ELSE '_latent' END,
         coalesce(barred.tenant, ''), '', view.object, barred.object
    FROM through JOIN rel AS view ON view.oid = through.view JOIN barred ON barred.oid = through.oid
    JOIN pg_catalog.pg_roles AS owner ON owner.oid = through.acting, LATERAL (
      SELECT owner.rolsuper OR owner.rolbypassrls OR (NOT barred.relforcerowsecurity AND EXISTS (
         SELECT 1 FROM owns WHERE owns.oid = through.acting AND owns.via = barred.relowner)) AS now) AS bypasses
   WHERE view.relkind = 'm' OR coalesce(view.reloptions::text, '') !~* 'security_invoker=(true|on|1|yes)'
  UNION ALL
  SELECT 'agent_reads', coalesce(rel.tenant, ''), '', rel.object, '' FROM rel
   WHERE rel.relkind IN ('r', 'p') AND (rel.tenant IS NOT NULL OR EXISTS (SELECT 1 FROM tcol WHERE tcol.oid = rel.oid))
     AND has_any_column_privilege(rel.oid, 'SELECT')
), groups AS MATERIALIZED (
  SELECT chk, tenant, other, count(DISTINCT object) AS count,
         (array_agg(DISTINCT object ORDER BY object))[1:20] AS objects, string_agg(DISTINCT detail, ', ') AS detail,
         row_number() OVER (PARTITION BY chk ORDER BY count(DISTINCT object) DESC, tenant, other) AS place
    FROM found GROUP BY chk, tenant, other
)
SELECT 'state' AS chk, '' AS tenant, CASE WHEN it IS NULL THEN 'unprepared' WHEN now THEN 'quiet' ELSE 'busy' END AS other,
       (SELECT count(*) FROM rel WHERE relkind IN ('r', 'p')) AS count, '{}'::text[] AS objects,
       (SELECT count(*) FROM tt)::text AS detail FROM given, quiet
UNION ALL
SELECT chk, tenant, other, count, CASE WHEN place <= 50 THEN objects ELSE '{}' END, left(detail, 300) FROM groups
 WHERE place <= 300
UNION ALL
SELECT chk, '', 'others', sum(count)::int8, '{}', '' FROM groups WHERE place > 300 GROUP BY chk
