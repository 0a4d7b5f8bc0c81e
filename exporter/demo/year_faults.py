"""What went wrong in the synthetic year, on purpose, with the dates and the dollars: what a detector is judged by.

A fault changes the use of one branch and nothing else, so the same year without faults is the truth to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from random import Random

from exporter.demo.year_world import YearBranch, YearProject
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import Component

KINDS = ("spike", "step", "slow_leak", "stuck_awake")
QUIET_DAYS = 45
"""No fault before: a detector needs a past to compare with."""
_LASTS = {"spike": 1, "step": 60, "slow_leak": 60, "stuck_awake": 9}
_LEAK = 45 * 10**7
"""Bytes that leak in an hour."""
_WANTED = {
    "spike": ("steady", "web", "office"),
    "step": ("steady", "web", "office"),
    "slow_leak": ("steady", "web", "office", "cron"),
    "stuck_awake": ("cron", "web"),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault before its dollars are known. ``start`` and ``end``: midnights in unix seconds, the end exclusive."""

    kind: str
    project: YearProject
    branch: YearBranch
    start: int
    end: int

    @property
    def metric(self) -> str:
        """The metric of the API that shows it."""
        if self.kind != "slow_leak":
            return Component.COMPUTE.spec.metric
        stored = Component.ROOT_STORAGE if self.branch.root else Component.CHILD_STORAGE
        return stored.spec.metric

    def compute(self, day: int, hours: Sequence[int]) -> list[int]:
        """CU-seconds of a day as the fault leaves them."""
        if not self.start <= day < self.end:
            return list(hours)
        if self.kind == "spike":
            return [used * 6 + self.branch.cu * 900 for used in hours]
        if self.kind == "step":
            return [used * 5 // 2 for used in hours]
        if self.kind == "stuck_awake":
            return [max(used, self.branch.cu * 900) for used in hours]
        return list(hours)

    def leaked(self, at: int) -> int:
        """Bytes more that are stored at an instant; what leaked stays."""
        if self.kind != "slow_leak" or at < self.start:
            return 0
        return _LEAK * ((min(at, self.end) - self.start) // 3600)


@dataclass(frozen=True, slots=True)
class Fault:
    """The truth about one fault. A leak's dollars are those until its ``end``; what leaked goes on being stored."""

    kind: str
    org_id: str
    project_id: str
    branch_id: str
    metric: str
    start: int
    end: int
    usd: Fraction
    """What it cost beyond the usual, at the card's rates (unrounded)."""

    @property
    def usd_per_day(self) -> Fraction:
        """Mean over its days."""
        return self.usd * DAY / (self.end - self.start)


def plan_faults(seed: int, projects: Sequence[YearProject], start: int, end: int) -> Iterator[Planned]:
    """Each kind once, and once more for every 240 branches; at most one in a project, each before the year ends."""
    branches = sum(len(project.branches) for project in projects)
    random = Random(f"{seed}/faults")
    used: set[str] = set()
    days = (end - start) // DAY
    for kind, _ in zip(cycle(KINDS), range(len(KINDS) * (1 + branches // 240)), strict=False):
        last = days - _LASTS[kind] - 1
        if last <= QUIET_DAYS:
            continue
        begin = start + random.randrange(QUIET_DAYS, last) * DAY
        until = begin + _LASTS[kind] * DAY
        fitting = [
            (project, branch)
            for project in projects
            if project.id not in used
            for branch in project.branches
            if branch.rhythm in _WANTED[kind] and branch.created + QUIET_DAYS * DAY < begin and branch.deleted >= until
        ]
        if fitting:
            project, branch = random.choice(fitting)
            used.add(project.id)
            yield Planned(kind, project, branch, begin, until)
