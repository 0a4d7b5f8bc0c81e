"""What every collector shares: targets, statuses, observations, and the shape of a collector that reads SQL.

A SQL collector never opens a connection. It names its queries for the server at hand and maps their rows to series;
``collectors.postgres.session`` runs all that are due in one guarded visit. So a collector is SQL plus a pure function,
and adding one needs no knowledge of deadlines, wake rules or serving.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Self, TypeAlias, TypeVar

from collectors.metric import Families, Labels, Metric, Scope


class Status(StrEnum):
    """How an attempt to observe ended: the only error label there is, and closed."""

    OK = "ok"
    NO_DATA = "no_data"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    AUTH = "auth"
    NO_PRIVILEGE = "no_privilege"
    UNSUPPORTED = "unsupported"
    RATE_LIMITED = "rate_limited"
    ASLEEP = "asleep"
    BREAKER_OPEN = "breaker_open"
    TRUNCATED = "truncated"
    STORE_ERROR = "store_error"
    """Our own disk refused what had to be written down before anything may be shown or done."""
    BUG = "bug"
    # What Neon's proxy and control plane say of a compute that they connect nobody to.
    QUOTA = "quota"
    DISABLED = "disabled"
    NOT_FOUND = "not_found"
    NETWORK_BLOCKED = "network_blocked"
    IP_NOT_ALLOWED = "ip_not_allowed"
    NO_SNI = "no_sni"
    STARTING = "starting"
    CONTROL_PLANE = "control_plane"


@dataclass(frozen=True, slots=True)
class Unread:
    """In place of a value that is not known, and why, for a person."""

    status: Status
    why: str


Value = TypeVar("Value")
Known: TypeAlias = Value | Unread
"""A value, or why there is none."""
NOT_ASKED: Final = Unread(Status.NO_DATA, "not asked yet")


class NoDataError(Exception):
    """There is nothing to observe here, and that is no failure (an extension that is not installed)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something we observe: an endpoint, a branch, a project, a pooler, or the agent itself."""

    scope: Scope
    labels: Labels
    """Values for the label names of the scope, in order."""
    name: str = ""
    """What a person calls it; never a label."""

    @property
    def key(self) -> str:
        """A stable, unique key for maps and logs: ``endpoint:ep-abc``, ``branch:project-1/br-abc``.

        Endpoint ids are unique by themselves. A branch is named with its project, because the figures of a project as
        a whole are shown at scope BRANCH too, with an empty branch id.
        """
        parts = self.labels if self.scope is Scope.BRANCH else self.labels[-1:]
        return f"{self.scope.name.lower()}:{'/'.join(parts)}"


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one collector at one target.

    ``at`` is the wall-clock time of the attempt in unix seconds, ``seconds`` its duration, ``error`` one line for a
    person (never a DSN). A failed observation usually has no families; the state holds the last good ones for a while.
    """

    collector: str
    target: Target
    status: Status
    at: float
    seconds: float = 0.0
    families: Families = field(default_factory=Families)
    rows: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """Version and columns of one server. Columns are probed, because an extension may be older than its server."""

    version_num: int
    """``server_version_num``: 150018, 180006."""
    columns: Mapping[str, frozenset[str]]
    """Column names per probed relation; a relation that does not exist or is not visible is absent."""

    def has(self, relation: str, column: str | None = None) -> bool:
        """Whether the relation exists, and has the column when one is named."""
        found = self.columns.get(relation)
        return found is not None and (column is None or column in found)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement of a collector. ``name`` is unique within the collector; ``sql`` takes no parameters."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of one query, as tuples in the order of ``columns``."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """Which life of which server a reading belongs to; cumulative statistics compare only within one epoch."""

    endpoint_id: str
    postmaster_start: float
    """pg_postmaster_start_time() in unix seconds."""
    server_clock: float
    """clock_timestamp() of the visit in unix seconds."""
    statistics_since: float | None = None
    """When the server's cumulative statistics began (pg_stat_bgwriter.stats_reset), unix seconds: an ordinary restart
    keeps them and this instant, a Neon suspend or a crash loses both."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a collector made of its results: series ready to serve, and facts for whoever subscribed to their type.

    ``statistics_since`` is when the source of its counters was last reset (unix seconds), where that is not the reset
    of the server's statistics (``Epoch.statistics_since``).
    """

    families: Families
    rows: int
    facts: object | None = None
    statistics_since: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings decide about the collectors at one compute.

    ``expected_slots`` are names of replication slots that its branch must have, ``top`` is the number of series for
    each kind of session, ``wanted_settings`` are server settings to read beside the usual ones.
    """

    expected_slots: tuple[str, ...] = ()
    top: int = 20
    wanted_settings: tuple[str, ...] = ()


class SqlCollector(ABC):
    """Reads one Postgres server, or one of its databases, in a session that somebody else opens.

    What others need to know of a collector stands in its class, so that no table elsewhere names it.
    """

    name: ClassVar[str]
    """Its name in the settings, in the metrics of the agent and in logs."""
    title: ClassVar[str] = ""
    """Heading of its metrics in the documentation; empty when it has none."""
    source: ClassVar[str] = ""
    """Views and functions that it reads, for the documentation."""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """The metrics that it fills."""
    interval: ClassVar[float] = 60.0
    """Seconds between two readings, unless the settings say otherwise."""
    probes: ClassVar[tuple[str, ...]] = ()
    """Relations (of pg_catalog or of an extension) whose columns decide about its queries."""
    needs_pg_monitor: ClassVar[bool] = False
    """Without pg_monitor it would see only a part, and take that for the whole: then it is not read."""
    loses_on_suspend: ClassVar[bool] = False
    """Its source is lost when the compute suspends: read at every visit, because each may be the last before that."""

    @classmethod
    def build(cls, options: Options) -> Self:
        """The collector for one compute; overridden by those that have options."""
        del options
        return cls()

    @abstractmethod
    def queries(self, server: Server) -> tuple[Query, ...]:
        """The statements for this server; empty when it has nothing that this collector can read."""

    @abstractmethod
    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Map rows to series and facts. ``results`` is by name of the query; one that failed is absent.

        Raises:
            NoDataError: there is nothing to show, and that is no failure.
        """
