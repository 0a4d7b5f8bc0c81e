"""What every collector shares: targets, statuses, observations, and the shape of a collector that reads SQL.

A SQL collector never opens a connection. It names its queries for the server at hand and maps their rows to series;
``collectors.postgres.session`` runs what is due, for all collectors, in one guarded visit. So a collector is SQL plus a
pure function, and adding one needs no knowledge of deadlines, wake rules or serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

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
    BUG = "bug"


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
        """A stable, unique name for maps and logs: ``endpoint:ep-abc``, ``branch:project-1/br-abc``.

        Ids of endpoints are unique; branches are told with their project, since a project's own rows stand among them.
        """
        parts = self.labels if self.scope is Scope.BRANCH else self.labels[-1:]
        return f"{self.scope.name.lower()}:{'/'.join(parts)}"


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one collector at one target.

    ``at`` is the wall-clock time of the attempt in unix seconds, ``seconds`` its duration, ``error`` one line for a
    person (never a DSN). A failed observation carries no families; the state keeps the last good ones for a while.
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
    """What a probe of one server found. Columns are probed because an extension may lag its server's version."""

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
    """What a collector made of its results: series ready to serve, and typed facts for the pure computations."""

    families: Families
    rows: int
    facts: object | None = None


class SqlCollector(Protocol):
    """The shape of a collector that reads one Postgres server through a visit."""

    @property
    def name(self) -> str:
        """The name in the settings, in the metrics and in the documentation."""

    @property
    def interval(self) -> float:
        """Seconds between two readings, unless the settings say otherwise."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it fills."""

    @property
    def probes(self) -> tuple[str, ...]:
        """Relations (in pg_catalog or an extension's schema) whose columns it wants probed."""

    def queries(self, server: Server) -> tuple[Query, ...]:
        """The statements for this server. Empty means: unsupported here."""

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Map the rows to series. A query that failed is absent from ``results``; what can be told without it is told.

        Raises:
            NoDataError: there is nothing to tell, and that is no failure.
        """
