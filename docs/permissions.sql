-- The least that neonmeter needs on a compute. Run it once per project's root branch, as the owner of the database
-- `postgres`; branches made later inherit it. A role made here by SQL is not a member of neon_superuser; one made in
-- Neon's console or API is, and could read every tenant's rows.
CREATE ROLE monitor LOGIN PASSWORD 'choose-one' CONNECTION LIMIT 3;
GRANT pg_monitor TO monitor;
-- In database postgres: the view of all databases' statements.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
-- Schemas, drift and posture are read from the system catalogues of the user databases, for which no right on any table
-- is needed. Where PUBLIC may not connect to a database (which is well), say so for each of them:
-- GRANT CONNECT ON DATABASE app TO monitor;
-- Optional, for which migrations are applied: the history table of your tool, and no other (in each user database; for
-- tenants' own histories once per schema). Without it the history is shown as not readable.
-- GRANT USAGE ON SCHEMA public TO monitor;
-- GRANT SELECT ON public.flyway_schema_history TO monitor;
-- Never more: no membership beside pg_monitor, no attribute, no SELECT on data. `neonmeter check`, the log, the index
-- page and control P50 say when it has. A password that ends, and is rotated by file, is better than one for ever:
-- ALTER ROLE monitor VALID UNTIL '2027-01-01';
