"""How a branch of the synthetic year is used: CU-seconds of each hour of a day by its rhythm, and who was busy in them.

A day is made from the seed, the project and the day alone. Everything is whole numbers.
"""

from __future__ import annotations

from random import Random

from exporter.demo.year_world import YearBranch, YearProject
from exporter.pricing.domain.calendar import DAY, HOUR

BUSINESS = (2, 2, 1, 1, 2, 3, 5, 9, 14, 17, 18, 17, 15, 17, 18, 17, 15, 12, 9, 7, 6, 5, 4, 3)
"""Business by hour of the day; the mean is 9."""
MEAN = 9
_AGENT_US = 40_000
"""Busy microseconds of the agent's own statements in an hour in which it looked."""
_LOOKS = 0.97
"""The share of awake hours in which somebody looked."""
_OUTAGE_DAY, _OUTAGE_HOURS = 23, 20
"""On this day of every 30 the agent was off for so long."""


def weekday(day: int) -> int:
    """Monday is 0. ``day``: unix seconds of a midnight."""
    return (day // DAY + 3) % 7


def project_day(seed: int, project: YearProject, day: int, start: int) -> dict[str, list[int]]:
    """CU-seconds by branch id and hour, of the branches that were awake on a day at all."""
    random = Random(f"{seed}/use/{project.number}/{day}")
    scale = 1000 + project.trend * ((day - start) // DAY) // 365
    found = {}
    for branch in project.branches:
        if branch.created >= day + DAY or branch.deleted <= day or branch.rhythm == "never":
            continue
        hours = _RHYTHMS[branch.rhythm](branch, day, random)
        if hours is None:
            continue
        limit = branch.max_cu * 900
        first, last = alive(branch, day)
        hours = [min(limit, used * scale // 1000) if first <= h < last else 0 for h, used in enumerate(hours)]
        if any(hours):
            found[branch.id] = hours
    return found


def alive(branch: YearBranch, day: int) -> tuple[int, int]:
    """The hours of a day during which a branch was there: from, until before."""
    return max(0, (branch.created - day) // HOUR), min(24, (branch.deleted - day) // HOUR)


def _steady(branch: YearBranch, day: int, random: Random) -> list[int]:
    base, spare = branch.cu * 900, (branch.max_cu - branch.cu) * 900
    quiet = 2 if weekday(day) > 4 else 1
    return [base + spare * hour * random.randrange(30, 60) // (100 * 18 * quiet) for hour in BUSINESS]


def _web(branch: YearBranch, day: int, random: Random) -> list[int]:
    quiet = 2 if weekday(day) > 4 else 1
    hours = []
    for business in BUSINESS:
        awake = min(HOUR, random.randrange(300, 1500) + business * random.randrange(50, 170) // quiet)
        hours.append(awake * branch.cu // 4 if random.randrange(20) < business + 2 else 0)
    return hours


def _office(branch: YearBranch, day: int, random: Random) -> list[int] | None:
    if weekday(day) > 4 and random.randrange(12):
        return None
    begin, end = random.randrange(7, 10), random.randrange(16, 20)
    return [random.randrange(1400, 3601) * branch.cu // 4 if begin <= hour < end else 0 for hour in range(24)]


def _cron(branch: YearBranch, day: int, random: Random) -> list[int]:
    del day
    step = 6 if branch.cu > 1 else 24
    return [random.randrange(360, 480) * branch.cu // 4 if hour % step == 3 else 0 for hour in range(24)]


def _preview(branch: YearBranch, day: int, random: Random) -> list[int] | None:
    if weekday(day) > 4 or day - branch.created > 5 * DAY:
        return None
    return [
        random.randrange(300, 1800) * branch.cu // 4 if 8 <= hour < 19 and not random.randrange(4) else 0
        for hour in range(24)
    ]


_RHYTHMS = {"steady": _steady, "web": _web, "office": _office, "cron": _cron, "preview": _preview}


def measured(day: int, start: int, hour: int, random: Random) -> bool:
    """Whether the agent saw an awake hour: sometimes a compute was asleep again before it looked."""
    off = (day - start) // DAY % 30 == _OUTAGE_DAY and hour < _OUTAGE_HOURS
    return random.random() < _LOOKS and not off


def busy(branch: YearBranch, cu_seconds: int, random: Random) -> list[tuple[str, int]]:
    """Busy microseconds by tenant in an awake hour: usually far less than the compute was awake, now and then more."""
    total = sum(weight for _, weight in branch.tenants)
    usual = 1300 if not random.randrange(50) else random.randrange(40, 650)
    shares = []
    for tenant, weight in branch.tenants:
        if len(branch.tenants) > 1 and random.randrange(5) > 1:
            continue
        shares.append((tenant, cu_seconds * usual * weight * random.randrange(600, 1400) // total))
    shares.append(("__agent__", _AGENT_US))
    return shares
