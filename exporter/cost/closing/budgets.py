"""Budgets of the settings and of Neon: how each stands in a month, and their series.

Neon's own spending limit is one budget more, named after its organisation; it is read now and then and remembered, so
that the command knows it without asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.cost.allocation.costs import Costs, MonthCosts
from exporter.cost.closing.budget_spending import spending
from exporter.cost.closing.store import CloseStore
from exporter.cost.domain.budget import Budget, BudgetState, Projection, Source, Spending, state
from exporter.cost.domain.budget import Scope as BudgetScope
from exporter.cost.domain.close import USAGE
from exporter.cost.settings import BudgetSettings
from exporter.cost.tags import Scoping
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.tables import KeyValueStore

COLLECTOR = "budget"
PAGE = "spending_limit"
_MOST = 100


def _metric(name: str, unit: Unit, text: str, *labels: str, worse: str = "", series: int = _MOST) -> Metric:
    return Metric(
        f"neon_budget_{name}", Kind.GAUGE, unit, Scope.AGENT, text, ("budget", *labels), worse=worse, max_series=series
    )


INFO = _metric("info", Unit.NONE, "What the budget is for, and who set it (settings, neon).", "scope", "source")
BUDGET = _metric("usd", Unit.USD, "The budget of this calendar month (UTC).")
SPENT = _metric("spent_usd", Unit.USD, "List cost of the month so far of what the budget is for.", worse="up")
EXPECTED = _metric("expected_usd", Unit.USD, "What would be spent by now at an even pace.")
BURN = _metric(
    "burn_rate_ratio",
    Unit.RATIO,
    "Spending in the newest window over what the budget allows for its length: 1 is exactly the budget.",
    "window",
    worse="up",
    series=3 * _MOST,
)
FORECAST = _metric("forecast_usd", Unit.USD, "Forecast of the cost of the month.", worse="up")
EXHAUSTION = _metric(
    "exhaustion_timestamp_seconds",
    Unit.TIMESTAMP,
    "When the budget will be used up in this month, or was seen to be; absent when it lasts.",
    worse="down",
)
METRICS: tuple[Metric, ...] = (INFO, BUDGET, SPENT, EXPECTED, BURN, FORECAST, EXHAUSTION)


def budgets_of(declared: Iterable[BudgetSettings], limits: Mapping[str, int | None]) -> tuple[Budget, ...]:
    """All budgets: those of the settings, then Neon's spending limits (US cents by organisation)."""
    made = [
        Budget(
            name=settings.name,
            amount=Fraction(settings.amount),
            scope=BudgetScope(settings.scope),
            match=settings.match,
            alerts=tuple(sorted(Fraction(str(alert)) for alert in settings.alerts)),
        )
        for settings in declared
    ]
    names = {budget.name for budget in made}
    for org, cents in sorted(limits.items()):
        if cents:
            name = f"Neon spending limit of {org}"
            if name not in names:
                alerts = (Fraction(4, 5), Fraction(1))
                made.append(Budget(name, Fraction(cents, 100), match=org, source=Source.NEON, alerts=alerts))
    return tuple(made)


def limits_of(key_values: KeyValueStore, orgs: Iterable[str]) -> dict[str, int | None]:
    """Neon's spending limits as last read, by organisation.

    Raises:
        StoreError: the file is damaged.
    """
    found: dict[str, int | None] = {}
    for org in orgs:
        remembered = key_values.read(PAGE, org)
        if remembered is not None:
            cents = remembered.get("cents")
            found[org] = cents if isinstance(cents, int) else None
    return found


def remember_limit(key_values: KeyValueStore, org_id: str, cents: int | None, at: float) -> None:
    """Remember a limit of Neon; US cents, or None for no limit.

    Raises:
        StoreError: the disk is full or the file damaged.
    """
    key_values.write(PAGE, org_id, {"cents": cents, "read_at": int(at)})


def budget_states(
    budgets: Sequence[Budget],
    costs: Costs,
    month: MonthCosts,
    scoping: Scoping,
    *,
    ends: Mapping[str, Projection] | None = None,
    plan: str | None = None,
) -> tuple[BudgetState, ...]:
    """Every budget in this month, in their order; ``ends`` are forecasts by name (see ``projections``).

    Raises:
        StoreError: the ledger cannot be read.
    """
    if not budgets:
        return ()
    spent = spending(costs, month, budgets, scoping, plan=plan)
    known = ends or {}
    return tuple(state(budget, spent[budget.name], known.get(budget.name)) for budget in budgets)


def closed_months(budgets: Sequence[Budget], store: CloseStore, scoping: Scoping) -> dict[int, tuple[BudgetState, ...]]:
    """The closed months with their corrections against the budgets as they are now, by month.

    Raises:
        StoreError: the closed months cannot be read.
    """
    found = {}
    for month in store.months():
        cents: dict[tuple[str, str, str, str], int] = {}
        through = 0
        for booking in store.of(month):
            through = max(through, booking.through)
            for line in (invoice_line for invoice_line in booking.lines if invoice_line.key.kind == USAGE):
                for allocation in line.allocations:
                    part = (line.key.org_id, *allocation.path)
                    cents[part] = cents.get(part, 0) + allocation.cents
        states = []
        for budget in budgets:
            spent = Fraction(sum(own for part, own in cents.items() if scoping.covers(budget, part)), 100)
            states.append(state(budget, Spending(month, through, spent), Projection(spent, "closed")))
        found[month] = tuple(states)
    return found


def observe(states: Sequence[BudgetState], now: float) -> list[Observation]:
    """The series of the budgets; the first hundred, so that the labels stay bounded."""
    families = Families()
    for budget_state in states[:_MOST]:
        name = (budget_state.budget.name,)
        families.set(INFO, (*name, budget_state.budget.scope.value, budget_state.budget.source.value), 1)
        families.set(BUDGET, name, to_decimal(budget_state.budget.amount))
        families.set(SPENT, name, to_decimal(budget_state.spent))
        families.set(EXPECTED, name, to_decimal(budget_state.expected))
        for window, burn in budget_state.burn.items():
            families.set(BURN, (*name, window), float(burn))
        if budget_state.projected is not None:
            families.set(FORECAST, name, to_decimal(budget_state.projected.usd))
        if budget_state.exhausted_at is not None:
            families.set(EXHAUSTION, name, budget_state.exhausted_at)
    return [Observation(COLLECTOR, Target(Scope.AGENT, ()), Status.OK, now, families=families, rows=len(states))]
