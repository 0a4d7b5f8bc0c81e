-- view: what the block of migrations_tables.sql found, handed over in a setting of the transaction
-- cost: none
-- privilege: none
SELECT current_setting('neonmeter.migration_locks', true) AS told
