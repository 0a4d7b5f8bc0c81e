"""The questions that a ledger answers, in SQL that SQLite and PostgreSQL both read."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.units import ROOT_METRIC, STORED_METRICS
from exporter.pricing.domain.usage import DAILY, HOURLY

BRANCH_HOURS = Component.EXTRA_BRANCHES.spec.metric
FACT = "l.org_id, l.project_id, l.branch_id, {start}, l.granularity, l.plan, l.metric, {value}, {observed}, l.unit"
"""The ten columns of ``UsageFact``, of a series ``l``."""
_DAY_SUM = "l.id, l.org_id, l.project_id, l.branch_id, l.granularity, l.plan, l.metric, d.day, d.value, l.unit"
STORED = ", ".join(f"'{metric}'" for metric in sorted(STORED_METRICS))
"""The metrics of stored bytes, as a list of SQL."""
_SUMMED = f"l.granularity = '{HOURLY}' AND l.metric <> '{BRANCH_HOURS}' ORDER BY t.series"


@dataclass(frozen=True, slots=True)
class Queries:
    """The texts for one database. Parameters in brackets; a fact is the ten columns of ``UsageFact``."""

    facts: str
    """(start, end, project, project): facts, then their series; a project of None is all of them."""
    days: str
    """(start, end): hourly facts but branch-hours, summed from the sums of whole days."""
    totals: str
    """(start, end): the same from the hours."""
    hours: str
    """(metric, start, end): hourly facts of one metric."""
    coarse: str
    """(start, end): the ``DaySum`` rows of daily and monthly series."""
    sums: str
    """(start, end): the ``DaySum`` rows of all series."""
    revisions: str
    """(start, end): day, revision."""
    through: str
    tally: str
    mismatches: str
    buckets: str
    """Granularity, number of buckets, first and last bucket start."""
    doubled: str
    undecided: str
    """(start, end): organisation and the ``Bucket`` of root storage of whole projects in no known unit."""
    units: str
    """(start, end): organisation, unit, first and last day of stored bytes."""
    project_days: str
    """Project, granularity, day, number of different hours in which buckets begin."""


def queries(prefix: str, sums: str, hours: str, mark: str) -> Queries:
    """The questions to tables whose names begin with ``prefix``; those of days are in the table ``sums``.

    ``hours`` is written for each database, since only its planner knows how to find one metric fast; ``mark`` stands
    for a parameter.
    """
    usage = f"{prefix}usage u JOIN {prefix}series l ON l.id = u.series"
    days = f"{sums} d JOIN {prefix}series l ON l.id = d.series WHERE d.day >= {mark} AND d.day < {mark}"
    return Queries(
        facts=f"""SELECT {FACT.format(start="u.start", value="u.value", observed="u.observed_at")}, u.series
            FROM {usage} WHERE u.start >= {mark} AND u.start < {mark}
            AND (CAST({mark} AS text) IS NULL OR l.project_id = {mark}) ORDER BY u.start, u.series""",
        days=f"""SELECT l.org_id, l.project_id, l.branch_id, t.day, '{DAILY}', l.plan, l.metric, t.value, 0, l.unit
            FROM (SELECT series, min(day) AS day, CAST(sum(value) AS bigint) AS value FROM {sums}
                WHERE day >= {mark} AND day < {mark} GROUP BY series) t
            JOIN {prefix}series l ON l.id = t.series WHERE {_SUMMED}""",
        totals=f"""SELECT {FACT.format(start="t.start", value="t.value", observed="0")}
            FROM (SELECT series, min(start) AS start, CAST(sum(value) AS bigint) AS value FROM {prefix}usage
                WHERE start >= {mark} AND start < {mark} GROUP BY series) t
            JOIN {prefix}series l ON l.id = t.series WHERE {_SUMMED}""",
        hours=hours,
        # A ledger of hours alone, which is the usual one, answers by the last condition without a look at its days.
        coarse=f"""SELECT {_DAY_SUM} FROM {days} AND l.granularity <> '{HOURLY}'
            AND EXISTS (SELECT 1 FROM {prefix}series WHERE granularity <> '{HOURLY}')""",
        sums=f"SELECT {_DAY_SUM} FROM {days}",
        revisions=f"SELECT day, revision FROM {prefix}revision WHERE day >= {mark} AND day < {mark}",
        through=f"SELECT org_id, project_id, through FROM {prefix}through",
        tally=f"SELECT name, value FROM {prefix}tally",
        mismatches=f"""SELECT count(*) FROM (SELECT 1 FROM (
            SELECT start / {DAY} * {DAY} AS day, series, value FROM {prefix}usage
            UNION ALL SELECT day, series, -value FROM {sums}) x GROUP BY day, series HAVING sum(value) <> 0) y""",
        buckets=f"""SELECT l.granularity, count(*), min(u.start), max(u.start)
            FROM {usage} GROUP BY 1 ORDER BY 1""",
        doubled=f"""SELECT count(*) FROM (SELECT 1 FROM {usage}
            GROUP BY u.start, l.project_id, l.branch_id, l.metric, l.granularity, l.org_id, l.plan, l.unit
            HAVING count(*) > 1) x""",
        undecided=f"""SELECT l.org_id, l.project_id, l.granularity, u.start, u.value FROM {usage}
            WHERE u.start >= {mark} AND u.start < {mark} AND l.unit = '' AND l.branch_id = ''
            AND l.metric = '{ROOT_METRIC}'""",
        units=f"""SELECT l.org_id, l.unit, min(d.day), max(d.day) FROM {days} AND l.metric IN ({STORED})
            GROUP BY 1, 2 ORDER BY 1, 3""",
        project_days=f"""SELECT l.project_id, l.granularity, u.start / {DAY} * {DAY}, count(DISTINCT u.start / {HOUR})
            FROM {usage} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    )
