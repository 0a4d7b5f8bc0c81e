"""From worked out costs to series: counters by branch and tenant, the month so far, coverage and confidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from collectors.base import Target
from collectors.metric import Families, Metric, Scope
from exporter.cost.allocation.metrics import (
    ADJUSTMENTS,
    CONFIDENCE,
    COST,
    COVERAGE,
    MONTH,
    TENANT_ADJUSTMENTS,
    TENANT_COST,
    TENANT_MONTH,
)
from exporter.cost.domain.allocate import Confidence, Share, Use, UseKey
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.ledger.cost_counters import PICO, Counted, CounterKey

OTHER = "__other__"
Folded = set[tuple[str, str, str]]
"""(project, branch, tenant) of those without series of their own."""


def branch_target(project_id: str, branch_id: str) -> Target:
    """Where the series of a branch hang."""
    return Target(Scope.BRANCH, (project_id, branch_id))


def folded_tenants(counters: Mapping[CounterKey, Counted], most: int) -> Folded:
    """Those past the first ``most`` of a branch. Who is shown once is shown for good."""
    first: dict[tuple[str, str], dict[str, int]] = {}
    for key, counted in counters.items():
        if key.tenant and not key.tenant.startswith("__"):
            tenants = first.setdefault(key[:2], {})
            tenants[key.tenant] = min(counted.series, tenants.get(key.tenant, counted.series))
    folded = set()
    for (project, branch), tenants in first.items():
        for tenant in sorted(tenants, key=tenants.__getitem__)[most:]:
            folded.add((project, branch, tenant))
    return folded


def counter_series(by_target: dict[Target, Families], counters: Mapping[CounterKey, Counted], folded: Folded) -> None:
    """The counters that never fall, and what was taken back."""
    sums: dict[CounterKey, Counted] = {}
    for key, counted in sorted(counters.items()):
        name = key._replace(tenant=OTHER) if (key.project_id, key.branch_id, key.tenant) in folded else key
        held = sums.get(name, Counted(0, 0))
        sums[name] = Counted(held.counted + counted.counted, held.adjusted + counted.adjusted)
    for key, total in sums.items():
        families = by_target.setdefault(branch_target(key.project_id, key.branch_id), Families())
        labels: tuple[str, ...] = (key.tenant, key.component) if key.tenant else (key.component,)
        families.set(TENANT_COST if key.tenant else COST, labels, to_decimal(Fraction(total.counted, PICO)))
        if total.adjusted or not key.tenant:
            metric = TENANT_ADJUSTMENTS if key.tenant else ADJUSTMENTS
            families.set(metric, (*labels, "down"), to_decimal(Fraction(total.adjusted, PICO)))


def month_series(
    by_target: dict[Target, Families], shares: Iterable[Share], uses: Mapping[UseKey, Use], folded: Folded
) -> None:
    """The month so far by component and tenant, and how much of it is known how well."""
    sums: dict[tuple[Target, Metric, tuple[str, ...]], Fraction] = {}
    sure: dict[Target, dict[Confidence, Fraction]] = {}
    for share in shares:
        project, branch, component = share.line.project_id, share.branch_id, share.line.component.value
        target = branch_target(project, branch)
        tenant = OTHER if (project, branch, share.tenant) in folded else share.tenant
        for name in ((target, MONTH, (component,)), (target, TENANT_MONTH, (tenant, component))):
            sums[name] = sums.get(name, Fraction()) + share.cost
        how = sure.setdefault(target, {})
        how[share.confidence] = how.get(share.confidence, Fraction()) + share.cost
    awake: dict[Target, Use] = {}
    for key, use in uses.items():
        if key.component is Component.COMPUTE:
            held = awake.setdefault(branch_target(key.project_id, key.branch_id), Use())
            held.total, held.measured = held.total + use.total, held.measured + use.measured
    for (target, metric, labels), cost in sums.items():
        by_target.setdefault(target, Families()).set(metric, labels, to_decimal(cost))
    for target, use in awake.items():
        by_target.setdefault(target, Families()).set(COVERAGE, (), float(use.coverage))
    for target, parts in sure.items():
        total = sum(parts.values())
        for confidence, cost in parts.items():
            if cost:
                by_target.setdefault(target, Families()).set(CONFIDENCE, (confidence.value,), float(cost / total))
