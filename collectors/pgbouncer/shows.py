"""What PgBouncer's SHOW commands say, as series: a table of columns, and the only place that knows their names.

Columns are found by name, because they move between releases: one that is not there gives no series (never a zero), and
one that is new is ignored. Names are those of prometheus-community/pgbouncer_exporter. The source is
https://www.pgbouncer.org/usage.html#show-commands. Times come in microseconds and leave in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from collectors.base import Result
from collectors.metric import Families, Kind, Labels, Metric, Scope, Unit

SHOWS = ("VERSION", "STATS", "POOLS", "DATABASES", "LISTS", "CONFIG")
"""All of them are allowed to a member of stats_users."""
CONSOLE = "pgbouncer"
"""The pseudo database of the console: it has no server behind it, so it is left out."""
_MANY = 5000
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a SHOW, and the metric that it fills."""

    names: tuple[str, ...]
    """Its name, newest first when it was renamed."""
    metric: Metric
    divisor: int = 1


def _metric(name: str, text: str, labels: tuple[str, ...], *, unit: Unit = Unit.NONE, worse: str = "") -> Metric:
    kind = Kind.COUNTER if name.endswith("_total") else Kind.GAUGE
    return Metric(f"pgbouncer_{name}", kind, unit, Scope.POOLER, text, labels, worse=worse, max_series=_MANY)


def _stat(column: str, name: str, text: str, *, unit: Unit = Unit.NONE, divisor: int = 1, worse: str = "") -> Column:
    metric = _metric(f"stats_totals_{name}_total", text, ("database",), unit=unit, worse=worse)
    return Column((f"total_{column}",), metric, divisor)


def _pool(column: str, name: str, text: str, *, also: tuple[str, ...] = (), worse: str = "") -> Column:
    metric = _metric(f"pools_{name}_connections", text, ("database", "user"), worse=worse)
    return Column((column, *also), metric)


_DATABASE_LABELS = ("name", "host", "port", "database", "force_user", "pool_mode")


def _database(name: str, text: str, *, also: tuple[str, ...] = (), worse: str = "") -> Column:
    return Column((name, *also), _metric(f"databases_{name}", text, _DATABASE_LABELS, worse=worse))


STATS = (
    _stat("xact_count", "sql_transactions_pooled", "Transactions pooled."),
    _stat("query_count", "queries_pooled", "Queries pooled."),
    _stat("received", "received_bytes", "Bytes received from clients.", unit=Unit.BYTES),
    _stat("sent", "sent_bytes", "Bytes sent to clients.", unit=Unit.BYTES),
    _stat("xact_time", "server_in_transaction_seconds", "Time with a server in a transaction, idle in it or not.",
          unit=Unit.SECONDS, divisor=_MICRO),
    _stat("query_time", "queries_duration_seconds", "Time with a server that executed a query.",
          unit=Unit.SECONDS, divisor=_MICRO),
    _stat("wait_time", "client_wait_seconds", "Time that clients waited for a server.",
          unit=Unit.SECONDS, divisor=_MICRO, worse="up"),
    _stat("server_assignment_count", "server_assignments", "Times that a server was assigned to a client."),
    _stat("client_parse_count", "client_parses", "Prepared statements that clients created."),
    _stat("server_parse_count", "server_parses", "Prepared statements that were created on servers."),
    _stat("bind_count", "binds", "Prepared statements that clients bound for execution."),
)  # fmt: skip

POOLS = (
    _pool("cl_active", "client_active", "Clients linked to a server, or idle with nothing to do."),
    _pool("cl_waiting", "client_waiting", "Clients that sent a query and wait for a server.", worse="up"),
    _pool("cl_active_cancel_req", "client_active_cancel", "Clients whose cancel request was forwarded to a server."),
    _pool("cl_waiting_cancel_req", "client_waiting_cancel", "Clients whose cancel request was not forwarded yet.",
          also=("cl_cancel_req",)),
    _pool("sv_active", "server_active", "Servers linked to a client."),
    _pool("sv_active_cancel", "server_active_cancel", "Servers that forward a cancel request."),
    _pool("sv_being_canceled", "server_being_canceled", "Servers that wait until cancel requests to them are done."),
    _pool("sv_idle", "server_idle", "Servers ready for a client."),
    _pool("sv_used", "server_used", "Servers idle for so long that they are checked before use."),
    _pool("sv_tested", "server_testing", "Servers that run the check or the reset query."),
    _pool("sv_login", "server_login", "Servers that log in."),
)  # fmt: skip
MAXWAIT = _metric(
    "pools_client_maxwait_seconds", "Longest current wait of a client, to the microsecond.",
    ("database", "user"), unit=Unit.SECONDS, worse="up",
)  # fmt: skip

DATABASES = (
    _database("pool_size", "Maximum servers of one pool of the database."),
    _database("min_pool_size", "Servers that each pool keeps open; above zero it keeps a Neon compute awake."),
    _database("reserve_pool", "Servers allowed beyond the pool size when clients wait.", also=("reserve_pool_size",)),
    _database("max_connections", "Maximum servers of the database; 0: no limit."),
    _database("current_connections", "Servers of the database."),
    _database("max_client_connections", "Maximum clients of the database; 0: no limit."),
    _database("current_client_connections", "Clients of the database."),
    _database("paused", "Whether the database is paused.", worse="up"),
    _database("disabled", "Whether the database is disabled.", worse="up"),
)

LISTS = {
    "databases": _metric("databases", "Databases that are configured.", ()),
    "users": _metric("users", "Users that are known.", ()),
    "pools": _metric("pools", "Pools that exist.", ()),
    "free_clients": _metric("free_clients", "Client slots allocated and free.", ()),
    "used_clients": _metric("used_clients", "Clients connected.", ()),
    "login_clients": _metric("login_clients", "Clients that log in.", ()),
    "free_servers": _metric("free_servers", "Server slots allocated and free.", ()),
    "used_servers": _metric("used_servers", "Servers connected.", ()),
    "dns_names": _metric("cached_dns_names", "DNS names in the cache.", ()),
    "dns_zones": _metric("cached_dns_zones", "DNS zones in the cache.", ()),
    "dns_queries": _metric("in_flight_dns_queries", "DNS queries under way.", ()),
    "dns_pending": _metric("pending_dns_queries", "DNS queries that wait to be sent.", ()),
}

CONFIG = {
    "max_client_conn": _metric("config_max_client_connections", "Most clients.", ()),
    "max_user_connections": _metric("config_max_user_connections", "Maximum servers of a user; 0: no limit.", ()),
    "max_db_connections": _metric("config_max_db_connections", "Maximum servers of a database; 0: no limit.", ()),
    "default_pool_size": _metric("config_default_pool_size", "Servers of a pool; a database may override it.", ()),
    "min_pool_size": _metric("config_min_pool_size", "Servers that a pool keeps open; a database may override it.", ()),
    "reserve_pool_size": _metric(
        "config_reserve_pool_size", "Extra servers of a pool; a database may override it.", ()
    ),
    "max_prepared_statements": _metric(
        "config_max_prepared_statements", "Prepared statements followed for each client; 0 is no support.", ()
    ),
    "server_idle_timeout": _metric(
        "config_server_idle_timeout_seconds", "How long an idle server stays connected.", (), unit=Unit.SECONDS
    ),
    "server_lifetime": _metric(
        "config_server_lifetime_seconds", "Age at which a server is closed.", (), unit=Unit.SECONDS
    ),
    "query_wait_timeout": _metric(
        "config_query_wait_timeout_seconds", "How long a query may wait for a server.", (), unit=Unit.SECONDS
    ),
}
_CONFIG_LABELS = ("auth_type", "pool_mode", "client_tls_sslmode", "server_tls_sslmode")
CONFIG_INFO = _metric("config_info", "How clients authenticate, and how both sides are encrypted.", _CONFIG_LABELS)
VERSION_INFO = _metric("version_info", "The version of PgBouncer.", ("version",))

METRICS: tuple[Metric, ...] = (
    VERSION_INFO,
    *(column.metric for column in (*STATS, *POOLS)),
    MAXWAIT,
    *(column.metric for column in DATABASES),
    *LISTS.values(),
    *CONFIG.values(),
    CONFIG_INFO,
)

Row = Mapping[str, object]
_Sums = dict[tuple["Column", Labels], int | float]


def families_of(shows: Mapping[str, Result]) -> Families:
    """The series of one instance, from the answers to those of :data:`SHOWS` that were given."""
    families = Families()
    sums: _Sums = {}
    for row in _rows(shows, "VERSION"):
        families.add(VERSION_INFO, (_text(row.get("version")),), 1)
    for row in _rows(shows, "STATS"):
        if _text(row.get("database")) != CONSOLE:
            _fill(sums, STATS, row, (_text(row.get("database")),))
    for row in _rows(shows, "POOLS"):
        if _text(row.get("database")) != CONSOLE:
            labels = (_text(row.get("database")), _text(row.get("user")))
            _fill(sums, POOLS, row, labels)
            _fill_maxwait(families, row, labels)
    for row in _rows(shows, "DATABASES"):
        if _text(row.get("name")) != CONSOLE:
            _fill(sums, DATABASES, row, tuple(_text(row.get(label)) for label in _DATABASE_LABELS))
    for row in _rows(shows, "LISTS"):
        listed, items = LISTS.get(_text(row.get("list"))), _number(row.get("items"))
        if listed is not None and items is not None:
            families.add(listed, (), items)
    _put(families, sums)
    _fill_config(families, config_of(shows))
    return families


def config_of(shows: Mapping[str, Result]) -> dict[str, str]:
    """All settings by name: what a posture check reads."""
    return {_text(row.get("key")): _text(row.get("value")) for row in _rows(shows, "CONFIG")}


def _rows(shows: Mapping[str, Result], show: str) -> Iterator[Row]:
    result = shows.get(show)
    if result is not None:
        for row in result.rows:
            yield dict(zip(result.columns, row, strict=True))


def _fill(sums: _Sums, columns: tuple[Column, ...], row: Row, labels: tuple[str, ...]) -> None:
    for column in columns:
        found = next((row[name] for name in column.names if name in row), None)
        value = _number(found)
        if value is not None:
            # Summed, not set: two rows that differ only in what is no label must not cost the whole scrape. And summed
            # as PgBouncer's own integers: of floats the order of the rows would move the sum.
            sums[column, labels] = sums.get((column, labels), 0) + value


def _put(families: Families, sums: _Sums) -> None:
    for (column, labels), value in sums.items():
        families.add(column.metric, labels, value if column.divisor == 1 else value / column.divisor)


def _fill_maxwait(families: Families, row: Row, labels: tuple[str, ...]) -> None:
    seconds, micro = _number(row.get("maxwait")), _number(row.get("maxwait_us"))
    if seconds is not None:
        waited = seconds + (micro or 0) / _MICRO
        # The longest of rows that share their labels, where the counts are summed.
        families.add(MAXWAIT, labels, max(0.0, waited - float(families.get(MAXWAIT).get(labels, 0))))


def _fill_config(families: Families, config: Mapping[str, str]) -> None:
    for key, metric in CONFIG.items():
        value = _number(config.get(key))
        if value is not None:
            families.set(metric, (), value)
    if config:
        families.set(CONFIG_INFO, tuple(config.get(key, "") for key in _CONFIG_LABELS), 1)


def _number(value: object) -> int | float | None:
    if isinstance(value, int | float):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    try:
        return float(_text(value)) if value is not None else None
    except ValueError:
        return None


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
