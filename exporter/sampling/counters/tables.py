"""The tables of the durable counters, and every SQL statement on them.

All times are integer microseconds (hours: unix seconds), all counters integers, so that sums are exact for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from collectors.postgres.cluster.statements import STATEMENT_FIELDS
from exporter.pricing.domain.calendar import DAY
from exporter.sampling.domain.accumulate import Counted, CounterEpoch, Counters, Growth, microseconds
from exporter.storage.store import Schemas

RowKey = tuple[int | str, int | str, str]
"""Role and database (their oids, which outlive a rename; names where the oids are unknown) and queryid."""

SeriesKey = tuple[str, str, str]
"""datname, user, queryid: the labels of a statement after its tenant."""

OTHER: Final[SeriesKey] = ("", "", "other")
"""The series of everything that has none of its own."""

_COLUMNS: Final = ", ".join(f"{name} INTEGER NOT NULL" for name in STATEMENT_FIELDS)
_NAMES: Final = ", ".join(STATEMENT_FIELDS)
_MARKS: Final = ", ".join("?" * len(STATEMENT_FIELDS))
_WAL: Final = STATEMENT_FIELDS.index("wal_bytes")
_TENANT_HOUR_FIELDS: Final = ("busy_us", *STATEMENT_FIELDS)
_FORGET_AFTER_US: Final = 35 * 86_400_000_000

SCHEMAS: Final[Schemas] = {
    "statements": [
        f"""
        CREATE TABLE place (
            id INTEGER PRIMARY KEY, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, endpoint_id TEXT NOT NULL,
            postmaster_us INTEGER NOT NULL, reset_us INTEGER NOT NULL, clock_us INTEGER NOT NULL,
            dealloc INTEGER NOT NULL, uncertain INTEGER NOT NULL, UNIQUE (endpoint_id, branch_id, project_id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE statement_baseline (
            place INTEGER NOT NULL, role ANY NOT NULL, database ANY NOT NULL, queryid TEXT NOT NULL,
            since_us INTEGER, {_COLUMNS}, PRIMARY KEY (place, role, database, queryid)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE statement_total (
            place INTEGER NOT NULL, tenant TEXT NOT NULL, datname TEXT NOT NULL, role TEXT NOT NULL,
            queryid TEXT NOT NULL, member INTEGER NOT NULL, touched_us INTEGER NOT NULL, {_COLUMNS},
            PRIMARY KEY (place, tenant, datname, role, queryid)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE tenant_total (
            place INTEGER NOT NULL, tenant TEXT NOT NULL, {_COLUMNS}, PRIMARY KEY (place, tenant)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE tenant_hour (
            hour INTEGER NOT NULL, place INTEGER NOT NULL, tenant TEXT NOT NULL, busy_us INTEGER NOT NULL, {_COLUMNS},
            PRIMARY KEY (hour, place, tenant)
        ) STRICT, WITHOUT ROWID;
        """,
        # WAL by day: restore history is split by several days of it, and hours would be 24 times as many rows.
        """
        CREATE TABLE tenant_day (
            day INTEGER NOT NULL, place INTEGER NOT NULL, tenant TEXT NOT NULL, wal_bytes INTEGER NOT NULL,
            PRIMARY KEY (day, place, tenant)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO tenant_day SELECT hour / 86400 * 86400, place, tenant, sum(wal_bytes) FROM tenant_hour
            GROUP BY 1, 2, 3 HAVING sum(wal_bytes) > 0;
        """,
    ],
    "counters": [
        """
        CREATE TABLE counter (
            target TEXT NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL, postmaster_us INTEGER NOT NULL,
            reset_us INTEGER NOT NULL, clock_us INTEGER NOT NULL, raw INTEGER NOT NULL, total INTEGER NOT NULL,
            PRIMARY KEY (target, metric, labels)
        ) STRICT, WITHOUT ROWID;
        """
    ],
}


class StatementScope(NamedTuple):
    """The compute on which statements ran, and the last look at them; a row of table ``place``."""

    id: int
    project_id: str
    branch_id: str
    endpoint_id: str
    life: CounterEpoch
    uncertain: int


class TenantHour(NamedTuple):
    """What one tenant's statements did on one compute in one hour; ``hour`` is when it began, by the server's clock.

    ``busy_us`` is execution and planning time. Growth between two looks is shared out evenly over its hours.
    """

    project_id: str
    branch_id: str
    endpoint_id: str
    hour: int
    tenant: str
    busy_us: int
    calls: int
    rows: int
    wal_bytes: int
    shared_blks_read: int


class StoredTotal(NamedTuple):
    """The exported totals of one statement, and whether it has a series of its own now."""

    tenant: str
    key: SeriesKey
    member: bool
    counters: Counters


def scopes(cursor: sqlite3.Cursor) -> list[StatementScope]:
    """All computes whose statements were ever counted, oldest first."""
    found = cursor.execute(
        "SELECT id, project_id, branch_id, endpoint_id, postmaster_us, reset_us, clock_us, dealloc, uncertain "
        "FROM place ORDER BY id"
    )
    return [StatementScope(row[0], row[1], row[2], row[3], CounterEpoch(*row[4:8]), row[8]) for row in found]


def save_scope(cursor: sqlite3.Cursor, scope: StatementScope) -> None:
    """Write the last look at the statements of a compute."""
    life = scope.life
    values = (*scope[:4], life.postmaster_us, life.reset_us, life.clock_us, life.dealloc, scope.uncertain)
    cursor.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def load_baseline(cursor: sqlite3.Cursor, scope: int) -> dict[RowKey, Counted]:
    """The rows of the last look."""
    found = cursor.execute(
        f"SELECT role, database, queryid, since_us, {_NAMES} FROM statement_baseline WHERE place = ?", (scope,)
    )
    return {row[:3]: Counted(None if row[3] is None else row[3] / 1_000_000, row[4:]) for row in found}


def save_baseline(cursor: sqlite3.Cursor, scope: int, growth: Growth[RowKey]) -> None:
    """Write what differs from the last look."""
    if growth.new_life:
        cursor.execute("DELETE FROM statement_baseline WHERE place = ?", (scope,))
    else:
        cursor.executemany(
            "DELETE FROM statement_baseline WHERE place = ? AND role = ? AND database = ? AND queryid = ?",
            [(scope, *key) for key in growth.gone],
        )
    cursor.executemany(
        f"INSERT OR REPLACE INTO statement_baseline VALUES (?, ?, ?, ?, ?, {_MARKS})",
        [
            (scope, *key, None if row.stats_since is None else microseconds(row.stats_since), *row.counters)
            for key, row in growth.changed.items()
        ],
    )


def load_totals(cursor: sqlite3.Cursor, scope: int) -> Iterator[StoredTotal]:
    """What is exported: the statements with a series of their own and the ``other`` of every tenant."""
    found = cursor.execute(
        f"SELECT tenant, datname, role, queryid, member, {_NAMES} FROM statement_total WHERE place = ? "
        "AND (member = 1 OR (datname = '' AND role = '' AND queryid = 'other'))",
        (scope,),
    )
    for row in found:
        yield StoredTotal(row[0], row[1:4], bool(row[4]), row[5:])


def load_total(cursor: sqlite3.Cursor, scope: int, tenant: str, key: SeriesKey) -> Counters | None:
    """What the series of one statement last showed; None when it never had one."""
    found: Counters | None = cursor.execute(
        f"SELECT {_NAMES} FROM statement_total WHERE place = ? AND tenant = ? AND datname = ? AND role = ? "
        "AND queryid = ?",
        (scope, tenant, *key),
    ).fetchone()
    return found


def save_totals(cursor: sqlite3.Cursor, scope: int, clock_us: int, totals: Iterable[StoredTotal]) -> None:
    """Write exported totals and memberships."""
    cursor.executemany(
        f"INSERT OR REPLACE INTO statement_total VALUES (?, ?, ?, ?, ?, ?, ?, {_MARKS})",
        [(scope, row.tenant, *row.key, int(row.member), clock_us, *row.counters) for row in totals],
    )


def forget_old_totals(cursor: sqlite3.Cursor, scope: int, clock_us: int) -> None:
    """Drop statements that lost their series more than 35 days ago: one that returns later starts at zero."""
    cursor.execute(
        "DELETE FROM statement_total WHERE place = ? AND member = 0 AND touched_us < ? AND queryid <> 'other'",
        (scope, clock_us - _FORGET_AFTER_US),
    )


def load_tenants(cursor: sqlite3.Cursor, scope: int) -> dict[str, Counters]:
    """The totals of every tenant on a compute."""
    found = cursor.execute(f"SELECT tenant, {_NAMES} FROM tenant_total WHERE place = ?", (scope,))
    return {row[0]: row[1:] for row in found}


def save_tenants(cursor: sqlite3.Cursor, scope: int, tenants: Iterable[tuple[str, Counters]]) -> None:
    """Write the totals of the tenants that did something."""
    cursor.executemany(
        f"INSERT OR REPLACE INTO tenant_total VALUES (?, ?, {_MARKS})",
        [(scope, tenant, *counters) for tenant, counters in tenants],
    )


def add_hours(cursor: sqlite3.Cursor, scope: int, parts: Iterable[tuple[int, str, int, Counters]]) -> None:
    """Add (hour, tenant, busy_us, counters) to the hourly facts, and to those of the day."""
    parts = list(parts)
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _TENANT_HOUR_FIELDS)
    cursor.executemany(
        f"INSERT INTO tenant_hour VALUES (?, ?, ?, ?, {_MARKS}) ON CONFLICT DO UPDATE SET {sums}",
        [(hour, scope, tenant, busy_us, *counters) for hour, tenant, busy_us, counters in parts],
    )
    cursor.executemany(
        "INSERT INTO tenant_day VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET wal_bytes = wal_bytes + excluded.wal_bytes",
        [(hour // DAY * DAY, scope, tenant, values[_WAL]) for hour, tenant, _, values in parts if values[_WAL]],
    )


def wal_bytes(cursor: sqlite3.Cursor, start: int, end: int) -> list[tuple[str, str, str, int]]:
    """WAL by (project, branch, tenant) over the days in [start, end), in bytes."""
    return cursor.execute(
        "SELECT project_id, branch_id, tenant, sum(wal_bytes) "
        "FROM tenant_day JOIN place ON place.id = tenant_day.place WHERE day >= ? AND day < ? GROUP BY 1, 2, 3",
        (start, end),
    ).fetchall()


def tenant_hours(cursor: sqlite3.Cursor, start: int, end: int) -> list[TenantHour]:
    """The hourly facts of hours that begin in [start, end), in unix seconds, by hour, compute and tenant."""
    found = cursor.execute(
        "SELECT project_id, branch_id, endpoint_id, hour, tenant, busy_us, calls, rows, wal_bytes, shared_blks_read "
        "FROM tenant_hour JOIN place ON place.id = tenant_hour.place WHERE hour >= ? AND hour < ? "
        "ORDER BY hour, endpoint_id, branch_id, tenant",
        (start, end),
    )
    return [TenantHour(*row) for row in found]


def forget_hours(cursor: sqlite3.Cursor, before: int) -> int:
    """Drop the hourly facts of hours that begin before ``before``; returns how many there were."""
    cursor.execute("DELETE FROM tenant_day WHERE day < ?", (before // DAY * DAY,))
    return cursor.execute("DELETE FROM tenant_hour WHERE hour < ?", (before,)).rowcount


class StoredCounter(NamedTuple):
    """One durable counter: its last raw value, in which life, and the total; integers in the metric's grain."""

    metric: str
    labels: str
    life: CounterEpoch
    raw: int
    total: int


def load_counters(cursor: sqlite3.Cursor, target: str) -> list[StoredCounter]:
    """The durable counters of one target."""
    found = cursor.execute(
        "SELECT metric, labels, postmaster_us, reset_us, clock_us, raw, total FROM counter WHERE target = ?", (target,)
    )
    return [StoredCounter(row[0], row[1], CounterEpoch(*row[2:5]), row[5], row[6]) for row in found]


def load_all_counters(cursor: sqlite3.Cursor) -> Iterator[tuple[str, StoredCounter]]:
    """The durable counters of all targets, with the target of each."""
    found = cursor.execute("SELECT metric, labels, postmaster_us, reset_us, clock_us, raw, total, target FROM counter")
    for row in found:
        yield row[7], StoredCounter(row[0], row[1], CounterEpoch(*row[2:5]), row[5], row[6])


def save_counters(cursor: sqlite3.Cursor, target: str, counters: Sequence[StoredCounter]) -> None:
    """Write the counters that changed."""
    cursor.executemany(
        "INSERT OR REPLACE INTO counter VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                target,
                counter.metric,
                counter.labels,
                counter.life.postmaster_us,
                counter.life.reset_us,
                counter.life.clock_us,
                counter.raw,
                counter.total,
            )
            for counter in counters
        ],
    )
