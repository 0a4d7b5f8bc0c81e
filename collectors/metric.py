"""Metrics: each one is declared once, beside the code that fills it, and everything else derives from that.

A collector names its metrics in its class, a feature in its groups; ``exporter.app.catalog`` joins them.
docs/metrics.md, the README's table and the tests of dashboards and alerts read the joined catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Self

Labels = tuple[str, ...]
"""Label values in the order of ``Metric.labels``; the labels of the scope are not among them."""

Value = int | float | Decimal
"""Money stays Decimal until the renderer; everything else is int or float."""

Series = dict[Labels, Value]


class Kind(StrEnum):
    """The exposition type. An info metric is a gauge that is always 1."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Unit(StrEnum):
    """The base unit of the value; ``NONE`` is a plain count, a state or an info."""

    NONE = "none"
    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"
    USD = "usd"
    TIMESTAMP = "timestamp_seconds"


class Scope(Enum):
    """What a series is about; the value is the label names that the target puts before the metric's own."""

    AGENT = ()
    ORG = ("org_id",)
    PROJECT = ("project_id",)
    BRANCH = ("project_id", "branch_id")
    ENDPOINT = ("project_id", "branch_id", "endpoint_id")
    POOLER = ("pooler",)

    _value_: tuple[str, ...]

    def __new__(cls, *labels: str) -> Self:
        """Python before 3.11.4 makes a bare object of the value ``()``, so the value is set here."""
        member = object.__new__(cls)
        member._value_ = labels
        return member


_NAME = re.compile(r"(pg|pgbouncer|neon|neonmeter)_[a-z][a-z0-9_]*[a-z0-9]\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric family.

    ``max_series`` bounds the series of one target. ``durable`` marks a counter whose source forgets (a Neon compute
    loses its statistics at every suspend): the agent accumulates it and exports its own monotone total. ``worse``
    says which direction is bad, for dashboards.
    """

    name: str
    kind: Kind
    unit: Unit
    scope: Scope
    help: str
    labels: tuple[str, ...] = ()
    stability: str = "beta"
    worse: str = ""
    max_series: int = 100
    durable: bool = False

    def __post_init__(self) -> None:
        """Refuse what promtool would: the catalogue is checked where it is written.

        Raises:
            ValueError: the name, the suffix, the help or the labels break the naming rules (see CONTRIBUTING.md).
        """
        problems = list(self._problems())
        if problems:
            raise ValueError(f"metric {self.name}: {'; '.join(problems)}")

    def _problems(self) -> Iterator[str]:
        if not _NAME.match(self.name):
            yield "the name needs one of the prefixes pg_ pgbouncer_ neon_ neonmeter_ and lower-case words"
        if (self.kind is Kind.COUNTER) != self.name.endswith("_total"):
            yield "_total belongs on counters, and only there"
        base = self.name.removesuffix("_total")
        if self.unit is not Unit.NONE and not base.endswith("_" + self.unit.value):
            yield f"the name must end in _{self.unit.value}"
        if not self.help.endswith("."):
            yield "help must be a sentence with its full stop"
        for label in self.all_labels:
            if not _LABEL.match(label):
                yield f"label {label!r} is malformed"
        if len(set(self.all_labels)) != len(self.all_labels):
            yield "a label appears twice"
        if self.worse not in ("", "up", "down"):
            yield "worse is 'up', 'down' or empty"
        if self.durable and self.kind is not Kind.COUNTER:
            yield "only a counter can be durable"

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Label names as exposed: those of the scope, then the metric's own."""
        return (*self.scope.value, *self.labels)


class Families:
    """The series of one observation, by metric; a duplicate is an error here, never a failed scrape later."""

    __slots__ = ("_series",)

    def __init__(self) -> None:
        """Start empty."""
        self._series: dict[Metric, Series] = {}

    def set(self, metric: Metric, labels: Labels, value: Value) -> None:
        """Put one series.

        Raises:
            ValueError: the series is there already, or the labels do not fit the metric.
        """
        series = self._of(metric, labels)
        if labels in series:
            raise ValueError(f"{metric.name}{labels}: set twice; use add() to sum")
        series[labels] = value

    def add(self, metric: Metric, labels: Labels, value: Value) -> None:
        """Sum into one series (rows that differ only in what is not a label)."""
        series = self._of(metric, labels)
        series[labels] = series[labels] + value if labels in series else value  # type: ignore[operator]

    def put(self, metric: Metric, series: Series) -> None:
        """Put a whole family at once: the fast path for large ones. The caller vouches for the label counts."""
        self._series[metric] = series

    def _of(self, metric: Metric, labels: Labels) -> Series:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name}: got label values {labels}, wants {metric.labels}")
        return self._series.setdefault(metric, {})

    def items(self) -> Iterable[tuple[Metric, Series]]:
        """Metric and series pairs, in the order they were first put."""
        return self._series.items()

    def get(self, metric: Metric) -> Series:
        """The series of one metric; empty when there are none."""
        return self._series.get(metric, {})

    def __len__(self) -> int:
        """How many series there are in all."""
        return sum(len(series) for series in self._series.values())


def merged(parts: Iterable[Families]) -> Families:
    """All series of several parts of one target; of equal labels the last part's value stays."""
    whole = Families()
    series: dict[Metric, Series] = {}
    for families in parts:
        for metric, part in families.items():
            series.setdefault(metric, {}).update(part)
            whole.put(metric, series[metric])
    return whole


def catalogue(*groups: Iterable[Metric]) -> Mapping[str, Metric]:
    """Join groups of metrics into one catalogue by name.

    Raises:
        ValueError: two declarations share a name.
    """
    joined: dict[str, Metric] = {}
    for group in groups:
        for metric in group:
            if metric.name in joined:
                raise ValueError(f"metric {metric.name} is declared twice")
            joined[metric.name] = metric
    return joined
