"""From a compute's accumulated counters to its series, by whole columns: there are tens of thousands at every look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collectors.metric import Families, Labels
from collectors.postgres.cluster.statements import STATEMENT_METRICS, TENANT_METRICS
from exporter.sampling.counters.tables import SeriesKey
from exporter.sampling.domain.accumulate import Counters
from exporter.sampling.domain.topk import TopK


@dataclass(slots=True)
class Tenant:
    """The exported state of one tenant at one place."""

    top: TopK[SeriesKey]
    series: dict[SeriesKey, Counters]
    """The members' totals and that of OTHER."""
    total: Counters
    _labels: dict[SeriesKey, Labels] = field(default_factory=dict)

    def labels(self, name: str) -> list[Labels]:
        """The label values of each of ``series``: the same objects as long as they live, so renderings compare fast."""
        if self._labels.keys() != self.series.keys():
            self._labels = {key: self._labels.get(key) or (name, *key) for key in self.series}
        return [self._labels[key] for key in self.series]


def tell(tenants: Mapping[str, Tenant]) -> Families:
    """The statement and tenant series of one compute."""
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
