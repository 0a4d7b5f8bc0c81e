"""Costs by whole UTC day and branch: the series that forecasts, anomalies and charts are made of.

A day is priced by the same code as an invoice, once, and again when the ledger's revision of it moves. What is
kept is billable usage as integers in the API's units, a few bytes a day and series; dollars are worked out of it when
asked, at the rates of the day, or all at the rates of one instant, so that a change of price is no change of behaviour.

The egress allowance is per month, so one day has no price of its own: each day pays for what it takes its pool past the
allowance, which makes the days of a month sum to the month.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.outlook.anomaly import AwakeDay
from exporter.cost.domain.use import TenantHours
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.pricing.domain.components import MICRO, Component
from exporter.pricing.domain.price import CostLine, price
from exporter.pricing.domain.rates import AllowanceScope, RateCard
from exporter.storage.ledger.ledger import Ledger
from exporter.tenancy.domain.rules import AGENT


class SeriesKey(NamedTuple):
    """Whose cost, of what. A branch may be ``__project__`` or ``__unattributed__``, as in cost lines."""

    org_id: str
    project_id: str
    branch_id: str
    component: Component


@dataclass(slots=True)
class DailySeries(Mapping[int, Fraction]):
    """USD by day (00:00 UTC, unix seconds) of one key: a mapping without holes from its first day to the last."""

    component: Component
    card: RateCard
    first: int
    usage: array[int] = field(default_factory=lambda: array("q"))
    """Billable raw usage by day, before the egress allowance."""
    past: array[int] | None = None
    """Of egress, the bytes past the allowance."""
    plans: list[tuple[int, str]] = field(default_factory=list)
    """(From which day on, plan), in order."""
    mixed: dict[int, dict[str, int]] = field(default_factory=dict)
    """Usage by plan of the days on which the plan changed."""

    def __getitem__(self, day: int) -> Fraction:
        """The cost of a day at its own rates; days without a price cost nothing, as on an invoice."""
        index, rest = divmod(day - self.first, DAY)
        if rest or not 0 <= index < len(self.usage):
            raise KeyError(day)
        if self.past is None and day in self.mixed:
            return sum((usage * self.unit_price(plan, day) for plan, usage in self.mixed[day].items()), Fraction())
        billable = (self.usage if self.past is None else self.past)[index]
        return billable * self.unit_price(self.plan(day), day)

    def __iter__(self) -> Iterator[int]:
        """The days, in order."""
        return iter(range(self.first, self.first + DAY * len(self.usage), DAY))

    def __len__(self) -> int:
        """How many days."""
        return len(self.usage)

    def plan(self, day: int) -> str:
        """The plan of a day."""
        return self.plan_since(day)[1]

    def plan_since(self, day: int) -> tuple[int, str]:
        """The plan of a day, and since when."""
        found = self.plans[0]
        for plan in self.plans:
            if plan[0] <= day:
                found = plan
        return found

    def unit_price(self, plan: str, at: int) -> Fraction:
        """USD of one raw unit on a plan at an instant; 0 where the card has no price."""
        rate = self.card.rate(plan, self.component, at)
        return rate.amount / self.component.spec.per_unit(at) if rate else Fraction()

    def put(self, day: int, usage: int, plan: str) -> None:
        """Add usage to a day; days between are zeros."""
        if not self.usage:
            self.first = day
        index = (day - self.first) // DAY
        if index < 0:
            self.usage = array("q", [0] * -index) + self.usage
            self.first, index = day, 0
            self.past = None
        if index >= len(self.usage):
            self.usage.extend([0] * (index + 1 - len(self.usage)))
        if self.usage[index]:
            held = self.mixed.setdefault(day, {self.plan(day): self.usage[index]})
            held[plan] = held.get(plan, 0) + usage
        self.usage[index] += usage
        if not self.plans or self.plan(day) != plan:
            self.plans = sorted([*(row for row in self.plans if row[0] != day), (day, plan)])

    def clear(self, day: int) -> None:
        """Forget one day, before it is priced again."""
        index = (day - self.first) // DAY
        if 0 <= index < len(self.usage):
            self.usage[index] = 0
            self.mixed.pop(day, None)

    def reach(self, end: int) -> None:
        """Fill with zeros up to a day (exclusive): what is not in the ledger of a day that was read is no usage."""
        missing = (end - self.first) // DAY - len(self.usage)
        if missing > 0:
            self.usage.extend([0] * missing)


class DailyCosts(dict[SeriesKey, DailySeries]):
    """Every series by key; ``read`` are the days that the ledger has anything of, so that a gap is not a zero."""

    def __init__(self, series: Mapping[SeriesKey, DailySeries], read: frozenset[int]) -> None:
        super().__init__(series)
        self.read = read


class Daily:
    """Prices days and keeps them. One caller at a time."""

    def __init__(self, ledger: Ledger, card: RateCard, *, plan: str | None = None, spare: int = 92 * DAY) -> None:
        """``plan`` overrides the API's, as ``cost.plan`` does; days before the asked ones stay cached for ``spare``."""
        self._spare = spare
        self._ledger = ledger
        self._card = card
        self._plan = plan
        self._revisions: dict[int, int] = {}
        self._series: dict[SeriesKey, DailySeries] = {}

    def costs(self, start: int, end: int) -> DailyCosts:
        """Whole UTC days from the month of ``start`` (the allowance is monthly) to ``end``, which is rounded down.

        Raises:
            StoreError: the ledger cannot be read.
        """
        start, end = month_start(start), end // DAY * DAY
        revisions = self._ledger.revisions(start, end)
        self._forget(start)
        changed = sorted(day for day, revision in revisions.items() if self._revisions.get(day) != revision)
        for day in changed:
            if day in self._revisions:
                for series in self._series.values():
                    series.clear(day)
            self._read(day)
            self._revisions[day] = revisions[day]
        for series in self._series.values():
            series.reach(end)
        if changed:
            _past_allowance(self._series, self._card, month_start(changed[0]))
        return DailyCosts(self._series, frozenset(revisions))

    def _read(self, day: int) -> None:
        facts = self._ledger.priceable(day, day + DAY)
        for line in price(facts, self._card, plan=self._plan).lines:
            key = SeriesKey(line.org_id, line.project_id, line.branch_id, line.component)
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = DailySeries(line.component, self._card, day)
            series.put(day, _billable(line), line.plan)

    def _forget(self, start: int) -> None:
        if not self._revisions or min(self._revisions) >= start - self._spare:
            return
        # Rare: start over rather than cut every series.
        self._revisions.clear()
        self._series.clear()


def _billable(line: CostLine) -> int:
    if line.component.spec.hourly_allowance:
        return int(line.quantity * line.component.spec.per_unit(line.period.month))
    return line.usage


_Pool = tuple[Component, int, AllowanceScope | None, str]
"""Component, month, and whose usage it is."""


def _past_allowance(series: Mapping[SeriesKey, DailySeries], card: RateCard, since: int) -> None:
    """Walk the days of each month through its pools; a day's bytes past the allowance go by the day's usage."""
    egress = {key: daily_series for key, daily_series in series.items() if key.component.spec.monthly_allowance}
    days: dict[int, list[tuple[SeriesKey, int]]] = {}
    for key, daily_series in egress.items():
        if daily_series.past is None or len(daily_series.past) > len(daily_series.usage):
            daily_series.past = array("q")
        daily_series.past.extend([0] * (len(daily_series.usage) - len(daily_series.past)))
        for day in daily_series:
            if day >= since:
                days.setdefault(day, []).append((key, daily_series.usage[(day - daily_series.first) // DAY]))
    used: dict[_Pool, int] = {}
    for day, rows in sorted(days.items()):
        pools: dict[_Pool, list[tuple[SeriesKey, int]]] = {}
        limits: dict[_Pool, int] = {}
        for key, usage in rows:
            free = card.allowance(egress[key].plan(day), key.component, day)
            owner = key.org_id if free and free.scope is AllowanceScope.ORG else key.project_id
            pool = (key.component, month_start(day), free.scope if free else None, owner)
            pools.setdefault(pool, []).append((key, usage))
            limits[pool] = max(limits.get(pool, 0), free.quantity * key.component.spec.per_unit(day) if free else 0)
        for pool, members in pools.items():
            before = used.get(pool, 0)
            total = sum(usage for _, usage in members)
            used[pool] = before + total
            billed = max(0, used[pool] - max(before, limits[pool]))
            for (key, _), part in zip(members, _split(billed, [usage for _, usage in members]), strict=True):
                past = egress[key].past
                if past is not None:
                    past[(day - egress[key].first) // DAY] = part


def _split(amount: int, weights: list[int]) -> Iterable[int]:
    """Whole bytes by weight that sum to the amount."""
    total, given, passed = sum(weights), 0, 0
    for weight in weights:
        passed += weight
        part = (amount * passed // total if total else 0) - given
        given += part
        yield part


def awake_days(ledger: Ledger, day: int, measured: TenantHours | None = None) -> dict[tuple[str, str], AwakeDay]:
    """How each compute was awake on a day, by (project, branch); empty where only coarser facts than hours are left.

    ``measured`` tells how busy it was, us left out; a day of which less than half was measured tells nothing.
    """
    hours: dict[tuple[str, str], dict[int, int]] = {}
    for fact in ledger.hours(Component.COMPUTE.spec.metric, day, day + DAY):
        if fact.branch_id and fact.value:
            held = hours.setdefault((fact.project_id, fact.branch_id), {})
            held[fact.start // HOUR] = held.get(fact.start // HOUR, 0) + fact.value
    busy: dict[tuple[str, str], dict[int, int]] = {}
    for row in measured(day, day + DAY) if measured else ():
        by_hour = busy.setdefault((row.project_id, row.branch_id), {})
        by_hour[row.hour] = by_hour.get(row.hour, 0) + (0 if row.tenant == AGENT else row.busy_us)
    found = {}
    for branch, used in hours.items():
        least, whole, busy_hours = min(used.values()), sum(used.values()), busy.get(branch, {})
        flat = sum(20 * value <= 21 * least for value in used.values())
        known = Fraction(sum(busy_hours.values()), whole * MICRO) if 2 * len(busy_hours) >= len(used) else None
        found[branch] = AwakeDay(len(used), flat, whole, known)
    return found
