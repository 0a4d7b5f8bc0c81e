"""`neonmeter budget`: what is spent of each budget, how fast, and where the month will end."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings, refuse
from exporter.documents.terminal import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from exporter.cost.closing.budget_spending import Scoping
    from exporter.cost.domain.budget import Budget, BudgetState
    from exporter.cost.settings import CostTree
    from exporter.cost.workspace import CostWorkspace

HISTORY = 92 * 86400
"""So many seconds of days are forecast from."""


def budget_command(options: argparse.Namespace) -> int:
    """Exit code 1 when a budget is over, or will be."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    if settings.ledger.url is None and not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        return _months(settings, options) if options.months else _now(settings, options)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())


@contextmanager
def _opened(settings: CostTree) -> Iterator[tuple[CostWorkspace, tuple[Budget, ...], Scoping]]:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.closing.budget_spending import Scoping
    from exporter.cost.closing.budgets import budgets_of, limits_of
    from exporter.cost.tags import Tagging
    from exporter.cost.workspace import open_workspace
    from exporter.storage.tables import KeyValueStore
    from exporter.tenancy.rules import rules_of

    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        scoping = Scoping(workspace.names, Tagging(settings.report.tags, workspace.names))
        limits = limits_of(KeyValueStore(workspace.store), workspace.costs.ledger.through().orgs)
        yield workspace, budgets_of(settings.budgets, limits), scoping


def _now(settings: CostTree, options: argparse.Namespace) -> int:
    from exporter.cost.closing.budget_spending import projections
    from exporter.cost.closing.budgets import judged
    from exporter.cost.closing.close import instant_text
    from exporter.cost.outlook.daily import daily_costs
    from exporter.pricing.domain.calendar import day_text

    now = time.time()
    with _opened(settings) as (workspace, budgets, scoping):
        if not budgets:
            return _none(options)
        month = workspace.costs.month(now, now)
        end = min(month.through, int(now))
        plan = settings.cost.plan
        daily = daily_costs(workspace.costs.ledger, workspace.costs.card, max(0, end - HISTORY), end, plan=plan)
        ends = projections(daily, month.month, month.through, budgets, scoping)
        states = judged(budgets, workspace.costs, month, scoping, ends=ends, plan=plan)
    if options.json:
        print(json.dumps([_as_dict(state) for state in states], indent=2))
    else:
        through = instant_text(month.through)
        print(f"{day_text(month.month)[:7]}, {month.prices}, estimated; data through {through}.\n")
        print(_table(states), end="")
        for state in states:
            if state.reached is not None:
                print(f"{state.budget.name}: {_percent(state.used)} used, past its alert at {_percent(state.reached)}.")
    return FINDINGS if any(state.verdict in ("over", "will be over") for state in states) else OK


def _none(options: argparse.Namespace) -> int:
    if options.json:
        print("[]")
    else:
        print("No budget is set: name some under budgets: in the settings (see `neonmeter config example`).")
    return OK


def _table(states: Sequence[BudgetState]) -> str:
    from exporter.pricing.domain.calendar import day_text

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


def _months(settings: CostTree, options: argparse.Namespace) -> int:
    from exporter.cost.closing.budgets import closed_months
    from exporter.pricing.domain.calendar import day_text

    with _opened(settings) as (workspace, budgets, scoping):
        if not budgets:
            return _none(options)
        found = closed_months(budgets, workspace.book, scoping)
    if options.json:
        rows = [{"month": day_text(m)[:7], **_as_dict(state)} for m, states in found.items() for state in states]
        print(json.dumps(rows, indent=2))
        return OK
    if not found:
        print("No month is closed yet; see `neonmeter close`.")
        return OK
    lines = [
        (day_text(m)[:7], s.budget.name, _usd(s.budget.amount), _usd(s.spent), _percent(s.used), s.verdict)
        for m, states in found.items()
        for s in states
    ]
    print(table(("month", "budget", "amount", "spent", "used", ""), lines), end="")
    print("The amounts are the budgets as they are set now.")
    return OK


def _as_dict(budget_state: BudgetState) -> dict[str, object]:
    from exporter.pricing.domain.rates import decimal_text

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
    from exporter.cost.closing.text import dollars
    from exporter.cost.domain.close import quantise

    return dollars(quantise(amount))


def _percent(share: Fraction) -> str:
    return f"{float(share):.0%}"
