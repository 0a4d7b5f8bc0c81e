"""The ledger's tables and statements in PostgreSQL: the same facts as in SQLite, in a schema of their own.

A bucket is found by its series first, because here the questions of one metric are asked over long spans.
"""

from __future__ import annotations

from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.usage import HOURLY
from exporter.storage.ledger.queries import FACT, queries
from exporter.storage.ledger.views import COST_TABLES, UNIT_VIEWS, VIEWS

_FACTS = """
CREATE TABLE series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id text NOT NULL, project_id text NOT NULL, branch_id text NOT NULL,
    metric text NOT NULL, granularity text NOT NULL, plan text NOT NULL,
    UNIQUE (project_id, branch_id, metric, granularity, org_id, plan)
);
CREATE INDEX series_metric ON series (metric, granularity);
CREATE TABLE usage (
    series bigint NOT NULL REFERENCES series (id), start bigint NOT NULL,
    value bigint NOT NULL CHECK (value >= 0), observed_at bigint NOT NULL,
    PRIMARY KEY (series, start)
);
CREATE TABLE usage_day (
    day bigint NOT NULL, series bigint NOT NULL REFERENCES series (id), value bigint NOT NULL,
    PRIMARY KEY (day, series)
);
CREATE TABLE revision (day bigint PRIMARY KEY, revision bigint NOT NULL);
CREATE TABLE through (
    org_id text NOT NULL, project_id text NOT NULL, through bigint NOT NULL, PRIMARY KEY (org_id, project_id)
);
CREATE TABLE tally (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE cost_series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text NOT NULL, branch_id text NOT NULL, component text NOT NULL, tenant text NOT NULL,
    counted numeric NOT NULL, adjusted numeric NOT NULL,
    UNIQUE (project_id, branch_id, component, tenant)
);
CREATE TABLE cost_priced (
    month bigint NOT NULL, series bigint NOT NULL REFERENCES cost_series (id), cost numeric NOT NULL,
    PRIMARY KEY (month, series)
);
"""
_UNITS = (
    """
ALTER TABLE series ADD COLUMN unit text NOT NULL DEFAULT '';
DO $do$ DECLARE name text; BEGIN
    SELECT conname INTO name FROM pg_constraint WHERE conrelid = 'series'::regclass AND contype = 'u';
    EXECUTE format('ALTER TABLE series DROP CONSTRAINT %I', name);
END $do$;
ALTER TABLE series ADD UNIQUE (project_id, branch_id, metric, granularity, org_id, plan, unit);
"""
    + UNIT_VIEWS
)
POSTGRES_SCHEMA: tuple[str, ...] = (_FACTS + COST_TABLES + VIEWS, _UNITS)
"""The schema ``ledger``. Each entry is one released migration, never edited once released."""

SERIES = """SELECT project_id, branch_id, metric, granularity, org_id, plan, unit, id FROM series
    WHERE id > %s ORDER BY id"""
NEW_SERIES = """INSERT INTO series (project_id, branch_id, metric, granularity, org_id, plan, unit)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
    ON CONFLICT DO NOTHING"""
HELD = """SELECT u.series, u.start, u.value, u.observed_at
    FROM unnest(%s::bigint[], %s::bigint[]) AS k (series, start) JOIN usage u USING (series, start)"""
UPSERT = """INSERT INTO usage AS u (series, start, value, observed_at)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (series, start) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at
    WHERE u.observed_at <= excluded.observed_at"""
DROP = """DELETE FROM usage u USING unnest(%s::bigint[], %s::bigint[]) AS k (series, start)
    WHERE u.series = k.series AND u.start = k.start"""
ADD_DAYS = """INSERT INTO usage_day AS d (day, series, value)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (day, series) DO UPDATE SET value = d.value + excluded.value"""
REVISE = """INSERT INTO revision AS r (day, revision) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
    ON CONFLICT (day) DO UPDATE SET revision = r.revision + excluded.revision"""
THROUGH = """INSERT INTO through AS t (org_id, project_id, through)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])
    ON CONFLICT (org_id, project_id) DO UPDATE SET through = greatest(t.through, excluded.through)"""
TALLY = """INSERT INTO tally AS t (name, value) VALUES (%s, %s), (%s, %s)
    ON CONFLICT (name) DO UPDATE SET value = t.value + excluded.value"""
OF_DAY = "SELECT series, count(*), max(observed_at) FROM usage WHERE start >= %s AND start < %s GROUP BY series"
DROP_DAY = "DELETE FROM usage WHERE start >= %s AND start < %s AND series = ANY (%s)"
DROP_SUMS = "DELETE FROM usage_day WHERE day = %s AND series = ANY (%s)"
UNDECIDED_SERIES = """SELECT id, project_id, branch_id, metric, granularity, org_id, plan FROM series
    WHERE unit = '' AND org_id = %s AND granularity = %s AND metric = ANY (%s)"""
DAYS_OF = f"SELECT DISTINCT start / {DAY} * {DAY} FROM usage WHERE series = %s AND start >= %s AND start < %s"
MOVE_UNIT = """UPDATE usage u SET series = %s WHERE series = %s AND start >= %s AND start < %s
    AND NOT EXISTS (SELECT 1 FROM usage t WHERE t.series = %s AND t.start = u.start)"""
DROP_MOVED = "DELETE FROM usage WHERE series = %s AND start >= %s AND start < %s"
"""What was read again in a known unit meanwhile is the truth about its bucket."""
SUM_AGAIN = f"""INSERT INTO usage_day SELECT start / {DAY} * {DAY}, series, sum(value) FROM usage
    WHERE start >= %s AND start < %s AND series = %s GROUP BY 1, 2"""
COUNTERS = """SELECT s.id, s.project_id, s.branch_id, s.component, s.tenant, s.counted, s.adjusted, p.cost
    FROM cost_series s LEFT JOIN cost_priced p ON p.series = s.id AND p.month = %s"""
NEW_COUNTERS = """INSERT INTO cost_series (project_id, branch_id, component, tenant, counted, adjusted)
    SELECT p, b, c, t, 0, 0 FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
    AS k (p, b, c, t, n) ORDER BY n RETURNING id, project_id, branch_id, component, tenant"""
MOVE_COUNTERS = """UPDATE cost_series s SET counted = k.counted, adjusted = k.adjusted
    FROM unnest(%s::numeric[], %s::numeric[], %s::bigint[]) AS k (counted, adjusted, id) WHERE s.id = k.id"""
PRICED = """INSERT INTO cost_priced (month, series, cost)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[])
    ON CONFLICT (month, series) DO UPDATE SET cost = excluded.cost"""

QUERIES = queries(
    "",
    "usage_day",
    f"""SELECT {FACT.format(start="u.start", value="u.value", observed="0")}
        FROM series l JOIN usage u ON u.series = l.id
        WHERE l.metric = %s AND l.granularity = '{HOURLY}' AND u.start >= %s AND u.start < %s
        ORDER BY u.start, u.series""",
    "%s",
)
