"""What people with SQL see of posture in the PostgreSQL ledger: controls, open findings and tenants at risk, as views.

The tables are rewritten by the agent at most once an hour; history has one row a day and project.
"""

from __future__ import annotations

_TABLES = """
CREATE TABLE posture_state (one boolean PRIMARY KEY DEFAULT true CHECK (one), computed_at timestamptz NOT NULL);
CREATE TABLE posture_control (
    id text PRIMARY KEY, name text NOT NULL, title text NOT NULL, severity text NOT NULL, remedy text NOT NULL
);
CREATE TABLE posture_clause (
    framework text NOT NULL, framework_title text NOT NULL, position int NOT NULL, clause text NOT NULL,
    title text NOT NULL, control text NOT NULL, PRIMARY KEY (framework, clause, control)
);
CREATE TABLE posture_status (
    project_id text NOT NULL, control text NOT NULL, severity text NOT NULL, status text NOT NULL,
    PRIMARY KEY (project_id, control)
);
CREATE TABLE posture_finding (
    project_id text NOT NULL, control text NOT NULL, severity text NOT NULL, status text NOT NULL,
    object text NOT NULL, name text NOT NULL, tenant text, count bigint NOT NULL, evidence text NOT NULL,
    cache_key text NOT NULL, since timestamptz, waiver_reason text, waiver_approver text, waiver_expires date,
    waiver_expired boolean
);
CREATE INDEX posture_finding_project ON posture_finding (project_id, status);
CREATE TABLE posture_score_day (
    day date NOT NULL, project_id text NOT NULL, score numeric, known numeric, failed int NOT NULL, passed int NOT NULL,
    waived int NOT NULL, unknown int NOT NULL, PRIMARY KEY (day, project_id)
);
"""
_STATUS = "CASE s.status WHEN 'fail' THEN 0 WHEN 'waived' THEN 1 WHEN 'error' THEN 2 WHEN 'unknown' THEN 3 " \
    "WHEN 'manual' THEN 4 WHEN 'pass' THEN 5 ELSE 6 END"  # fmt: skip
_RISK = "CASE f.severity WHEN 'critical' THEN 10 WHEN 'high' THEN 5 WHEN 'medium' THEN 2 WHEN 'low' THEN 1 ELSE 0 END"
VIEWS = f"""
CREATE VIEW compliance_control_status AS
SELECT s.project_id, p.name AS project, s.control, c.title, s.severity, s.status, c.remedy, m.computed_at
FROM posture_status s JOIN posture_control c ON c.id = s.control CROSS JOIN posture_state m
LEFT JOIN name p ON p.id = s.project_id;
CREATE VIEW compliance_clause_status AS
SELECT k.framework, k.framework_title, k.position, k.clause, k.title,
    (array_agg(s.status ORDER BY {_STATUS}) FILTER (WHERE s.status IS NOT NULL))[1] AS status,
    array_agg(DISTINCT k.control) AS controls,
    array_agg(DISTINCT k.control) FILTER (WHERE s.status = 'fail') AS failing, m.computed_at
FROM posture_clause k CROSS JOIN posture_state m LEFT JOIN posture_status s ON s.control = k.control
GROUP BY k.framework, k.framework_title, k.position, k.clause, k.title, m.computed_at;
CREATE VIEW compliance_waivers AS
SELECT f.project_id, p.name AS project, f.control, f.object, f.name, f.evidence, f.severity, f.waiver_approver,
    f.waiver_reason, f.waiver_expires, f.waiver_expired
FROM posture_finding f LEFT JOIN name p ON p.id = f.project_id WHERE f.waiver_expires IS NOT NULL;
CREATE VIEW risk_open_findings AS
SELECT f.project_id, p.name AS project, f.control, c.title, f.severity, {_RISK} AS weight, f.object, f.name, f.tenant,
    f.count, f.evidence, c.remedy, f.since, coalesce(f.waiver_expired, false) AS waiver_expired, m.computed_at
FROM posture_finding f JOIN posture_control c ON c.id = f.control CROSS JOIN posture_state m
LEFT JOIN name p ON p.id = f.project_id WHERE f.status = 'fail';
CREATE VIEW risk_by_tenant AS
SELECT f.tenant, sum(f.count) AS findings, sum(f.count) FILTER (WHERE f.severity = 'critical') AS critical,
    sum(f.count) FILTER (WHERE f.severity = 'high') AS high, sum(f.count * {_RISK}) AS weight,
    array_agg(DISTINCT f.control) AS controls, min(f.since) AS since
FROM posture_finding f WHERE f.status = 'fail' AND f.tenant IS NOT NULL GROUP BY f.tenant;
CREATE VIEW risk_by_project AS
SELECT f.project_id, p.name AS project, f.severity, sum(f.count) AS findings, count(DISTINCT f.control) AS controls
FROM posture_finding f LEFT JOIN name p ON p.id = f.project_id WHERE f.status = 'fail'
GROUP BY f.project_id, p.name, f.severity;
CREATE VIEW compliance_score_daily AS
SELECT d.*, p.name AS project FROM posture_score_day d LEFT JOIN name p ON p.id = d.project_id;
"""
POSTURE_POSTGRES: tuple[str, ...] = (_TABLES + VIEWS,)
"""The room ``posture`` of the PostgreSQL ledger. Each entry is one released migration, never edited once released."""
VIEW_NAMES = tuple(line.split()[2] for line in VIEWS.splitlines() if line.startswith("CREATE VIEW "))
"""What a reader is granted."""
