-- view: what the block of migrations.sql found, handed over in a setting of the transaction
-- cost: none
-- privilege: none
SELECT current_setting('neonmeter.migrations', true) AS told
