"""The parts of a review that features work out: forecasts, anomalies, budgets, waste, allowances, an invoice.

Each adds to the facts what there is ground for, and nothing else; all of them read only the ledger and the agent's
store, so the same files give the same review.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from exporter.cost.allocation.costs import Costs
from exporter.cost.closing.budget_spending import projections
from exporter.cost.closing.budgets import budget_states, budgets_of, limits_of
from exporter.cost.domain.budget import Projection
from exporter.cost.domain.close import USAGE
from exporter.cost.domain.kpi import Beside, Kpi, ratios
from exporter.cost.domain.outlook.anomaly import Anomaly, Policy
from exporter.cost.domain.outlook.forecast import Forecast
from exporter.cost.outlook.daily import Daily
from exporter.cost.outlook.outlook import HISTORY, Outlook, tenants_behind
from exporter.cost.outlook.store import ForecastStore, StoredForecast
from exporter.cost.savings.store import WasteStore
from exporter.cost.tags import Scoping
from exporter.pricing.domain.calendar import DAY, HOUR, day_text
from exporter.pricing.domain.components import GB, Component
from exporter.pricing.domain.rates import AllowanceScope, RateCard
from exporter.report.facts import (
    AnomalyRow,
    BudgetRow,
    DataFinding,
    Headroom,
    Month,
    Range,
    ReconciliationRow,
    ReviewFacts,
)
from exporter.report.gather import Part
from exporter.report.sources import ReviewSources
from exporter.storage.tables import KeyValueStore

_ZERO = Fraction()
_EXPLAINED = 10
"""Anomalies whose tenants are looked up: the most expensive."""


def add_forecasts(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """The forecast of the month as its first day had it, and of what comes next."""
    del costs
    this, outlook = facts.this, _outlook(sources)
    through = this.through // DAY * DAY
    return replace(
        facts,
        day_one=_range(this.start, _stored(sources, this) or _ahead(outlook, this.start, this.start)),
        next_month=_range(this.end, _ahead(outlook, this.end, through)) if this.complete else None,
        month_end=None if this.complete else _range(this.start, _ahead(outlook, this.start, through)),
    )


@lru_cache(1)
def _outlook(sources: ReviewSources) -> Outlook:
    """One for all parts of a review: it keeps the days that it has priced."""
    policy = sources.settings.anomalies.policy() if sources.settings is not None else Policy()
    measured = sources.weights.tenant_hours
    return Outlook(sources.ledger, sources.card, plan=sources.plan, policy=policy, measured=measured)


def _ahead(outlook: Outlook, month: int, through: int) -> list[Forecast]:
    return list(outlook.month(month, through).orgs.values()) if through > 0 else []


def _stored(sources: ReviewSources, month: Month) -> list[StoredForecast]:
    """What the agent wrote down when the month began."""
    if sources.store is None:
        return []
    first = ForecastStore(sources.store).first(month.start)
    orgs = sorted({row.org_id for row in month.rows})
    # What was first written days into the month was no forecast of day 1.
    late = any(org not in first or first[org].through > month.start + DAY for org in orgs)
    return [] if late else [first[org] for org in orgs]


def _range(month: int, found: Sequence[Forecast | StoredForecast]) -> Range | None:
    """The organisations together. Their ranges are added up: that is wider than the range of their sum."""
    low, likely, high = (sum((getattr(forecast, name) for forecast in found), _ZERO) for name in ("p10", "p50", "p90"))
    if not likely:
        return None
    confidence = max((forecast.confidence for forecast in found), key=_CONFIDENCES.index)
    why = found[0].why if len(found) == 1 and isinstance(found[0], Forecast) else ""
    return Range(month, low, likely, high, confidence, why)


_CONFIDENCES = ("exact", "high", "medium", "low")


def add_anomalies(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """What was unusual in the month, with the dollars that fell into it."""
    del costs
    this = facts.this
    outlook, through = _outlook(sources), this.through // DAY * DAY
    found = [
        anomaly
        for anomaly in outlook.anomalies(through)
        if anomaly.start < this.end and (anomaly.end or through) > this.start
    ]
    before: dict[tuple[str, ...], Fraction] = {}
    if any(anomaly.start < this.start for anomaly in found):
        before = {
            _name(anomaly): anomaly.usd for anomaly in outlook.anomalies(this.start) if anomaly.start < this.start
        }
    rows = []
    for rank, anomaly in enumerate(sorted(found, key=lambda a: (-a.usd, a.start, a.project_id, a.branch_id))):
        usd = max(_ZERO, anomaly.usd - before.get(_name(anomaly), _ZERO))
        causes = tenants_behind(anomaly, sources.weights.tenant_hours) if rank < _EXPLAINED else []
        why = anomaly.why + (f"; most of it {causes[0].tenant}" if causes else "")
        end = min(anomaly.end or through, this.end)
        rows.append(
            AnomalyRow(
                anomaly.start, end, anomaly.project_id, anomaly.branch_id, anomaly.component, usd, why, anomaly.kind
            )
        )
    return replace(facts, anomalies=tuple(rows))


def _name(anomaly: Anomaly) -> tuple[str, ...]:
    return (anomaly.project_id, anomaly.branch_id, anomaly.component, str(anomaly.start))


def add_budgets(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """The budgets of the settings, and Neon's own spending limits."""
    this = facts.this
    if sources.settings is None or sources.store is None:
        return facts
    limits = limits_of(KeyValueStore(sources.store), sources.ledger.through().orgs)
    budgets = budgets_of(sources.settings.budgets, limits)
    if not budgets:
        return facts
    scoping = Scoping(facts.names, facts.tagging)
    ends: Mapping[str, Projection] = {}
    if not this.complete:
        days = Daily(sources.ledger, sources.card, plan=sources.plan).costs(max(0, this.start - HISTORY), this.through)
        ends = projections(days, this.start, this.through, budgets, scoping)
    metered = sum((line.cost for line in this.costs.pricing.lines), _ZERO)
    rows = tuple(
        BudgetRow(
            budget_state.budget.name,
            f"{budget_state.budget.scope.value} {budget_state.budget.match}",
            budget_state.budget.amount,
            budget_state.spent,
            budget_state.projected.usd if budget_state.projected and not this.complete else None,
            whole=budget_state.spent == metered,
        )
        for budget_state in budget_states(budgets, costs, this.costs, scoping, ends=ends, plan=sources.plan)
    )
    note = "Against the metered cost; credits, taxes and other declared lines are not in a budget."
    declared = any(row.kind != USAGE for row in this.rows)
    return replace(facts, budgets=rows, notes={**facts.notes, "budgets": note} if declared else facts.notes)


def add_waste(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """What the agent found to be waste, at its last look in the month (or at the start of the one after)."""
    del costs
    stored = WasteStore(KeyValueStore(sources.store)).of(facts.this.start) if sources.store is not None else None
    if stored is None:
        return facts
    rows = tuple(waste for waste in stored.found if waste.usd_per_month)
    note = f"As found on {day_text(stored.at)}, at the pace of the days before it."
    return replace(facts, waste=rows, waste_cost=stored.cost, notes={**facts.notes, "waste": note})


def add_headroom(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """How far the free transfer and the free branches went, and what the next unit costs."""
    del costs
    return replace(facts, headroom=tuple(_headroom(facts.this, sources.card)))


def _headroom(month: Month, card: RateCard) -> Iterator[Headroom]:
    hours = max(1, (month.through - month.start) // HOUR)
    transfer: dict[tuple[str, str], tuple[Fraction, str]] = {}
    branches: dict[tuple[str, str], tuple[Fraction, str]] = {}
    at = max(month.start, min(month.through, month.end) - HOUR)
    for line in month.costs.pricing.lines:
        allowance = card.allowance(line.plan, line.component, at)
        if allowance is None:
            continue
        if line.component is Component.PUBLIC_TRANSFER:
            owner = (line.org_id, "" if allowance.scope is AllowanceScope.ORG else line.project_id)
            before = transfer.get(owner, (_ZERO, line.plan))
            transfer[owner] = (before[0] + Fraction(line.usage, GB), max(before[1], line.plan))
        elif line.component is Component.EXTRA_BRANCHES:
            owner = (line.org_id, line.project_id)
            before = branches.get(owner, (_ZERO, line.plan))
            branches[owner] = (before[0] + Fraction(line.usage, hours), max(before[1], line.plan))
    for component, unit, found in (
        (Component.PUBLIC_TRANSFER, "GB in the month", transfer),
        (Component.EXTRA_BRANCHES, "child branches on average", branches),
    ):
        yield from _ranked(card, at, (component, unit), found)


def _ranked(
    card: RateCard, at: int, what: tuple[Component, str], found: Mapping[tuple[str, str], tuple[Fraction, str]]
) -> Iterator[Headroom]:
    component, unit = what
    for (org, project), (used, plan) in sorted(found.items(), key=lambda item: (-item[1][0], item[0])):
        allowance, rate = card.allowance(plan, component, at), card.rate(plan, component, at)
        if allowance is not None and rate is not None:
            free = Fraction(allowance.quantity)
            yield Headroom(component, org, project, used, free, unit, rate.amount if used >= free else _ZERO)


def add_reconciliation(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """The closed month against the invoice that was entered."""
    del sources, costs
    statement = facts.this.booked.statement if facts.this.booked else None
    if not statement:
        return facts
    rows = tuple(
        ReconciliationRow(line["line"], Fraction(line["ours"]), Fraction(line["invoice"]), line["why"] or line["cause"])
        for line in statement["lines"]
    )
    variance = Fraction(statement["variance"])
    finding = (
        DataFinding("good", "The month agrees with its invoice to the cent.")
        if not variance
        else DataFinding(
            "warn", f"The invoice differs by ${float(variance):,.2f}.", "See the comparison with it below."
        )
    )
    return replace(facts, reconciliation=rows, findings=(*facts.findings, finding))


def add_key_figures(sources: ReviewSources, costs: Costs, facts: ReviewFacts) -> ReviewFacts:
    """The key figures of the whole month, over all organisations; after the parts that they are made of."""
    del sources, costs
    metered = sum((line.cost for line in facts.this.costs.pricing.lines), _ZERO)
    accuracy = None
    if facts.day_one is not None and facts.this.complete and metered:
        accuracy = max(_ZERO, 1 - abs(facts.day_one.p50 - metered) / metered)
    required = set(facts.required_tags)

    def tagged(project: str, branch: str) -> bool:
        return required <= facts.tagging.of(project, branch).keys()

    waste = None
    if facts.waste_cost:
        waste = sum((row.usd_per_month for row in facts.waste), _ZERO) / facts.waste_cost
    beside = Beside(
        tagged if facts.tagging.keys and required else None,
        accuracy,
        sum((row.usd for row in facts.anomalies), _ZERO) if metered else None,
        waste,
    )
    found = ratios(facts.this.costs.shares, beside)
    return replace(facts, kpis=tuple(_of_this_month(kpi) for kpi in found))


def _of_this_month(kpi: Kpi) -> Kpi:
    """The agent's figure is of the last whole month; that of a review is of its own."""
    if kpi.name != "forecast_accuracy":
        return kpi
    return replace(kpi, why="1 less the error of the forecast of the month as its first day had it")


PARTS: tuple[Part, ...] = (
    add_forecasts,
    add_anomalies,
    add_budgets,
    add_waste,
    add_headroom,
    add_reconciliation,
    add_key_figures,
)
"""In the order in which they are added to the facts."""
