"""Why a line of the invoice differs from ours: worked out from the figures alone.

An equal quantity with another amount is a price, an equal price with another quantity is usage. It is a lead for a
person, with the figures that it rests on, not a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.close import InvoiceLine
from exporter.pricing.domain.calendar import day_text, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import Rate, RateCard, decimal_text

_SAME = Fraction(1, 2000)
"""Quantities this near (relatively) are the same figure, printed with fewer digits."""


class Cause(StrEnum):
    """Why a line differs."""

    NONE = "none"
    ROUNDING = "rounding"
    RATE = "rate"
    PLAN = "plan"
    ALLOWANCE = "allowance"
    LATE = "late_data"
    LESS = "less_usage"
    UNPRICED = "unpriced"
    PROJECT = "missing_project"
    OURS_ONLY = "not_invoiced"
    UNKNOWN = "unknown_line"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """One line of an invoice, as its file has it. ``quantity`` is in our unit of the component."""

    number: int
    """The line of the file."""
    description: str
    components: tuple[Component, ...]
    """Empty when it is no metered charge."""
    amount: Fraction
    quantity: Fraction | None = None
    org_id: str = ""
    project_id: str = ""


class Context(NamedTuple):
    """What explains a difference beside the figures."""

    month: int
    card: RateCard
    through: int
    """Up to when the usage had been read."""


class ComparedUsage(NamedTuple):
    """One thing that both sides have a figure for."""

    org_id: str
    components: tuple[Component, ...]
    project_id: str
    lines: tuple[InvoiceLine, ...]
    rows: tuple[InvoiceRow, ...]


class Figures(NamedTuple):
    """What both sides say of one thing: cents, and quantities where all lines have one."""

    ours: int
    invoice: int
    our_quantity: Fraction | None
    invoice_quantity: Fraction | None


def likely_cause(  # noqa: PLR0911 - one answer a cause
    side: ComparedUsage, figures: Figures, context: Context
) -> tuple[Cause, str]:
    """Why the two differ, and a sentence for a person with the figures that say so."""
    _, _, mine, theirs = figures
    variance = figures.invoice - figures.ours
    if not variance:
        return Cause.NONE, ""
    if not side.lines and side.project_id:
        known = "see neon.include, neon.exclude, and what the API key may read"
        return Cause.PROJECT, f"project {side.project_id} is not in the ledger: {known}"
    unpriced = sorted({line.key.plan for line in side.lines if not line.key.rate})
    if unpriced:
        return Cause.UNPRICED, f"no price for plan {', '.join(unpriced)}: add it in the file of cost.rate_card"
    if not side.rows:
        return Cause.OURS_ONLY, "the invoice has no such line; later it may, or its plan does not charge for it"
    if abs(variance) <= max(1, len(side.rows)):
        return Cause.ROUNDING, "a cent of rounding"
    if not side.lines:
        return Cause.LATE, f"the ledger has no such usage of the month; {_through(context)}"
    if theirs is None or mine is None:
        return Cause.AMOUNT, "the invoice gives no quantity, so price and usage cannot be separated"
    same = abs(theirs - mine) <= max(abs(mine), abs(theirs)) * _SAME
    charged = Fraction(figures.invoice, 100) / theirs if theirs else Fraction()
    if same or not _near_rate(charged, side, theirs):
        found = _price(side, charged, theirs, context)
        if found is not None:
            return found
    return _usage(side, mine, theirs, context)


def _near_rate(charged: Fraction, side: ComparedUsage, quantity: Fraction) -> bool:
    if not quantity:
        return True
    rates = [Fraction(line.key.rate) for line in side.lines]
    slack = Fraction(1, 100) / abs(quantity) + charged * _SAME
    return min(rates) - slack <= charged <= max(rates) + slack


def _price(side: ComparedUsage, charged: Fraction, quantity: Fraction, context: Context) -> tuple[Cause, str] | None:
    """The prices differ: another plan's, another day's of the same plan, or one that we do not know."""
    if not quantity:
        return None
    slack = Fraction(1, 100) / abs(quantity) + charged * _SAME
    plans = {line.key.plan for line in side.lines}
    ours = ", ".join(f"{line.key.rate} ({_since(line, side, context)})" for line in side.lines)
    shown = decimal_text(round(charged, 6))
    known: list[Rate] = []
    for _, plan in sorted(context.card.plans.items()):
        known += [r for c in side.components for r in plan.rates.get(c, ()) if abs(r.amount - charged) <= slack]
    for rate in known:
        if rate.plan in plans:
            return (
                Cause.RATE,
                f"the invoice charges {shown}, our rate since {day_text(rate.valid_from)}; we used {ours}",
            )
    if len(plans) > 1 and len({line.key.rate for line in side.lines}) > 1:
        return (
            Cause.PLAN,
            f"the plan changed in the month ({', '.join(sorted(plans))}); the invoice charges {shown} on average",
        )
    if known:
        return (
            Cause.PLAN,
            f"the invoice charges {shown}, the rate of {known[0].plan}; we priced {ours}: did the plan change?",
        )
    return Cause.RATE, f"the invoice charges {shown}; our rate is {ours}: put a contract price in cost.rate_card"


def _since(line: InvoiceLine, side: ComparedUsage, context: Context) -> str:
    rates = [
        context.card.rate(line.key.plan, component, at)
        for component in side.components
        for at in (context.month, next_month(context.month) - 1)
    ]
    for rate in rates:
        if rate is not None and rate.text == line.key.rate:
            return f"{line.key.plan}, since {day_text(rate.valid_from)}, {rate.source.name}"
    return line.key.plan


def _usage(side: ComparedUsage, mine: Fraction, theirs: Fraction, context: Context) -> tuple[Cause, str]:
    unit, component = side.lines[0].unit, side.components[0]
    figures = f"the invoice has {_figure(theirs)} {unit}, we have {_figure(mine)}"
    spec = component.spec
    divisor = spec.per_unit(context.month)
    before = sum((Fraction(line.usage, divisor) for line in side.lines), Fraction())
    if before and spec.allowance:
        if abs(before - theirs) <= before * _SAME:
            return Cause.ALLOWANCE, f"{figures}: the invoice took no allowance off"
        plan = side.lines[0].key.plan
        free = context.card.allowance(plan, component, context.month)
        step = Fraction(free.quantity) if free and spec.monthly_allowance else Fraction()
        taken = (before - theirs) / step if step else Fraction()
        if free and step and taken and taken.denominator == 1:
            off = f"the invoice took off {_figure(before - theirs)} {unit}, we took off {_figure(before - mine)}"
            scope = f"({free.quantity} GB per {free.scope.value})"
            return Cause.ALLOWANCE, f"{figures}: {off} {scope}; the scope of the allowance differs"
    if any(line.lower_bound for line in side.lines):
        return Cause.LATE, f"{figures}: only daily counts were left of some days, so ours is a lower bound"
    if theirs > mine:
        return Cause.LATE, f"{figures}: usage that came late or was never read; {_through(context)}"
    return (
        Cause.LESS,
        f"{figures}: Neon took usage back, or bills it elsewhere; read the month again, then --corrections",
    )


def _through(context: Context) -> str:
    end = next_month(context.month)
    if context.through >= end:
        return "the ledger was read to the end of the month: read it again, then `--corrections`"
    return f"the ledger was read through {day_text(context.through)} only" if context.through else "nothing was read"


def _figure(amount: Fraction) -> str:
    return decimal_text(round(amount, 4))
