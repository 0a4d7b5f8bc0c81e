"""The ledger: usage as Neon reported it, kept for good, because the API forgets hourly figures after 168 hours.

Facts are raw integers per bucket with the time they were read; money is worked out from them, never stored in their
place. Writing is idempotent: a bucket that is read again replaces what was there, in one transaction with everything
that derives from it (sums per day, how far the data goes). So a kill at any moment loses nothing that was committed
and counts nothing twice.

Names are stored once (a series) and a bucket is four integers. Sums per UTC day are kept beside them: rates change only
at midnight, so a month of 1,000 branches is priced from 10^5 rows, not from millions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from exporter.compute.cost import DAILY, HOURLY, UsageFact, bucket_hours
from exporter.compute.rates import DAY, HOUR
from exporter.finops.cost_counters import COST_SCHEMA, Counted, CounterKey, advance
from exporter.storage.store import Store

__all__ = ["LEDGER_SCHEMA", "Changes", "Ledger", "SqliteLedger", "Through", "UsageFact", "from_rows"]

ROOM = "ledger"
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
)
"""The room ``ledger`` of the store. Each entry is one released migration."""

_STAGE = """CREATE TEMP TABLE IF NOT EXISTS ledger_staged (
    start INTEGER NOT NULL, series INTEGER NOT NULL, value INTEGER NOT NULL, observed_at INTEGER NOT NULL,
    PRIMARY KEY (start, series)
) STRICT, WITHOUT ROWID"""
_STAGE_ROW = """INSERT INTO ledger_staged VALUES (?, ?, ?, ?) ON CONFLICT (start, series) DO UPDATE
    SET value = excluded.value, observed_at = excluded.observed_at WHERE excluded.observed_at >= observed_at"""
# Same project, branch, metric and bucket size under another plan or organisation: read again, a bucket has one owner.
_RIVALS = """SELECT a.id, b.id FROM ledger_series a
    JOIN ledger_series b USING (project_id, branch_id, metric, granularity) WHERE a.id <> b.id"""
_DROP_OLD = """DELETE FROM ledger_staged AS s WHERE EXISTS (SELECT 1 FROM ledger_usage u
    WHERE u.start = s.start AND u.series = s.series AND u.observed_at > s.observed_at)"""
_COUNT = """SELECT count(*) FILTER (WHERE u.value IS NULL), count(*) FILTER (WHERE s.value > u.value),
    count(*) FILTER (WHERE s.value < u.value) FROM ledger_staged s LEFT JOIN ledger_usage u USING (start, series)"""
_MOVED = f"""SELECT s.start / {DAY} * {DAY} AS day, s.series AS series, sum(s.value - coalesce(u.value, 0)) AS delta
    FROM ledger_staged s LEFT JOIN ledger_usage u USING (start, series)
    WHERE u.value IS NULL OR u.value <> s.value GROUP BY 1, 2"""
_REVISE = f"""INSERT INTO ledger_revision SELECT DISTINCT day, 1 FROM ({_MOVED}) WHERE true
    ON CONFLICT (day) DO UPDATE SET revision = revision + 1"""
_ADD_DAYS = f"""INSERT INTO ledger_day SELECT day, series, delta FROM ({_MOVED}) WHERE true
    ON CONFLICT (day, series) DO UPDATE SET value = value + excluded.value"""
_UPSERT = """INSERT INTO ledger_usage SELECT start, series, value, observed_at FROM ledger_staged WHERE true
    ON CONFLICT (start, series) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at"""
_THROUGH = """INSERT INTO ledger_through VALUES (?, ?, ?) ON CONFLICT (org_id, project_id)
    DO UPDATE SET through = max(through, excluded.through)"""
_TALLY = "INSERT INTO ledger_tally VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
_FACTS = """SELECT l.org_id, l.project_id, l.branch_id, u.start, l.granularity, l.plan, l.metric, u.value, u.observed_at
    FROM ledger_usage u JOIN ledger_series l ON l.id = u.series
    WHERE u.start >= ? AND u.start < ? AND (? IS NULL OR l.project_id = ?) ORDER BY u.start, u.series"""
_DAYS = f"""SELECT l.org_id, l.project_id, l.branch_id, d.day, '{DAILY}', l.plan, l.metric, d.value, 0
    FROM (SELECT series, min(day) AS day, sum(value) AS value FROM ledger_day
        WHERE day >= ? AND day < ? GROUP BY series) d JOIN ledger_series l ON l.id = d.series
    WHERE l.granularity = '{HOURLY}' AND l.metric <> 'extra_branches_month'
    ORDER BY d.series"""
# Hops from bucket start to bucket start and seeks the few series of one metric there, past the rows of all the others.
_HOURS_OF = f"""WITH RECURSIVE buckets (start) AS (
        SELECT min(start) FROM ledger_usage WHERE start >= ?2
        UNION ALL SELECT (SELECT min(start) FROM ledger_usage WHERE start > b.start) FROM buckets b WHERE b.start < ?3)
    SELECT l.org_id, l.project_id, l.branch_id, u.start, l.granularity, l.plan, l.metric, u.value, 0
    FROM buckets b CROSS JOIN ledger_series l CROSS JOIN ledger_usage u ON u.start = b.start AND u.series = l.id
    WHERE b.start < ?3 AND l.metric = ?1 AND l.granularity = '{HOURLY}' ORDER BY u.start, u.series"""
_TOTALS = f"""SELECT l.org_id, l.project_id, l.branch_id, t.start, l.granularity, l.plan, l.metric, t.value, 0
    FROM (SELECT series, min(start) AS start, sum(value) AS value FROM ledger_usage
        WHERE start >= ? AND start < ? GROUP BY series) t JOIN ledger_series l ON l.id = t.series
    WHERE l.granularity = '{HOURLY}' AND l.metric <> 'extra_branches_month' ORDER BY t.series"""
_VERIFY = f"""SELECT count(*) FROM (SELECT day, series, sum(value) FROM (
    SELECT start / {DAY} * {DAY} AS day, series, value FROM ledger_usage
    UNION ALL SELECT day, series, -value FROM ledger_day) GROUP BY 1, 2 HAVING sum(value) <> 0)"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one ``put`` did: buckets not seen before, grown, shrunk (a correction), and moved to another plan."""

    new: int = 0
    grown: int = 0
    shrunk: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class Through:
    """Up to when the data goes, in unix seconds.

    An organisation's is the end of its last complete reading, so that what a partial one missed is read again; before
    there was one, it is the earliest of its projects. A project's is the end of its newest usage.
    """

    orgs: Mapping[str, int]
    projects: Mapping[tuple[str, str], int]


class Ledger(Protocol):
    """Keeps usage facts; another database fits by keeping these promises."""

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """Write facts, each replacing what its bucket held; all of them or none.

        ``read_through`` says, by organisation, up to when everything was read: absent buckets before it are zeros.

        Raises:
            ValueError: a negative value, or an unknown granularity.
        """
        ...

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        """Facts with ``start`` <= bucket start < ``end``, of every granularity, oldest first."""
        ...

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        """What ``compute.cost.price`` needs for whole UTC days: sums between the cuts, and branch-hours by the hour.

        ``cuts`` are the midnights at which a rate changes; a sum bears the first day that it holds.
        """
        ...

    def window(self, start: int, end: int) -> list[UsageFact]:
        """As ``priceable``, for any span of hours over which no rate changes: sums, and branch-hours by the hour."""
        ...

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        """Hourly facts of one metric."""
        ...

    def revisions(self, start: int, end: int) -> dict[int, int]:
        """Days (00:00 UTC) with facts, and how often their values changed: what a cache is valid for."""
        ...

    def through(self) -> Through:
        """Up to when the data goes."""
        ...

    def tally(self) -> dict[str, int]:
        """Lifetime counts: ``facts`` (new buckets) and ``corrections`` (buckets that shrank or moved)."""
        ...

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """Move the cost counters to newly worked out costs of a month, see ``exporter.finops.cost_counters``."""
        ...


class SqliteLedger:
    """The ledger in the agent's own file. Safe to share between threads, as the store is."""

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with the room ``ledger``."""
        self._store = store
        self._ids: dict[tuple[str, str, str, str, str, str], int] = {}
        self._rivals: dict[int, list[int]] | None = None

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """See :meth:`Ledger.put`."""
        batch = list(facts)
        for fact in batch:
            if fact.value < 0:
                raise ValueError(f"project {fact.project_id}: {fact.metric} is {fact.value} at {fact.start}")
            bucket_hours(fact.start, fact.granularity)
        try:
            with self._store.transaction() as cursor:
                return self._put(cursor, batch, read_through or {})
        except BaseException:
            # Series that the rolled back transaction made are not there.
            self._ids.clear()
            self._rivals = None
            raise

    def _put(self, cursor: sqlite3.Cursor, batch: list[UsageFact], read_through: Mapping[str, int]) -> Changes:
        cursor.execute(_STAGE)
        cursor.execute("DELETE FROM ledger_staged")
        cursor.executemany(_STAGE_ROW, list(self._staged(cursor, batch)))
        cursor.execute(_DROP_OLD)
        moved = self._drop_rivals(cursor)
        new, grown, shrunk = cursor.execute(_COUNT).fetchone()
        cursor.execute(_REVISE)
        cursor.execute(_ADD_DAYS)
        cursor.execute(_UPSERT)
        newest: dict[tuple[str, str], int] = {(org, ""): end for org, end in read_through.items()}
        for fact in batch:
            end = fact.start + HOUR * bucket_hours(fact.start, fact.granularity)
            # The newest bucket still grows: the data goes no further than the moment it was read.
            end = min(end, fact.observed_at) if fact.observed_at > fact.start else end
            owner = (fact.org_id, fact.project_id)
            newest[owner] = max(newest.get(owner, 0), end)
        cursor.executemany(_THROUGH, [(*owner, end) for owner, end in newest.items()])
        cursor.executemany(_TALLY, [("facts", new), ("corrections", shrunk + moved)])
        return Changes(new, grown, shrunk, moved)

    def _staged(self, cursor: sqlite3.Cursor, batch: list[UsageFact]) -> Iterator[tuple[int, int, int, int]]:
        if not self._ids:
            columns = "project_id, branch_id, metric, granularity, org_id, plan, id"
            self._ids = {row[:6]: row[6] for row in cursor.execute(f"SELECT {columns} FROM ledger_series")}
        for org, project, branch, start, granularity, plan, metric, value, observed_at in batch:
            name = (project, branch, metric, granularity, org, plan)
            series = self._ids.get(name)
            if series is None:
                insert = (
                    "INSERT INTO ledger_series (project_id, branch_id, metric, granularity, org_id, plan)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET plan = plan RETURNING id"
                )
                ((series,),) = cursor.execute(insert, name).fetchall()
                self._ids[name] = series
                self._rivals = None
            yield start, series, value, observed_at

    def _drop_rivals(self, cursor: sqlite3.Cursor) -> int:
        if self._rivals is None:
            self._rivals = {}
            for series, rival in cursor.execute(_RIVALS):
                self._rivals.setdefault(series, []).append(rival)
        moved = 0
        for series, rivals in self._rivals.items():
            for rival in rivals:
                # A bucket that a change of plan cut in two is in the same reading twice, and both stay.
                stale = cursor.execute(
                    """SELECT u.start, u.value FROM ledger_staged s JOIN ledger_usage u ON u.start = s.start
                    WHERE s.series = ? AND u.series = ? AND u.observed_at < s.observed_at AND NOT EXISTS
                    (SELECT 1 FROM ledger_staged o WHERE o.start = s.start AND o.series = u.series)""",
                    (series, rival),
                ).fetchall()
                for start, value in stale:
                    day = start // DAY * DAY
                    cursor.execute(
                        "UPDATE ledger_day SET value = value - ? WHERE day = ? AND series = ?", (value, day, rival)
                    )
                    cursor.execute("UPDATE ledger_revision SET revision = revision + 1 WHERE day = ?", (day,))
                    cursor.execute("DELETE FROM ledger_usage WHERE start = ? AND series = ?", (start, rival))
                moved += len(stale)
        return moved

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        """See :meth:`Ledger.usage`."""
        with self._store.snapshot() as cursor:
            return [UsageFact._make(row) for row in cursor.execute(_FACTS, (start, end, project_id, project_id))]

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        """See :meth:`Ledger.priceable`. Hourly buckets only: coarser back-fill would count an hour twice."""
        edges = [start, *sorted(cut for cut in cuts if start < cut < end), end]
        with self._store.snapshot() as cursor:
            facts: list[UsageFact] = []
            for span in pairwise(edges):
                facts.extend(UsageFact._make(row) for row in cursor.execute(_DAYS, span))
            rows = cursor.execute(_HOURS_OF, ("extra_branches_month", start, end))
            facts.extend(UsageFact._make(row) for row in rows)
            return facts

    def window(self, start: int, end: int) -> list[UsageFact]:
        """See :meth:`Ledger.window`."""
        with self._store.snapshot() as cursor:
            facts = [UsageFact._make(row) for row in cursor.execute(_TOTALS, (start, end))]
            rows = cursor.execute(_HOURS_OF, ("extra_branches_month", start, end))
            facts.extend(UsageFact._make(row) for row in rows)
            return facts

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        """See :meth:`Ledger.hours`."""
        with self._store.snapshot() as cursor:
            return [UsageFact._make(row) for row in cursor.execute(_HOURS_OF, (metric, start, end))]

    def revisions(self, start: int, end: int) -> dict[int, int]:
        """See :meth:`Ledger.revisions`."""
        with self._store.snapshot() as cursor:
            query = "SELECT day, revision FROM ledger_revision WHERE day >= ? AND day < ?"
            return dict(cursor.execute(query, (start, end)).fetchall())

    def through(self) -> Through:
        """See :meth:`Ledger.through`."""
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT org_id, project_id, through FROM ledger_through").fetchall()
        projects = {(org, project): end for org, project, end in rows if project}
        orgs: dict[str, int] = {}
        for (org, _), end in projects.items():
            orgs[org] = min(end, orgs.get(org, end))
        return Through(orgs | {org: end for org, project, end in rows if not project}, projects)

    def tally(self) -> dict[str, int]:
        """See :meth:`Ledger.tally`."""
        with self._store.snapshot() as cursor:
            return {"facts": 0, "corrections": 0, **dict(cursor.execute("SELECT name, value FROM ledger_tally"))}

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """See :meth:`Ledger.advance`."""
        with self._store.transaction() as cursor:
            return advance(cursor, month, priced)

    def mismatches(self) -> int:
        """Days whose sum is not the sum of their buckets: 0, unless the file was changed by something else."""
        with self._store.snapshot() as cursor:
            ((count,),) = cursor.execute(_VERIFY).fetchall()
            return int(count)


class UsageRow(Protocol):
    """A row of ``collectors.neon.consumption``: one value of one bucket."""

    @property
    def project_id(self) -> str: ...
    @property
    def branch_id(self) -> str: ...
    @property
    def plan(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def granularity(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def value(self) -> int: ...


def from_rows(org_id: str, rows: Iterable[UsageRow], observed_at: float) -> list[UsageFact]:
    """Facts from what the consumption reader returned, all observed at one time (unix seconds)."""
    at = int(observed_at)
    return [
        UsageFact(org_id, r.project_id, r.branch_id, r.start, r.granularity, r.plan, r.metric, r.value, at)
        for r in rows
    ]
