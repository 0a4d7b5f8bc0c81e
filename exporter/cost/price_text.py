"""A priced dump and the rates in force, for the terminal and as JSON."""

from __future__ import annotations

import json
from fractions import Fraction

from exporter.documents.terminal import counted, table
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine, Pricing
from exporter.pricing.domain.rates import PlanCard, RateCard, decimal_text

_HEADERS = ("plan", "component", "rate", "list", "per", "free", "since", "source", "read")


def pricing_json(pricing: Pricing, currency: str) -> str:
    """Every line of a priced dump; amounts are decimal strings."""
    lines = [
        {
            "project_id": line.project_id,
            "branch_id": line.branch_id,
            "component": line.component.value,
            "quantity": decimal_text(line.quantity),
            "unit": line.unit,
            "rate": line.rate.text if line.rate else None,
            "cost": decimal_text(line.cost),
        }
        for line in pricing.lines
    ]
    return json.dumps({"currency": currency, "total": decimal_text(pricing.total), "lines": lines}, indent=2) + "\n"


def pricing_text(pricing: Pricing) -> str:
    """Every line of a priced dump, the total, and what makes it an estimate."""
    rows = [
        (
            line.project_id,
            line.branch_id,
            line.component.value,
            line.plan,
            _shown(line.quantity),
            line.unit,
            line.rate.text if line.rate else "unknown",
            _shown(line.cost) if line.rate else "unknown",
        )
        for line in pricing.lines
    ]
    headers = ("project", "branch", "component", "plan", "quantity", "unit", "rate", "cost")
    text = table(headers, rows)
    text += f"\nTotal of {counted(len(rows), 'line')}: {decimal_text(pricing.total)} USD\n"
    return text + "".join(f"note: {remark}\n" for remark in _remarks(pricing.lines, bool(pricing.unknown)))


def _shown(amount: Fraction) -> str:
    """Six decimals for the eye, and a mark where that is not all."""
    exact = amount * 10**6
    rounded = Fraction(int(exact + Fraction(1, 2)), 10**6)
    return decimal_text(amount) if exact.denominator == 1 else f"~{decimal_text(rounded)}"


def _remarks(lines: tuple[CostLine, ...], unknown: bool) -> list[str]:
    found = []
    if any(line.lower_bound for line in lines):
        found.append(
            "extra_branches is a lower bound: the allowance is hourly, and a daily or monthly bucket hides busy hours"
        )
    if any(line.spread for line in lines):
        found.append("a monthly bucket reached over a change of price; its usage was spread evenly over its hours")
    if unknown:
        found.append("lines with an unknown rate are not in the total")
    return found


def rates_text(card: RateCard, plans: list[PlanCard], now: int) -> str:
    """The rates and allowances of plans in force at an instant, and what has none."""
    text = f"{card.currency}, in force on {day_text(now)}; from {card.origin}\n\n"
    rows = [row for plan in plans for row in _rows(card, plan, now)]
    if rows:
        text += table(_HEADERS, rows) + "\n"
    for plan in plans:
        for rate in _entries(card, plan, now):
            if rate["rate"] is None:
                text += f"{plan.name} has no rate for {rate['component']}: {rate['why']}.\n"
        if plan.unpriced:
            text += f"{plan.label} ({plan.name}) is not priced: {plan.unpriced}.\n"
    return text


def _rows(card: RateCard, plan: PlanCard, now: int) -> list[tuple[object, ...]]:
    return [
        (
            plan.name,
            rate["component"],
            rate["rate"],
            rate["list_rate"] if rate["list_rate"] != rate["rate"] else None,
            rate["unit"],
            rate["free"],
            rate["valid_from"],
            rate["source"],
            rate["source_date"],
        )
        for rate in _entries(card, plan, now)
    ]


def rates_dict(card: RateCard, plans: list[PlanCard], now: int) -> dict[str, object]:
    """The rates and allowances of plans in force at an instant, as data."""
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
