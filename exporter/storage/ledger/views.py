"""What people with SQL see of the PostgreSQL ledger: priced months as tables, and views over them by who pays.

They are part of the ledger's released migration; the cost feature works the money out and writes it here a month at a
time, and the views only add up. Amounts are ``numeric``
with 20 decimals, rounded together so that every sum is exact. A reader is granted the views, never the tables.
"""

from __future__ import annotations

from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import MONTH_HOURS
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY

BY_DATE = 1782864000
"""2026-07-01: from then on a figure whose unit nothing has told is in byte-months. Part of a released migration."""

COST_TABLES = """
CREATE TABLE cost_month (
    month date PRIMARY KEY, total numeric NOT NULL, data_through timestamptz, closed boolean NOT NULL,
    computed_at timestamptz NOT NULL
);
CREATE TABLE cost_line (
    month date NOT NULL REFERENCES cost_month (month) ON DELETE CASCADE,
    org_id text NOT NULL, project_id text NOT NULL, branch_id text NOT NULL, component text NOT NULL,
    plan text NOT NULL, usage numeric NOT NULL, quantity numeric NOT NULL, unit text NOT NULL, rate numeric,
    cost numeric NOT NULL, lower_bound boolean NOT NULL
);
CREATE INDEX cost_line_month ON cost_line (month);
CREATE TABLE cost_share (
    month date NOT NULL REFERENCES cost_month (month) ON DELETE CASCADE,
    org_id text NOT NULL, project_id text NOT NULL, branch_id text NOT NULL, tenant text NOT NULL,
    component text NOT NULL, plan text NOT NULL, cost numeric NOT NULL, confidence text NOT NULL, coverage numeric
);
CREATE INDEX cost_share_month ON cost_share (month);
CREATE TABLE name (id text PRIMARY KEY, name text NOT NULL);
"""


def _by(view: str, columns: str, names: str = "", where: str = "") -> str:
    """A view that sums shares by month and some columns, with the names of those that have one."""
    joins = "".join(f" LEFT JOIN name {n}_name ON {n}_name.id = s.{n}_id" for n in names.split())
    named = "".join(f", {n}_name.name AS {n}" for n in names.split())
    groups = "".join(f", {n}_name.name" for n in names.split())
    return f"""
CREATE VIEW {view} AS
SELECT s.month, {columns}{named}, sum(s.cost) AS cost, m.closed, m.data_through
FROM cost_share s JOIN cost_month m USING (month){joins} {where}
GROUP BY s.month, {columns}{groups}, m.closed, m.data_through;
"""


_DAILY = f"""
CREATE VIEW finops_usage_daily AS
SELECT to_timestamp(d.day)::date AS day, l.org_id, l.project_id, l.branch_id, l.metric,
    greatest(sum(d.value) FILTER (WHERE l.granularity = '{HOURLY}'),
        sum(d.value) FILTER (WHERE l.granularity = '{DAILY}')) AS value,
    coalesce(sum(d.value) FILTER (WHERE l.granularity = '{HOURLY}'), 0) AS from_hours
FROM usage_day d JOIN series l ON l.id = d.series WHERE l.granularity <> '{MONTHLY}'
GROUP BY d.day, l.org_id, l.project_id, l.branch_id, l.metric;
"""
_MONTHLY = f"""
CREATE VIEW finops_usage_month AS
WITH days AS (
    SELECT date_trunc('month', day)::date AS month, org_id, project_id, branch_id, metric, sum(value) AS value
    FROM finops_usage_daily GROUP BY 1, 2, 3, 4, 5
), months AS (
    SELECT date_trunc('month', to_timestamp(d.day) AT TIME ZONE 'UTC')::date AS month, l.org_id, l.project_id,
        l.branch_id, l.metric, sum(d.value) AS value
    FROM usage_day d JOIN series l ON l.id = d.series WHERE l.granularity = '{MONTHLY}' GROUP BY 1, 2, 3, 4, 5
)
SELECT month, org_id, project_id, branch_id, metric, greatest(days.value, months.value) AS value,
    coalesce(days.value, 0) AS from_days
FROM days FULL JOIN months USING (month, org_id, project_id, branch_id, metric);
"""
_THROUGH = f"""
CREATE VIEW finops_data_through AS
SELECT org_id, NULLIF(project_id, '') AS project_id, to_timestamp(through) AS data_through,
    extract(epoch FROM now())::bigint - through > {DAY} AS older_than_a_day
FROM through;
"""
_LINES = """
CREATE VIEW finops_cost_lines AS
SELECT l.*, p.name AS project, b.name AS branch, m.closed, m.data_through, m.computed_at
FROM cost_line l JOIN cost_month m USING (month)
LEFT JOIN name p ON p.id = l.project_id LEFT JOIN name b ON b.id = l.branch_id;
CREATE VIEW finops_cost_shares AS
SELECT s.*, p.name AS project, b.name AS branch, m.closed, m.data_through, m.computed_at
FROM cost_share s JOIN cost_month m USING (month)
LEFT JOIN name p ON p.id = s.project_id LEFT JOIN name b ON b.id = s.branch_id;
CREATE VIEW finops_month AS SELECT * FROM cost_month;
"""
_BRANCH = "s.org_id, s.project_id, s.branch_id"

VIEWS = "".join(
    (
        _LINES,
        _by("finops_cost_by_tenant_month", "s.org_id, s.tenant"),
        _by("finops_cost_by_tenant_branch_month", f"{_BRANCH}, s.tenant", "project branch"),
        _by("finops_cost_by_branch_month", _BRANCH, "project branch"),
        _by("finops_cost_by_project_month", "s.org_id, s.project_id", "project"),
        _by("finops_cost_by_org_month", "s.org_id"),
        _by("finops_cost_by_component_month", "s.org_id, s.component"),
        _by("finops_idle_month", _BRANCH, "project branch", "WHERE s.tenant = '__idle__'"),
        _by("finops_shared_month", _BRANCH, "project branch", "WHERE s.tenant = '__shared__'"),
        _by(
            "finops_unattributed_month",
            f"{_BRANCH}, s.component",
            "project branch",
            "WHERE '__unattributed__' IN (s.tenant, s.branch_id)",
        ),
        _DAILY,
        _MONTHLY,
        _THROUGH,
    )
)
_IN_BYTE_HOURS = f"""d.value * CASE
    WHEN l.unit = 'byte-month' OR (l.unit = '' AND l.metric LIKE '%\\_bytes\\_month' AND d.day >= {BY_DATE})
    THEN {MONTH_HOURS} ELSE 1 END"""
UNIT_VIEWS = "".join(
    view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW").replace("d.value", _IN_BYTE_HOURS)
    for view in (_DAILY, _MONTHLY)
)
"""The same views since figures have a unit: stored bytes are in byte-hours, whatever they were reported in."""
VIEW_NAMES = tuple(line.split()[2] for line in VIEWS.splitlines() if line.startswith("CREATE VIEW "))
"""What a reader is granted."""
