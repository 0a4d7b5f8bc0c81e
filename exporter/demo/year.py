"""A year of usage of a whole company, made from a seed: what the money is proved on.

Hourly facts as the consumption API would give them, streamed in the order of time: storage of roots and children,
restore history, snapshots, transfer, extra branches, and compute that sleeps at night. Branches come and go, one
organisation changes its plan in mid-month, prices and allowances change as Neon's did, tenants share branches in five
ways, some hours were never measured, and a few things go wrong on purpose. Nothing is stored: a day follows from the
seed and its date, so any span can be had at once, and a year never has to fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property, lru_cache
from random import Random
from typing import NamedTuple

from exporter.demo.year_faults import Fault, Planned, plan_faults
from exporter.demo.year_use import BUSINESS, MEAN, alive, busy, measured, project_day, weekday
from exporter.demo.year_world import YearBranch, YearProject, draw_orgs, draw_projects
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, next_month
from exporter.pricing.domain.components import METRIC_COMPONENTS, Component
from exporter.pricing.domain.units import BYTE_HOURS, STORED_METRICS
from exporter.pricing.domain.usage import HOURLY, UsageFact

COMPUTE = Component.COMPUTE.spec.metric
ROOT, CHILD = Component.ROOT_STORAGE.spec.metric, Component.CHILD_STORAGE.spec.metric
RESTORE, SNAPSHOT = Component.INSTANT_RESTORE.spec.metric, Component.SNAPSHOT_STORAGE.spec.metric
EXTRA = Component.EXTRA_BRANCHES.spec.metric
PUBLIC, PRIVATE = Component.PUBLIC_TRANSFER.spec.metric, Component.PRIVATE_TRANSFER.spec.metric
READ_AFTER = 15 * 60
"""A bucket is read so long after its end."""


class YearTenantHour(NamedTuple):
    """What one tenant did on one branch in one hour, as the durable counters would keep it."""

    project_id: str
    branch_id: str
    endpoint_id: str
    hour: int
    tenant: str
    busy_us: int
    calls: int
    rows: int
    wal_bytes: int
    shared_blks_read: int


class Year:
    """``branches`` branches in ``orgs`` organisations over ``months`` months from ``first`` on (YYYY-MM, UTC).

    Any two with the same arguments are the same. ``branches`` counts all that ever lived; about half do at a time.
    """

    def __init__(
        self,
        seed: int = 1,
        first: str = "2025-09",
        months: int = 12,
        orgs: int = 3,
        branches: int = 1200,
        *,
        faults: bool = True,
    ) -> None:
        """Draw who lives in it.

        Raises:
            ValueError: ``first`` is no month, or a count is below 1.
        """
        if min(months, orgs, branches) < 1:
            raise ValueError("a year needs at least one month, one organisation and one branch")
        self.seed = seed
        self.start = day_seconds(f"{first}-01")
        starts = [self.start]
        while len(starts) <= months:
            starts.append(next_month(starts[-1]))
        self.months: tuple[int, ...] = tuple(starts[:-1])
        """The first instant of each month."""
        self.end = starts[-1]
        self.plan_change = starts[min(3, months - 1)] + 14 * DAY + 10 * HOUR
        """When the last organisation goes from Launch to Scale."""
        self.orgs = tuple(draw_orgs(orgs, self.start, self.plan_change))
        self.projects: tuple[YearProject, ...] = tuple(
            draw_projects(seed, list(self.orgs), branches, self.start, self.end)
        )
        self._orgs = {org.id: org for org in self.orgs}
        planned = plan_faults(seed, self.projects, self.start, self.end) if faults else ()
        self._planned: dict[str, Planned] = {plan.branch.id: plan for plan in planned}
        # A day's compute is asked for twice, for the usage and for who was busy.
        self._used = lru_cache(2 * len(self.projects))(self._used_anew)

    @property
    def names(self) -> dict[str, str]:
        """Name by id of every organisation, project and branch."""
        found = {org.id: org.name for org in self.orgs}
        for project in self.projects:
            found[project.id] = project.name
            found |= {branch.id: branch.name for branch in project.branches}
        return found

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """What was made to go wrong, by date."""
        return tuple(
            sorted((self._priced(planned) for planned in self._planned.values()), key=lambda fault: fault.start)
        )

    def facts(self, start: int | None = None, end: int | None = None) -> Iterator[UsageFact]:
        """Usage of the buckets that begin in [start, end), hour by hour; the whole year when not given."""
        begin, until = max(self.start, start or 0), min(self.end, self.end if end is None else end)
        for day in range(begin // DAY * DAY, until, DAY):
            hours: list[list[UsageFact]] = [[] for _ in range(24)]
            for project in self.projects:
                self._day(project, day, hours)
            for number, facts in enumerate(hours):
                if begin <= day + number * HOUR < until:
                    yield from facts

    def tenant_hours(self, start: int | None = None, end: int | None = None) -> Iterator[YearTenantHour]:
        """Who was busy in the hours that begin in [start, end), day by day; unmeasured hours have no row."""
        begin, until = max(self.start, start or 0), min(self.end, self.end if end is None else end)
        for day in range(begin // DAY * DAY, until, DAY):
            for project in self.projects:
                if project.kind != "unmeasured":
                    rows = self._tenant_day(project, day)
                    yield from (row for row in rows if begin <= row.hour < until)

    def children(self, project: YearProject, day: int) -> list[int]:
        """Child branches of a project in each hour of a day: those with a name, and those of a busy pipeline."""
        counts = [0] * 24
        for branch in project.branches:
            if not branch.root and branch.created < day + DAY and branch.deleted > day:
                for hour in range(*alive(branch, day)):
                    counts[hour] += 1
        if project.ci and weekday(day) < 5:
            random = Random(f"{self.seed}/ci/{project.number}/{day}")
            for hour in range(8, 18):
                counts[hour] += random.randrange(project.ci)
        return counts

    def _used_anew(self, project: YearProject, day: int) -> dict[str, list[int]]:
        used = project_day(self.seed, project, day, self.start)
        for branch in project.branches:
            fault = self._planned.get(branch.id)
            if fault is not None and fault.start <= day < fault.end:
                hours = fault.compute(day, used.get(branch.id, [0] * 24))
                if any(hours):
                    used[branch.id] = hours
        return used

    def _day(self, project: YearProject, day: int, hours: list[list[UsageFact]]) -> None:
        org = self._orgs[project.org_id]
        plans = [org.plan(day)] * 24
        if plans[0] != org.plan(day + DAY - 1):
            plans = [org.plan(day + hour * HOUR) for hour in range(24)]
        totals: dict[str, list[int]] = {}
        used = self._used(project, day)
        for branch in project.branches:
            if branch.created < day + DAY and branch.deleted > day:
                for metric, values in self._branch_day(project, branch, day, used.get(branch.id)):
                    self._emit(hours, (project, branch.id, metric), day, plans, values)
                    whole = totals.setdefault(metric, [0] * 24)
                    for hour, value in enumerate(values):
                        whole[hour] += value
        self._own(project, day, plans, totals)
        for metric, values in totals.items():
            self._emit(hours, (project, "", metric), day, plans, values)

    def _own(self, project: YearProject, day: int, plans: list[str], totals: dict[str, list[int]]) -> None:
        """What only the project has: snapshots, the count of its children, private transfer, and a rest without name.

        The short-lived branches of a pipeline were deleted before they could be listed, so what they stored shows in
        the project and in no branch.
        """
        children = totals[EXTRA] = self.children(project, day)
        if project.ci:
            stored = totals.setdefault(CHILD, [0] * 24)
            for hour, count in enumerate(children):
                stored[hour] += count * 3 * 10**7
        if project.snapshot:
            totals[SNAPSHOT] = [project.snapshot * (1000 + (day - self.start) // DAY) // 1000] * 24
        if project.private:
            totals[PRIVATE] = [project.private if plan == "scale_v3" else 0 for plan in plans]

    def _branch_day(
        self, project: YearProject, branch: YearBranch, day: int, used: list[int] | None
    ) -> Iterator[tuple[str, list[int]]]:
        first, last = alive(branch, day)
        age = (day - branch.created) // HOUR
        leak = self._planned.get(branch.id)
        stored = [branch.bytes + branch.growth * (age + hour) if first <= hour < last else 0 for hour in range(24)]
        if leak is not None and leak.kind == "slow_leak":
            stored = [number + leak.leaked(day + hour * HOUR) if number else 0 for hour, number in enumerate(stored)]
        yield (ROOT if branch.root else CHILD), stored
        if branch.root:
            # A week of changes, as much as a sixth of what is stored.
            yield RESTORE, [number // 6 for number in stored]
        if used:
            yield COMPUTE, used
            if branch.root:
                quiet = 2 if weekday(day) > 4 else 1
                hourly = project.egress * 7
                yield (
                    PUBLIC,
                    [
                        hourly * business // (6 * MEAN * quiet) if awake else 0
                        for business, awake in zip(BUSINESS, used, strict=True)
                    ],
                )

    @staticmethod
    def _emit(
        hours: list[list[UsageFact]], name: tuple[YearProject, str, str], day: int, plans: list[str], values: list[int]
    ) -> None:
        project, branch_id, metric = name
        org_id, project_id = project.org_id, project.id
        at, unit = day, BYTE_HOURS if metric in STORED_METRICS else ""
        for bucket, plan, value in zip(hours, plans, values, strict=True):
            if value:
                read = at + HOUR + READ_AFTER
                bucket.append(UsageFact(org_id, project_id, branch_id, at, HOURLY, plan, metric, value, read, unit))
            at += HOUR

    def _tenant_day(self, project: YearProject, day: int) -> Iterator[YearTenantHour]:
        used = self._used(project, day)
        random = Random(f"{self.seed}/busy/{project.number}/{day}")
        for branch in project.branches:
            endpoint = branch.id.replace("br-", "ep-", 1)
            for number, cu_seconds in enumerate(used.get(branch.id, ())):
                if not cu_seconds or not measured(day, self.start, number, random):
                    continue
                for tenant, busy_us in busy(branch, cu_seconds, random):
                    calls = 1 + busy_us // 1500
                    yield YearTenantHour(
                        project.id, branch.id, endpoint, day + number * HOUR, tenant, busy_us,
                        calls, calls * 7, calls * 180, calls // 3,
                    )  # fmt: skip

    def _priced(self, fault: Planned) -> Fault:
        """A fault with its dollars, worked out from its use beyond the usual, hour by hour."""
        from exporter.pricing import ratecard  # noqa: PLC0415 - only the truth needs prices

        card = ratecard.load()
        org = self._orgs[fault.project.org_id]
        usd = Fraction()
        for day in range(fault.start, fault.end, DAY):
            if fault.kind == "slow_leak":
                extra = [fault.leaked(day + hour * HOUR) for hour in range(24)]
            else:
                usual = project_day(self.seed, fault.project, day, self.start).get(fault.branch.id, [0] * 24)
                extra = [now - then for now, then in zip(fault.compute(day, usual), usual, strict=True)]
            for hour, value in enumerate(extra):
                at = day + hour * HOUR
                component = METRIC_COMPONENTS[fault.metric]
                rate = card.rate(org.plan(at), component, at)
                if rate is not None:
                    usd += Fraction(value, component.spec.per_unit(at)) * rate.amount
        project, branch = fault.project, fault.branch
        return Fault(fault.kind, org.id, project.id, branch.id, fault.metric, fault.start, fault.end, usd)
