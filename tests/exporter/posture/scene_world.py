"""Two tenants in order: a world in which every SQL control holds, and from which each scene departs in one thing.

Tenant a logs in as ``posture_a``, tenant b as ``posture_b``. Each has a schema (``t_a``, ``t_b``), and both share
``app.notes`` behind row security. Everything belongs to ``migrator_posture``, which does not log in.
"""

from __future__ import annotations

SECRET = "secret of b"
ROLES = ("posture_a", "posture_b", "migrator_posture", "posture_group", "posture_app", "neon_superuser")

MAKE_ROLES = """
CREATE ROLE posture_a LOGIN PASSWORD '{password}' CONNECTION LIMIT 20 VALID UNTIL '2100-01-01';
CREATE ROLE posture_b LOGIN PASSWORD '{password}' CONNECTION LIMIT 20 VALID UNTIL '2100-01-01';
CREATE ROLE migrator_posture NOLOGIN;
CREATE ROLE posture_group NOLOGIN;
CREATE ROLE posture_app LOGIN PASSWORD '{password}' CONNECTION LIMIT 20 VALID UNTIL '2100-01-01';
CREATE ROLE neon_superuser NOLOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS;
GRANT pg_read_all_data, pg_write_all_data TO neon_superuser;
"""
"""neon_superuser as Neon makes it."""

WORLD = """
CREATE SCHEMA t_a AUTHORIZATION migrator_posture;
CREATE SCHEMA t_b AUTHORIZATION migrator_posture;
CREATE SCHEMA app AUTHORIZATION migrator_posture;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SET ROLE migrator_posture;
CREATE TABLE t_a.orders (id int PRIMARY KEY, body varchar NOT NULL);
CREATE TABLE t_b.orders (id int PRIMARY KEY, body varchar NOT NULL);
CREATE SEQUENCE t_b.numbers;
CREATE TABLE app.notes (id int PRIMARY KEY, tenant_id text NOT NULL, body text NOT NULL);
CREATE TABLE app.ledger (id int PRIMARY KEY, body text NOT NULL);
CREATE FUNCTION app.own() RETURNS text LANGUAGE sql RETURN current_user;
INSERT INTO t_a.orders VALUES (1, 'of a');
INSERT INTO t_b.orders VALUES (1, 'secret of b');
INSERT INTO app.notes VALUES (1, 'posture_a', 'of a'), (2, 'posture_b', 'secret of b');
INSERT INTO app.ledger VALUES (1, 'secret of b');
ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.notes USING (tenant_id = current_user);
GRANT USAGE ON SCHEMA app TO posture_a, posture_b;
GRANT USAGE, CREATE ON SCHEMA t_a TO posture_a;
GRANT USAGE ON SCHEMA t_b TO posture_b;
GRANT SELECT, INSERT, UPDATE, DELETE ON t_a.orders TO posture_a;
GRANT SELECT, INSERT, UPDATE, DELETE ON t_b.orders TO posture_b;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.notes TO posture_a, posture_b;
GRANT SELECT ON app.ledger TO posture_b;
RESET ROLE;
"""
SCHEMAS = {"t_a": "a", "t_b": "b"}
TENANT_ROLES = {"posture_a": "a", "posture_b": "b"}
