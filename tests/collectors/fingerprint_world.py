"""A schema with every kind of object, single changes of it, and noise that is no change."""

from __future__ import annotations

ROLES = ("CREATE ROLE fp_app", "CREATE ROLE fp_tenant", "CREATE ROLE fp_other")
BASE = """
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO fp_app;
CREATE TYPE app.state AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN app.amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE TYPE app.pair AS (a int, b text);
CREATE COLLATION app.german (provider = libc, locale = 'C');
CREATE SEQUENCE app.numbers START 5 INCREMENT 2;
CREATE FUNCTION app.total(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.keep() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE PROCEDURE app.tidy() LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.step(state int, x int) RETURNS int LANGUAGE sql AS 'SELECT state + x';
CREATE AGGREGATE app.total_of(int) (sfunc = app.step, stype = int, initcond = '0');
CREATE TABLE app.customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, note varchar(50));
CREATE TABLE app.orders (
    id serial PRIMARY KEY, customer int REFERENCES app.customers (id), state app.state DEFAULT 'new',
    amount app.amount, tax numeric GENERATED ALWAYS AS (amount * 0.19) STORED, placed timestamptz DEFAULT now(),
    CONSTRAINT positive CHECK (amount > 0), UNIQUE (customer, placed));
CREATE INDEX orders_state ON app.orders (state) WHERE state <> 'sent';
CREATE INDEX orders_placed ON app.orders (placed DESC);
CREATE STATISTICS app.orders_stats (dependencies) ON customer, state FROM app.orders;
CREATE TABLE app.events (id bigint, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX events_at ON app.events (at);
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO fp_app;
CREATE VIEW app.open_orders AS SELECT id, amount FROM app.orders WHERE state <> 'sent';
CREATE MATERIALIZED VIEW app.sums AS SELECT customer, count(*) AS orders FROM app.orders GROUP BY 1;
CREATE UNIQUE INDEX sums_customer ON app.sums (customer);
CREATE RULE no_delete AS ON DELETE TO app.customers DO INSTEAD NOTHING;
CREATE TRIGGER touched BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON app.orders FOR SELECT TO fp_app USING (customer = 1);
GRANT SELECT, INSERT ON app.orders TO fp_app;
GRANT SELECT (name) ON app.customers TO fp_app;
REVOKE EXECUTE ON FUNCTION app.total(int) FROM PUBLIC;
CREATE PUBLICATION changes FOR TABLE app.orders, app.customers;
CREATE EVENT TRIGGER kept ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION app.keep();
"""

PLUS, MINUS, OTHER = "added", "removed", "changed"
Expected = list[tuple[str, str, str]]
CHANGES: list[tuple[str, Expected]] = [
    ("CREATE SCHEMA more", [("schema", "", PLUS)]),
    ("CREATE SCHEMA more; CREATE TABLE more.t (id int PRIMARY KEY)", [("schema", "", PLUS)]),
    ("CREATE TABLE app.t (id int PRIMARY KEY, x text DEFAULT 'a')", [("table", "t", PLUS)]),
    ("DROP TABLE app.events", [("table", "events", MINUS), ("table", "events_2026", MINUS)]),
    ("ALTER TABLE app.events DETACH PARTITION app.events_2026",
     [("index", "events_2026.events_2026_at_idx", PLUS), ("table", "events_2026", OTHER)]),
    ("CREATE TABLE app.e27 PARTITION OF app.events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
     [("table", "e27", PLUS)]),
    ("ALTER TABLE app.customers SET (fillfactor = 70)", [("table", "customers", OTHER)]),
    ("ALTER TABLE app.orders DISABLE ROW LEVEL SECURITY", [("table", "orders", OTHER)]),
    ("ALTER TABLE app.orders FORCE ROW LEVEL SECURITY", [("table", "orders", OTHER)]),
    ("ALTER TABLE app.customers REPLICA IDENTITY FULL", [("table", "customers", OTHER)]),
    ("ALTER TABLE app.orders ADD COLUMN extra int", [("column", "orders.extra", PLUS)]),
    ("ALTER TABLE app.customers DROP COLUMN note", [("column", "customers.note", MINUS)]),
    ("ALTER TABLE app.customers RENAME COLUMN note TO remark",
     [("column", "customers.note", MINUS), ("column", "customers.remark", PLUS)]),
    ("ALTER TABLE app.customers ALTER COLUMN note TYPE varchar(80)", [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN note TYPE text", [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN note SET NOT NULL", [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN name DROP NOT NULL", [("column", "customers.name", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN note SET DEFAULT 'x'", [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.orders ALTER COLUMN state DROP DEFAULT", [("column", "orders.state", OTHER)]),
    ("ALTER TABLE app.orders ALTER COLUMN placed SET DEFAULT now() - interval '1 day'",
     [("column", "orders.placed", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN id SET GENERATED BY DEFAULT", [("column", "customers.id", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN id SET INCREMENT BY 7", [("column", "customers.id", OTHER)]),
    ("ALTER TABLE app.orders ALTER COLUMN tax DROP EXPRESSION", [("column", "orders.tax", OTHER)]),
    ('ALTER TABLE app.customers ALTER COLUMN note TYPE varchar(50) COLLATE "C"', [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN note SET STORAGE EXTERNAL", [("column", "customers.note", OTHER)]),
    ("ALTER TABLE app.customers ALTER COLUMN note SET (n_distinct = 5)", [("column", "customers.note", OTHER)]),
    ("CREATE INDEX fresh ON app.orders (amount)", [("index", "orders.fresh", PLUS)]),
    ("DROP INDEX app.orders_placed", [("index", "orders.orders_placed", MINUS)]),
    ("DROP INDEX app.orders_placed; CREATE INDEX orders_placed ON app.orders (placed)",
     [("index", "orders.orders_placed", OTHER)]),
    ("DROP INDEX app.orders_state; CREATE INDEX orders_state ON app.orders (state)",
     [("index", "orders.orders_state", OTHER)]),
    ("CREATE UNIQUE INDEX once ON app.customers (name) INCLUDE (note)", [("index", "customers.once", PLUS)]),
    ("ALTER TABLE app.orders DROP CONSTRAINT positive", [("constraint", "orders.positive", MINUS)]),
    ("ALTER TABLE app.orders ADD CONSTRAINT later CHECK (amount < 99) NOT VALID",
     [("constraint", "orders.later", PLUS)]),
    ("ALTER TABLE app.orders DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (amount > 1)",
     [("constraint", "orders.positive", OTHER)]),
    ("ALTER TABLE app.orders ALTER CONSTRAINT orders_customer_fkey DEFERRABLE INITIALLY DEFERRED",
     [("constraint", "orders.orders_customer_fkey", OTHER)]),
    ("ALTER TABLE app.customers ADD CONSTRAINT named UNIQUE (name)", [("constraint", "customers.named", PLUS)]),
    ("ALTER TABLE app.customers ADD CONSTRAINT apart EXCLUDE (name WITH =)", [("constraint", "customers.apart", PLUS)]),
    ("ALTER DOMAIN app.amount ADD CONSTRAINT small CHECK (VALUE < 1000)", [("constraint", "amount.small", PLUS)]),
    ("CREATE VIEW app.v AS SELECT 1 AS x", [("view", "v", PLUS)]),
    ("CREATE OR REPLACE VIEW app.open_orders AS SELECT id, amount FROM app.orders WHERE state = 'new'",
     [("view", "open_orders", OTHER)]),
    ("ALTER VIEW app.open_orders SET (security_barrier = true)", [("view", "open_orders", OTHER)]),
    ("DROP MATERIALIZED VIEW app.sums", [("matview", "sums", MINUS)]),
    ("DROP INDEX app.sums_customer", [("index", "sums.sums_customer", MINUS)]),
    ("ALTER SEQUENCE app.numbers INCREMENT 3", [("sequence", "numbers", OTHER)]),
    ("ALTER SEQUENCE app.numbers CYCLE", [("sequence", "numbers", OTHER)]),
    ("CREATE SEQUENCE app.others", [("sequence", "others", PLUS)]),
    ("CREATE OR REPLACE FUNCTION app.total(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 2'",
     [("function", "total(integer)", OTHER)]),
    ("CREATE FUNCTION app.total(x text) RETURNS int LANGUAGE sql AS 'SELECT 1'", [("function", "total(text)", PLUS)]),
    ("ALTER FUNCTION app.total(int) SECURITY DEFINER", [("function", "total(integer)", OTHER)]),
    ("ALTER FUNCTION app.total(int) SET search_path = app", [("function", "total(integer)", OTHER)]),
    ("ALTER FUNCTION app.total(int) STABLE", [("function", "total(integer)", OTHER)]),
    ("DROP PROCEDURE app.tidy()", [("procedure", "tidy()", MINUS)]),
    ("CREATE OR REPLACE PROCEDURE app.tidy() LANGUAGE sql AS 'SELECT 2'", [("procedure", "tidy()", OTHER)]),
    ("DROP AGGREGATE app.total_of(int)", [("aggregate", "total_of(integer)", MINUS)]),
    ("CREATE OR REPLACE AGGREGATE app.total_of(int) (sfunc = app.step, stype = int, initcond = '1')",
     [("aggregate", "total_of(integer)", OTHER)]),
    ("ALTER TABLE app.orders DISABLE TRIGGER touched", [("trigger", "orders.touched", OTHER)]),
    ("DROP TRIGGER touched ON app.orders", [("trigger", "orders.touched", MINUS)]),
    ("CREATE TRIGGER late AFTER INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch()",
     [("trigger", "orders.late", PLUS)]),
    ("ALTER POLICY mine ON app.orders USING (customer = 2)", [("policy", "orders.mine", OTHER)]),
    ("ALTER POLICY mine ON app.orders TO PUBLIC", [("policy", "orders.mine", OTHER)]),
    ("CREATE POLICY theirs ON app.orders AS RESTRICTIVE USING (true)", [("policy", "orders.theirs", PLUS)]),
    ("ALTER TYPE app.state ADD VALUE 'lost'", [("type", "state", OTHER)]),
    ("ALTER TYPE app.state RENAME VALUE 'sent' TO 'gone'",
     [("index", "orders.orders_state", OTHER), ("type", "state", OTHER), ("view", "open_orders", OTHER)]),
    ("ALTER TYPE app.pair ADD ATTRIBUTE c date", [("type", "pair", OTHER)]),
    ("ALTER DOMAIN app.amount SET DEFAULT 1", [("type", "amount", OTHER)]),
    ("ALTER DOMAIN app.amount SET NOT NULL", [("type", "amount", OTHER)]),
    ("DROP TYPE app.span", [("type", "span", MINUS)]),
    ("DROP RULE no_delete ON app.customers", [("rule", "customers.no_delete", MINUS)]),
    ("ALTER TABLE app.customers DISABLE RULE no_delete", [("rule", "customers.no_delete", OTHER)]),
    ("DROP STATISTICS app.orders_stats", [("statistics", "orders_stats", MINUS)]),
    ("DROP COLLATION app.german", [("collation", "german", MINUS)]),
    ("GRANT UPDATE ON app.orders TO fp_app", [("grant", "table orders", OTHER)]),
    ("REVOKE ALL ON app.orders FROM fp_app", [("grant", "table orders", MINUS)]),
    ("GRANT SELECT ON app.customers TO PUBLIC", [("grant", "table customers", PLUS)]),
    ("GRANT SELECT ON app.orders TO fp_app WITH GRANT OPTION", [("grant", "table orders", OTHER)]),
    ("GRANT SELECT (note) ON app.customers TO fp_app", [("grant", "column customers.note", PLUS)]),
    ("GRANT EXECUTE ON FUNCTION app.total(int) TO fp_app", [("grant", "function total(integer)", PLUS)]),
    ("GRANT CREATE ON SCHEMA app TO fp_app", [("grant", "schema", OTHER)]),
    ("GRANT USAGE ON SEQUENCE app.numbers TO fp_app", [("grant", "sequence numbers", PLUS)]),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT INSERT ON TABLES TO fp_app",
     [("grant", "default of r by ?", OTHER)]),
    ("ALTER PUBLICATION changes DROP TABLE app.customers", [("publication", "changes", OTHER)]),
    ("ALTER PUBLICATION changes SET (publish = 'insert')", [("publication", "changes", OTHER)]),
    ("DROP PUBLICATION changes", [("publication", "changes", MINUS)]),
    ("ALTER EVENT TRIGGER kept DISABLE", [("event_trigger", "kept", OTHER)]),
    ("CREATE EXTENSION btree_gist SCHEMA app", [("extension", "btree_gist", PLUS)]),
]  # fmt: skip
"""One statement (or the smallest group of them), and what must be seen, no more and no less."""

NOISE: list[str] = [
    "INSERT INTO app.customers (name) SELECT 'c' || n FROM generate_series(1, 500) AS n",
    "INSERT INTO app.orders (customer, amount) SELECT id, 1 + id FROM app.customers",
    "INSERT INTO app.events SELECT n, '2026-02-02' FROM generate_series(1, 100) AS n",
    "UPDATE app.customers SET note = 'x' WHERE id < 50",
    "DELETE FROM app.orders WHERE id % 7 = 0",
    "ANALYZE app.customers",
    "ANALYZE",
    "VACUUM app.customers",
    "VACUUM FULL app.customers",
    "VACUUM (FREEZE) app.orders",
    "VACUUM FULL app.orders",
    "CLUSTER app.orders USING orders_placed",
    "REINDEX TABLE app.orders",
    "REINDEX INDEX app.orders_state",
    "REINDEX TABLE CONCURRENTLY app.customers",
    "REINDEX INDEX CONCURRENTLY app.orders_placed",
    "SELECT nextval('app.numbers')",
    "SELECT setval('app.numbers', 4711)",
    "SELECT setval('app.orders_id_seq', 90000)",
    "ALTER SEQUENCE app.numbers RESTART WITH 99",
    "ALTER TABLE app.customers ALTER COLUMN id RESTART WITH 5000",
    "TRUNCATE app.events",
    "REFRESH MATERIALIZED VIEW app.sums",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY app.sums",
    "COMMENT ON TABLE app.orders IS 'all orders'",
    "COMMENT ON COLUMN app.orders.amount IS 'net'",
    "COMMENT ON FUNCTION app.total(int) IS 'adds one'",
    "COMMENT ON SCHEMA app IS 'the shop'",
    "COMMENT ON CONSTRAINT positive ON app.orders IS 'why'",
    "ALTER TABLE app.orders ALTER COLUMN amount SET STATISTICS 500",
    "ALTER TABLE app.customers OWNER TO fp_other; ALTER TABLE app.customers OWNER TO {superuser}",
    "ALTER TABLE app.customers ADD COLUMN brief int; ALTER TABLE app.customers DROP COLUMN brief",
    "ALTER TABLE app.customers RENAME TO clients; ALTER TABLE app.clients RENAME TO customers",
    "ALTER INDEX app.orders_placed RENAME TO tmp; ALTER INDEX app.tmp RENAME TO orders_placed",
    "CREATE TABLE app.scratch (id int); DROP TABLE app.scratch",
    "DROP VIEW app.open_orders; CREATE VIEW app.open_orders AS SELECT id, amount FROM app.orders WHERE state <> 'sent'",
    "DROP TRIGGER touched ON app.orders; CREATE TRIGGER touched BEFORE UPDATE ON app.orders FOR EACH ROW "
    "EXECUTE FUNCTION app.touch()",
    "GRANT DELETE ON app.orders TO fp_app; REVOKE DELETE ON app.orders FROM fp_app",
    "CREATE TEMP TABLE passing (id int)",
    "SELECT pg_stat_reset()",
    "SELECT pg_catalog.pg_stat_get_live_tuples('app.orders'::regclass)",
    "CHECKPOINT",
    "ALTER TABLE app.orders CLUSTER ON orders_placed",
    "ALTER TABLE app.orders SET WITHOUT CLUSTER",
    "CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)",
    "INSERT INTO public.alembic_version VALUES ('abc')",
]
"""Statements after which every digest must be what it was."""
