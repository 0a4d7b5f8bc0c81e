"""What decides that a compute is idle: the five checks that Neon's compute runs every 500 ms, on the real server.

The order and the meaning of the checks are those of Neon's public activity monitor; the control plane that acts on
them is closed, so the rule "suspend at last_active + T" stands here alone and plain. The SQL is in one place and the
judgement is a small class without a connection, so both can be held against reproduced facts.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

LOOK_SECONDS = 0.5
APPLICATION_NAME = "compute_activity_monitor"

LOOK_SQL = """
SELECT
  (SELECT coalesce(sum(active_time), 0)::float8 FROM pg_catalog.pg_stat_database
    WHERE datname NOT IN ('postgres', 'template0', 'template1')),
  (SELECT coalesce(sum(sessions), 0)::int8 FROM pg_catalog.pg_stat_database
    WHERE datname NOT IN ('postgres', 'template0', 'template1')),
  (SELECT count(*) FROM pg_catalog.pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid() AND usename <> 'cloud_admin'
      AND state IS DISTINCT FROM 'idle'),
  (SELECT min(extract(epoch FROM pg_catalog.clock_timestamp() - state_change))::float8 FROM pg_catalog.pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid() AND usename <> 'cloud_admin'
      AND state = 'idle'),
  (SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE application_name <> 'walproposer'),
  (SELECT count(*) FROM pg_catalog.pg_stat_subscription WHERE pid IS NOT NULL),
  (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'autovacuum worker')
"""

MEASURE_SQL = """
SELECT (SELECT sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database)::int8,
       (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One answer of ``LOOK_SQL``: counters in milliseconds and sessions, the rest as counts, ages in seconds."""

    active_time_ms: float
    sessions: int
    busy_clients: int
    idle_client_age: float | None
    """Seconds since the newest ``state_change`` of an idle client; None without idle clients."""
    walsenders: int
    subscriptions: int
    autovacuum_workers: int


@dataclass(slots=True)
class ActivityCheck:
    """``last_active`` as the compute keeps it: unix seconds, never moving back, None before anything was seen."""

    last_active: float | None = None
    reason: str = ""
    """Which check moved ``last_active`` last: database, client, idle client, walsender, subscription, autovacuum."""
    _counters: tuple[float, int] | None = None

    def judge(self, look: Look, now: float) -> None:
        """Take one look into account; the first check that hits ends it."""
        previous, self._counters = self._counters, (look.active_time_ms, look.sessions)
        if previous is not None and previous != self._counters:
            return self._move(now, "database")
        if look.busy_clients:
            return self._move(now, "client")
        if look.idle_client_age is not None:
            self._move(now - look.idle_client_age, "idle client")
        for seen, reason in (
            (look.walsenders, "walsender"),
            (look.subscriptions, "subscription"),
            (look.autovacuum_workers, "autovacuum"),
        ):
            if seen:
                return self._move(now, reason)
        return None

    def _move(self, at: float, reason: str) -> None:
        if self.last_active is None or at > self.last_active:
            self.last_active, self.reason = at, reason


def look_at(connection: psycopg.Connection) -> Look:
    """Ask the server once.

    Raises:
        psycopg.Error: the server did not answer.
    """
    row = connection.execute(LOOK_SQL).fetchone()
    if row is None:  # pragma: no cover - a SELECT of scalars has one row
        raise psycopg.InternalError("no row")
    return Look(*row)


@dataclass(frozen=True, slots=True)
class Watch:
    """What a monitor tells its compute: called on the monitor's own thread."""

    looked: Callable[[ActivityCheck], None]
    """After every look, and after every one that failed."""
    measured: Callable[[int, int], None]
    """Bytes of all databases, WAL position in bytes."""


class Monitor(threading.Thread):
    """One running compute's watcher: a superuser session that stays open, as in the real compute."""

    def __init__(self, conninfo: str, clock: Callable[[], float], watch: Watch, measure_seconds: float = 5.0) -> None:
        super().__init__(name="twin-monitor", daemon=True)
        self.check = ActivityCheck()
        self._conninfo = f"{conninfo} application_name={APPLICATION_NAME} connect_timeout=5"
        self._clock = clock
        self._watch = watch
        self._measure_seconds = measure_seconds
        self._ended = threading.Event()

    def end(self) -> None:
        """Ask it to stop; it is gone within one look (do not join it from its own callback)."""
        self._ended.set()

    def run(self) -> None:
        """Look until the end; a server that does not answer is asked again with a new connection."""
        while not self._ended.is_set():
            # A server that stops under us ends this connection: that is no error of the monitor's.
            with contextlib.suppress(psycopg.Error), psycopg.connect(self._conninfo, autocommit=True) as connection:
                self._watch_connection(connection)
            if not self._ended.is_set():
                self._watch.looked(self.check)
            self._ended.wait(LOOK_SECONDS)

    def _watch_connection(self, connection: psycopg.Connection) -> None:
        due = 0.0
        while not self._ended.is_set():
            now = self._clock()
            self.check.judge(look_at(connection), now)
            self._watch.looked(self.check)
            if self._ended.is_set():
                return
            if now >= due:
                row = connection.execute(MEASURE_SQL).fetchone()
                if row is not None:
                    self._watch.measured(int(row[0]), int(row[1]))
                due = now + self._measure_seconds
            self._ended.wait(LOOK_SECONDS)
