"""A made-up pg_stat_statements: samples as the collector gives them, and how much was really done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.base import Epoch
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres.cluster.statements import (
    STATEMENT_FIELDS,
    STATEMENT_METRICS,
    TENANT_CALLS,
    TENANT_METRICS,
    StatementRow,
    StatementSample,
)

START = 1_795_410_590.0
PLACE = ("shiny-wind-1", "br-main-1", "ep-cool-1")
NAMES = ("crm", "main")
WIDTH = len(STATEMENT_FIELDS)

DEADLOCKS = Metric(
    "pg_stat_database_deadlocks_total",
    Kind.COUNTER,
    Unit.NONE,
    Scope.ENDPOINT,
    "Deadlocks.",
    ("datname",),
    durable=True,
)


@dataclass
class Statements:
    """The statements of one server. A statement is (user, datname, queryid); each call does a fixed amount."""

    clock: float = START
    exact: bool = False
    endpoint_id: str = PLACE[2]
    calls: dict[tuple[str, str, str], int] = field(default_factory=dict)
    since: dict[tuple[str, str, str], float] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    postmaster: float = 0.0
    reset: float = 0.0
    dealloc: int = 0

    def __post_init__(self) -> None:
        self.wake()

    def wake(self) -> None:
        """A new compute: everything from zero."""
        self.clock += 1
        self.postmaster, self.reset = self.clock, self.clock - 0.25
        self.calls, self.since, self.dealloc = {}, {}, 0

    def run(self, user: str, queryid: str, calls: int = 1, datname: str = "app") -> None:
        key = (user, datname, queryid)
        self.since.setdefault(key, self.clock)
        self.calls[key] = self.calls.get(key, 0) + calls
        self.done[user] = self.done.get(user, 0) + calls

    def look(self, seconds: float = 60.0) -> StatementSample:
        self.clock += seconds
        rows = tuple(
            StatementRow(
                *key, self.since[key] if self.exact else None, counters(calls, key[2]), oid(key[0]), oid(key[1])
            )
            for key, calls in self.calls.items()
        )
        epoch = Epoch(self.endpoint_id, self.postmaster, self.clock)
        return StatementSample(epoch, self.reset, self.dealloc, rows, len(rows))


def oid(name: str) -> int:
    return 16384 + sum(byte * 257**place for place, byte in enumerate(name.encode())) % 100_000


def counters(calls: int, queryid: str) -> tuple[int, ...]:
    """What so many calls of a statement count: each field a different multiple, busier with a larger queryid."""
    return tuple(calls * (1 if index == 0 else index * (int(queryid) + 1)) for index in range(WIDTH))


def tenant_calls(families: Families) -> dict[str, int]:
    """Exported calls by tenant, from the tenant's own counter."""
    return {labels[0]: int(value) for labels, value in families.get(TENANT_CALLS).items()}


def assert_consistent(families: Families, most: int) -> None:
    """Per tenant the statements sum to the tenant in every field that both show, and are at most ``most``.

    True as long as no statement has left: what the series of a leaver showed is in neither.
    """
    tenants = {metric.field: metric for metric in TENANT_METRICS}
    for statement in STATEMENT_METRICS:
        sums: dict[str, float] = {}
        series = families.get(statement.metric)
        for labels, value in series.items():
            sums[labels[0]] = sums.get(labels[0], 0) + round(float(value) * statement.per)
        tenant = tenants[statement.field]
        expected = {
            labels[0]: round(float(value) * tenant.per) for labels, value in families.get(tenant.metric).items()
        }
        assert sums == expected, statement.metric.name
    assert_few(families, most)


def assert_few(families: Families, most: int) -> None:
    """No tenant has more than ``most`` series in a family."""
    for metric, _, _ in STATEMENT_METRICS:
        tenants = [labels[0] for labels in families.get(metric)]
        assert all(tenants.count(name) <= most for name in set(tenants)), metric.name


def exported(families: Families) -> Mapping[tuple[str, ...], float]:
    """Every series as (metric, *labels) -> value."""
    return {
        (metric.name, *labels): float(value) for metric, series in families.items() for labels, value in series.items()
    }
