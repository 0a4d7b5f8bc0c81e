-- view: pg_class, pg_attribute, pg_constraint, pg_proc, pg_type and their neighbours
-- cost: 2 s for 10,000 tables (140,000 objects), 30 ms for a small database; sends digests, and objects only of schemas
--       whose digest is not the one in neonmeter.known. Reads nothing while somebody holds or awaits an exclusive lock
-- privilege: none
WITH quiet AS MATERIALIZED (
  SELECT current_setting('search_path') IN ('', '""') AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_locks AS l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation >= 16384 AND l.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) AS now
), known AS MATERIALIZED (
  SELECT key AS schema, value AS digest
    FROM jsonb_each_text(coalesce(nullif(current_setting('neonmeter.known', true), ''), '{}')::jsonb)
), own AS MATERIALIZED (
  SELECT key AS schema, value AS role
    FROM jsonb_each_text(coalesce(nullif(current_setting('neonmeter.own', true), ''), '{}')::jsonb)
), ext AS MATERIALIZED (
  SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), ns AS MATERIALIZED (
  SELECT n.oid, n.nspname::text AS schema, n.nspacl AS acl, n.nspowner AS owner, own.role AS own
    FROM pg_catalog.pg_namespace AS n LEFT JOIN own ON own.schema = n.nspname
   WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN
         ('information_schema', 'neon', 'neon_migration', 'neon_auth', 'pgrst', 'anon', 'cron', 'sqitch')
     AND NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_namespace'::regclass AND objid = n.oid)
     AND (SELECT now FROM quiet)
), rel AS MATERIALIZED (
  SELECT c.oid, c.relname::text AS name, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
         c.relreplident, c.reloptions, c.relpartbound, c.relispartition, c.relacl, c.relowner, c.relam,
         ns.schema, ns.own
    FROM pg_catalog.pg_class AS c JOIN ns ON ns.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
     AND c.relname NOT IN ('flyway_schema_history', 'databasechangelog', 'databasechangeloglock', '_prisma_migrations',
         'alembic_version', 'django_migrations', 'schema_migrations', 'ar_internal_metadata', 'knex_migrations',
         'knex_migrations_lock', 'goose_db_version', '__drizzle_migrations', 'atlas_schema_revisions')
     AND NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_class'::regclass AND objid = c.oid)
), identity AS MATERIALIZED (
  SELECT d.refobjid AS relid, d.refobjsubid AS attnum, d.objid AS seqid FROM pg_catalog.pg_depend AS d
   WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
     AND d.refobjsubid > 0
), proc AS MATERIALIZED (
  SELECT p.oid, ns.schema, ns.own, p.proacl AS acl, p.proowner AS owner, p.prokind,
         p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS ident
    FROM pg_catalog.pg_proc AS p JOIN ns ON ns.oid = p.pronamespace
   WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                        AND d.deptype IN ('e', 'i') AND d.refclassid <> 'pg_proc'::regclass)
), typ AS MATERIALIZED (
  SELECT t.oid, t.typname::text AS name, t.typtype, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, t.typrelid,
         t.typcollation, t.typacl AS acl, t.typowner AS owner, ns.schema, ns.own
    FROM pg_catalog.pg_type AS t JOIN ns ON ns.oid = t.typnamespace
   WHERE t.typtype IN ('e', 'd', 'r', 'c')
     AND (t.typtype <> 'c' OR (SELECT relkind FROM pg_catalog.pg_class WHERE oid = t.typrelid) = 'c')
     AND NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_type'::regclass AND objid = t.oid)
), acl AS (
  SELECT schema, own, 'schema' AS ident, acl, owner, 0 AS col FROM ns WHERE acl IS NOT NULL
  UNION ALL
  SELECT schema, own, CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || name, relacl, relowner, 0
    FROM rel WHERE relacl IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM identity WHERE seqid = rel.oid)
  UNION ALL
  SELECT rel.schema, rel.own, 'column ' || rel.name || '.' || a.attname, a.attacl, rel.relowner, 1
    FROM rel JOIN pg_catalog.pg_attribute AS a ON a.attrelid = rel.oid
   WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
  SELECT schema, own, 'function ' || ident, coalesce(acl, acldefault('f', owner)), owner, 0 FROM proc
   WHERE acl IS NOT NULL
  UNION ALL
  SELECT schema, own, 'type ' || name, coalesce(acl, acldefault('T', owner)), owner, 0 FROM typ WHERE acl IS NOT NULL
  UNION ALL
  SELECT ns.schema, ns.own, 'default of ' || d.defaclobjtype::text || ' by '
         || CASE WHEN pg_get_userbyid(d.defaclrole) = ns.own THEN '@role' ELSE pg_get_userbyid(d.defaclrole)::text END,
         d.defaclacl, d.defaclrole, 0
    FROM pg_catalog.pg_default_acl AS d JOIN ns ON ns.oid = d.defaclnamespace
), entries AS (
  SELECT acl.schema, acl.own, acl.ident, x.grantee = 0 AS everyone, pg_get_userbyid(x.grantee)::text AS role,
         x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END AS privilege
    FROM acl, LATERAL aclexplode(acl.acl) AS x WHERE x.grantee <> acl.owner
), obj (kind, schema, ident, def, relative) AS (
  SELECT 'schema', schema, '', '', NULL FROM ns
  UNION ALL
  SELECT 'table', schema, name, concat_ws('|', relkind::text, relpersistence::text,
           CASE WHEN relrowsecurity THEN 'row security' END,
           CASE WHEN relforcerowsecurity THEN 'forced' END, 'replica identity ' || relreplident::text,
           (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(reloptions) AS o),
           CASE WHEN relkind = 'p' THEN pg_get_partkeydef(rel.oid) END, pg_get_expr(relpartbound, rel.oid),
           (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_catalog.pg_inherits AS i
             WHERE i.inhrelid = rel.oid),
           (SELECT am.amname FROM pg_catalog.pg_am AS am WHERE am.oid = rel.relam AND am.amname <> 'heap'),
           (SELECT s.srvname || coalesce(' ' || (SELECT string_agg(o, ',' ORDER BY o COLLATE "C")
                                                   FROM unnest(f.ftoptions) AS o), '')
              FROM pg_catalog.pg_foreign_table AS f JOIN pg_catalog.pg_foreign_server AS s ON s.oid = f.ftserver
             WHERE f.ftrelid = rel.oid)), NULL
    FROM rel WHERE relkind IN ('r', 'p', 'f')
  UNION ALL
  SELECT 'column', rel.schema, rel.name || '.' || a.attname, concat_ws('|', format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attnotnull THEN 'not null' END,
           CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text || coalesce((
             SELECT concat_ws(' ', '', s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
               FROM identity JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = identity.seqid
              WHERE identity.relid = a.attrelid AND identity.attnum = a.attnum), '') END,
           CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END,
           CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation::text END,
           CASE WHEN a.attstorage <> t.typstorage THEN 'storage ' || a.attstorage::text END,
           CASE WHEN a.attcompression <> '' THEN 'compression ' || a.attcompression::text END,
           (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) AS o),
           (SELECT 'default ' || pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d
             WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)), NULL
    FROM rel JOIN pg_catalog.pg_attribute AS a ON a.attrelid = rel.oid
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
   WHERE rel.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT 'order', rel.schema, rel.name, string_agg(a.attname::text, ',' ORDER BY a.attnum), NULL
    FROM rel JOIN pg_catalog.pg_attribute AS a ON a.attrelid = rel.oid
   WHERE rel.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
     AND current_setting('neonmeter.order', true) = 'on'
   GROUP BY rel.schema, rel.name
  UNION ALL
  SELECT 'index', rel.schema, rel.name || '.' || c.relname, concat_ws('|', pg_get_indexdef(i.indexrelid),
           CASE WHEN NOT i.indisvalid THEN 'invalid' END, CASE WHEN i.indisreplident THEN 'replica identity' END,
           (SELECT string_agg(a.attnum || ' statistics ' || (to_jsonb(a) ->> 'attstattarget'), ',' ORDER BY a.attnum)
              FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = i.indexrelid
               AND coalesce((to_jsonb(a) ->> 'attstattarget')::int, -1) >= 0)), NULL
    FROM rel JOIN pg_catalog.pg_index AS i ON i.indrelid = rel.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
   WHERE NOT c.relispartition
     AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k WHERE k.conindid = i.indexrelid
                        AND k.contype IN ('p', 'u', 'x'))
  UNION ALL
  SELECT 'constraint', rel.schema, rel.name || '.' || k.conname, concat_ws('|', pg_get_constraintdef(k.oid),
           (SELECT 'replica identity' FROM pg_catalog.pg_index AS i
             WHERE i.indexrelid = k.conindid AND i.indisreplident AND k.contype IN ('p', 'u'))), NULL
    FROM rel JOIN pg_catalog.pg_constraint AS k ON k.conrelid = rel.oid
   WHERE k.contype NOT IN ('n', 't') AND k.conparentid = 0
  UNION ALL
  SELECT 'constraint', typ.schema, typ.name || '.' || k.conname, pg_get_constraintdef(k.oid), NULL
    FROM typ JOIN pg_catalog.pg_constraint AS k ON k.contypid = typ.oid WHERE k.contype <> 'n'
  UNION ALL
  SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'matview' END, schema, name, concat_ws('|', pg_get_viewdef(rel.oid),
           (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(reloptions) AS o)), NULL
    FROM rel WHERE relkind IN ('v', 'm')
  UNION ALL
  SELECT 'sequence', rel.schema, rel.name, concat_ws('|', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
           s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
           (SELECT 'owned by ' || d.refobjid::regclass::text || '.' || a.attname FROM pg_catalog.pg_depend AS d
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype = 'a'
               AND d.refclassid = 'pg_class'::regclass LIMIT 1)), NULL
    FROM rel JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = rel.oid
   WHERE NOT EXISTS (SELECT 1 FROM identity WHERE seqid = rel.oid)
  UNION ALL
  SELECT CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, schema, ident, pg_get_functiondef(proc.oid), NULL
    FROM proc WHERE prokind IN ('f', 'p', 'w')
  UNION ALL
  SELECT 'aggregate', proc.schema, proc.ident, concat_ws('|', g.aggkind::text, g.aggtransfn::regproc::text,
           nullif(g.aggfinalfn::oid, 0)::regproc::text, nullif(g.aggcombinefn::oid, 0)::regproc::text,
           format_type(g.aggtranstype, NULL), g.agginitval, nullif(g.aggsortop, 0)::regoperator::text), NULL
    FROM proc JOIN pg_catalog.pg_aggregate AS g ON g.aggfnoid = proc.oid
  UNION ALL
  SELECT 'trigger', rel.schema, rel.name || '.' || g.tgname,
         concat_ws('|', pg_get_triggerdef(g.oid), nullif(g.tgenabled::text, 'O')), NULL
    FROM rel JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = rel.oid WHERE NOT g.tgisinternal AND g.tgparentid = 0
  UNION ALL
  SELECT 'policy', rel.schema, rel.name || '.' || p.polname, policy.def || policy.roles, policy.def || policy.relative
    FROM rel JOIN pg_catalog.pg_policy AS p ON p.polrelid = rel.oid, LATERAL (
      SELECT concat_ws('|', p.polcmd::text, p.polpermissive, 'using ' || pg_get_expr(p.polqual, p.polrelid),
                       'check ' || pg_get_expr(p.polwithcheck, p.polrelid)) || ' to ' AS def,
             (SELECT string_agg(r, ',' ORDER BY r COLLATE "C") FROM (SELECT CASE WHEN o = 0 THEN 'public'
                ELSE pg_get_userbyid(o)::text END AS r FROM unnest(p.polroles) AS o) AS named) AS roles,
             (SELECT string_agg(r, ',' ORDER BY r COLLATE "C") FROM (SELECT CASE WHEN o = 0 THEN 'public'
                WHEN pg_get_userbyid(o) = rel.own THEN '@role' ELSE pg_get_userbyid(o)::text END AS r
                FROM unnest(p.polroles) AS o) AS named) AS relative) AS policy
  UNION ALL
  SELECT 'type', schema, name, CASE typtype
           WHEN 'e' THEN 'enum ' || coalesce((SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
                                       FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = typ.oid), '')
           WHEN 'd' THEN concat_ws('|', 'domain ' || format_type(typbasetype, typtypmod),
                                   CASE WHEN typnotnull THEN 'not null' END, 'default ' || typdefault,
                                   CASE WHEN typcollation <> (SELECT b.typcollation FROM pg_catalog.pg_type AS b
                                                               WHERE b.oid = typ.typbasetype)
                                        THEN 'collate ' || typcollation::regcollation::text END)
           WHEN 'r' THEN 'range ' || (SELECT format_type(r.rngsubtype, NULL) || ' '
                                             || coalesce(nullif(r.rngsubdiff::oid, 0)::regproc::text, '')
                                        FROM pg_catalog.pg_range AS r WHERE r.rngtypid = typ.oid)
           ELSE 'composite ' || coalesce((
             SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
               FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = typ.typrelid AND a.attnum > 0
                AND NOT a.attisdropped), '') END, NULL
    FROM typ
  UNION ALL
  SELECT 'rule', rel.schema, rel.name || '.' || r.rulename, concat_ws('|', pg_get_ruledef(r.oid),
           nullif(r.ev_enabled::text, 'O')), NULL
    FROM rel JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = rel.oid WHERE r.rulename <> '_RETURN'
  UNION ALL
  SELECT 'statistics', ns.schema, x.stxname::text, pg_get_statisticsobjdef(x.oid), NULL
    FROM ns JOIN pg_catalog.pg_statistic_ext AS x ON x.stxnamespace = ns.oid
  UNION ALL
  SELECT 'collation', ns.schema, x.collname::text,
         (to_jsonb(x) - '{oid,collname,collnamespace,collowner,collversion}'::text[])::text, NULL
    FROM ns JOIN pg_catalog.pg_collation AS x ON x.collnamespace = ns.oid
   WHERE NOT EXISTS (SELECT 1 FROM ext WHERE classid = 'pg_collation'::regclass AND objid = x.oid)
  UNION ALL
  SELECT 'grant', schema, ident, string_agg(entry, ',' ORDER BY entry COLLATE "C"),
         string_agg(relative, ',' ORDER BY relative COLLATE "C")
    FROM (SELECT schema, ident, CASE WHEN everyone THEN 'public' ELSE role END || ':' || privilege AS entry,
                 CASE WHEN everyone THEN 'public' WHEN role = own THEN '@role' ELSE role END || ':' || privilege
                 AS relative
            FROM entries) AS named GROUP BY schema, ident
), hashed AS MATERIALIZED (
  SELECT kind, schema, ident, replace(ident, quote_ident(schema) || '.', '@.') AS here, def, md5(def) AS digest,
         md5(replace(coalesce(relative, def), quote_ident(schema) || '.', '@.')) AS relative FROM obj
), sums AS MATERIALIZED (
  SELECT schema, kind, count(*) AS objects,
         md5(string_agg(ident || chr(31) || digest, chr(30) ORDER BY ident COLLATE "C")) AS digest,
         md5(string_agg(here || chr(31) || relative, chr(30) ORDER BY here COLLATE "C")) AS relative
    FROM hashed GROUP BY schema, kind
), whole AS MATERIALIZED (
  SELECT schema, sum(objects)::int8 AS objects, md5(string_agg(kind || digest, ',' ORDER BY kind COLLATE "C")) AS digest,
         md5(string_agg(kind || relative, ',' ORDER BY kind COLLATE "C")) AS relative FROM sums GROUP BY schema
)
SELECT CASE WHEN now THEN 'quiet' ELSE 'busy' END AS row, '' AS schema, '' AS kind, '' AS ident, '' AS digest,
       '' AS relative, 0::int8 AS objects, '' AS def FROM quiet
UNION ALL
SELECT 'schema', schema, '', '', digest, relative, objects, '' FROM whole
UNION ALL
SELECT 'object', h.schema, h.kind, h.ident, h.digest, h.relative, 1, left(h.def, 400) FROM hashed AS h
 WHERE NOT EXISTS (SELECT 1 FROM whole AS w JOIN known AS k ON k.schema = w.schema AND k.digest = w.digest || w.relative
                    WHERE w.schema = h.schema)
