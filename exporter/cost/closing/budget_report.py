"""Budgets for the terminal and as JSON: this month, or the closed months."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.cost.closing.budget_collector import HISTORY
from exporter.cost.closing.budget_spending import projections
from exporter.cost.closing.budgets import budget_states, budgets_of, closed_months, limits_of
from exporter.cost.closing.close import instant_text
from exporter.cost.domain.budget import Budget, BudgetState
from exporter.cost.domain.close import quantise
from exporter.cost.outlook.daily import Daily
from exporter.cost.settings import CostTree
from exporter.cost.tags import Scoping, Tagging
from exporter.cost.workspace import CostWorkspace, open_workspace
from exporter.documents.terminal import table
from exporter.documents.text import money
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import decimal_text
from exporter.storage.tables import KeyValueStore

_NONE = "No budget is set: name some under budgets: in the settings (see `neonmeter config example`).\n"


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """Budgets in the present month; without any, ``states`` is empty."""

    month: int = 0
    through: int = 0
    prices: str = ""
    states: Sequence[BudgetState] = ()

    @property
    def over(self) -> bool:
        """Whether a budget is over, or will be at the end of the month."""
        return any(state.verdict in ("over", "will be over") for state in self.states)

    def text(self) -> str:
        """For a person."""
        if not self.states:
            return _NONE
        through = instant_text(self.through)
        text = f"{day_text(self.month)[:7]}, {self.prices}, estimated; data through {through}.\n\n"
        text += _table(self.states)
        for state in self.states:
            if state.reached is not None:
                used, reached = _percent(state.used), _percent(state.reached)
                text += f"{state.budget.name}: {used} used, past its alert at {reached}.\n"
        return text

    def as_list(self) -> list[dict[str, object]]:
        """The same as data; amounts are decimal strings."""
        return [_as_dict(state) for state in self.states]


@dataclass(frozen=True, slots=True)
class ClosedBudgetReport:
    """Budgets as they are set now against the closed months, by the first instant of each."""

    budgets: Sequence[Budget] = ()
    months: Mapping[int, Sequence[BudgetState]] = field(default_factory=dict)
    over: bool = False
    """Of a month that is closed no budget is in danger."""

    def text(self) -> str:
        """For a person."""
        if not self.budgets:
            return _NONE
        if not self.months:
            return "No month is closed yet; see `neonmeter close`.\n"
        lines = [
            (day_text(m)[:7], s.budget.name, _usd(s.budget.amount), _usd(s.spent), _percent(s.used), s.verdict)
            for m, states in self.months.items()
            for s in states
        ]
        text = table(("month", "budget", "amount", "spent", "used", ""), lines)
        return text + "The amounts are the budgets as they are set now.\n"

    def as_list(self) -> list[dict[str, object]]:
        """The same as data, a budget and month each."""
        return [
            {"month": day_text(month)[:7], **_as_dict(state)}
            for month, states in self.months.items()
            for state in states
        ]


@contextmanager
def _opened(settings: CostTree) -> Iterator[tuple[CostWorkspace, tuple[Budget, ...], Scoping]]:
    with open_workspace(settings) as workspace:
        scoping = Scoping(workspace.names, Tagging(settings.report.tags, workspace.names))
        limits = limits_of(KeyValueStore(workspace.store), workspace.costs.ledger.through().orgs)
        yield workspace, budgets_of(settings.budgets, limits), scoping


def read_present_month(settings: CostTree) -> BudgetReport:
    """Every budget in the present month.

    Raises:
        StoreError: the store cannot be used.
        RateCardError: the rate card cannot be used.
    """
    now, plan = time.time(), settings.cost.plan
    with _opened(settings) as (workspace, budgets, scoping):
        if not budgets:
            return BudgetReport()
        month = workspace.costs.month(now, now)
        end = min(month.through, int(now))
        costs = workspace.costs
        daily = Daily(costs.ledger, costs.card, plan=plan).costs(max(0, end - HISTORY), end)
        ends = projections(daily, month.month, month.through, budgets, scoping)
        states = budget_states(budgets, workspace.costs, month, scoping, ends=ends, plan=plan)
    return BudgetReport(month.month, month.through, month.prices, states)


def read_closed_months(settings: CostTree) -> ClosedBudgetReport:
    """Every budget against every closed month.

    Raises:
        StoreError: the store cannot be used.
    """
    with _opened(settings) as (workspace, budgets, scoping):
        return ClosedBudgetReport(budgets, closed_months(budgets, workspace.closed_months, scoping) if budgets else {})


def _table(states: Sequence[BudgetState]) -> str:
    rows: list[tuple[object, ...]] = []
    for state in states:
        at = state.exhausted_at
        burn = state.burn.get("24h")
        pace = None if burn is None else f"{float(burn):.2f}x"
        gone = None if at is None else "used up" if state.verdict == "over" else day_text(at)
        end = None if state.projected is None else _usd(state.projected.usd)
        money = (_usd(state.budget.amount), _usd(state.spent), _percent(state.used), _usd(state.expected))
        scope = f"{state.budget.scope.value} {state.budget.match}"
        method = "" if state.projected is None else state.projected.method
        rows.append((state.budget.name, scope, *money, pace, end, gone, state.verdict, method))
    head = (
        "budget",
        "of",
        "amount",
        "spent",
        "used",
        "even pace",
        "burn 24h",
        "month end",
        "gone on",
        "",
        "worked out by",
    )
    return table(head, rows)


def _as_dict(budget_state: BudgetState) -> dict[str, object]:
    budget = budget_state.budget
    return {
        "budget": budget.name,
        "scope": budget.scope.value,
        "match": budget.match,
        "source": budget.source.value,
        "amount": decimal_text(budget.amount),
        "spent": decimal_text(budget_state.spent),
        "used_ratio": decimal_text(budget_state.used),
        "elapsed_ratio": decimal_text(budget_state.elapsed),
        "expected": decimal_text(budget_state.expected),
        "burn_rate": {window: decimal_text(burn) for window, burn in budget_state.burn.items()},
        "forecast": None if budget_state.projected is None else decimal_text(budget_state.projected.usd),
        "forecast_method": None if budget_state.projected is None else budget_state.projected.method,
        "exhausted_at": budget_state.exhausted_at,
        "alert_reached": None if budget_state.reached is None else decimal_text(budget_state.reached),
        "verdict": budget_state.verdict,
    }


def _usd(amount: Fraction) -> str:
    return money(quantise(amount))


def _percent(share: Fraction) -> str:
    return f"{float(share):.0%}"
