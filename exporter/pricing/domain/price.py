"""Pricing: from raw usage to cost lines, exactly.

Integers are summed first and become one fraction per line, so the result does not depend on the order of the facts and
no digit is lost. A billing month has 744 hours whatever the calendar says, and a GB has 10^9 bytes. What the rate card
cannot price keeps its quantity, costs nothing and is reported: a missing price never looks like a free one.

Two readings of the same usage exist, by project and by branch. The branch rows are priced, and what the project has
beyond them is a branch row named ``__unattributed__``. When the branches together show more than the project (they
were read a moment later, while the bucket was growing), they are the newer truth and no row is negative. Charges that
the API gives only by project (extra branches, snapshots) are a branch row named ``__project__``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from exporter.pricing.domain.calendar import DAY, HOUR, month_start, next_month
from exporter.pricing.domain.components import METRIC_COMPONENTS, Component, Level
from exporter.pricing.domain.rates import AllowanceScope, Rate, RateCard, plan_named
from exporter.pricing.domain.units import BYTE_HOURS, STORED_METRICS, in_byte_hours
from exporter.pricing.domain.usage import HOURLY, MONTHLY, PROJECT_LEVEL, UNATTRIBUTED, UsageFact, bucket_hours

_FREE_BY_HOUR = frozenset(metric for metric, component in METRIC_COMPONENTS.items() if component.spec.hourly_allowance)


class PricePeriod(NamedTuple):
    """Part of one calendar month (UTC) over which no rate and no allowance changes."""

    month: int
    number: int


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one component of one branch cost in one period. ``cost`` = ``quantity`` x the rate, unrounded."""

    org_id: str
    project_id: str
    branch_id: str
    component: Component
    plan: str
    period: PricePeriod
    usage: int
    """Raw usage before any allowance, in the API's unit; of stored bytes in byte-hours, whatever the API counted in."""
    quantity: Fraction
    """Billable quantity, after the allowance."""
    rate: Rate | None
    """None when the card has no price for it; ``cost`` is then 0 and ``Pricing.unknown`` says why."""
    cost: Fraction
    lower_bound: bool = False
    """The branch allowance is hourly, and only coarser buckets were left: the true figure may be higher."""
    spread: bool = False
    """A monthly bucket reached over a change of price; its usage was spread evenly over its hours."""

    @property
    def unit(self) -> str:
        """What ``quantity`` counts."""
        return self.component.spec.unit


@dataclass(frozen=True, slots=True)
class Unknown:
    """Usage without a price: whose, of what, and one line on why. ``component`` is the API's name if we have none."""

    project_id: str
    plan: str
    component: str
    why: str


@dataclass(frozen=True, slots=True)
class Pricing:
    """Cost lines in a stable order, and the usage that no rate covers."""

    lines: tuple[CostLine, ...]
    unknown: tuple[Unknown, ...]

    @property
    def total(self) -> Fraction:
        """Sum of all lines in USD, unrounded."""
        return sum((line.cost for line in self.lines), Fraction())


class _Key(NamedTuple):
    org_id: str
    project_id: str
    branch_id: str
    plan: str
    component: Component
    period: PricePeriod


def price(facts: Iterable[UsageFact], card: RateCard, *, plan: str | None = None) -> Pricing:
    """Price usage of any span; each bucket must be there once. ``plan`` overrides the API's.

    ``plan`` is a subscription type, or the name a person has for one (``scale``). Allowances per month apply to what is
    given of each calendar month (UTC).

    Raises:
        ValueError: a negative value, or a granularity that the API does not have.
    """
    taken = _Usage(card, plan_named(plan) if plan else None)
    taken.take(facts)
    sums, foreign = taken.sums()
    usage, billable, flags = _by_branch(sums)
    billable.update(_past_monthly_allowance(usage, card))
    lines = []
    unknown = set(foreign)
    for key in sorted(usage):
        at = _instant(key.period, card)
        rate = card.rate(key.plan, key.component, at)
        quantity = Fraction(billable.get(key, usage[key])) / key.component.spec.per_unit(at)
        if rate is None and usage[key]:
            why = card.why_unknown(key.plan, key.component, at)
            unknown.add(Unknown(key.project_id, key.plan, key.component.value, why))
        cost = quantity * rate.amount if rate else Fraction()
        lower_bound, spread = flags.get(key, (False, False))
        lines.append(
            CostLine(
                *key[:3], key.component, key.plan, key.period, usage[key], quantity, rate, cost, lower_bound, spread
            )
        )
    return Pricing(tuple(lines), tuple(sorted(unknown, key=lambda u: (u.project_id, u.plan, u.component))))


class PricePeriods(dict[int, PricePeriod]):
    """The period of an instant, worked out once per day: rates change only at midnight (UTC)."""

    def __init__(self, card: RateCard) -> None:
        """Use the dates of one card."""
        super().__init__()
        self._card = card

    def __missing__(self, start: int) -> PricePeriod:
        """Work out and keep the period of a bucket start."""
        day = start // DAY * DAY
        self[start] = period = PricePeriod(month_start(day), self._card.period(day))
        return period


@dataclass(slots=True)
class _Sum:
    usage: int = 0
    billable: int | Fraction = 0
    coarse: bool = False
    spread: bool = False


class _Bucket(NamedTuple):
    metric: str
    org_id: str
    project_id: str
    start: int
    hours: int
    granularity: str


class _Usage:
    """Raw usage, summed as far as nothing about its price changes; branch-hours stay in their buckets."""

    def __init__(self, card: RateCard, override: str | None) -> None:
        self._card = card
        self._override = override
        self._periods = PricePeriods(card)
        self._raw: dict[tuple[str, str, str, str, str, PricePeriod], int] = {}
        self._buckets: dict[_Bucket, dict[str, int]] = {}
        self._spread: set[tuple[str, str, str, str, str, PricePeriod]] = set()

    def take(self, facts: Iterable[UsageFact]) -> None:
        override, card, raw, periods = self._override, self._card, self._raw, self._periods
        for given in facts:
            fact = self._in_byte_hours(given) if given.metric in STORED_METRICS else given
            org, project, branch, start, granularity, plan, metric, value, _, _ = fact
            if value < 0:
                raise ValueError(f"project {project}: {metric} is {value} at {start}; usage is never negative")
            if granularity == MONTHLY:
                self._take_month(fact)
                continue
            plan = override or card.plan_of(plan, org, project, start)
            if metric in _FREE_BY_HOUR:
                bucket = _Bucket(metric, org, project, start, bucket_hours(start, granularity), granularity)
                parts = self._buckets.setdefault(bucket, {})
                parts[plan] = parts.get(plan, 0) + value
            else:
                name = (org, project, branch, plan, metric, periods[start])
                raw[name] = raw.get(name, 0) + value

    def _in_byte_hours(self, fact: UsageFact) -> UsageFact:
        if fact.unit == BYTE_HOURS:
            return fact
        return in_byte_hours(fact, fact.unit or self._card.unit(METRIC_COMPONENTS[fact.metric], fact.start))

    def _take_month(self, fact: UsageFact) -> None:
        """A month may reach over a change of price: then its usage is spread evenly over its hours."""
        end = next_month(fact.start)
        edges = [fact.start, *(edge for edge in self._card.boundaries if fact.start < edge < end), end]
        pieces = []
        for start, until in pairwise(edges):
            plan = self._override or self._card.plan_of(fact.plan, fact.org_id, fact.project_id, start)
            pieces.append((start, until, plan))
        given, whole = 0, end - fact.start
        uneven = len({self._price(fact.metric, start, plan) for start, _, plan in pieces}) > 1
        for start, until, plan in pieces:
            part = fact.value * (until - fact.start) // whole - given
            given += part
            name = (*fact[:3], plan, fact.metric, self._periods[start])
            if uneven:
                self._spread.add(name)
            if fact.metric in _FREE_BY_HOUR:
                bucket = _Bucket(fact.metric, fact.org_id, fact.project_id, start, (until - start) // HOUR, MONTHLY)
                parts = self._buckets.setdefault(bucket, {})
                parts[plan] = parts.get(plan, 0) + part
            elif part:
                self._raw[name] = self._raw.get(name, 0) + part

    def _price(self, metric: str, at: int, plan: str) -> tuple[object, ...]:
        component = METRIC_COMPONENTS.get(metric)
        if component is None:
            return ()
        rate, free = self._card.rate(plan, component, at), self._card.allowance(plan, component, at)
        return rate and rate.amount, free and (free.quantity, free.scope), plan

    def sums(self) -> tuple[dict[_Key, _Sum], set[Unknown]]:
        sums = self._past_allowance_by_bucket()
        foreign = set()
        for name, value in self._raw.items():
            org, project, branch, plan, metric, period = name
            component = METRIC_COMPONENTS.get(metric)
            if component is None:
                why = f"metric {metric!r} is new in the API; this version has no price for it, a newer one may"
                foreign.add(Unknown(project, plan, metric, why))
            else:
                key = _Key(org, project, branch, plan, component, period)
                sums[key] = _Sum(value, value, spread=name in self._spread)
        return sums, foreign

    def _past_allowance_by_bucket(self) -> dict[_Key, _Sum]:
        """What is free per hour (branch-hours): a quiet hour does not pay for a busy one.

        A bucket that a change of plan cut in two has the free hours of each plan for its part of the time, and how
        much that is the branch-hours tell: the branches are the same before and after.
        """
        sums: dict[_Key, _Sum] = {}
        of_plan: dict[tuple[str, str, int], int] = {}
        for (metric, org, project, start, hours, granularity), parts in self._buckets.items():
            component = METRIC_COMPONENTS[metric]
            whole = sum(parts.values()) if len(parts) > 1 else 0
            for plan, value in parts.items():
                free_now = of_plan.get((metric, plan, start // DAY))
                if free_now is None:
                    allowance = self._card.allowance(plan, component, start)
                    free_now = of_plan[metric, plan, start // DAY] = allowance.quantity if allowance else 0
                free: int | Fraction = free_now * hours
                if whole:
                    free *= Fraction(value, whole)
                key = _Key(org, project, "", plan, component, self._periods[start])
                total = sums.get(key)
                if total is None:
                    total = sums[key] = _Sum()
                    total.spread = (org, project, "", plan, metric, key.period) in self._spread
                total.usage += value
                if value > free:
                    total.billable += value - free
                total.coarse |= granularity != HOURLY
        return sums


_Flags = dict[_Key, tuple[bool, bool]]


def _by_branch(sums: dict[_Key, _Sum]) -> tuple[dict[_Key, int], dict[_Key, int | Fraction], _Flags]:
    usage: dict[_Key, int] = {}
    billable: dict[_Key, int | Fraction] = {}
    flags: _Flags = {}
    below: dict[_Key, int] = {}
    for key, total in sums.items():
        if key.branch_id:
            whole = key._replace(branch_id="")
            below[whole] = below.get(whole, 0) + total.usage
    for key, total in sums.items():
        row, used = key, total.usage
        if not key.branch_id:
            branches = key.component.spec.level is Level.BRANCH
            row = key._replace(branch_id=UNATTRIBUTED if branches else PROJECT_LEVEL)
            used = max(0, total.usage - below.get(key, 0))
        if not used:
            continue
        usage[row] = used
        if key.component.spec.hourly_allowance:
            billable[row] = total.billable
        if total.coarse or total.spread:
            flags[row] = (total.coarse, total.spread)
    return usage, billable, flags


_Pool = tuple[Component, int, AllowanceScope, str]
"""Component, month, and whose usage it is."""


def _past_monthly_allowance(usage: dict[_Key, int], card: RateCard) -> Iterator[tuple[_Key, Fraction]]:
    """Pool transfer by month and scope; past the allowance, every row pays the same share of its own bytes."""
    pools: dict[_Pool, list[_Key]] = {}
    limits: dict[_Pool, int] = {}
    for key in usage:
        if not key.component.spec.monthly_allowance:
            continue
        at = _instant(key.period, card)
        allowance = card.allowance(key.plan, key.component, at)
        if allowance is None:
            continue
        owner = key.org_id if allowance.scope is AllowanceScope.ORG else key.project_id
        pool = (key.component, key.period.month, allowance.scope, owner)
        pools.setdefault(pool, []).append(key)
        # Two plans in one month (a change of plan) share one pool; the larger of their allowances holds.
        limits[pool] = max(limits.get(pool, 0), allowance.quantity * key.component.spec.per_unit(at))
    for pool, keys in pools.items():
        total = sum(usage[key] for key in keys)
        share = Fraction(max(0, total - limits[pool]), total)
        for key in keys:
            yield key, usage[key] * share


def _instant(period: PricePeriod, card: RateCard) -> int:
    return max(period.month, card.period_start(period.number))
