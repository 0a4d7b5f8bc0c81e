-- view: pg_settings, pg_db_role_setting, pg_replication_slots, pg_stat_ssl, pg_roles
-- cost: some milliseconds
-- privilege: pg_monitor for some settings, and for the sessions of others
WITH RECURSIVE mine (oid) AS (
  SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
  UNION SELECT m.roleid FROM mine JOIN pg_catalog.pg_auth_members AS m ON m.member = mine.oid
)
SELECT 'setting' AS kind, s.name, s.setting AS value FROM pg_catalog.pg_settings AS s
 WHERE s.name IN ('log_connections', 'log_disconnections', 'log_statement', 'log_min_error_statement', 'log_line_prefix',
   'log_parameter_max_length', 'log_parameter_max_length_on_error', 'password_encryption', 'ssl',
   'ssl_min_protocol_version', 'shared_preload_libraries', 'pgaudit.log', 'server_version_num', 'wal_level')
UNION ALL
SELECT 'row_security_off', coalesce(pg_get_userbyid(nullif(d.setrole, 0))::text, 'everybody') || '@'
       || coalesce((SELECT datname::text FROM pg_catalog.pg_database WHERE oid = d.setdatabase), '*'), c
  FROM pg_catalog.pg_db_role_setting AS d, LATERAL unnest(d.setconfig) AS c
 WHERE c ~* '^row_security=(off|false|no|0)$'
UNION ALL
SELECT 'slot', s.slot_name::text, jsonb_build_object('kind', s.slot_type, 'active', s.active, 'wal_status', s.wal_status,
         'inactive_since', extract(epoch FROM (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8,
         'invalid', coalesce(to_jsonb(s) ->> 'invalidation_reason',
           CASE WHEN (to_jsonb(s) ->> 'conflicting')::bool THEN 'conflict' END, ''))::text
  FROM pg_catalog.pg_replication_slots AS s
 WHERE NOT s.temporary AND s.slot_name <> 'wal_proposer_slot'
UNION ALL
SELECT 'sessions', '', jsonb_build_object('all', count(*), 'plain', count(*) FILTER (WHERE NOT t.ssl))::text
  FROM pg_catalog.pg_stat_activity AS a JOIN pg_catalog.pg_stat_ssl AS t ON t.pid = a.pid
 WHERE a.client_addr IS NOT NULL AND NOT a.client_addr <<= '127.0.0.0/8' AND a.client_addr <> '::1'
   AND a.backend_type = 'client backend'
UNION ALL
SELECT 'agent', current_user::text, jsonb_build_object('memberships', (
         SELECT jsonb_agg(r.rolname ORDER BY r.rolname) FROM mine JOIN pg_catalog.pg_roles AS r ON r.oid = mine.oid
          WHERE r.rolname <> current_user),
         'attributes', (SELECT jsonb_build_object('superuser', bool_or(r.rolsuper), 'createrole', bool_or(r.rolcreaterole),
           'createdb', bool_or(r.rolcreatedb), 'replication', bool_or(r.rolreplication), 'bypassrls', bool_or(r.rolbypassrls))
           FROM mine JOIN pg_catalog.pg_roles AS r ON r.oid = mine.oid))::text
UNION ALL
SELECT 'platform', '', CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = 'neon_superuser') THEN 'neon'
       ELSE 'postgres' END
