"""The finest there is: of a day what its hours do not hold, of a month what its days do not hold.

The API leaves out what is zero, so an absent hour may be one without use or one that nobody read in time. Only the
difference tells: where hours and day were both read, they hold the same and the day has nothing left. The sums are
compared over all plans, because a bucket that was read again under another plan is still the same usage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.pricing.domain.calendar import DAY, month_start
from exporter.pricing.domain.components import METRIC_COMPONENTS
from exporter.pricing.domain.units import BYTE_HOURS, BYTE_MONTHS, SCALE, STORED_METRICS
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY, UsageFact, bucket_hours
from exporter.pricing.ratecard import shipped

Rest = Mapping[tuple[int, int], int]
"""(series, day) of a daily or monthly sum -> what it holds beyond the finer buckets; never negative."""


class DaySum(NamedTuple):
    """The buckets of one series that begin on one UTC day, summed."""

    series: int
    org_id: str
    project_id: str
    branch_id: str
    granularity: str
    plan: str
    metric: str
    day: int
    value: int
    unit: str = ""


def unit_of_bucket(metric: str, start: int, unit: str) -> str:
    """What a bucket's value counts: what was found out, else what the rate card's dates say; empty: nothing stored."""
    if unit or metric not in STORED_METRICS:
        return unit
    return shipped().unit(METRIC_COMPONENTS[metric], start)


def in_byte_hours(row: DaySum) -> DaySum:
    """The same sum in byte-hours; its ``unit`` stays what the API counted in."""
    unit = unit_of_bucket(row.metric, row.day, row.unit)
    return row._replace(value=row.value * SCALE[unit], unit=unit)


def fact_in_byte_hours(row: Sequence[Any]) -> UsageFact:
    """A fact as answers have it, from its columns: stored bytes in byte-hours, whatever the API counted in."""
    fact = UsageFact._make(row[:10])
    if fact.metric not in STORED_METRICS:
        return fact
    scale = SCALE[unit_of_bucket(fact.metric, fact.start, fact.unit)]
    return fact._replace(value=fact.value * scale, unit=BYTE_HOURS)


def cut_at_units(edges: Sequence[int]) -> list[int]:
    """The edges, and between them the days on which a unit changed: nothing is summed over such a day."""
    days = {entry.valid_from for history in shipped().units.values() for entry in history}
    return sorted({*edges, *(day for day in days if edges[0] < day < edges[-1])})


_Meter = tuple[str, str, str]
"""Project, branch, metric: what the same usage is known by, under any plan."""
_Span = tuple[_Meter, int]
_Plan = tuple[str, str]
"""Organisation and plan."""


def rests(sums: Iterable[DaySum]) -> dict[tuple[int, int], int]:
    """What the daily and monthly sums hold beyond finer ones, by series and day; zeros are there too.

    ``sums`` must hold everything of each meter in the day (or month) of each of its coarse sums, in one unit
    (:func:`in_byte_hours`).
    """
    finer: dict[_Span, dict[_Plan, int]] = {}
    days: dict[_Span, list[DaySum]] = {}
    months: dict[_Span, list[DaySum]] = {}
    for row in sums:
        meter = (row.project_id, row.branch_id, row.metric)
        if row.granularity == HOURLY:
            _add(finer, (meter, row.day), (row.org_id, row.plan), row.value)
        elif row.granularity == DAILY:
            days.setdefault((meter, row.day), []).append(row)
        elif row.granularity == MONTHLY:
            months.setdefault((meter, month_start(row.day)), []).append(row)
    found: dict[tuple[int, int], int] = {}
    for span, rows in days.items():
        for row, rest in _beyond(rows, finer.get(span, {})):
            found[row.series, row.day] = rest
            _add(finer, span, (row.org_id, row.plan), rest)
    if months:
        finer = _by_month(finer, months.keys())
    for span, rows in months.items():
        for row, rest in _beyond(rows, finer.get(span, {})):
            found[row.series, row.day] = rest
    return found


def _by_month(days: Mapping[_Span, Mapping[_Plan, int]], wanted: Collection[_Span]) -> dict[_Span, dict[_Plan, int]]:
    months: dict[_Span, dict[_Plan, int]] = {}
    for (meter, day), plans in days.items():
        month = (meter, month_start(day))
        if month in wanted:
            for plan, value in plans.items():
                _add(months, month, plan, value)
    return months


def _add(sums: dict[_Span, dict[_Plan, int]], span: _Span, plan: _Plan, value: int) -> None:
    plans = sums.setdefault(span, {})
    plans[plan] = plans.get(plan, 0) + value


def _beyond(rows: list[DaySum], finer: Mapping[_Plan, int]) -> list[tuple[DaySum, int]]:
    """Each coarse sum less the finer ones of its plan; together never more than what is missing over all plans."""
    rows = sorted(rows, key=lambda row: (row.org_id, row.plan, row.day))
    missing = max(0, sum(row.value for row in rows) - sum(finer.values()))
    left = dict(finer)
    answer = []
    for row in rows:
        plan = (row.org_id, row.plan)
        taken = min(row.value, left.get(plan, 0))
        left[plan] = left.get(plan, 0) - taken
        rest = min(row.value - taken, missing)
        missing -= rest
        answer.append((row, rest if rest > _rounded(row) else 0))
    return answer


def _rounded(row: DaySum) -> int:
    """By how much a sum may differ from its hours only because the API rounds each bucket of byte-months."""
    return SCALE[BYTE_MONTHS] * (bucket_hours(row.day, row.granularity) + 1) if row.unit == BYTE_MONTHS else 0


@dataclass(slots=True)
class DayPlan:
    """How hours become days, by (project, branch, metric, granularity, organisation, plan, unit)."""

    values: dict[tuple[str, str, str, str, str, str, str], int] = field(default_factory=dict)
    sources: dict[tuple[str, str, str, str, str, str, str], list[int]] = field(default_factory=dict)
    """The series that each is made of."""
    hourly: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    """Series whose buckets of the day go: the hourly ones, and the daily ones that are written anew."""


def plan_day(sums: Collection[DaySum], day: int, but: Collection[str]) -> DayPlan:
    """Sum the hours of a day up, except those of some metrics: hours, and what a daily bucket holds beyond them.

    So every sum over the day stays what it was. A sum of 0 is left out: it says what its absence says.
    """
    plan = DayPlan()
    plan.hourly = {row.series for row in sums if row.granularity == HOURLY and row.metric not in but}
    meters = {(row.project_id, row.branch_id, row.metric) for row in sums if row.series in plan.hourly}
    rows = [
        row
        for row in sums
        if row.granularity in (HOURLY, DAILY) and (row.project_id, row.branch_id, row.metric) in meters
    ]
    rest = rests(map(in_byte_hours, rows))
    for row in rows:
        name = (row.project_id, row.branch_id, row.metric, DAILY, row.org_id, row.plan, row.unit)
        scale = SCALE[unit_of_bucket(row.metric, row.day, row.unit)]
        part = row.value if row.granularity == HOURLY else rest[row.series, day] // scale
        plan.replaced.add(row.series)
        if part:
            plan.values[name] = plan.values.get(name, 0) + part
            plan.sources.setdefault(name, []).append(row.series)
    return plan


class Gap(NamedTuple):
    """Days in a row of which hours are missing; ``end`` is exclusive."""

    project_id: str
    start: int
    end: int
    hours: int
    """How many are missing."""


def gaps(days: Iterable[tuple[str, str, int, int]]) -> list[Gap]:
    """The holes, from :meth:`Ledger.project_days`.

    A project uses storage in every hour, so an hour without any bucket is one that nobody read. The first and the last
    day of a project are never whole; a daily or monthly bucket covers its hours.
    """
    hours: dict[str, dict[int, int]] = {}
    covered: dict[str, set[int]] = {}
    for project, granularity, day, count in days:
        if granularity == HOURLY:
            hours.setdefault(project, {})[day] = count
        elif granularity == DAILY:
            covered.setdefault(project, set()).add(day)
        elif granularity == MONTHLY:
            covered.setdefault(project, set()).add(-month_start(day))
    found: list[Gap] = []
    for project, held in sorted(hours.items()):
        known = covered.get(project, set())
        for day in range(min(held) + DAY, max(held), DAY):
            missing = 24 - min(24, held.get(day, 0))
            if not missing or day in known or -month_start(day) in known:
                continue
            last = found[-1] if found else None
            if last is not None and last.project_id == project and last.end == day:
                found[-1] = last._replace(end=day + DAY, hours=last.hours + missing)
            else:
                found.append(Gap(project, day, day + DAY, missing))
    return found
