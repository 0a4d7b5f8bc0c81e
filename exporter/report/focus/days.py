"""Charges by the day, for who wants FOCUS's ChargePeriod as fine as usage is read: the same money in more rows.

A charge goes to the days of its span by the usage that was billed on them; a tenant's share of each day is its share of
the whole charge. Every quantity is split in whole units of the smallest digit, so the days sum to the charge exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from exporter.cost.domain.weights import largest_remainder
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import METRIC_COMPONENTS, Component
from exporter.pricing.domain.rates import RateCard
from exporter.pricing.domain.usage import MONTHLY, UsageFact, bucket_hours
from exporter.report.focus.charges import Charge


class DayKey(NamedTuple):
    """Usage of one component of one branch (empty: the whole project) under one plan."""

    project_id: str
    branch_id: str
    plan: str
    component: Component


Weights = Mapping[DayKey, Mapping[int, int]]
"""By key: raw usage by day (00:00 UTC, unix seconds)."""


def daily_usage(
    usage: Callable[[int, int], Iterable[UsageFact]], span: tuple[int, int], card: RateCard, plan: str | None
) -> Weights:
    """What was used on each day of a span, of branch-hours what is past the allowance; ``plan`` overrides the API's.

    Months of which no days are left are not in it.
    """
    found: dict[DayKey, dict[int, int]] = {}
    for day in range(*span, DAY):
        for fact in usage(day, day + DAY):
            component = METRIC_COMPONENTS.get(fact.metric)
            if component is None or fact.granularity == MONTHLY:
                continue
            named = plan or card.plan_of(fact.plan, fact.org_id, fact.project_id, fact.start)
            value = fact.value
            if component.spec.hourly_allowance:
                free = card.allowance(named, component, fact.start)
                covered = free.quantity * bucket_hours(fact.start, fact.granularity) if free else 0
                value = max(0, value - covered)
            days = found.setdefault(DayKey(fact.project_id, fact.branch_id, named, component), {})
            days[day] = days.get(day, 0) + value
    return found


def by_day(charges: Iterable[Charge], weights: Weights) -> Iterator[Charge]:
    """Each charge as one a day on which it has a quantity; evenly over its days where their usage is not known."""
    for charge in charges:
        key = DayKey(charge.project_id, charge.branch_id, charge.plan, charge.component)
        known = weights.get(key) or weights.get(key._replace(branch_id=""), {})
        days = range(charge.start // DAY * DAY, charge.end, DAY)
        parts = {day: known.get(day, 0) for day in days}
        if not any(parts.values()):
            parts = dict.fromkeys(days, 1)
        yield from _split(charge, parts)


def _split(charge: Charge, days: Mapping[int, int]) -> Iterator[Charge]:
    units = [largest_remainder(part.units, days) for part in charge.parts]
    for day in days:
        of_day = [unit[day] for unit in units]
        if any(of_day):
            parts = tuple(part._replace(units=own) for part, own in zip(charge.parts, of_day, strict=True))
            start, end = max(charge.start, day), min(charge.end, day + DAY)
            yield replace(charge, start=start, end=end, parts=parts)
