"""The ledger's tables and statements in SQLite.

Names are stored once (a series) and a bucket is four integers. Sums per UTC day are kept beside them: rates change only
at midnight, so a month of 1,000 branches is priced from 10^5 rows, not from millions.
"""

from __future__ import annotations

from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.usage import HOURLY
from exporter.storage.ledger.cost_counters import COST_SCHEMA
from exporter.storage.ledger.queries import FACT, STORED, queries

LEDGER_SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE ledger_series (
        id INTEGER PRIMARY KEY,
        org_id TEXT NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL,
        metric TEXT NOT NULL, granularity TEXT NOT NULL, plan TEXT NOT NULL,
        UNIQUE (project_id, branch_id, metric, granularity, org_id, plan)
    ) STRICT;
    CREATE TABLE ledger_usage (
        start INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES ledger_series (id),
        value INTEGER NOT NULL CHECK (value >= 0), observed_at INTEGER NOT NULL,
        PRIMARY KEY (start, series)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_day (
        day INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES ledger_series (id), value INTEGER NOT NULL,
        PRIMARY KEY (day, series)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_revision (day INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
    CREATE TABLE ledger_through (
        org_id TEXT NOT NULL, project_id TEXT NOT NULL, through INTEGER NOT NULL,
        PRIMARY KEY (org_id, project_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger_tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    """,
    COST_SCHEMA,
    """
    CREATE TABLE ledger_series_of_unit (
        id INTEGER PRIMARY KEY,
        org_id TEXT NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL,
        metric TEXT NOT NULL, granularity TEXT NOT NULL, plan TEXT NOT NULL, unit TEXT NOT NULL,
        UNIQUE (project_id, branch_id, metric, granularity, org_id, plan, unit)
    ) STRICT;
    INSERT INTO ledger_series_of_unit
        SELECT id, org_id, project_id, branch_id, metric, granularity, plan, '' FROM ledger_series;
    DROP TABLE ledger_series;
    ALTER TABLE ledger_series_of_unit RENAME TO ledger_series;
    """,
)
"""The schema ``ledger`` of the store. Each entry is one released migration."""

STAGE = """CREATE TEMP TABLE IF NOT EXISTS ledger_staged (
    start INTEGER NOT NULL, series INTEGER NOT NULL, value INTEGER NOT NULL, observed_at INTEGER NOT NULL,
    PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID"""
STAGE_ROW = """INSERT INTO ledger_staged VALUES (?, ?, ?, ?) ON CONFLICT (start, series) DO UPDATE
    SET value = excluded.value, observed_at = excluded.observed_at WHERE excluded.observed_at >= observed_at"""
STAGE_INDEX = "CREATE INDEX IF NOT EXISTS temp.ledger_staged_series ON ledger_staged (series)"
"""Made when a plan changed for the first time: its series are looked for one by one, which scans would make slow."""
STAGED_SERIES = "SELECT DISTINCT series FROM ledger_staged"
SERIES = "SELECT project_id, branch_id, metric, granularity, org_id, plan, unit, id FROM ledger_series"
NEW_SERIES = """INSERT INTO ledger_series (project_id, branch_id, metric, granularity, org_id, plan, unit)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET plan = plan RETURNING id"""
RIVALS = """SELECT a.id, b.id FROM ledger_series a
    JOIN ledger_series b USING (project_id, branch_id, metric, granularity) WHERE a.id <> b.id"""
"""Same project, branch, metric and bucket size under another plan, organisation or unit: a bucket has one owner."""
STALE = """SELECT u.start, u.value FROM ledger_staged s JOIN ledger_usage u ON u.start = s.start
    WHERE s.series = ? AND u.series = ? AND u.observed_at < s.observed_at AND NOT EXISTS
    (SELECT 1 FROM ledger_staged o WHERE o.start = s.start AND o.series = u.series)"""
"""Of a rival's buckets those that were read again. One that a change of plan cut in two is in the same reading twice,
and both stay."""
OUTRUN = """DELETE FROM ledger_staged AS s WHERE s.series = ? AND EXISTS (SELECT 1 FROM ledger_usage u
    WHERE u.start = s.start AND u.series = ? AND u.observed_at > s.observed_at AND NOT EXISTS
    (SELECT 1 FROM ledger_staged o WHERE o.start = u.start AND o.series = u.series))"""
"""And the other way round: what was staged, where a rival's bucket was read later."""
DROP_OLD = """DELETE FROM ledger_staged AS s WHERE EXISTS (SELECT 1 FROM ledger_usage u
    WHERE u.start = s.start AND u.series = s.series AND u.observed_at > s.observed_at)"""
COUNT = """SELECT count(*) FILTER (WHERE u.value IS NULL), count(*) FILTER (WHERE s.value > u.value),
    count(*) FILTER (WHERE s.value < u.value) FROM ledger_staged s LEFT JOIN ledger_usage u USING (start, series)"""
_MOVED = f"""SELECT s.start / {DAY} * {DAY} AS day, s.series AS series, sum(s.value - coalesce(u.value, 0)) AS delta
    FROM ledger_staged s LEFT JOIN ledger_usage u USING (start, series)
    WHERE u.value IS NULL OR u.value <> s.value GROUP BY 1, 2"""
REVISE = f"""INSERT INTO ledger_revision SELECT DISTINCT day, 1 FROM ({_MOVED}) WHERE true
    ON CONFLICT (day) DO UPDATE SET revision = revision + 1"""
ADD_DAYS = f"""INSERT INTO ledger_day SELECT day, series, delta FROM ({_MOVED}) WHERE true
    ON CONFLICT (day, series) DO UPDATE SET value = value + excluded.value"""
UPSERT = """INSERT INTO ledger_usage SELECT start, series, value, observed_at FROM ledger_staged WHERE true
    ON CONFLICT (start, series) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at"""
THROUGH = """INSERT INTO ledger_through VALUES (?, ?, ?) ON CONFLICT (org_id, project_id)
    DO UPDATE SET through = max(through, excluded.through)"""
TALLY = "INSERT INTO ledger_tally VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
OF_DAY = """SELECT series, count(*), max(observed_at) FROM ledger_usage
    WHERE start >= ? AND start < ? GROUP BY series"""
_CHOSEN = "series IN (SELECT value FROM json_each(?))"
DROP_DAY = f"DELETE FROM ledger_usage WHERE start >= ? AND start < ? AND {_CHOSEN}"
DROP_SUMS = f"DELETE FROM ledger_day WHERE day >= ? AND day < ? AND {_CHOSEN}"

UNDECIDED_SERIES = f"""SELECT id, project_id, branch_id, metric, granularity, org_id, plan FROM ledger_series
    WHERE unit = '' AND org_id = ? AND granularity = ? AND metric IN ({STORED})"""
MOVE_UNIT = "UPDATE OR IGNORE ledger_usage SET series = ? WHERE series = ? AND start >= ? AND start < ?"
DROP_MOVED = "DELETE FROM ledger_usage WHERE series = ? AND start >= ? AND start < ?"
"""What was read again in a known unit meanwhile is the truth about its bucket."""
DAYS_OF = f"SELECT DISTINCT start / {DAY} * {DAY} FROM ledger_usage WHERE series = ? AND start >= ? AND start < ?"
DROP_SUM = "DELETE FROM ledger_day WHERE day = ? AND series = ?"
SUM_AGAIN = f"""INSERT INTO ledger_day SELECT start / {DAY} * {DAY}, series, sum(value) FROM ledger_usage
    WHERE start >= ? AND start < ? AND series = ? GROUP BY 1, 2"""
REVISE_DAY = "UPDATE ledger_revision SET revision = revision + 1 WHERE day = ?"

QUERIES = queries(
    "ledger_",
    "ledger_day",
    # Hops from bucket start to bucket start and seeks the few series of one metric there, past the rows of all others.
    f"""WITH RECURSIVE buckets (start) AS (
            SELECT min(start) FROM ledger_usage WHERE start >= ?2
            UNION ALL SELECT (SELECT min(start) FROM ledger_usage WHERE start > b.start) FROM buckets b
                WHERE b.start < ?3)
        SELECT {FACT.format(start="u.start", value="u.value", observed="0")}
        FROM buckets b CROSS JOIN ledger_series l CROSS JOIN ledger_usage u ON u.start = b.start AND u.series = l.id
        WHERE b.start < ?3 AND l.metric = ?1 AND l.granularity = '{HOURLY}' ORDER BY u.start, u.series""",
    "?",
)
