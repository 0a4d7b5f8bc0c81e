-- view: pg_extension, pg_event_trigger, pg_publication
-- cost: a few rows; the tables of publications are asked for, and so locked for a moment, only while nobody holds or
--       awaits an exclusive lock
-- privilege: none
WITH quiet AS MATERIALIZED (
  SELECT NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_locks AS l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation >= 16384
       AND l.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) AS now
)
SELECT CASE WHEN now THEN 'quiet' ELSE 'busy' END AS kind, '' AS ident, '' AS def FROM quiet
UNION ALL
SELECT 'extension', e.extname::text, e.extversion || ' in ' || n.nspname
  FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname NOT IN ('neon', 'neon_utils')
UNION ALL
SELECT 'event_trigger', t.evtname::text, concat_ws('|', t.evtevent, nullif(t.evtenabled::text, 'O'),
         (SELECT string_agg(tag, ',' ORDER BY tag COLLATE "C") FROM unnest(t.evttags) AS tag), t.evtfoid::regproc::text)
  FROM pg_catalog.pg_event_trigger AS t
 WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_event_trigger'::regclass
                      AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'publication', p.pubname::text, concat_ws('|', CASE WHEN p.puballtables THEN 'all tables' END,
         concat_ws(',', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                   CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END),
         CASE WHEN p.pubviaroot THEN 'via root' END,
         CASE WHEN NOT p.puballtables THEN (
           SELECT string_agg(listed, ',' ORDER BY listed COLLATE "C")
             FROM (SELECT (to_jsonb(t) - 'pubname' - CASE WHEN EXISTS (
                             SELECT 1 FROM pg_catalog.pg_publication_rel AS r
                               JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
                               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                              WHERE r.prpubid = p.oid AND c.relname = t.tablename AND n.nspname = t.schemaname
                                AND to_jsonb(r) ->> 'prattrs' IS NOT NULL) THEN '' ELSE 'attnames' END)::text AS listed
                     FROM pg_catalog.pg_publication_tables AS t WHERE t.pubname = p.pubname) AS named) END)
  FROM pg_catalog.pg_publication AS p
 WHERE (SELECT now FROM quiet)
