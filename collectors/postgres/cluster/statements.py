"""Every tracked statement of a compute, without its text: who called what, how often, and for how long.

All rows are read and none is cut by a LIMIT, so sums stay exact; `exporter.sampling.counters` accumulates them across
suspends and publishes the largest per tenant with the rest as one bucket. The families it fills are declared here.
Source: pg_stat_statements, which lives in database `postgres` on Neon and covers every database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import add
from typing import Final, NamedTuple, cast

from collectors.base import Epoch, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query

NEON_USER = "cloud_admin"
"""Neon's own superuser: what it runs is nobody's workload."""

STATEMENT_FIELDS = (
    "calls",
    "exec_us",
    "plan_us",
    "rows",
    "shared_blks_hit",
    "shared_blks_read",
    "temp_blks_written",
    "blk_read_us",
    "blk_write_us",
    "wal_bytes",
)
"""The integer counters of a statement, in the order of ``StatementRow.counters``; ``_us`` is microseconds."""

STATEMENT_LABELS = ("tenant", "datname", "user", "queryid")


class StatementRow(NamedTuple):
    """One statement of one role in one database, top-level and nested calls summed.

    ``stats_since`` is the age of its oldest part in unix seconds, None before PostgreSQL 17. ``userid`` and ``dbid``
    outlive a rename of the role or the database.
    """

    user: str
    datname: str
    queryid: str
    stats_since: float | None
    counters: tuple[int, ...]
    userid: int = 0
    dbid: int = 0


@dataclass(frozen=True, slots=True)
class StatementSample:
    """What pg_stat_statements held at one visit.

    ``stats_reset`` is the unix time of the last full reset, ``dealloc`` how often entries were evicted since then.
    ``seen`` counts the raw rows, also those that are not in ``rows`` (Neon's own, hidden, of dropped roles).
    """

    epoch: Epoch
    stats_reset: float
    dealloc: int
    rows: tuple[StatementRow, ...]
    seen: int = 0


def _counter(name: str, unit: Unit, help_: str, **options: object) -> Metric:
    per_tenant = name.startswith("neon_tenant_")
    labels, most = (("tenant",), 1_000) if per_tenant else (STATEMENT_LABELS, 20_000)
    worse = cast("str", options.get("worse", ""))
    return Metric(name, Kind.COUNTER, unit, Scope.ENDPOINT, help_, labels, worse=worse, max_series=most, durable=True)


_N, _S, _B = Unit.NONE, Unit.SECONDS, Unit.BYTES

STATEMENT_CALLS = _counter(
    "pg_stat_statements_calls_total", _N,
    "Executions of the statement, kept across suspends; the largest per tenant, the rest under queryid 'other'.",
)  # fmt: skip
STATEMENT_SECONDS = _counter(
    "pg_stat_statements_seconds_total", _S,
    "Execution time of the statement; divide its rate by that of calls for the mean time of a call.", worse="up",
)  # fmt: skip
STATEMENT_ROWS = _counter(
    "pg_stat_statements_rows_total", _N, "Rows that the statement returned or changed.",
)  # fmt: skip
STATEMENT_BLOCK_READ = _counter(
    "pg_stat_statements_block_read_seconds_total", _S,
    "Time the statement waited for blocks to be read; needs track_io_timing.", worse="up",
)  # fmt: skip
STATEMENT_BLOCK_WRITE = _counter(
    "pg_stat_statements_block_write_seconds_total", _S,
    "Time the statement spent writing blocks; needs track_io_timing.", worse="up",
)  # fmt: skip
STATEMENT_WAL = _counter(
    "pg_stat_statements_wal_bytes_total", _B, "WAL that the statement wrote: it is billed as instant-restore storage.",
)  # fmt: skip
STATEMENT_BLOCKS_READ = _counter(
    "pg_stat_statements_shared_blocks_read_total", _N,
    "Blocks that the statement did not find in shared buffers; high and growing means a missing index or cold cache.",
    worse="up",
)  # fmt: skip

TENANT_CALLS = _counter("neon_tenant_calls_total", _N, "Statements that the tenant executed.")
TENANT_EXEC = _counter(
    "neon_tenant_exec_seconds_total", _S, "Time the compute executed the tenant's statements: the base of its share.",
)  # fmt: skip
TENANT_PLAN = _counter(
    "neon_tenant_plan_seconds_total", _S,
    "Time the compute planned the tenant's statements; stays 0 unless pg_stat_statements.track_planning is on.",
)  # fmt: skip
TENANT_ROWS = _counter("neon_tenant_rows_total", _N, "Rows that the tenant's statements returned or changed.")
TENANT_BLOCK_HITS = _counter(
    "neon_tenant_shared_blocks_hit_total", _N, "Blocks that the tenant's statements found in shared buffers.",
)  # fmt: skip
TENANT_BLOCK_READS = _counter(
    "neon_tenant_shared_blocks_read_total", _N,
    "Blocks that the tenant's statements had to fetch from the file cache or the page server.", worse="up",
)  # fmt: skip
TENANT_TEMP = _counter(
    "neon_tenant_temp_blocks_written_total", _N,
    "Temporary blocks that the tenant's statements wrote; raise work_mem or fix the sort when it grows.", worse="up",
)  # fmt: skip
TENANT_BLOCK_READ = _counter(
    "neon_tenant_block_read_seconds_total", _S, "Time the tenant's statements waited for blocks to be read.",
    worse="up",
)  # fmt: skip
TENANT_BLOCK_WRITE = _counter(
    "neon_tenant_block_write_seconds_total", _S, "Time the tenant's statements spent writing blocks.", worse="up",
)  # fmt: skip
TENANT_WAL = _counter("neon_tenant_wal_bytes_total", _B, "WAL that the tenant's statements wrote.")


class FieldMetric(NamedTuple):
    """Which counter of a row a metric shows: ``counters[field] / per`` in the metric's unit."""

    metric: Metric
    field: int
    per: int


def _fields(pairs: Iterable[tuple[str, Metric]]) -> tuple[FieldMetric, ...]:
    return tuple(
        FieldMetric(metric, STATEMENT_FIELDS.index(field), 1_000_000 if field.endswith("_us") else 1)
        for field, metric in pairs
    )


STATEMENT_METRICS = _fields([
    ("calls", STATEMENT_CALLS),
    ("exec_us", STATEMENT_SECONDS),
    ("rows", STATEMENT_ROWS),
    ("blk_read_us", STATEMENT_BLOCK_READ),
    ("blk_write_us", STATEMENT_BLOCK_WRITE),
    ("wal_bytes", STATEMENT_WAL),
    ("shared_blks_read", STATEMENT_BLOCKS_READ),
])  # fmt: skip
"""The families per statement, labels ``STATEMENT_LABELS``, that exporter.sampling.counters.statements fills."""

TENANT_METRICS = _fields([
    ("calls", TENANT_CALLS),
    ("exec_us", TENANT_EXEC),
    ("plan_us", TENANT_PLAN),
    ("rows", TENANT_ROWS),
    ("shared_blks_hit", TENANT_BLOCK_HITS),
    ("shared_blks_read", TENANT_BLOCK_READS),
    ("temp_blks_written", TENANT_TEMP),
    ("blk_read_us", TENANT_BLOCK_READ),
    ("blk_write_us", TENANT_BLOCK_WRITE),
    ("wal_bytes", TENANT_WAL),
])  # fmt: skip
"""The families per tenant, label ``tenant``, that exporter.sampling.counters.statements fills."""

EVICTIONS = Metric(
    "pg_stat_statements_evictions_total", Kind.COUNTER, _N, Scope.ENDPOINT,
    "Evictions of the least used entries of pg_stat_statements: their counts since the last visit are missing "
    "from every total. Raise pg_stat_statements.max.",
    worse="up", max_series=1, durable=True,
)  # fmt: skip
TRACKED = Metric(
    "pg_stat_statements_tracked", Kind.GAUGE, _N, Scope.ENDPOINT,
    "Entries that pg_stat_statements holds; at pg_stat_statements_max the next new statement evicts.", max_series=1,
)  # fmt: skip
TRACKED_MAX = Metric(
    "pg_stat_statements_max", Kind.GAUGE, _N, Scope.ENDPOINT,
    "Entries that pg_stat_statements can hold (the setting pg_stat_statements.max).", max_series=1,
)  # fmt: skip
RESET_AT = Metric(
    "pg_stat_statements_reset_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.ENDPOINT,
    "When pg_stat_statements was last reset as a whole; a reset between two visits loses what ran between them.",
    max_series=1,
)  # fmt: skip
EXCLUDED = Metric(
    "pg_stat_statements_excluded", Kind.GAUGE, _N, Scope.ENDPOINT,
    "Entries that no tenant total counts: 'neon' is Neon's own user, 'hidden' lacks a queryid (grant pg_monitor to "
    "our role), 'dropped' belongs to a role or database that no longer exists.", ("reason",), worse="up", max_series=3,
)  # fmt: skip
EXCLUDED_SECONDS = Metric(
    "pg_stat_statements_excluded_seconds", Kind.GAUGE, Unit.SECONDS, Scope.ENDPOINT,
    "Execution time in the excluded entries now, by the same reasons.", ("reason",), worse="up",
    max_series=3,
)  # fmt: skip

METRICS = (
    *(statement_metric.metric for statement_metric in STATEMENT_METRICS),
    *(tenant_metric.metric for tenant_metric in TENANT_METRICS),
    EVICTIONS, TRACKED, TRACKED_MAX, RESET_AT, EXCLUDED, EXCLUDED_SECONDS,
)  # fmt: skip

REASONS = ("neon", "hidden", "dropped")
_RawRow = tuple[int, int, str | None, float | None, int, int, int, int, int, int, int, int, int, int]
_EXEC_US: Final = 5


class StatementsCollector(SqlCollector):
    """Reads all of pg_stat_statements; its facts become series in `exporter.sampling.counters.statements`."""

    name = "statements"
    title = "Statements"
    source = "pg_stat_statements, pg_stat_statements_info"
    metrics = METRICS
    probes = ("pg_stat_statements", "pg_stat_statements_info")
    needs_pg_monitor = True
    loses_on_suspend = True

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Rows, names and the reset time. The columns decide, not the server: the extension may lag behind it."""
        if not (server.has("pg_stat_statements", "total_plan_time") and server.has("pg_stat_statements_info")):
            return ()
        renamed = server.has("pg_stat_statements", "shared_blk_read_time")
        return (
            Query("rows", query.load("statements", 17 if renamed else 14)),
            Query("names", query.load("statements_names", 14)),
            Query("info", query.load("statements_info", 14)),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Sum and name the rows. Without the reset time or the names there are no facts: a guess would count twice."""
        families = Families()
        info = next(query.records(results.get("info")), None)
        since = float(info["stats_reset"] or 0) if info is not None else None
        if info is not None:
            query.fill(families, _INFO, (), info)
        raw = cast("list[_RawRow]", results["rows"].rows) if "rows" in results else []
        if info is None or "rows" not in results or "names" not in results:
            return Reading(families, len(raw), statistics_since=since)
        families.set(TRACKED, (), len(raw))
        names = cast("list[tuple[str, int, str]]", results["names"].rows)
        users = {oid: name for kind, oid, name in names if kind == "user"}
        databases = {oid: name for kind, oid, name in names if kind == "database"}
        counted, excluded = exclude_rows(raw, users, databases)
        for reason, (count, exec_us) in excluded.items():
            families.set(EXCLUDED, (reason,), count)
            families.set(EXCLUDED_SECONDS, (reason,), exec_us / 1_000_000)
        rows = tuple([
            StatementRow._make((users[row[0]], databases[row[1]], row[2], row[3], row[4:], row[0], row[1]))
            for row in merge_rows(counted)
        ])  # fmt: skip
        sample = StatementSample(epoch, since or 0.0, int(info["dealloc"]), rows, len(raw))
        return Reading(families, len(raw), sample, since)


_INFO = (
    query.Column("dealloc", EVICTIONS),
    query.Column("max", TRACKED_MAX),
    query.Column("stats_reset", RESET_AT),
)


def merge_rows(raw: list[_RawRow]) -> list[_RawRow]:
    """Sum the rows that differ only in what is no label (top-level or nested).

    The merged row is as old as its oldest part: a nested call that shows up for the first time is growth of a known
    statement, not a new one whose whole past would count again.
    """
    merged = {row[:3]: row for row in raw}
    if len(merged) == len(raw):
        return raw
    merged.clear()
    for row in raw:
        key = row[:3]
        if key in merged:
            other = merged[key]
            since = [part for part in (row[3], other[3]) if part is not None]
            row = cast("_RawRow", (*key, min(since, default=None), *map(add, row[4:], other[4:])))  # noqa: PLW2901
        merged[key] = row
    return list(merged.values())


def exclude_rows(
    raw: Iterable[_RawRow], users: Mapping[int, str], databases: Mapping[int, str]
) -> tuple[list[_RawRow], dict[str, tuple[int, int]]]:
    """The rows that count for a tenant, and per reason how many were left out and their microseconds.

    A dropped role or database can run nothing more, so its entries are left out rather than moved to another name,
    under which all of their past would be counted a second time.
    """
    counted: list[_RawRow] = []
    counts, exec_us = dict.fromkeys(REASONS, 0), dict.fromkeys(REASONS, 0)
    for row in raw:
        user = users.get(row[0])
        if user == NEON_USER:
            reason = "neon"
        elif user is None or row[1] not in databases:
            reason = "dropped"
        elif row[2] is None:
            reason = "hidden"
        else:
            counted.append(row)
            continue
        counts[reason] += 1
        exec_us[reason] += row[_EXEC_US]
    return counted, {reason: (counts[reason], exec_us[reason]) for reason in REASONS}
