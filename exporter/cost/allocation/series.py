"""The metrics of cost, and the series of worked out costs: counters by branch and tenant, the month so far, coverage.

A cost never falls once it was counted: what later data takes back goes to an adjustments counter, so that ``rate`` and
``increase`` are right and counter minus adjustments is the cost as it is known now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from collectors.base import Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.cost.domain.allocate import Confidence, Share, Use, UseKey
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.ledger.cost_counters import PICO, Counted, CounterKey


def _usd(name: str, help_text: str, *labels: str, kind: Kind = Kind.GAUGE, series: int = 16) -> Metric:
    return Metric(name, kind, Unit.USD, Scope.BRANCH, help_text, labels, worse="up", max_series=series)


COST = _usd(
    "neon_cost_usd_total",
    "List cost of the branch since the first usage seen; it never falls, see neon_cost_adjustments_usd_total.",
    "component",
    kind=Kind.COUNTER,
)
ADJUSTMENTS = _usd(
    "neon_cost_adjustments_usd_total",
    "Cost that neon_cost_usd_total counted and later data took back (down): subtract it for the net cost.",
    "component",
    "direction",
    kind=Kind.COUNTER,
)
MONTH = _usd(
    "neon_cost_month_to_date_usd", "List cost of the branch in this calendar month (UTC), estimated.", "component"
)
TENANT_COST = _usd(
    "neon_tenant_cost_usd_total",
    "Cost of the branch by tenant since the first usage seen; __idle__, __shared__ and the like are tenants here.",
    "tenant",
    "component",
    kind=Kind.COUNTER,
    series=2500,
)
TENANT_ADJUSTMENTS = _usd(
    "neon_tenant_cost_adjustments_usd_total",
    "Cost that neon_tenant_cost_usd_total counted and later data took back or moved to another tenant (down).",
    "tenant",
    "component",
    "direction",
    kind=Kind.COUNTER,
    series=2500,
)
TENANT_MONTH = _usd(
    "neon_tenant_cost_month_to_date_usd",
    "Cost of the branch by tenant in this calendar month (UTC); over all tenants it sums to the branch.",
    "tenant",
    "component",
    series=2500,
)
RUN_RATE = _usd(
    "neon_cost_hourly_run_rate_usd",
    "USD per hour over the newest 24 hours of usage, without public transfer (its price depends on the month).",
)
COVERAGE = Metric(
    "neon_cost_coverage_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.BRANCH,
    "Measured busy time over awake CU time in this calendar month: how much of the compute cost has a known cause.",
    worse="down",
    max_series=1,
)
CONFIDENCE = Metric(
    "neon_cost_confidence_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.BRANCH,
    "Share of this calendar month's cost that is split to tenants exactly (the API's own figure), by measure, by "
    "sample, by declared weights or as an estimate; the shares of a branch sum to 1.",
    ("confidence",),
    max_series=5,
)
THROUGH = Metric(
    "neon_billing_data_through_timestamp_seconds",
    Kind.GAUGE,
    Unit.TIMESTAMP,
    Scope.ORG,
    "Up to when usage has been read; costs are estimates up to this instant.",
    worse="down",
    max_series=1,
)
UNKNOWN = Metric(
    "neon_pricing_unknown",
    Kind.GAUGE,
    Unit.NONE,
    Scope.PROJECT,
    "1 for usage of this calendar month that the rate card has no price for; it is not in any cost.",
    ("plan", "component"),
    worse="up",
    max_series=32,
)
RATE_CARD = Metric(
    "neon_rate_card_info",
    Kind.GAUGE,
    Unit.NONE,
    Scope.AGENT,
    "The newest rate in force of each plan in use: from which day, and where it was read.",
    ("plan", "valid_from", "source"),
    max_series=32,
)
RATE_CARD_AGE = Metric(
    "neon_rate_card_age_seconds",
    Kind.GAUGE,
    Unit.SECONDS,
    Scope.AGENT,
    "Time since a person last read the source of the newest rate in force of the plan.",
    ("plan",),
    worse="up",
    max_series=32,
)
CORRECTIONS = Metric(
    "neonmeter_ledger_corrections_total",
    Kind.COUNTER,
    Unit.NONE,
    Scope.AGENT,
    "Usage buckets that a later reading made smaller or moved to another plan.",
    worse="up",
    max_series=1,
)
METRICS: tuple[Metric, ...] = (
    COST,
    ADJUSTMENTS,
    MONTH,
    TENANT_COST,
    TENANT_ADJUSTMENTS,
    TENANT_MONTH,
    RUN_RATE,
    COVERAGE,
    CONFIDENCE,
    THROUGH,
    UNKNOWN,
    RATE_CARD,
    RATE_CARD_AGE,
    CORRECTIONS,
)

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
