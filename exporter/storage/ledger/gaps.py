"""Where a ledger has holes: hours between the first and the last of a project that no bucket of any size covers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from exporter.pricing.domain.calendar import DAY, month_start
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY


class Gap(NamedTuple):
    """Days in a row of which hours are missing; ``end`` is exclusive."""

    project_id: str
    start: int
    end: int
    hours: int
    """How many are missing."""


def gaps(days: Iterable[tuple[str, str, int, int]]) -> list[Gap]:
    """The holes, from :meth:`KeptLedger.project_days`.

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
