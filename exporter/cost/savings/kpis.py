"""Key figures, unit costs and allowance head-room as series. What is not known has no series.

The figures are of the present calendar month (UTC), from the same shares as every cost; the head-room is from the facts
that the rules of waste are applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.cost.allocation.costs import MonthCosts
from exporter.cost.domain.allocate import Share
from exporter.cost.domain.kpi import Beside, Counts, Kpi, Tagged, ratios, unit_costs
from exporter.cost.domain.waste.waste import Account, Findings, Pool, ProjectFacts
from exporter.cost.savings.waste_facts import MeasuredHours
from exporter.pricing.domain.calendar import next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.ledger.ledger import Ledger
from exporter.tenancy.domain.rules import AGENT

COLLECTOR = "kpi"
GB = 10**9


def _ratio(name: str, help_text: str, worse: str) -> Metric:
    return Metric(f"neon_finops_{name}_ratio", Kind.GAUGE, Unit.RATIO, Scope.ORG, help_text, worse=worse, max_series=1)


RATIOS: Mapping[str, Metric] = {
    "allocated": _ratio("allocated", "Part of the month's cost with a tenant, or known to be idle or ours.", "down"),
    "unallocated": _ratio("unallocated", "Part of the month's cost that is shared, or of unknown cause.", "up"),
    "tag_compliance": _ratio("tag_compliance", "Part of the month's cost that has all required tags.", "down"),
    "forecast_accuracy": _ratio("forecast_accuracy", "1 less the error of the last whole month's forecast.", "down"),
    "anomaly_cost": _ratio("anomaly_cost", "Part of the month's cost that anomalies added.", "up"),
    "idle": _ratio("idle", "Part of the month's cost for computes that were awake while no tenant worked.", "up"),
    "waste": _ratio("waste", "Waste over cost, both a month at the present pace.", "up"),
    "agent_cost": _ratio("agent_cost", "Part of the month's cost that our own visits caused.", "up"),
}
UNIT_COST = Metric(
    "neon_unit_cost_usd", Kind.GAUGE, Unit.USD, Scope.ORG,
    "The month's whole cost so far per tenant, thousand queries, GB-month stored, and active hour of a branch.",
    ("per",), worse="up", max_series=4,
)  # fmt: skip
TRANSFER_LEFT = Metric(
    "neon_transfer_allowance_left_bytes", Kind.GAUGE, Unit.BYTES, Scope.PROJECT,
    "Public transfer of this month that is still free; where the allowance is the organisation's, this much of it.",
    worse="down", max_series=1,
)  # fmt: skip
NEXT_GB = Metric(
    "neon_transfer_next_gigabyte_usd", Kind.GAUGE, Unit.USD, Scope.PROJECT,
    "What the next GB of public transfer costs: 0 within the allowance, then the rate.", worse="up", max_series=1,
)  # fmt: skip
BRANCHES_LEFT = Metric(
    "neon_branch_allowance_left", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "Child branches still free; a negative number is paid for by the hour.", worse="down", max_series=1,
)  # fmt: skip
HISTORY_DAY = Metric(
    "neon_history_day_usd", Kind.GAUGE, Unit.USD, Scope.PROJECT,
    "What one day of the history window costs a month, taking its days as equal.", worse="up", max_series=1,
)  # fmt: skip
METRICS: tuple[Metric, ...] = (*RATIOS.values(), UNIT_COST, TRANSFER_LEFT, NEXT_GB, BRANCHES_LEFT, HISTORY_DAY)


@dataclass(frozen=True, slots=True)
class Others:
    """Figures of other parts about an organisation; None: not available."""

    tagged: Callable[[], Tagged] | None = None
    forecast_accuracy: Callable[[str], Fraction | None] | None = None
    anomaly_usd: Callable[[str], Fraction | None] | None = None


@dataclass(frozen=True, slots=True)
class WasteAssessment:
    """What the rules of waste saw and found, in one organisation."""

    org_id: str
    account: Account
    findings: Findings


@dataclass(frozen=True, slots=True)
class Figures:
    """The key figures of one organisation."""

    org_id: str
    kpis: tuple[Kpi, ...]
    unit_costs: Mapping[str, Fraction] = field(default_factory=dict)


def figures(
    costs: MonthCosts, counts: Mapping[str, Counts], assessment: WasteAssessment | None, others: Others
) -> tuple[Figures, ...]:
    """The key figures of every organisation with cost in the month."""
    by_org: dict[str, list[Share]] = {}
    for share in costs.shares:
        by_org.setdefault(share.line.org_id, []).append(share)
    found = []
    tagged = others.tagged() if others.tagged else None
    for org, shares in sorted(by_org.items()):
        waste = None
        if assessment is not None and assessment.org_id == org and assessment.findings.cost:
            waste = assessment.findings.total / assessment.findings.cost
        beside = Beside(
            tagged,
            others.forecast_accuracy(org) if others.forecast_accuracy else None,
            others.anomaly_usd(org) if others.anomaly_usd else None,
            waste,
        )
        found.append(Figures(org, ratios(shares, beside), unit_costs(shares, counts.get(org, Counts()))))
    return tuple(found)


def counts_of(ledger: Ledger, tenant_hours: MeasuredHours, costs: MonthCosts) -> dict[str, Counts]:
    """Statements and active hours of the month, by organisation.

    Raises:
        StoreError: the ledger's file cannot be read.
    """
    start, end = costs.month, next_month(costs.month)
    owner = {line.project_id: line.org_id for line in costs.pricing.lines}
    calls: dict[str, int] = {}
    for row in tenant_hours(start, end):
        org = owner.get(row.project_id)
        if org is not None and row.tenant != AGENT:
            calls[org] = calls.get(org, 0) + row.calls
    active: dict[str, set[tuple[str, int]]] = {}
    for fact in ledger.hours(Component.COMPUTE.spec.metric, start, end):
        if fact.branch_id and fact.value:
            active.setdefault(fact.org_id, set()).add((fact.branch_id, fact.start))
    return {org: Counts(calls.get(org), len(active.get(org, ())) or None) for org in set(owner.values())}


def observe(found: Iterable[Figures], assessment: WasteAssessment | None, now: float) -> list[Observation]:
    """One observation for each organisation, and one for each project with an allowance."""
    observations = []
    for figures_of_org in found:
        families = Families()
        for kpi in figures_of_org.kpis:
            if kpi.value is not None:
                families.set(RATIOS[kpi.name], (), float(kpi.value))
        for name, usd in figures_of_org.unit_costs.items():
            families.set(UNIT_COST, (name,), to_decimal(usd))
        observations.append(_ok(Target(Scope.ORG, (figures_of_org.org_id,)), families, now))
    if assessment is not None:
        for project in assessment.account.projects:
            if project.readable:
                families = _head_room(project, assessment.account)
                observations.append(_ok(Target(Scope.PROJECT, (project.id,), project.name), families, now))
    return observations


def _head_room(project: ProjectFacts, account: Account) -> Families:
    families = Families()
    transfer = project.transfer
    if transfer is not None and transfer.allowance is not None:
        left = max(Fraction(), transfer.allowance - transfer.used)
        families.set(TRANSFER_LEFT, (), int(left * GB))
        if transfer.rate is not None:
            families.set(NEXT_GB, (), to_decimal(Fraction() if left else transfer.rate))
    if project.free_branches is not None:
        families.set(BRANCHES_LEFT, (), project.free_branches - project.children)
    restore = sum(
        (
            account.costs.get(Pool(project.id, branch.id, Component.INSTANT_RESTORE), Fraction())
            for branch in project.branches
        ),
        Fraction(),
    )
    if project.history and restore:
        families.set(HISTORY_DAY, (), to_decimal(restore * 86400 / project.history))
    return families


def _ok(target: Target, families: Families, now: float) -> Observation:
    return Observation(COLLECTOR, target, Status.OK, now, families=families)
