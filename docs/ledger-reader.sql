-- People with SQL read the views of a PostgreSQL ledger (ledger.url) with a role of their own: it sees no table and
-- writes nothing. Run it as the owner of the ledger, after `neonmeter run` has made the tables; again after an upgrade.
CREATE ROLE neonmeter_finops_reader LOGIN PASSWORD 'choose-one' CONNECTION LIMIT 10;
ALTER ROLE neonmeter_finops_reader SET default_transaction_read_only = on;
ALTER ROLE neonmeter_finops_reader SET search_path = neonmeter;
ALTER ROLE neonmeter_finops_reader SET statement_timeout = '60s';
GRANT USAGE ON SCHEMA neonmeter TO neonmeter_finops_reader;
GRANT SELECT ON
    neonmeter.finops_month,
    neonmeter.finops_cost_lines,
    neonmeter.finops_cost_shares,
    neonmeter.finops_cost_by_tenant_month,
    neonmeter.finops_cost_by_tenant_branch_month,
    neonmeter.finops_cost_by_branch_month,
    neonmeter.finops_cost_by_project_month,
    neonmeter.finops_cost_by_org_month,
    neonmeter.finops_cost_by_component_month,
    neonmeter.finops_idle_month,
    neonmeter.finops_shared_month,
    neonmeter.finops_unattributed_month,
    neonmeter.finops_usage_daily,
    neonmeter.finops_usage_month,
    neonmeter.finops_data_through,
    neonmeter.compliance_control_status,
    neonmeter.compliance_clause_status,
    neonmeter.compliance_waivers,
    neonmeter.compliance_score_daily,
    neonmeter.risk_open_findings,
    neonmeter.risk_by_tenant,
    neonmeter.risk_by_project
TO neonmeter_finops_reader;
