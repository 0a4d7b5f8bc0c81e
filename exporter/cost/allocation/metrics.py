"""The metrics of cost: names, units and help, for the catalogue. ``exporter.cost.allocation.costs`` fills them.

A cost never falls once it was counted: what later data takes back goes to an adjustments counter, so that ``rate`` and
``increase`` are right and counter minus adjustments is the cost as it is known now.
"""

from __future__ import annotations

from collectors.metric import Kind, Metric, Scope, Unit


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
