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
    from exporter.cost.workspace import Desk
    from exporter.settings import Settings

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
    if settings.ledger.url is None and not settings.ledger.path.exists():
        return refuse(f"ledger.path: {settings.ledger.path} is not there yet; `neonmeter run` fills it")
    try:
        return _months(settings, options) if options.months else _now(settings, options)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Desk, tuple[Budget, ...], Scoping]]:
    from exporter.app.wiring import ROOMS, rules_of
    from exporter.cost.closing.budget_spending import Scoping
    from exporter.cost.closing.budgets import budgets_of, limits_of
    from exporter.cost.tags import Tagging
    from exporter.cost.workspace import open_desk
    from exporter.storage.key_values import Notebook

    with open_desk(settings, ROOMS, rules_of(settings)) as desk:
        scoping = Scoping(desk.names, Tagging(settings.report.tags, desk.names))
        limits = limits_of(Notebook(desk.store), desk.costs.ledger.through().orgs)
        yield desk, budgets_of(settings.budgets, limits), scoping


def _now(settings: Settings, options: argparse.Namespace) -> int:
    from exporter.cost.closing.budget_spending import projections
    from exporter.cost.closing.budgets import judged
    from exporter.cost.closing.close import instant_text
    from exporter.cost.outlook.daily import daily_costs
    from exporter.pricing.domain.rates import day_text

    now = time.time()
    with _opened(settings) as (desk, budgets, scoping):
        if not budgets:
            return _none(options)
        month = desk.costs.month(now, now)
        end = min(month.through, int(now))
        plan = settings.cost.plan
        daily = daily_costs(desk.costs.ledger, desk.costs.card, max(0, end - HISTORY), end, plan=plan)
        ends = projections(daily, month.month, month.through, budgets, scoping)
        states = judged(budgets, desk.costs, month, scoping, ends=ends, plan=plan)
    if options.json:
        print(json.dumps([_as_dict(each) for each in states], indent=2))
    else:
        through = instant_text(month.through)
        print(f"{day_text(month.month)[:7]}, {month.prices}, estimated; data through {through}.\n")
        print(_table(states), end="")
        for each in states:
            if each.reached is not None:
                print(f"{each.budget.name}: {_percent(each.used)} used, past its alert at {_percent(each.reached)}.")
    return FINDINGS if any(each.verdict in ("over", "will be over") for each in states) else OK


def _none(options: argparse.Namespace) -> int:
    if options.json:
        print("[]")
    else:
        print("No budget is set: name some under budgets: in the settings (see `neonmeter config example`).")
    return OK


def _table(states: Sequence[BudgetState]) -> str:
    from exporter.pricing.domain.rates import day_text

    rows: list[tuple[object, ...]] = []
    for each in states:
        at = each.exhausted_at
        burn = each.burn.get("24h")
        pace = None if burn is None else f"{float(burn):.2f}x"
        gone = None if at is None else "used up" if each.verdict == "over" else day_text(at)
        end = None if each.projected is None else _usd(each.projected.usd)
        money = (_usd(each.budget.amount), _usd(each.spent), _percent(each.used), _usd(each.expected))
        scope = f"{each.budget.scope.value} {each.budget.match}"
        method = "" if each.projected is None else each.projected.method
        rows.append((each.budget.name, scope, *money, pace, end, gone, each.verdict, method))
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


def _months(settings: Settings, options: argparse.Namespace) -> int:
    from exporter.cost.closing.budgets import closed_months
    from exporter.pricing.domain.rates import day_text

    with _opened(settings) as (desk, budgets, scoping):
        if not budgets:
            return _none(options)
        found = closed_months(budgets, desk.book, scoping)
    if options.json:
        rows = [{"month": day_text(m)[:7], **_as_dict(each)} for m, states in found.items() for each in states]
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


def _as_dict(each: BudgetState) -> dict[str, object]:
    from exporter.pricing.domain.rates import decimal_text

    budget = each.budget
    return {
        "budget": budget.name,
        "scope": budget.scope.value,
        "match": budget.match,
        "source": budget.source.value,
        "amount": decimal_text(budget.amount),
        "spent": decimal_text(each.spent),
        "used_ratio": decimal_text(each.used),
        "elapsed_ratio": decimal_text(each.elapsed),
        "expected": decimal_text(each.expected),
        "burn_rate": {window: decimal_text(burn) for window, burn in each.burn.items()},
        "forecast": None if each.projected is None else decimal_text(each.projected.usd),
        "forecast_method": None if each.projected is None else each.projected.method,
        "exhausted_at": each.exhausted_at,
        "alert_reached": None if each.reached is None else decimal_text(each.reached),
        "verdict": each.verdict,
    }


def _usd(amount: Fraction) -> str:
    from exporter.cost.closing.text import dollars
    from exporter.cost.domain.close import quantise

    return dollars(quantise(amount))


def _percent(share: Fraction) -> str:
    return f"{float(share):.0%}"
