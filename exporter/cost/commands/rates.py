"""`neonmeter rates show` and `rates check`: what usage is priced by, where that was read, and whether to trust it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings
from exporter.documents.terminal import counted, table

if TYPE_CHECKING:
    from exporter.pricing.domain.rates import PlanCard, RateCard


def show_command(options: argparse.Namespace) -> int:
    """The rates and allowances in force on a day, with their sources."""
    from exporter.pricing.domain.rates import plan_named

    card, now = _card(options), _day(options.at)
    if card is None or now is None:
        return USAGE
    plans = [plan for plan in card.plans.values() if not plan.unpriced]
    if options.plan:
        chosen = card.plans.get(plan_named(options.plan))
        if chosen is None:
            known = ", ".join(card.plans)
            print(f"--plan: there is no plan {options.plan!r}; use one of {known}", file=sys.stderr)
            return USAGE
        plans = [chosen]
    if options.json:
        print(json.dumps(_json(card, plans, now), indent=2))
        return OK
    _print(card, plans, now)
    if not options.plan:
        unpriced = ", ".join(plan.name for plan in card.plans.values() if plan.unpriced)
        print(f"\nWithout prices: {unpriced}.")
        print("Usage without a rate is told as pricing unknown, never taken as free.")
        print("On the command line and in cost.plan, launch means launch_v3 and scale means scale_v3; from the API,")
        print("launch and scale are the older plans with a fixed fee.")
    return OK


def _print(card: RateCard, plans: list[PlanCard], now: int) -> None:
    from exporter.pricing.domain.calendar import day_text

    print(f"{card.currency}, in force on {day_text(now)}; from {card.origin}\n")
    rows = [row for plan in plans for row in _rows(card, plan, now)]
    if rows:
        print(table(_HEADERS, rows))
    for plan in plans:
        for entry in _entries(card, plan, now):
            if entry["rate"] is None:
                print(f"{plan.name} has no rate for {entry['component']}: {entry['why']}.")
        if plan.unpriced:
            print(f"{plan.label} ({plan.name}) is not priced: {plan.unpriced}.")


def check_command(options: argparse.Namespace) -> int:
    """Findings, one line each; none is the exit code 0."""
    from exporter.pricing.check import findings
    from exporter.pricing.domain.calendar import day_text
    from exporter.pricing.ratecard import RateCardError, load

    settings, now = load_settings(options), _day(options.at)
    if settings is None or now is None:
        return USAGE
    try:
        card = load(settings.cost.rate_card)
    except RateCardError as problem:
        print(problem)
        return FINDINGS
    found = findings(card, now, options.max_age)
    for name in found:
        print(name)
    if found:
        print(f"{counted(len(found), 'finding')} on {day_text(now)} in {card.origin}")
        return FINDINGS
    plans = [plan for plan in card.plans.values() if not plan.unpriced]
    rates = sum(len(history) for plan in plans for history in plan.rates.values())
    print(f"sound on {day_text(now)}: {counted(rates, 'rate')} of {counted(len(plans), 'plan')} in {card.origin}")
    return OK


def _card(options: argparse.Namespace) -> RateCard | None:
    from exporter.pricing.ratecard import RateCardError, load

    settings = load_settings(options)
    if settings is None:
        return None
    try:
        return load(settings.cost.rate_card)
    except RateCardError as problem:
        print(problem, file=sys.stderr)
        return None


def _day(text: str | None) -> int | None:
    from exporter.pricing.domain.calendar import day_seconds

    if text is None:
        return int(time.time())
    try:
        return day_seconds(text)
    except ValueError:
        print(f"--at: {text} is no day; write it as 2026-05-01", file=sys.stderr)
        return None


_HEADERS = ("plan", "component", "rate", "list", "per", "free", "since", "source", "read")


def _rows(card: RateCard, plan: PlanCard, now: int) -> list[tuple[object, ...]]:
    return [
        (
            plan.name,
            entry["component"],
            entry["rate"],
            entry["list_rate"] if entry["list_rate"] != entry["rate"] else None,
            entry["unit"],
            entry["free"],
            entry["valid_from"],
            entry["source"],
            entry["source_date"],
        )
        for entry in _entries(card, plan, now)
    ]


def _json(card: RateCard, plans: list[PlanCard], now: int) -> dict[str, object]:
    from exporter.pricing.domain.calendar import day_text

    return {
        "currency": card.currency,
        "at": day_text(now),
        "origin": card.origin,
        "plans": {
            plan.name: {
                "label": plan.label,
                "unpriced": plan.unpriced or None,
                "rates": [] if plan.unpriced else _entries(card, plan, now),
            }
            for plan in plans
        },
    }


def _entries(card: RateCard, plan: PlanCard, now: int) -> list[dict[str, object]]:
    from exporter.pricing.domain.calendar import day_text
    from exporter.pricing.domain.components import Component
    from exporter.pricing.domain.rates import decimal_text

    found: list[dict[str, object]] = []
    for component in Component if not plan.unpriced else ():
        rate, free = card.rate(plan.name, component, now), card.allowance(plan.name, component, now)
        found.append(
            {
                "component": component.value,
                "rate": rate.text if rate else None,
                "list_rate": decimal_text(rate.list_amount) if rate else None,
                "unit": component.spec.unit,
                "free": f"{free.quantity} {free.unit} per {free.scope}" if free else None,
                "valid_from": day_text(rate.valid_from) if rate else None,
                "source": rate.source.name if rate else None,
                "source_date": rate.source.date if rate else None,
                "why": None if rate else plan.not_offered.get(component, "the card has none"),
            }
        )
    return found
