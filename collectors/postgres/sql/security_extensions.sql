-- view: pg_extension, pg_available_extensions
-- cost: some milliseconds; reads the control files of the server's extensions
-- privilege: none
SELECT e.extname::text AS name, e.extversion::text AS version, coalesce(a.default_version, '')::text AS newest,
       n.nspname::text AS schema, EXISTS (
         SELECT 1 FROM pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS x
          WHERE x.grantee = 0 AND x.privilege_type = 'CREATE') AS open
  FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
  LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name = e.extname
