"""Who is connected and what they wait for, and who keeps this compute awake: a fact with a price on Neon.

The reasons are those by which Neon's own monitor decides that a compute is in use, so each series names someone who
could let it sleep. Source: pg_stat_activity, pg_stat_subscription, pg_locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from collectors.base import Epoch, NoDataError, Options, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query

OWN_NAME: Final = "neonmeter"
"""Our own application_name: what we do ourselves is counted elsewhere."""

NEON_USER: Final = "cloud_admin"
NEON_APPLICATIONS: Final = frozenset({"walproposer"})

OTHER_MONITORS: Final = (
    "postgres_exporter", "sql_exporter", "pg_exporter", "pgwatch", "datadog", "ddagent", "telegraf", "zabbix",
    "netdata", "pganalyze", "pgmonitor", "pgmetrics", "prometheus", "grafana", "newrelic", "nri-postgresql",
    "dynatrace", "otelcol", "check_postgres", "pmm-agent", "solarwinds", "cloudwatch", "pgdash", "pghero",
    "healthcheck",
)  # fmt: skip
"""Parts of application names, in lower case, by which other monitoring is known."""

MONITOR_USERS: Final = frozenset({
    "postgres_exporter", "sql_exporter", "pgwatch", "datadog", "telegraf", "zbx_monitor", "netdata", "pganalyze",
    "newrelic", "dynatrace", "otel", "pmm", "pghero",
})  # fmt: skip
"""Roles that the manuals of these tools have people create: many of them set no application_name."""

REASONS: Final = ("client_active", "idle_in_transaction", "walsender", "subscription", "autovacuum", "other_monitor")
OTHER: Final = "other"

_CLIENT_TYPES = frozenset({"client backend", None})
"""None is a session that our role may not look into."""


def _gauge(
    name: str, unit: Unit, help_: str, labels: tuple[str, ...] = (), *, worse: str = "up", most: int = 1
) -> Metric:
    return Metric(name, Kind.GAUGE, unit, Scope.ENDPOINT, help_, labels, worse=worse, max_series=most)


_N, _S = Unit.NONE, Unit.SECONDS

SESSIONS = _gauge(
    "pg_stat_activity_sessions", _N,
    "Client sessions by state, user and application; the users and applications with the fewest are in 'other'. State "
    "'hidden' means that our role lacks pg_monitor.", ("state", "user", "application_name"), worse="", most=200,
)  # fmt: skip
WAITS = _gauge(
    "pg_stat_activity_waits", _N,
    "Sessions that execute a statement, by what they wait for at this moment; 'none' is running on a processor.",
    ("wait_event_type",), worse="", most=12,
)  # fmt: skip
LONGEST_TRANSACTION = _gauge(
    "pg_stat_activity_longest_transaction_seconds", _S,
    "Age of the oldest open transaction; it holds back vacuum and keeps its locks. Absent when none is open.",
)  # fmt: skip
LONGEST_QUERY = _gauge(
    "pg_stat_activity_longest_query_seconds", _S,
    "Age of the longest running statement; cancel it or give its role a statement_timeout. Absent when none runs.",
)  # fmt: skip
OLDEST_IDLE = _gauge(
    "pg_stat_activity_oldest_idle_in_transaction_seconds", _S,
    "How long the oldest session has idled inside a transaction: it keeps the compute awake for nothing. Set "
    "idle_in_transaction_session_timeout. Absent when there is none.",
)  # fmt: skip
XMIN_AGE = _gauge(
    "pg_stat_activity_oldest_xmin_age", _N,
    "Transactions since the oldest snapshot that a session holds; rows that died later cannot be vacuumed.",
)  # fmt: skip
LOCKS_WAITING = _gauge("pg_locks_waiting", _N, "Sessions that wait for a lock which another session holds.")
LOCKS_BLOCKING = _gauge("pg_locks_blocking", _N, "Sessions that others wait for; end these to free the queue.")
LOCKS_LONGEST = _gauge(
    "pg_locks_longest_wait_seconds", _S, "Longest current wait for a lock; absent when no session waits.",
)  # fmt: skip
KEPT_AWAKE = _gauge(
    "neon_endpoint_kept_awake", _N,
    "Sessions that keep this compute from being suspended, by reason, user and application_name: close or change "
    "these to save compute hours. For a subscription the application is its name.",
    ("reason", "user", "application_name"), most=150,
)  # fmt: skip

METRICS: Final = (
    SESSIONS, WAITS, LONGEST_TRANSACTION, LONGEST_QUERY, OLDEST_IDLE, XMIN_AGE,
    LOCKS_WAITING, LOCKS_BLOCKING, LOCKS_LONGEST, KEPT_AWAKE,
)  # fmt: skip

_LOCKS_TABLE = (
    query.Column("waiting", LOCKS_WAITING),
    query.Column("blocking", LOCKS_BLOCKING),
    query.Column("longest", LOCKS_LONGEST),
)


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """Sessions alike in all that is named here; times in seconds are the largest of the group, None when unknown."""

    backend_type: str
    state: str
    datname: str
    user: str
    application_name: str
    wait_event_type: str
    sessions: int
    transaction_seconds: float | None
    query_seconds: float | None
    state_seconds: float | None


@dataclass(frozen=True, slots=True)
class AwakeSession:
    """Someone who keeps the compute awake: one series of neon_endpoint_kept_awake, before it is bounded."""

    reason: str
    user: str
    application_name: str
    sessions: int


@dataclass(frozen=True, slots=True)
class ActivityFacts:
    """What was connected at the visit; Neon's own and ours are left out."""

    groups: tuple[SessionGroup, ...]
    holders: tuple[AwakeSession, ...]


@dataclass(slots=True)
class ActivityCollector(SqlCollector):
    """Reads sessions, locks and subscriptions; ``top`` bounds how many users and applications get their own series."""

    top: int = 20
    own_name: str = OWN_NAME

    name = "activity"
    title = "Activity"
    source = "pg_stat_activity, pg_locks, pg_stat_replication, pg_stat_subscription"
    metrics = METRICS
    needs_pg_monitor = True

    @classmethod
    def build(cls, options: Options) -> Self:
        """With the number of series from the settings."""
        return cls(options.top)

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Sessions grouped on the server, lock waits, and subscription workers of all databases."""
        major = server.version_num // 10_000
        return (
            Query("sessions", query.load("activity", major)),
            Query("locks", query.load("activity_locks", major)),
            Query("subscriptions", query.load("activity_subscriptions", major)),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:  # noqa: ARG002 - the protocol's
        """Map the groups to series.

        Raises:
            NoDataError: every query failed.
        """
        if not results:
            raise NoDataError("neither sessions nor locks could be read")
        families = Families()
        raw = list(query.records(results.get("sessions")))
        groups = tuple(_group(row) for row in raw if not self._is_own(row))
        holders = (*find_holders(groups), *_subscriptions(query.records(results.get("subscriptions"))))
        if "sessions" in results:
            self._read_sessions(families, [group for group in groups if group.backend_type in ("", "client backend")])
            _set_largest(families, XMIN_AGE, (row["xmin_age"] for row in raw))
        for row in query.records(results.get("locks")):
            query.fill(families, _LOCKS_TABLE, (), row)
        series = {(holder.reason, holder.user, holder.application_name): holder.sessions for holder in holders}
        for labels, sessions in bound(series, self.top).items():
            families.set(KEPT_AWAKE, labels, sessions)
        return Reading(families, sum(len(r.rows) for r in results.values()), ActivityFacts(groups, holders))

    def _is_own(self, row: query.Row) -> bool:
        # Neon's monitor passes over its own user's sessions, but counts any walsender, whoever started it.
        neons = row["usename"] == NEON_USER and row["backend_type"] != "walsender"
        application = row["application_name"] or ""
        return neons or application == self.own_name or application in NEON_APPLICATIONS

    def _read_sessions(self, families: Families, clients: Iterable[SessionGroup]) -> None:
        clients = tuple(clients)
        by_state: Counter[tuple[str, str, str]] = Counter()
        for client in clients:
            by_state[client.state, client.user, client.application_name] += client.sessions
            if client.state == "active":
                families.add(WAITS, (client.wait_event_type or "none",), client.sessions)
        for labels, sessions in bound(by_state, self.top).items():
            families.set(SESSIONS, labels, sessions)
        running = (client.query_seconds for client in clients if client.state == "active")
        idling = (client.state_seconds for client in clients if client.state.startswith("idle in transaction"))
        _set_largest(families, LONGEST_TRANSACTION, (client.transaction_seconds for client in clients))
        _set_largest(families, LONGEST_QUERY, running)
        _set_largest(families, OLDEST_IDLE, idling)


def find_holders(groups: Iterable[SessionGroup]) -> tuple[AwakeSession, ...]:
    """Who keeps the compute awake, the most sessions first; idle sessions do not, unless they are a monitor's."""
    found: Counter[tuple[str, str, str]] = Counter()
    for group in groups:
        reason = _reason(group)
        if reason:
            found[reason, group.user, group.application_name] += group.sessions
    return tuple(AwakeSession(*key, sessions) for key, sessions in found.most_common())


def _reason(group: SessionGroup) -> str:
    if group.backend_type == "walsender":
        return "walsender"
    if group.backend_type == "autovacuum worker":
        return "autovacuum"
    if group.backend_type not in ("", "client backend"):
        return ""
    if is_monitor(group.application_name, group.user):
        return "other_monitor"
    if group.state.startswith("idle in transaction"):
        return "idle_in_transaction"
    return "" if group.state in ("idle", "hidden") else "client_active"


def is_monitor(application_name: str, user: str = "") -> bool:
    """Whether an application_name, or else the role, is one that other monitoring is known by."""
    lower = application_name.lower()
    return user in MONITOR_USERS or any(part in lower for part in OTHER_MONITORS)


def bound(series: Mapping[tuple[str, str, str], int], top: int) -> dict[tuple[str, str, str], int]:
    """Series of (kind, user, application) with all but the ``top`` largest pairs summed into 'other'; sums stay."""
    pairs: Counter[tuple[str, str]] = Counter()
    for (_, user, application), sessions in series.items():
        pairs[user, application] += sessions
    # Ties go by name, so that a pair does not come and go between two equal visits.
    ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    largest = frozenset(ranked[:top])
    bounded: Counter[tuple[str, str, str]] = Counter()
    for (kind, user, application), sessions in series.items():
        pair = (user, application) if (user, application) in largest else (OTHER, OTHER)
        bounded[kind, *pair] += sessions
    return dict(bounded)


def _group(row: query.Row) -> SessionGroup:
    client = row["backend_type"] in _CLIENT_TYPES
    return SessionGroup(
        backend_type=row["backend_type"] or "",
        state=row["state"] or ("hidden" if client else ""),
        datname=row["datname"] or "",
        user=row["usename"] or "",
        application_name=row["application_name"] or "",
        wait_event_type=row["wait_event_type"] or "",
        sessions=row["sessions"],
        transaction_seconds=row["transaction_seconds"],
        query_seconds=row["query_seconds"],
        state_seconds=row["state_seconds"],
    )


def _subscriptions(rows: Iterable[query.Row]) -> tuple[AwakeSession, ...]:
    return tuple(AwakeSession("subscription", "", row["subname"] or "", row["workers"]) for row in rows)


def _set_largest(families: Families, metric: Metric, values: Iterable[float | None]) -> None:
    known = [value for value in values if value is not None]
    if known:
        families.set(metric, (), max(known))
