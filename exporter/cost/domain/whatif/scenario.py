"""What the steps of a replay share, worked out once for all of them: awake seconds by hour, and the sums to change.

A month of a thousand branches is a million buckets, and every setting is replayed from two sides, alone and together.
So changes are summed up as whole numbers before any sum of the month is touched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.pricing.domain.calendar import HOUR
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import HOURLY, UsageFact


class AwakeSpan(NamedTuple):
    """One time that a compute was awake, in unix seconds; ``end`` None: it still is."""

    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Computes:
    """The computes of one branch."""

    suspend_after: int | None
    """Seconds; None: never."""
    least_cu: Fraction | None
    """Their common minimum; None when they differ."""
    lives: tuple[tuple[AwakeSpan, ...], ...] | None = None
    """By compute, oldest first, each complete over the month; None: not known."""


@dataclass(frozen=True, slots=True)
class BranchLife:
    """When a branch existed; ``ended`` None: it still does."""

    id: str
    project_id: str
    created: int
    ended: int | None = None
    known: bool = True
    """False: not from Neon, but from its first and last usage in the ledger."""


@dataclass(frozen=True, slots=True)
class StoredMonth:
    """What is known of the month. Everything may be partial; what is missing widens the range."""

    start: int
    end: int
    """Up to when the data goes."""
    facts: Sequence[UsageFact]
    """Everything, as ``Ledger.priceable`` gives it."""
    compute: Sequence[UsageFact] = ()
    """The compute of branches by the hour."""
    busy_us: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """By branch and hour; an absent hour was not measured."""
    computes: Mapping[str, Computes] = field(default_factory=dict)
    """By branch id."""
    ephemeral: Sequence[BranchLife] = ()
    """Child branches that a lifetime may end: not default, not protected."""
    branch_usage: Sequence[UsageFact] = ()
    """Hourly usage of those, of every metric."""
    history: Mapping[str, int] = field(default_factory=dict)
    """Seconds of the history window by project id."""
    projects: frozenset[str] | None = None
    """Projects that the settings apply to; None: all."""


_BRANCH_HOURS = Component.EXTRA_BRANCHES.spec.metric


class SumKey(NamedTuple):
    """Which sum of the month a bucket is in: one between two changes of a rate; branch-hours stay hours."""

    project_id: str
    branch_id: str
    plan: str
    metric: str
    at: int


@dataclass(slots=True)
class Change:
    """How much more (or less) one sum holds, in the unit of the API; ``like`` is a bucket of it."""

    like: UsageFact
    value: int = 0


Changes = dict[SumKey, Change]


class Ended(NamedTuple):
    """What a lifetime ends: the changes of the sums, when each branch is gone, and how sure the ages are."""

    changes: Changes
    ends: Mapping[str, int]
    exact: str
    notes: tuple[str, ...]


class Scenario:
    """One month that is replayed under several settings."""

    def __init__(self, stored: StoredMonth, cuts: Sequence[int]) -> None:
        """``cuts`` are the instants at which a rate changes, in order."""
        self.stored = stored
        self._cuts = cuts
        self._periods: dict[int, int] = {}
        self._awake: dict[str, dict[int, int]] = {}
        self._ended: dict[int, Ended] = {}
        self._where: dict[SumKey, list[int]] = {}
        for index, fact in enumerate(stored.facts):
            self._where.setdefault(self.key(fact), []).append(index)

    def key(self, fact: UsageFact) -> SumKey:
        """The sum that a bucket is in."""
        at = fact.start
        if fact.metric != _BRANCH_HOURS:
            period = self._periods.get(at)
            at = self._periods[at] = bisect_right(self._cuts, at) if period is None else period
        return SumKey(fact.project_id, fact.branch_id, fact.plan, fact.metric, at)

    def awake(self, branch: str) -> dict[int, int]:
        """Awake seconds of a branch by hour, over all of its computes."""
        found = self._awake.get(branch)
        if found is None:
            computes = self.stored.computes.get(branch)
            lives = [life for row in (computes.lives if computes else None) or () for life in row]
            found = self._awake[branch] = seconds_of(lives, self.stored.end)
        return found

    def add(self, changes: Changes, fact: UsageFact, value: int) -> None:
        """One more change."""
        key = self.key(fact)
        if key in changes:
            changes[key].value += value
        else:
            changes[key] = Change(fact, value)

    def changed(self, changes: Changes) -> list[UsageFact]:
        """The sums of the month with the changes of their hours, of branches and of their projects alike."""
        facts = list(self.stored.facts)
        both: Changes = {}
        for key, change in changes.items():
            for branch in {key.branch_id, ""}:
                both.setdefault(key._replace(branch_id=branch), Change(change.like)).value += change.value
        for key, change in both.items():
            rest = change.value
            places = self._where.get(key, ())
            if not places and rest > 0:
                facts.append(change.like._replace(branch_id=key.branch_id, value=rest, granularity=HOURLY))
            for index in places:
                moved = max(rest, -facts[index].value)
                facts[index] = facts[index]._replace(value=facts[index].value + moved)
                rest -= moved
                if not rest:
                    break
        return facts

    def ended(self, ttl: int) -> Ended:
        """What is gone when branches end at an age: their usage after that hour, and the branch-hours of that time."""
        found = self._ended.get(ttl)
        if found is None:
            found = self._ended[ttl] = self._end(ttl)
        return found

    def _end(self, ttl: int) -> Ended:
        stored, ends, notes, exact = self.stored, dict[str, int](), list[str](), "exact"
        for branch in stored.ephemeral:
            if stored.projects is not None and branch.project_id not in stored.projects:
                continue
            gone = max(stored.start, -(-(branch.created + ttl) // HOUR) * HOUR)
            if gone < min(stored.end, branch.ended or stored.end):
                ends[branch.id] = gone
                if not branch.known:
                    exact = "estimated"
                    notes = ["deleted branches are as old as their first usage in the ledger"]
        changes: Changes = {}
        for fact in stored.branch_usage:
            gone = ends.get(fact.branch_id, stored.end)
            if fact.start >= gone and fact.branch_id in ends:
                self.add(changes, fact, -fact.value)
        for fact, count in self._branch_hours(ends):
            self.add(changes, fact, -count)
        return Ended(changes, ends, exact, (*notes, f"branches that end: {len(ends)}"))

    def _branch_hours(self, ends: Mapping[str, int]) -> Iterator[tuple[UsageFact, int]]:
        fewer: dict[tuple[str, int], int] = {}
        for branch in self.stored.ephemeral:
            if branch.id in ends:
                last = (min(self.stored.end, branch.ended or self.stored.end)) // HOUR * HOUR
                for hour in range(ends[branch.id], last, HOUR):
                    fewer[branch.project_id, hour] = fewer.get((branch.project_id, hour), 0) + 1
        for fact in self.stored.facts:
            if fact.metric == _BRANCH_HOURS and fact.granularity == HOURLY:
                count = fewer.get((fact.project_id, fact.start), 0)
                if count:
                    yield fact, min(count, fact.value)


def seconds_of(lives: Iterable[AwakeSpan], end: int) -> dict[int, int]:
    """Awake seconds by hour."""
    found: dict[int, int] = {}
    for life in lives:
        for hour, seconds in spread(life.start, life.end if life.end is not None else end):
            found[hour] = found.get(hour, 0) + seconds
    return found


def spread(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A span cut at full hours: the hour, and the seconds in it."""
    while start < end:
        hour = start // HOUR * HOUR
        until = min(end, hour + HOUR)
        yield hour, until - start
        start = until
