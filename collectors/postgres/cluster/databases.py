"""Every database of a compute: connections against their limit, distance to wraparound, and what it has done.

All of them, not the ten oldest, and without entering one: the counters come from database `postgres`.
Source: pg_database, pg_stat_database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query

_N, _S, _B = Unit.NONE, Unit.SECONDS, Unit.BYTES
MAX_DATABASES: Final = 5_000
"""What we expect at most; a database-per-tenant compute may well have hundreds."""


def _gauge(name: str, unit: Unit, help_: str, labels: tuple[str, ...] = ("datname",), worse: str = "up") -> Metric:
    most = MAX_DATABASES if labels else 1
    return Metric(name, Kind.GAUGE, unit, Scope.ENDPOINT, help_, labels, worse=worse, max_series=most)


def _counter(name: str, unit: Unit, help_: str, worse: str = "") -> Metric:
    name = f"pg_stat_database_{name}_total"
    return Metric(
        name, Kind.COUNTER, unit, Scope.ENDPOINT, help_, ("datname",), worse=worse, max_series=MAX_DATABASES,
        durable=True,
    )  # fmt: skip


CONNECTION_LIMIT = _gauge(
    "pg_database_connection_limit", _N, "Connections that the database allows; absent where it sets no limit.",
    worse="",
)  # fmt: skip
BACKENDS = _gauge(
    "pg_stat_database_numbackends", _N, "Backends connected to the database; see pg_database_connection_limit.",
)  # fmt: skip
XID_AGE = _gauge(
    "pg_database_xid_age", _N,
    "Transactions since the oldest unfrozen one; vacuum before 2 billion, at which writes stop.",
)  # fmt: skip
MULTIXACT_AGE = _gauge(
    "pg_database_multixact_age", _N,
    "Multixacts since the oldest unfrozen one; vacuum before 2 billion, at which writes stop.",
)  # fmt: skip
CONNECTIONS = _gauge("pg_connections_used", _N, "Backends connected to any database of the compute.", ())
CONNECTIONS_MAX = _gauge(
    "pg_connections_limit", _N, "Connections that the compute allows (max_connections); on Neon it follows the size.",
    (), worse="",
)  # fmt: skip
CONNECTIONS_RESERVED = _gauge(
    "pg_connections_reserved", _N, "Connections of the limit that are reserved for privileged roles.", (), worse="",
)  # fmt: skip

_COUNTERS: Final = (
    query.Column("xact_commit", _counter("xact_commit", _N, "Transactions that committed.")),
    query.Column("xact_rollback", _counter(
        "xact_rollback", _N, "Transactions that rolled back; more per commit means a failing application.", "up",
    )),
    query.Column("blks_read", _counter(
        "blks_read", _N, "Blocks not found in shared buffers; with blks_hit it gives the cache hit ratio.", "up",
    )),
    query.Column("blks_hit", _counter("blks_hit", _N, "Blocks found in shared buffers.")),
    query.Column("tup_returned", _counter("tup_returned", _N, "Live rows and index entries that scans read.")),
    query.Column("tup_fetched", _counter(
        "tup_fetched", _N, "Rows fetched by index scans; far below tup_returned means sequential scans.",
    )),
    query.Column("tup_inserted", _counter("tup_inserted", _N, "Rows inserted.")),
    query.Column("tup_updated", _counter("tup_updated", _N, "Rows updated.")),
    query.Column("tup_deleted", _counter("tup_deleted", _N, "Rows deleted.")),
    query.Column("conflicts", _counter(
        "conflicts", _N, "Queries cancelled by a conflict with recovery; only on read replicas.", "up",
    )),
    query.Column("temp_files", _counter(
        "temp_files", _N, "Temporary files that queries wrote; raise work_mem or fix the query.", "up",
    )),
    query.Column("temp_bytes", _counter("temp_bytes", _B, "Bytes that queries wrote to temporary files.", "up")),
    query.Column("deadlocks", _counter(
        "deadlocks", _N, "Deadlocks that were resolved by cancelling a transaction; take locks in one order.", "up",
    )),
    query.Column("checksum_failures", _counter(
        "checksum_failures", _N, "Pages whose checksum did not match; absent where checksums are off.", "up",
    )),
    query.Column("blk_read_time", _counter(
        "blk_read_seconds", _S, "Time spent reading blocks; needs track_io_timing.", "up",
    ), 1_000),
    query.Column("blk_write_time", _counter(
        "blk_write_seconds", _S, "Time spent writing blocks; needs track_io_timing.", "up",
    ), 1_000),
    query.Column("session_time", _counter(
        "session_time_seconds", _S, "Time that sessions were connected, idle or not.",
    ), 1_000),
    query.Column("active_time", _counter(
        "active_time_seconds", _S, "Time that sessions executed statements; its rate is the mean of busy sessions.",
    ), 1_000),
    query.Column("idle_in_transaction_time", _counter(
        "idle_in_transaction_time_seconds", _S,
        "Time that sessions idled inside a transaction: they held locks and kept the compute awake for nothing.", "up",
    ), 1_000),
    query.Column("sessions", _counter(
        "sessions", _N, "Sessions opened; a high rate asks for a pooler.", "up",
    )),
    query.Column("sessions_abandoned", _counter(
        "sessions_abandoned", _N, "Sessions that ended because the client vanished.", "up",
    )),
    query.Column("sessions_fatal", _counter("sessions_fatal", _N, "Sessions that ended by a fatal error.", "up")),
    query.Column("sessions_killed", _counter("sessions_killed", _N, "Sessions that an operator ended.", "up")),
)  # fmt: skip
_DATABASE_TABLE: Final = (
    query.Column("connection_limit", CONNECTION_LIMIT),
    query.Column("numbackends", BACKENDS),
    query.Column("xid_age", XID_AGE),
    query.Column("multixact_age", MULTIXACT_AGE),
    *_COUNTERS,
)
_CONNECTION_TABLE: Final = (
    query.Column("used", CONNECTIONS),
    query.Column("max", CONNECTIONS_MAX),
    query.Column("reserved", CONNECTIONS_RESERVED),
)
METRICS: Final = tuple(line.metric for line in (*_DATABASE_TABLE, *_CONNECTION_TABLE))


class DatabasesCollector(SqlCollector):
    """Reads all databases of the server without entering them."""

    name = "databases"
    title = "Databases"
    source = "pg_stat_database, pg_database"
    metrics = METRICS

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Counters and connections apart."""
        major = server.version_num // 10_000
        return (
            Query("databases", query.load("databases", major)),
            Query("connections", query.load("databases_connections", major)),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:  # noqa: ARG002 - the protocol's
        """Map what could be read.

        Raises:
            NoDataError: every query failed.
        """
        if not results:
            raise NoDataError("none of the database views could be read")
        families = Families()
        for row in query.records(results.get("databases")):
            query.fill(families, _DATABASE_TABLE, (row["datname"],), row)
        for row in query.records(results.get("connections")):
            query.fill(families, _CONNECTION_TABLE, (), row)
        return Reading(families, sum(len(result.rows) for result in results.values()))
