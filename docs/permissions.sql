-- The least that neonmeter needs on a compute. Run it once per project's root branch, as the owner of the database
-- `postgres`; branches made later inherit it. A role made here by SQL is not a member of neon_superuser; one made in
-- Neon's console or API is, and could read every tenant's rows.
CREATE ROLE monitor LOGIN PASSWORD 'choose-one' CONNECTION LIMIT 3;
GRANT pg_monitor TO monitor;
-- In database postgres: the view of all databases' statements.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
