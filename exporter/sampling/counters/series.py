"""The counters of one compute in memory, and the series that are made of them.

Series are made by whole columns: a compute has tens of thousands, at every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Final

from collectors.metric import Families, Labels
from collectors.postgres.cluster.statements import STATEMENT_FIELDS, STATEMENT_METRICS, TENANT_METRICS
from exporter.sampling.counters.tables import SeriesKey, StatementScope, StoredTotal
from exporter.sampling.domain.accumulate import Counters
from exporter.sampling.domain.topk import Change, TopK

ZERO: Final[Counters] = (0,) * len(STATEMENT_FIELDS)


@dataclass(slots=True)
class Tenant:
    """The exported counters of one tenant on one compute."""

    top: TopK[SeriesKey]
    series: dict[SeriesKey, Counters]
    """The totals of the statements with a series of their own, and that of OTHER."""
    total: Counters
    _labels: dict[SeriesKey, Labels] = field(default_factory=dict)

    def labels(self, name: str) -> list[Labels]:
        """The label values of each of ``series``: the same objects as long as they live, so renderings compare fast."""
        if self._labels.keys() != self.series.keys():
            self._labels = {key: self._labels.get(key) or (name, *key) for key in self.series}
        return [self._labels[key] for key in self.series]


@dataclass(slots=True)
class TenantGrowth:
    """What one look will change for one tenant, before it is on the disk."""

    change: Change[SeriesKey]
    series: dict[SeriesKey, Counters]
    """The new totals of the series that grew."""
    left: list[StoredTotal]
    """Totals of the statements that lose their series."""
    delta: Counters


@dataclass(slots=True)
class ComputeStatements:
    """All tenants of one compute. ``names`` are those of its project and its branch, for the tenant rules."""

    scope: StatementScope
    tenants: dict[str, Tenant]
    names: tuple[str, str] = ("", "")
    tenant_names: dict[tuple[str, str], str] = field(default_factory=dict)
    """The tenant of each (database, role), by the rules in force."""

    def total(self, tenant: str) -> Counters:
        """The totals of one tenant; zero before its first statement."""
        return self.tenants[tenant].total if tenant in self.tenants else ZERO


def add_counters(one: Counters, two: Counters) -> Counters:
    """The sums, counter by counter."""
    return tuple(map(add, one, two))


def families_of(tenants: Mapping[str, Tenant]) -> Families:
    """The statement and tenant series of one compute, from its tenants by name."""
    families = Families()
    if not tenants:
        return families
    labels = [label for name, tenant in tenants.items() for label in tenant.labels(name)]
    columns = list(zip(*(row for tenant in tenants.values() for row in tenant.series.values()), strict=True))
    for metric, index, per in STATEMENT_METRICS:
        families.put(metric, dict(zip(labels, _scaled(columns[index], per), strict=True)))
    names = [(name,) for name in tenants]
    columns = list(zip(*(tenant.total for tenant in tenants.values()), strict=True))
    for metric, index, per in TENANT_METRICS:
        families.put(metric, dict(zip(names, _scaled(columns[index], per), strict=True)))
    return families


def _scaled(counters: Sequence[int], per: int) -> Sequence[int | float]:
    return counters if per == 1 else [value / per for value in counters]
