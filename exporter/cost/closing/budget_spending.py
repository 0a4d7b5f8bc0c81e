"""What each budget's scope has cost, so far and in the newest hours, and where its month is heading.

Spending is the month's shares, as everywhere. The newest windows are priced by themselves: egress past its allowance at
its rate, since an allowance is monthly; and of each line in them everyone has the part that it had in the month so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from exporter.cost.allocation.costs import Costs, MonthCosts
from exporter.cost.domain.budget import WINDOWS, Budget, Projection, Scope, Spending
from exporter.cost.domain.outlook.forecast import forecast
from exporter.cost.outlook.daily import DailyCosts
from exporter.cost.tags import Part, Scoping
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine, price

LineOf = tuple[str, str, str, str]
"""Organisation, project, branch, component."""


def spending(
    costs: Costs, month: MonthCosts, budgets: Iterable[Budget], scoping: Scoping, *, plan: str | None = None
) -> dict[str, Spending]:
    """By name of the budget. ``plan`` is ``cost.plan``.

    Raises:
        StoreError: the ledger cannot be read.
    """
    parts: dict[Part, Fraction] = {}
    below: dict[LineOf, dict[Part, Fraction]] = {}
    for share in month.shares:
        line = share.line
        part = (line.org_id, line.project_id, share.branch_id, share.tenant)
        parts[part] = parts.get(part, Fraction()) + share.cost
        held = below.setdefault(_line_of(line), {})
        held[part] = held.get(part, Fraction()) + share.cost
    windows = {name: _window(costs, month, seconds, plan) for name, seconds in WINDOWS.items()}
    found = {}
    for budget in budgets:
        spent = sum((cost for part, cost in parts.items() if scoping.covers(budget, part)), Fraction())
        recent = {
            name: sum((usd * _own(budget, line, below, scoping) for line, usd in lines), Fraction())
            for name, lines in windows.items()
            if lines is not None
        }
        found[budget.name] = Spending(month.month, month.through, spent, recent)
    return found


def _line_of(line: CostLine) -> LineOf:
    return (line.org_id, line.project_id, line.branch_id, line.component.value)


def _window(costs: Costs, month: MonthCosts, seconds: int, plan: str | None) -> list[tuple[CostLine, Fraction]] | None:
    """Lines of the newest hours with their USD; None when the data does not reach back that far."""
    end = month.through // HOUR * HOUR
    start = end - seconds
    first = start // DAY * DAY
    if month_start(max(0, end - 1)) != month.month or not costs.ledger.revisions(first, first + DAY):
        return None
    so_far: dict[LineOf, Fraction] = {}
    for line in month.pricing.lines:
        so_far[_line_of(line)] = so_far.get(_line_of(line), Fraction()) + line.cost
    rows = []
    for line in price(costs.ledger.window(start, end), costs.card, plan=plan).lines:
        usd = line.cost
        if line.component.spec.monthly_allowance and line.rate is not None:
            gross = Fraction(line.usage, line.component.spec.per_unit(start)) * line.rate.amount
            usd = min(so_far.get(_line_of(line), Fraction()), gross)
        rows.append((line, usd))
    return rows


def _own(budget: Budget, line: CostLine, below: Mapping[LineOf, Mapping[Part, Fraction]], scoping: Scoping) -> Fraction:
    """The part of a line that a budget is for: as in the month so far, or by its ids where that says nothing."""
    parts = below.get(_line_of(line), {})
    whole = sum(parts.values(), Fraction())
    if not whole:
        return Fraction(scoping.covers(budget, (line.org_id, line.project_id, line.branch_id, "")))
    return sum((cost for part, cost in parts.items() if scoping.covers(budget, part)), Fraction()) / whole


def projections(
    daily: DailyCosts, month: int, through: int, budgets: Iterable[Budget], scoping: Scoping
) -> dict[str, Projection]:
    """Where the months of budgets end, by name; a tenant has no daily series of its own, so it is not here."""
    found = {}
    for budget in budgets:
        if budget.scope is Scope.TENANT:
            continue
        flow, level = _days(daily, budget, scoping)
        if not flow and not level:
            continue
        parts = [forecast(flow, month, through, "flow")] if flow else []
        parts += [forecast(level, month, through, "level")] if level else []
        method = max((part.method for part in parts), key=len)
        found[budget.name] = Projection(sum((part.p50 for part in parts), Fraction()), f"forecast ({method})")
    return found


def _days(daily: DailyCosts, budget: Budget, scoping: Scoping) -> tuple[dict[int, Fraction], dict[int, Fraction]]:
    """USD by day of what flows and of what is a level. Usage is summed first: a price is multiplied once a day."""
    sums: dict[tuple[Component, str], dict[int, int]] = {}
    prices = {}
    for key, series in daily.items():
        if not scoping.covers(budget, (key.org_id, key.project_id, key.branch_id, "")):
            continue
        usage = series.usage if series.past is None else series.past
        for index, day in enumerate(series):
            amounts = sums.setdefault((key.component, series.plan(day)), {})
            amounts[day] = amounts.get(day, 0) + usage[index]
        prices[key.component] = series.unit_price
    flow: dict[int, Fraction] = {}
    level: dict[int, Fraction] = {}
    for (component, plan), days in sums.items():
        into = level if component.spec.stored else flow
        for day, amount in days.items():
            if day in daily.read:
                into[day] = into.get(day, Fraction()) + amount * prices[component](plan, day)
    return flow, level
