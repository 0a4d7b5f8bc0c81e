"""Rate cards: what a plan charges for a component on a given day, and what it gives for free.

Neon's API returns usage and never prices, so the prices are a dated data file (``exporter/pricing/neon.json``) and this
is its pure form: no file, no clock. Amounts are exact fractions inside and decimal strings at the edge; a float never
touches them. A question the card cannot answer is answered with ``None``, never with a guess.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TypeVar

from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.components import Component

PLAN_NAMES: Mapping[str, str] = {
    "free": "free_v3",
    "launch": "launch_v3",
    "scale": "scale_v3",
    "enterprise": "direct_sales_v3",
}
"""The plan that a person means by a name, and its subscription type. What the API means by one has a date and stands in
the rate card (``names``)."""


def plan_named(text: str) -> str:
    """The subscription type that a person means: ``Scale`` and ``scale_v3`` are both ``scale_v3``.

    For what a person writes (``cost.plan``, ``--plan``) only; for what the API says see :meth:`RateCard.plan_of`.
    """
    return PLAN_NAMES.get(text.strip().lower(), text.strip())


class AllowanceScope(StrEnum):
    """Whose usage is pooled before the allowance is taken off."""

    ORG = "org"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure was read and when: a name a person can look up, and a day (YYYY-MM-DD)."""

    name: str
    date: str


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per unit of a component from a day on, until the next rate of the same plan and component."""

    plan: str
    component: Component
    amount: Fraction
    valid_from: int
    """Unix seconds, 00:00 UTC."""
    source: Source
    listed: Fraction | None = None
    """The list price beside a contract price; None where the amount is the list price."""

    @property
    def list_amount(self) -> Fraction:
        """What the public list asks for the same unit; ``amount`` is what is paid."""
        return self.amount if self.listed is None else self.listed

    @property
    def unit(self) -> str:
        """What the amount is per."""
        return self.component.spec.unit

    @property
    def text(self) -> str:
        """The amount as a decimal string."""
        return decimal_text(self.amount)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is free: child branches at any time, or GB per billing month and scope."""

    plan: str
    component: Component
    quantity: int
    scope: AllowanceScope
    valid_from: int
    source: Source

    @property
    def unit(self) -> str:
        """What the quantity counts."""
        rule = self.component.spec.allowance
        return rule.unit if rule else self.component.spec.unit


@dataclass(frozen=True, slots=True)
class Discount:
    """A share off the list price of a plan's component from a day on: 0 to 1."""

    component: Component
    share: Fraction
    valid_from: int
    source: Source


@dataclass(frozen=True, slots=True)
class DatedUnit:
    """What one whole number of the API counts, for the buckets of a component from a day on."""

    unit: str
    valid_from: int
    source: Source


@dataclass(frozen=True, slots=True)
class DatedName:
    """The subscription type that the API means by a plan's name, from a day on."""

    plan: str
    valid_from: int
    source: Source


@dataclass(frozen=True, slots=True)
class PlanSpan:
    """The plan of projects (globs over ids) from a day on, for where the API does not tell one that has prices."""

    org: str
    project: str
    plan: str
    valid_from: int
    source: Source


@dataclass(frozen=True, slots=True)
class PlanCard:
    """One plan by its subscription type. ``unpriced`` holds the reason when its prices are not public."""

    name: str
    label: str
    rates: Mapping[Component, tuple[Rate, ...]] = field(default_factory=dict)
    allowances: Mapping[Component, tuple[Allowance, ...]] = field(default_factory=dict)
    unpriced: str = ""
    discounts: Mapping[Component, tuple[Discount, ...]] = field(default_factory=dict)
    """What an override takes off the list; ``contracted`` turns it into rates."""
    not_offered: Mapping[Component, str] = field(default_factory=dict)
    """Why a component has no rate on this plan, where that is meant so."""
    like: str = ""
    """The plan whose list prices and allowances this one starts from."""


class RateCard:
    """Every plan's dated rates. Histories are sorted by ``valid_from``; the newest at or before an instant holds."""

    def __init__(
        self,
        plans: Iterable[PlanCard],
        *,
        currency: str = "USD",
        origin: str = "",
        plan_history: Iterable[PlanSpan] = (),
        own: bool = False,
        units: Mapping[Component, tuple[DatedUnit, ...]] | None = None,
        names: Mapping[str, tuple[DatedName, ...]] | None = None,
    ) -> None:
        """Take the plans; ``origin`` names the file(s) for messages, ``own``: some prices are not from the list."""
        self.own = own
        self.units: Mapping[Component, tuple[DatedUnit, ...]] = units or {}
        self.names: Mapping[str, tuple[DatedName, ...]] = names or {}
        self.plans: Mapping[str, PlanCard] = {plan.name: plan for plan in plans}
        self.currency = currency
        self.origin = origin
        self.plan_history = tuple(plan_history)
        dates = {item.valid_from for plan in self.plans.values() for history in _histories(plan) for item in history}
        dates |= {span.valid_from for span in self.plan_history}
        self._boundaries = sorted(dates | {name.valid_from for named in self.names.values() for name in named})

    def plan_of(self, plan: str, org_id: str, project_id: str, at: int) -> str:
        """The plan to price usage by: the API's where it has prices, else what the card's plan history says.

        A name that the API has for a usage-based plan (``launch``) is that plan (``launch_v3``) from its day on.
        """
        card = self.plans.get(plan)
        if card is not None and not card.unpriced:
            return plan
        named = _in_force(self.names.get(plan, ()), at)
        if named is not None:
            return named.plan
        if not self.plan_history:
            return plan
        spans = (
            span
            for span in self.plan_history
            if span.valid_from <= at and fnmatchcase(org_id, span.org) and fnmatchcase(project_id, span.project)
        )
        # Of two of one day the later in the file holds.
        newest = max(enumerate(spans), key=lambda numbered: (numbered[1].valid_from, numbered[0]), default=None)
        return newest[1].plan if newest else plan

    def rate(self, plan: str, component: Component, at: int) -> Rate | None:
        """The rate in force at an instant; None when the card has none (unknown plan, or before its first day)."""
        card = self.plans.get(plan)
        return None if card is None else _in_force(card.rates.get(component, ()), at)

    def allowance(self, plan: str, component: Component, at: int) -> Allowance | None:
        """The allowance in force at an instant; None when there is none (all of the usage is billable)."""
        card = self.plans.get(plan)
        return None if card is None else _in_force(card.allowances.get(component, ()), at)

    def unit(self, component: Component, at: int) -> str:
        """The unit of a bucket of stored bytes that starts at ``at``, by date alone; empty for other components."""
        dated = _in_force(self.units.get(component, ()), at)
        return dated.unit if dated else ""

    def why_unknown(self, plan: str, component: Component, at: int) -> str:
        """One line for a person on why ``rate`` answers None, and what to do; empty when it does answer."""
        if self.rate(plan, component, at) is not None:
            return ""
        card = self.plans.get(plan)
        if card is None:
            return f"plan {plan!r} is not in the rate card; add it in the file that cost.rate_card names"
        if card.unpriced:
            today = PLAN_NAMES.get(plan)
            hint = f" (if it is {today} in truth, --plan {plan} or cost.plan: {plan} say so)" if today else ""
            why = f"plan {plan!r}: {card.unpriced}; set cost.plan, or its prices in the file that cost.rate_card names"
            return why + hint
        if component in card.not_offered:
            why = card.not_offered[component]
            return f"plan {plan!r}: no rate for {component} ({why}); if you pay for it, add it in cost.rate_card's file"
        return f"plan {plan!r} has no rate for {component} on {day_text(at)}; add it in the file of cost.rate_card"

    def period(self, at: int) -> int:
        """Number of the stretch between two days on which any rate or allowance changes."""
        return bisect_right(self._boundaries, at)

    @property
    def prices(self) -> str:
        """What the prices are, for a person."""
        return "contract and list prices" if self.own else "list prices"

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The midnights (unix seconds) at which any rate or allowance changes, in order."""
        return tuple(self._boundaries)

    def period_start(self, period: int) -> int:
        """First instant of a numbered stretch; 0 for the one before the first date of the card."""
        return self._boundaries[period - 1] if period else 0

    def newest(self, plan: str, at: int) -> Rate | None:
        """The most recently changed rate of a plan that is in force: what identifies the card's state."""
        in_force = (self.rate(plan, component, at) for component in Component)
        return max(
            (rate for rate in in_force if rate), key=lambda rate: (rate.valid_from, rate.component), default=None
        )


_Entry = TypeVar("_Entry", Rate, Allowance, DatedUnit, DatedName)


def _in_force(history: tuple[_Entry, ...], at: int) -> _Entry | None:
    """The newest entry at or before an instant; the history is sorted."""
    found: _Entry | None = None
    for entry in history:
        if entry.valid_from > at:
            break
        found = entry
    return found


def contracted(
    listed: tuple[Rate, ...], own: tuple[Rate, ...], discounts: tuple[Discount, ...] = ()
) -> tuple[Rate, ...]:
    """One history of what is paid, with the list price beside it: own rates over the list, then what is taken off.

    An entry begins wherever either side changes, so each holds one pair of paid and listed price.
    """
    found: list[Rate] = []
    dates = {rate.valid_from for rate in (*listed, *own)} | {discount.valid_from for discount in discounts}
    for date in sorted(dates):
        base, mine, less = _newest(listed, date), _newest(own, date), _newest(discounts, date)
        rate = mine or base
        if rate is None:
            continue
        price = mine.listed if mine and mine.listed is not None else base.amount if base else rate.amount
        amount, source = rate.amount, rate.source
        if less is not None and less.share:
            amount, source = amount * (1 - less.share), less.source
        paid = replace(rate, amount=amount, source=source, valid_from=date, listed=None if price == amount else price)
        if not found or replace(found[-1], valid_from=date) != paid:
            found.append(paid)
    return tuple(found)


_Dated = TypeVar("_Dated", Rate, Discount)


def _newest(history: tuple[_Dated, ...], at: int) -> _Dated | None:
    return max(
        (dated for dated in history if dated.valid_from <= at),
        key=lambda dated: dated.valid_from,
        default=None,
    )


def _histories(plan: PlanCard) -> Iterable[tuple[Rate | Allowance, ...]]:
    yield from plan.rates.values()
    yield from plan.allowances.values()


_LEGACY = "_legacy"
_NONE = frozenset({"", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What the API says of an account beside its usage; empty where it is not told.

    The consumption API of today answers for usage-based plans alone, so an answer is itself a proof of one. Only a
    subscription type that says legacy contradicts it.
    """

    org_plan: str = ""
    """``plan`` of the organisation."""
    subscription_type: str = ""
    """Of the owner of its projects."""

    def billed(self, period_plan: str, card: RateCard) -> str:
        """The plan of a usage figure: that of its period, unless it has none or the account is of a legacy kind."""
        if self.subscription_type.endswith(_LEGACY):
            return self.subscription_type
        if period_plan in card.plans.keys() - _NONE or period_plan in card.names:
            return period_plan
        told = (self.subscription_type, self.org_plan)
        known = (name for name in told if name in card.plans.keys() - _NONE or name in card.names)
        return next(known, period_plan)


_EDGE = Context(prec=40, rounding=ROUND_HALF_EVEN)


def to_decimal(amount: Fraction) -> Decimal:
    """An exact amount at the edge: all of its digits when they end within 40, else the first 40."""
    return _EDGE.divide(Decimal(amount.numerator), Decimal(amount.denominator))


def decimal_text(amount: Fraction | Decimal) -> str:
    """A plain decimal string: never an exponent, no zeros that say nothing (``0.7``, ``30.8333...``)."""
    text = format(to_decimal(amount) if isinstance(amount, Fraction) else amount, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
