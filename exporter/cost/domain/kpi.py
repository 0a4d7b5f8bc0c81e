"""The key figures of a month: how well its cost is known, how much of it is idle or waste, and what one unit costs.

Every ratio is a part of the whole cost of the month, so that they can be compared. What cannot be worked out is None,
with the reason; it is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from exporter.cost.domain.allocate import Share
from exporter.pricing.domain.components import STORAGE
from exporter.pricing.domain.price import CostLine
from exporter.tenancy.domain.rules import AGENT, IDLE, SHARED, UNATTRIBUTED

Tagged = Callable[[str, str], bool]
"""Whether a project and branch (empty: the project itself) has all tags that are required."""


@dataclass(frozen=True, slots=True)
class Kpi:
    """One key figure: a part of the whole (0 to 1)."""

    name: str
    title: str
    value: Fraction | None
    target: Fraction | None
    """The edge that a well-run account stays on the right side of; None: there is none."""
    more_is_better: bool
    why: str
    """What it means, or why it is not known."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one, or without a value."""
        if self.value is None or self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Beside:
    """What other parts know of the organisation's month; None: they do not."""

    tagged: Tagged | None = None
    forecast_accuracy: Fraction | None = None
    """1 less the error of the forecast of the last whole month made on its first day."""
    anomaly_usd: Fraction | None = None
    """What anomalies cost in the month, beyond the usual."""
    waste: Fraction | None = None
    """Waste over cost, both a month at the present pace."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a month's cost is divided by; None: not measured."""

    calls: int | None = None
    """Statements of tenants."""
    active_hours: int | None = None
    """Hours, summed over branches, in which there was compute."""


def ratios(shares: Iterable[Share], beside: Beside) -> tuple[Kpi, ...]:
    """The key figures of one organisation from all shares of its month."""
    by_tenant: dict[str, Fraction] = {}
    tagged, total = Fraction(), Fraction()
    for share in shares:
        by_tenant[share.tenant] = by_tenant.get(share.tenant, Fraction()) + share.cost
        total += share.cost
        if beside.tagged is not None and beside.tagged(share.line.project_id, share.branch_id):
            tagged += share.cost

    def part(*tenants: str) -> Fraction | None:
        return sum((by_tenant.get(tenant, Fraction()) for tenant in tenants), Fraction()) / total if total else None

    unplaced = part(UNATTRIBUTED, SHARED)
    known = None if beside.tagged is None or not total else tagged / total
    anomalous = None if beside.anomaly_usd is None or not total else min(Fraction(1), beside.anomaly_usd / total)
    return (
        Kpi("allocated", "Allocated", None if unplaced is None else 1 - unplaced, Fraction(9, 10), True,
            "cost with a tenant, or known to be idle or ours"),
        Kpi("unallocated", "Unallocated", unplaced, Fraction(1, 10), False,
            "cost that is shared by all, or whose cause was not seen"),
        Kpi("tag_compliance", "Tagged", known, Fraction(9, 10), True,
            "cost of what has all required tags" if known is not None else "no tags are required (docs/review.md)"),
        Kpi("forecast_accuracy", "Forecast accuracy", beside.forecast_accuracy, Fraction(88, 100), True,
            "1 less the error of the forecast made on the first day of the last month"),
        Kpi("anomaly_cost", "Anomalies", anomalous, None, False, "cost beyond the usual in this month"),
        Kpi("idle", "Idle", part(IDLE), None, False, "awake, and no tenant worked"),
        Kpi("waste", "Waste", beside.waste, None, False, "what the rules of waste could save, of the present pace"),
        Kpi("agent_cost", "neonmeter itself", part(AGENT), Fraction(1, 100), False, "what our own visits cost"),
    )  # fmt: skip


def unit_costs(shares: Iterable[Share], counts: Counts) -> dict[str, Fraction]:
    """The whole cost per tenant, thousand queries, GB-month stored, active hour; what has no divisor is absent."""
    total, stored = Fraction(), Fraction()
    tenants: set[str] = set()
    lines: dict[int, CostLine] = {}
    for share in shares:
        total += share.cost
        if share.cost and not share.tenant.startswith("__"):
            tenants.add(share.tenant)
        lines[id(share.line)] = share.line
    for line in lines.values():
        if line.component in STORAGE:
            stored += line.quantity
    divisors: Mapping[str, Fraction | int | None] = {
        "tenant": len(tenants),
        "thousand_queries": None if counts.calls is None else Fraction(counts.calls, 1000),
        "stored_gb_month": stored,
        "active_hour": counts.active_hours,
    }
    return {name: total / divisor for name, divisor in divisors.items() if divisor}
