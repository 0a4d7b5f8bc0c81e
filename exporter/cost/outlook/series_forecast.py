"""From daily usage to the series of a forecast: one per project and component, at the prices of the month ahead.

Usage is forecast, not dollars, so a price or a plan that is known to change is in the forecast and is not taken for a
change of behaviour. Where an organisation shares one egress allowance, its projects pay by their part of its egress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from exporter.cost.domain.outlook.forecast import FLOW, LEVEL, SeriesForecast, predict
from exporter.cost.outlook.daily import DailyCosts, DailySeries, SeriesKey
from exporter.pricing.domain.calendar import DAY, month_start, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import AllowanceScope, RateCard


@dataclass(slots=True)
class Group:
    """All branches of one project and component."""

    org_id: str
    project_id: str
    component: Component
    series: list[DailySeries]
    first: int
    days: list[int | None]
    """Raw usage by day; None where nothing of the ledger was read."""
    plan: str
    """That of the newest day."""


def groups(daily: DailyCosts, until: int) -> list[Group]:
    """Sum the branches by project and component, up to a day (exclusive); gaps of the ledger are None."""
    found: dict[tuple[str, str, Component], list[DailySeries]] = {}
    for key, series in daily.items():
        if series.first < until:
            found.setdefault((key.org_id, key.project_id, key.component), []).append(series)
    return [_group(SeriesKey(*name[:2], "", name[2]), members, daily, until) for name, members in found.items()]


def _group(key: SeriesKey, members: list[DailySeries], daily: DailyCosts, until: int) -> Group:
    first = min(member.first for member in members)
    sums = [0] * ((until - first) // DAY)
    for member in members:
        begin = (member.first - first) // DAY
        for index, value in enumerate(member.usage[: (until - member.first) // DAY], begin):
            if value:
                sums[index] += value
    days = [value if first + DAY * index in daily.read else None for index, value in enumerate(sums)]
    _, plan = max(member.plan_since(until - DAY) for member in members)
    return Group(key.org_id, key.project_id, key.component, members, first, days, plan)


def series_forecasts(
    found: list[Group], card: RateCard, month: int, until: int
) -> Iterator[tuple[Group, SeriesForecast]]:
    """The series of each group for one month."""
    begin, end = month_start(month), next_month(month)
    at = min(max(begin, until), end - 1)
    for group in found:
        unit = _mean_price(group, begin, end, until)
        kind = LEVEL if group.component.spec.stored else FLOW
        if group.component.spec.monthly_allowance:
            cost = _past_allowance(group, found, card, unit, (begin, at, end, until))
            yield group, SeriesForecast(group.first, group.days, cost, kind)
        else:
            spent = sum((_spent(daily_series, begin, min(until, end)) for daily_series in group.series), Fraction())
            yield group, SeriesForecast(group.first, group.days, _priced(unit), kind, spent)


def _mean_price(group: Group, begin: int, end: int, until: int) -> Fraction:
    """The mean over the days to come: a price that changes within them is known today."""
    days = range(min(max(begin, until), end - DAY), end, DAY)
    return sum((group.series[0].unit_price(group.plan, day) for day in days), Fraction()) / len(days)


def _priced(unit: Fraction) -> Callable[[Fraction], Fraction]:
    return lambda quantity: quantity * unit


def _spent(series: DailySeries, begin: int, end: int) -> Fraction:
    return sum((series[day] for day in range(max(begin, series.first), end, DAY) if day in series), Fraction())


def _past_allowance(
    group: Group, found: list[Group], card: RateCard, unit: Fraction, span: tuple[int, int, int, int]
) -> Callable[[Fraction], Fraction]:
    begin, at, end, until = span
    free = card.allowance(group.plan, group.component, at)
    if free is None:
        return _priced(unit)
    limit = free.quantity * group.component.spec.per_unit(at)
    if free.scope is AllowanceScope.PROJECT:
        return lambda quantity: max(Fraction(), quantity - limit) * unit
    pool = [series for series in found if series.org_id == group.org_id and series.component is group.component]
    total = sum((_month(series, begin, end, until) for series in pool), Fraction())
    share = max(Fraction(), total - limit) / total if total else Fraction()
    return _priced(unit * share)


def _month(group: Group, begin: int, end: int, until: int) -> Fraction:
    """Bytes of the month: those so far and those to come."""
    low, high = max(0, (begin - group.first) // DAY), max(0, (min(until, end) - group.first) // DAY)
    so_far = sum(value for value in group.days[low:high] if value is not None)
    if until >= end:
        return Fraction(so_far)
    ahead = ((max(begin, until) - until) // DAY, (end - until) // DAY)
    return so_far + predict(group.days, len(group.days), ahead, FLOW)
