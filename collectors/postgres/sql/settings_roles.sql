-- view: pg_roles, pg_auth_members
-- cost: a row for each role, 501 at most (then none are kept); of a role's own settings only names and hashes leave
-- privilege: none
SELECT r.rolname::text AS role,
       concat_ws(' ', CASE WHEN r.rolcanlogin THEN 'login' END, CASE WHEN r.rolsuper THEN 'superuser' END,
         CASE WHEN r.rolcreaterole THEN 'createrole' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
         CASE WHEN r.rolreplication THEN 'replication' END, CASE WHEN r.rolbypassrls THEN 'bypassrls' END,
         CASE WHEN NOT r.rolinherit THEN 'noinherit' END,
         CASE WHEN r.rolconnlimit >= 0 THEN 'limit ' || r.rolconnlimit END,
         'in ' || (SELECT string_agg(g.rolname::text, ',' ORDER BY g.rolname::text COLLATE "C")
                     FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
                    WHERE m.member = r.oid),
         'set ' || (SELECT string_agg(split_part(c, '=', 1) || '=' || left(md5(c), 8), ',' ORDER BY c COLLATE "C")
                      FROM unnest(r.rolconfig) AS c)) AS attributes
  FROM pg_catalog.pg_roles AS r
 WHERE r.rolname !~ '^pg_' AND r.rolname NOT IN ('cloud_admin', 'neon_superuser', 'neon_service', 'postgres')
 ORDER BY r.rolname
 LIMIT 501
