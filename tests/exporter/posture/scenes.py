"""The scenes: one change each to a world in order, what the control says of it, and how tenant a gets at b's row."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.posture.domain.finding import Severity

Steps = tuple[tuple[str, str], ...]
"""Who runs what: ``a`` and ``b`` log in, ``admin`` is a superuser. A leak: the last step shows b's secret."""

CRITICAL, HIGH, MEDIUM, LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW
SECRET_ORDERS: Steps = (("a", "SELECT body FROM t_b.orders"),)
SECRET_NOTES: Steps = (("a", "SELECT body FROM app.notes"),)


@dataclass(frozen=True)
class Scene:
    """``severity`` is the worst failure of the control; None: it must hold, and the attack must not succeed."""

    control: str
    name: str
    sql: str
    severity: Severity | None = None
    attack: Steps = ()
    leaks: bool = False
    undo: str = ""
    """For what belongs to the server, not to the database."""
    since: int = 14

    @property
    def id(self) -> str:
        return f"{self.control}-{self.name}".replace(" ", "-")


def leak(control: str, name: str, sql: str, severity: Severity, attack: Steps, **more: object) -> Scene:
    """The control fails and the login gets at the row."""
    return Scene(control, name, sql, severity, attack, leaks=True, **more)  # type: ignore[arg-type]


def holds(control: str, name: str, sql: str, attack: Steps = (), **more: object) -> Scene:
    """It looks alike; the control holds and the login gets at nothing."""
    return Scene(control, name, sql, None, attack, **more)  # type: ignore[arg-type]


def half(control: str, name: str, sql: str, severity: Severity, attack: Steps = (), **more: object) -> Scene:
    """The control says something, with less than its full severity, and the login gets at nothing yet."""
    return Scene(control, name, sql, severity, attack, **more)  # type: ignore[arg-type]


_CREATE_HIJACK: Steps = (
    ("a", "CREATE TABLE app.loot (body text); GRANT INSERT ON app.loot TO PUBLIC"),
    ("a", "CREATE FUNCTION app.upper(varchar) RETURNS text LANGUAGE plpgsql AS "
          "'BEGIN INSERT INTO app.loot VALUES ($1); RETURN $1; END'"),
    ("b", "SET search_path = t_b, app; SELECT upper(body) FROM orders"),
    ("a", "SELECT body FROM app.loot"),
)  # fmt: skip
"""What b calls by a bare name is a's: it runs as b, and writes down what b reads."""

_REPORT = """
CREATE FUNCTION app.label(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION app.report() RETURNS text LANGUAGE plpgsql SECURITY DEFINER {path} AS
  'BEGIN RETURN label(''x''); END';
ALTER FUNCTION app.label(text) OWNER TO migrator_posture;
ALTER FUNCTION app.report() OWNER TO migrator_posture;
REVOKE EXECUTE ON FUNCTION app.report() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.report() TO posture_a;
"""
_PATH_HIJACK: Steps = (
    ("a", "CREATE FUNCTION t_a.label(text) RETURNS text LANGUAGE plpgsql AS "
          "'BEGIN RETURN (SELECT body FROM t_b.orders LIMIT 1); END'"),
    ("a", "SET search_path = t_a, app; SELECT app.report()"),
)  # fmt: skip
"""The function looks its helper up where its caller says, and runs the caller's as its own owner."""

_ALL_ORDERS = """
CREATE FUNCTION app.all_orders() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = ''
  AS 'SELECT body FROM t_b.orders';
ALTER FUNCTION app.all_orders() OWNER TO migrator_posture;
"""
_CALL: Steps = (("a", "SELECT app.all_orders()"),)
_VIEW = "CREATE VIEW app.seen {options} AS SELECT * FROM app.notes; ALTER VIEW app.seen OWNER TO {owner}; " \
        "GRANT SELECT ON app.seen TO posture_a;"  # fmt: skip
_SEEN: Steps = (("a", "SELECT body FROM app.seen"),)
_BYPASSING = "ALTER TABLE app.notes NO FORCE ROW LEVEL SECURITY;"
_EVENTS = """
CREATE TABLE app.events (tenant_id text, body text) PARTITION BY LIST (tenant_id);
CREATE TABLE app.events_b PARTITION OF app.events FOR VALUES IN ('posture_b');
INSERT INTO app.events VALUES ('posture_b', 'secret of b');
ALTER TABLE app.events OWNER TO migrator_posture; ALTER TABLE app.events_b OWNER TO migrator_posture;
ALTER TABLE app.events ENABLE ROW LEVEL SECURITY; ALTER TABLE app.events FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.events USING (tenant_id = current_user);
GRANT SELECT ON app.events TO posture_a, posture_b;
"""
_PARTITION: Steps = (("a", "SELECT body FROM app.events_b"),)
_NEW_TABLE: Steps = (
    ("admin", "SET ROLE migrator_posture; CREATE TABLE app.fresh AS SELECT 'secret of b'::text AS body"),
    ("a", "SELECT body FROM app.fresh"),
)
_DECODE: Steps = (
    ("a", "SELECT pg_create_logical_replication_slot('posture_spy', 'test_decoding')"),
    ("b", "UPDATE t_b.orders SET body = 'secret of b' WHERE id = 1"),
    ("a", "SELECT data FROM pg_logical_slot_get_changes('posture_spy', NULL, NULL)"),
)
"""Whoever may replicate reads what everybody writes."""
_DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'posture_spy';"
_BECOME: Steps = (("a", "SET ROLE neon_superuser; SELECT body FROM app.notes"),)
_GRANT_SELF: Steps = (
    ("a", "GRANT neon_superuser TO posture_a WITH SET TRUE; SET ROLE neon_superuser; SELECT body FROM app.notes"),
)
_READ_B = "GRANT USAGE ON SCHEMA t_b TO {role}; GRANT SELECT ON t_b.orders TO {role};"

ISOLATION = (
    leak("P01", "table", _READ_B.format(role="posture_a"), CRITICAL, SECRET_ORDERS),
    leak("P01", "column", "GRANT USAGE ON SCHEMA t_b TO posture_a; GRANT SELECT (body) ON t_b.orders TO posture_a;",
         CRITICAL, SECRET_ORDERS),
    leak("P01", "through a group", _READ_B.format(role="posture_group") + "GRANT posture_group TO posture_a;",
         CRITICAL, SECRET_ORDERS, undo="REVOKE posture_group FROM posture_a"),
    leak("P01", "public", _READ_B.format(role="PUBLIC"), CRITICAL, SECRET_ORDERS),
    leak("P01", "update", "GRANT USAGE ON SCHEMA t_b TO posture_a; GRANT UPDATE, SELECT (id) ON t_b.orders TO "
         "posture_a;", CRITICAL, (("a", "UPDATE t_b.orders SET body = 'by a' WHERE id = 1"),
                                  ("admin", "SELECT 'secret of b' FROM t_b.orders WHERE body = 'by a'"))),
    leak("P01", "as the migrator", "GRANT migrator_posture TO posture_a;", CRITICAL, SECRET_ORDERS,
         undo="REVOKE migrator_posture FROM posture_a"),
    half("P01", "no way in", "GRANT SELECT ON t_b.orders TO posture_a;", MEDIUM, SECRET_ORDERS),
    half("P01", "nothing inside", "GRANT USAGE ON SCHEMA t_b TO posture_a;", MEDIUM, SECRET_ORDERS),
    holds("P01", "a group of b", _READ_B.format(role="posture_group") + "GRANT posture_group TO posture_b;",
          SECRET_ORDERS, undo="REVOKE posture_group FROM posture_b"),
    holds("P01", "powerless member", "GRANT posture_group TO posture_a WITH INHERIT FALSE, SET FALSE; "
          + _READ_B.format(role="posture_group"), SECRET_ORDERS, undo="REVOKE posture_group FROM posture_a", since=16),
    leak("P02", "member", "GRANT posture_b TO posture_a;", CRITICAL, SECRET_ORDERS,
         undo="REVOKE posture_b FROM posture_a"),
    leak("P02", "through a group", "GRANT posture_b TO posture_group; GRANT posture_group TO posture_a;", CRITICAL,
         SECRET_ORDERS, undo="REVOKE posture_b FROM posture_group; REVOKE posture_group FROM posture_a"),
    leak("P02", "by set role", "ALTER ROLE posture_a NOINHERIT; GRANT posture_b TO posture_a;", CRITICAL,
         (("a", "SET ROLE posture_b; SELECT body FROM t_b.orders"),),
         undo="REVOKE posture_b FROM posture_a; ALTER ROLE posture_a INHERIT"),
    holds("P02", "powerless member", "GRANT posture_b TO posture_a WITH INHERIT FALSE, SET FALSE;",
          (("a", "SET ROLE posture_b; SELECT body FROM t_b.orders"),), undo="REVOKE posture_b FROM posture_a",
          since=16),
    leak("P03", "table of a", "GRANT USAGE ON SCHEMA t_b TO posture_a; ALTER TABLE t_b.orders OWNER TO posture_a;",
         HIGH,
         SECRET_ORDERS),
    leak("P03", "schema of a", "ALTER SCHEMA t_b OWNER TO posture_a;", HIGH,
         (("a", "DROP TABLE t_b.orders"), ("admin", "SELECT 'secret of b' WHERE to_regclass('t_b.orders') IS NULL"))),
    holds("P03", "own", "ALTER TABLE t_b.orders OWNER TO posture_b;", SECRET_ORDERS),
    leak("P04", "view", "CREATE VIEW t_a.peek AS SELECT * FROM t_b.orders; "
         "ALTER VIEW t_a.peek OWNER TO migrator_posture; "
         "GRANT SELECT ON t_a.peek TO posture_a;", HIGH, (("a", "SELECT body FROM t_a.peek"),)),
    leak("P04", "function body", "CREATE FUNCTION t_a.peek() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS "
         "'SELECT body FROM t_b.orders'; ALTER FUNCTION t_a.peek() OWNER TO migrator_posture;", HIGH,
         (("a", "SELECT t_a.peek()"),)),
    leak("P04", "child table", "ALTER TABLE t_a.orders INHERIT t_b.orders;", HIGH,
         (("a", "INSERT INTO t_a.orders VALUES (7, 'forged')"),
          ("b", "SELECT 'secret of b' FROM t_b.orders WHERE body = 'forged'"))),
    Scene("P04", "foreign key", "CREATE TABLE t_a.links (id int REFERENCES t_b.orders);", HIGH),
    Scene("P04", "trigger", "CREATE FUNCTION t_b.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
          "CREATE TRIGGER tell BEFORE INSERT ON t_a.orders FOR EACH ROW EXECUTE FUNCTION t_b.tell();", HIGH),
    holds("P04", "view at home", "CREATE VIEW t_b.peek AS SELECT * FROM t_b.orders; "
          "ALTER VIEW t_b.peek OWNER TO migrator_posture; GRANT SELECT ON t_b.peek TO posture_b;",
          (("a", "SELECT body FROM t_b.peek"),)),
    leak("P07", "public creates", "GRANT CREATE ON SCHEMA app TO PUBLIC; GRANT USAGE ON SCHEMA app TO PUBLIC;", HIGH,
         _CREATE_HIJACK),
    leak("P07", "tenant creates", "GRANT CREATE ON SCHEMA app TO posture_a;", HIGH, _CREATE_HIJACK),
    holds("P07", "migrator creates", "GRANT CREATE ON SCHEMA app TO posture_group;", _CREATE_HIJACK),
    leak("P08", "table", "GRANT SELECT ON app.ledger TO PUBLIC;", HIGH, (("a", "SELECT body FROM app.ledger"),)),
    leak("P08", "column", "GRANT SELECT (body) ON app.ledger TO PUBLIC;", HIGH, (("a",
         "SELECT body FROM app.ledger"),)),
    half("P08", "closed schema", "CREATE SCHEMA shut AUTHORIZATION migrator_posture; "
         "CREATE TABLE shut.ledger AS SELECT 'secret of b'::text AS body; GRANT SELECT ON shut.ledger TO PUBLIC;", LOW,
         (("a", "SELECT body FROM shut.ledger"),)),
    holds("P08", "named", "GRANT SELECT ON app.ledger TO posture_group;", (("a", "SELECT body FROM app.ledger"),)),
    leak("P09", "public", "ALTER DEFAULT PRIVILEGES FOR ROLE migrator_posture IN SCHEMA app GRANT SELECT ON TABLES TO "
         "PUBLIC;", HIGH, _NEW_TABLE),
    leak("P09", "the other tenant", "ALTER DEFAULT PRIVILEGES FOR ROLE migrator_posture IN SCHEMA t_b GRANT SELECT ON "
         "TABLES TO posture_a; GRANT USAGE ON SCHEMA t_b TO posture_a;", HIGH,
         (("admin", "SET ROLE migrator_posture; CREATE TABLE t_b.fresh AS SELECT 'secret of b'::text AS body"),
          ("a", "SELECT body FROM t_b.fresh"))),
    leak("P09", "everywhere", "ALTER DEFAULT PRIVILEGES FOR ROLE migrator_posture GRANT SELECT ON TABLES TO posture_a; "
         "GRANT USAGE ON SCHEMA t_b TO posture_a;", HIGH,
         (("admin", "SET ROLE migrator_posture; CREATE TABLE t_b.fresh AS SELECT 'secret of b'::text AS body"),
          ("a", "SELECT body FROM t_b.fresh"))),
    holds("P09", "own tenant", "ALTER DEFAULT PRIVILEGES FOR ROLE migrator_posture IN SCHEMA t_b GRANT "
          "SELECT ON TABLES TO posture_b;", _NEW_TABLE),
    Scene("P10", "default", "DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database()); "
          "END $$;", MEDIUM),
)  # fmt: skip

RLS = (
    leak("P11", "off", "DROP POLICY own ON app.notes; ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY;", CRITICAL,
         SECRET_NOTES),
    leak("P11", "partition", _EVENTS + "GRANT SELECT ON app.events_b TO posture_a;", CRITICAL, _PARTITION),
    half("P11", "partition of the owner", _EVENTS, LOW, _PARTITION),
    holds("P11", "own schema", "ALTER TABLE t_b.orders ADD COLUMN tenant_id text;", SECRET_ORDERS),
    leak("P12", "login owner", _BYPASSING + "ALTER TABLE app.notes OWNER TO posture_a;", HIGH, SECRET_NOTES),
    leak("P12", "group owner", _BYPASSING + "ALTER TABLE app.notes OWNER TO posture_group; "
         "GRANT posture_group TO posture_a;", HIGH, SECRET_NOTES, undo="REVOKE posture_group FROM posture_a"),
    holds("P12", "forced", "ALTER TABLE app.notes OWNER TO posture_a;", SECRET_NOTES),
    holds("P12", "owner of nobody", _BYPASSING, SECRET_NOTES),
    Scene("P13", "deny all", "DROP POLICY own ON app.notes;", LOW, SECRET_NOTES),
    leak("P14", "off", "ALTER TABLE app.notes DISABLE ROW LEVEL SECURITY;", CRITICAL, SECRET_NOTES),
    leak("P15", "true", "CREATE POLICY everything ON app.notes USING (true);", HIGH, SECRET_NOTES),
    leak("P15", "one is one", "CREATE POLICY everything ON app.notes FOR SELECT USING (1 = 1);", HIGH, SECRET_NOTES),
    leak("P15", "check", "CREATE POLICY everything ON app.notes FOR INSERT WITH CHECK (true);", HIGH,
         (("a", "INSERT INTO app.notes VALUES (9, 'posture_b', 'forged')"),
          ("b", "SELECT 'secret of b' FROM app.notes WHERE body = 'forged'"))),
    half("P15", "reference data", "ALTER TABLE app.ledger ENABLE ROW LEVEL SECURITY; "
         "CREATE POLICY everything ON app.ledger FOR SELECT USING (true);", MEDIUM),
    holds("P15", "restricted", "CREATE POLICY everything ON app.notes USING (true); "
          "CREATE POLICY bound ON app.notes AS RESTRICTIVE USING (tenant_id = current_user);", SECRET_NOTES),
    holds("P15", "for the migrator", "CREATE POLICY everything ON app.notes TO migrator_posture USING (true);",
          SECRET_NOTES),
    leak("P16", "other column", "CREATE POLICY something ON app.notes USING (id > 0);", HIGH, SECRET_NOTES),
    holds("P16", "names it", "CREATE POLICY something ON app.notes USING (id > 0 AND tenant_id = current_user);",
          SECRET_NOTES),
    Scene("P17", "bare", "CREATE POLICY maybe ON app.notes USING (tenant_id = current_setting('app.tenant', true));",
          LOW, SECRET_NOTES),
    holds("P17", "guarded", "CREATE POLICY maybe ON app.notes USING "
          "(tenant_id = coalesce(current_setting('app.tenant', true), ''));", SECRET_NOTES),
    leak("P18", "owner bypasses", _BYPASSING + _VIEW.format(options="", owner="migrator_posture"), HIGH, _SEEN),
    leak("P18", "superuser", _VIEW.format(options="", owner="cloud_admin"), HIGH, _SEEN),
    holds("P18", "through an invoker view", _VIEW.format(options="WITH (security_invoker = true)", owner="cloud_admin")
         + "CREATE VIEW app.outer_view AS SELECT * FROM app.seen; ALTER VIEW app.outer_view OWNER TO cloud_admin; "
         "GRANT SELECT ON app.outer_view TO posture_a;", (("a", "SELECT body FROM app.outer_view"),), since=15),
    half("P19", "bound owner", "SET ROLE migrator_posture; "
         "CREATE MATERIALIZED VIEW app.seen AS SELECT * FROM app.notes; GRANT SELECT ON app.seen TO posture_a;",
         LOW, _SEEN),
    leak("P19", "through a view", _VIEW.format(options="", owner="cloud_admin")
         + "CREATE MATERIALIZED VIEW app.kept AS SELECT * FROM app.seen; GRANT SELECT ON app.kept TO posture_a;", HIGH,
         (("a", "SELECT body FROM app.kept"),)),
    half("P18", "forced", _VIEW.format(options="", owner="migrator_posture"), LOW, _SEEN),
    holds("P18", "invoker", _VIEW.format(options="WITH (security_invoker = true)", owner="cloud_admin"),
         _SEEN, since=15),
    leak("P19", "granted", "CREATE MATERIALIZED VIEW app.seen AS SELECT * FROM app.notes; "
         "GRANT SELECT ON app.seen TO posture_a;", HIGH, _SEEN),
    half("P19", "of the owner", "CREATE MATERIALIZED VIEW app.seen AS SELECT * FROM app.notes; ", LOW, _SEEN),
    holds("P19", "over a plain table", "CREATE MATERIALIZED VIEW app.seen AS SELECT * FROM app.ledger; ", _SEEN),
    leak("P20", "no path", _REPORT.format(path=""), HIGH, _PATH_HIJACK),
    half("P20", "temporary first", _REPORT.format(path="SET search_path = app"), LOW, _PATH_HIJACK),
    holds("P20", "own path", _REPORT.format(path="SET search_path = app, pg_temp"), _PATH_HIJACK),
    leak("P21", "default", _ALL_ORDERS, HIGH, _CALL),
    half("P21", "in b's own schema", _ALL_ORDERS + "ALTER FUNCTION app.all_orders() SET SCHEMA t_b;", LOW,
         (("a", "SELECT t_b.all_orders()"),)),
    leak("P21", "in b's schema opened", _ALL_ORDERS + "ALTER FUNCTION app.all_orders() SET SCHEMA t_b; "
         "GRANT USAGE ON SCHEMA t_b TO posture_a;", HIGH, (("a", "SELECT t_b.all_orders()"),)),
    holds("P21", "revoked", _ALL_ORDERS + "REVOKE EXECUTE ON FUNCTION app.all_orders() FROM PUBLIC; "
          "GRANT EXECUTE ON FUNCTION app.all_orders() TO posture_b;", _CALL),
)  # fmt: skip

SERVER = (
    leak("P05", "member", "GRANT neon_superuser TO posture_a;", CRITICAL, _BECOME,
         undo="REVOKE neon_superuser FROM posture_a"),
    leak("P05", "through a group", "GRANT neon_superuser TO posture_group; GRANT posture_group TO posture_a;", CRITICAL,
         _BECOME, undo="REVOKE neon_superuser FROM posture_group; REVOKE posture_group FROM posture_a"),
    leak("P05", "admin option", "GRANT neon_superuser TO posture_a WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;",
         CRITICAL,
         _GRANT_SELF, undo="REVOKE neon_superuser FROM posture_a CASCADE", since=16),
    holds("P05", "powerless member", "GRANT neon_superuser TO posture_a WITH INHERIT FALSE, SET FALSE;", _BECOME,
          undo="REVOKE neon_superuser FROM posture_a", since=16),
    leak("P22", "own", "ALTER ROLE posture_a BYPASSRLS;",
         CRITICAL, SECRET_NOTES, undo="ALTER ROLE posture_a NOBYPASSRLS"),
    leak("P22", "by set role", "ALTER ROLE posture_group BYPASSRLS; GRANT posture_group TO posture_a; "
         "GRANT USAGE ON SCHEMA app TO posture_group; GRANT SELECT ON app.notes TO posture_group;", CRITICAL,
         (("a", "SET ROLE posture_group; SELECT body FROM app.notes"),),
         undo="ALTER ROLE posture_group NOBYPASSRLS; REVOKE posture_group FROM posture_a"),
    leak("P24", "replication", "ALTER ROLE posture_a REPLICATION;", HIGH, _DECODE,
         undo=_DROP_SLOT + "ALTER ROLE posture_a NOREPLICATION"),
    Scene("P24", "createdb", "ALTER ROLE posture_a CREATEDB;", HIGH, undo="ALTER ROLE posture_a NOCREATEDB"),
    Scene("P24", "createrole", "ALTER ROLE posture_a CREATEROLE;", HIGH, undo="ALTER ROLE posture_a NOCREATEROLE"),
    leak("P25", "reads all", "GRANT pg_read_all_data TO posture_a;", HIGH, SECRET_ORDERS,
         undo="REVOKE pg_read_all_data FROM posture_a"),
    leak("P25", "writes all", "GRANT pg_write_all_data TO posture_a;", HIGH,
         (("a", "UPDATE t_b.orders SET body = 'by a'"),
          ("admin", "SELECT 'secret of b' FROM t_b.orders WHERE body = 'by a'")),
         undo="REVOKE pg_write_all_data FROM posture_a"),
    Scene("P26", "for ever", "ALTER ROLE posture_a VALID UNTIL 'infinity';", MEDIUM,
          undo="ALTER ROLE posture_a VALID UNTIL '2100-01-01'"),
    Scene("P27", "soon", "DO $$ BEGIN EXECUTE format('ALTER ROLE posture_a VALID UNTIL %L', now() + interval "
          "'3 days'); END $$;", HIGH, undo="ALTER ROLE posture_a VALID UNTIL '2100-01-01'"),
    Scene("P28", "no limit", "ALTER ROLE posture_a CONNECTION LIMIT -1;", MEDIUM,
          undo="ALTER ROLE posture_a CONNECTION LIMIT 20"),
    Scene("P23", "off", "ALTER ROLE posture_a SET row_security = off;", MEDIUM,
          undo="ALTER ROLE posture_a RESET row_security"),
)  # fmt: skip
DATA = (
    Scene("P47", "old", "CREATE EXTENSION citext VERSION '1.4';", MEDIUM),
    holds("P47", "new", "CREATE EXTENSION citext;"),
    Scene("P48", "not listed", "CREATE EXTENSION dblink SCHEMA app;", MEDIUM),
    Scene("P48", "open schema", "GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE EXTENSION citext SCHEMA public;",
         MEDIUM),
    holds("P48", "listed", "CREATE EXTENSION citext SCHEMA app;"),
    Scene("P57", "plain text", "ALTER TABLE t_b.orders ADD COLUMN iban_sealed text;", MEDIUM),
    holds("P57", "bytea", "ALTER TABLE t_b.orders ADD COLUMN iban_sealed bytea;"),
    Scene("P60", "not labelled", "ALTER TABLE t_b.orders ADD COLUMN email text;", HIGH),
    holds("P60", "labelled", "ALTER TABLE t_b.orders ADD COLUMN email text; SET allow_system_table_mods = on; "
          "INSERT INTO pg_seclabel SELECT 't_b.orders'::regclass, 'pg_class'::regclass, attnum, 'anon', "
          "'MASKED WITH VALUE NULL' FROM pg_attribute WHERE attrelid = 't_b.orders'::regclass AND attname = 'email'"),
    Scene("P68", "no key", "CREATE TABLE app.log (line text); CREATE PUBLICATION p FOR TABLE app.log;", HIGH),
    Scene("P68", "nothing", "ALTER TABLE app.ledger REPLICA IDENTITY NOTHING; "
          "CREATE PUBLICATION p FOR TABLE app.ledger;",
          HIGH),
    holds("P68", "full", "CREATE TABLE app.log (line text); ALTER TABLE app.log REPLICA IDENTITY FULL; "
          "CREATE PUBLICATION p FOR TABLE app.log, app.ledger;"),
    holds("P68", "inserts only", "CREATE TABLE app.log (line text); "
          "CREATE PUBLICATION p FOR TABLE app.log WITH (publish = 'insert');"),
    Scene("P69", "all tables", "CREATE PUBLICATION p FOR ALL TABLES;", HIGH),
    Scene("P69", "two tenants", "CREATE PUBLICATION p FOR TABLE t_a.orders, t_b.orders;", HIGH),
    holds("P69", "one tenant", "CREATE PUBLICATION p FOR TABLE t_b.orders, app.ledger;"),
    Scene("P50", "reads rows", "GRANT USAGE ON SCHEMA t_b TO monitor; GRANT SELECT ON t_b.orders TO monitor;",
          CRITICAL),
    Scene("P50", "reads a column", "GRANT USAGE ON SCHEMA app TO monitor; GRANT SELECT (id) ON app.notes TO monitor;",
          CRITICAL),
)  # fmt: skip
SCENES = (*ISOLATION, *RLS, *SERVER, *DATA)
