"""What a stored month would have cost under other settings: each setting alone, and all of them together.

The stored usage is replayed, not modelled: a step changes the buckets that the setting would have changed, and the
same pricing prices the result, with all of its allowances. Where the facts leave room, the answer is a range that
holds the truth; nothing in the ledger changes. The same settings as now give the same total, to the last digit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from exporter.compute.cost import HOURLY, UsageFact, price
from exporter.compute.rates import RateCard
from exporter.compute.replay.steps import Delta, Side, branch_ttl, history, min_cu, suspend


class Exactness(StrEnum):
    """How far a figure can be trusted."""

    EXACT = "exact"
    ESTIMATED = "estimated"
    BOUNDS = "bounds"


class Life(NamedTuple):
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
    lives: tuple[tuple[Life, ...], ...] | None = None
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
class Stored:
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


@dataclass(frozen=True, slots=True)
class Knobs:
    """Other settings; None leaves one as it was. Seconds, CU."""

    plan: str | None = None
    suspend_after: int | None = None
    history: int | None = None
    min_cu: Fraction | None = None
    branch_ttl: int | None = None

    def given(self) -> dict[str, Knobs]:
        """Each setting alone, by name."""
        names = ("plan", "suspend_after", "history", "min_cu", "branch_ttl")
        return {name: Knobs(**{name: getattr(self, name)}) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a setting does to the month: USD, from the lowest to the highest that the facts allow."""

    low: Fraction
    high: Fraction
    exactness: Exactness
    notes: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()
    """Usage that the plan has no price for: it is in no figure here."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The month as it was billed, under each setting, and under all together (not the sum of the effects)."""

    before: Fraction
    effects: Mapping[str, Effect]
    together: Effect


def replay(stored: Stored, knobs: Knobs, card: RateCard, *, plan: str | None = None) -> WhatIf:
    """Replay the month. ``plan`` is the override that the ledger's costs are priced with (``cost.plan``).

    Raises:
        ValueError: a plan that the card does not have, or a setting below 0.
    """
    _check(knobs, card)
    before = price(stored.facts, card, plan=plan).total
    effects = {name: _effect(stored, own, card, plan) for name, own in knobs.given().items()}
    together = next(iter(effects.values())) if len(effects) == 1 else _effect(stored, knobs, card, plan)
    return WhatIf(before, effects, together)


def _check(knobs: Knobs, card: RateCard) -> None:
    if knobs.plan is not None and knobs.plan not in card.plans:
        priced = ", ".join(sorted(name for name, plan in card.plans.items() if plan.rates))
        raise ValueError(f"plan {knobs.plan!r} is not in the rate card; with prices it has {priced}")
    for name in ("suspend_after", "history", "min_cu", "branch_ttl"):
        value = getattr(knobs, name)
        if value is not None and (value < 0 or (value == 0 and name in ("min_cu", "suspend_after"))):
            raise ValueError(f"{name} is {value}: it must be more than 0")


def _effect(stored: Stored, knobs: Knobs, card: RateCard, plan: str | None) -> Effect:
    notes: dict[str, None] = {}
    totals = []
    unpriced: tuple[str, ...] = ()
    exactness = Exactness.EXACT
    # Only these two leave room: the rest is the same from both sides.
    sides = [Side.LOW, *([Side.HIGH] if knobs.suspend_after is not None or knobs.min_cu is not None else [])]
    for side in sides:
        deltas: list[Delta] = []
        hours = list(stored.compute)
        for step in _steps(knobs):
            changed = step(stored, hours, side, notes)
            deltas += changed.deltas
            hours = changed.hours
            exactness = max(exactness, Exactness(changed.exactness), key=list(Exactness).index)
        facts = _apply(stored.facts, deltas, card.boundaries)
        if knobs.history is not None:
            facts = history(stored, facts, knobs.history, notes)
            exactness = max(exactness, Exactness.ESTIMATED, key=list(Exactness).index)
        priced = _priced(stored, facts, knobs, card, plan)
        totals.append(priced[0])
        unpriced = priced[1]
    low, high = min(totals), max(totals)
    if low != high:
        exactness = Exactness.BOUNDS
    return Effect(low, high, exactness, tuple(notes), unpriced)


class Changed(NamedTuple):
    """What a step did."""

    deltas: list[Delta]
    hours: list[UsageFact]
    exactness: str


_Step = Callable[[Stored, list[UsageFact], Side, dict[str, None]], Changed]


def _steps(knobs: Knobs) -> list[_Step]:
    """In the order of their effects: what is gone neither sleeps nor shrinks, what sleeps does not shrink."""
    steps: list[_Step] = []
    if knobs.branch_ttl is not None:
        ttl = knobs.branch_ttl
        steps.append(lambda stored, hours, _, notes: Changed(*branch_ttl(stored, hours, ttl, notes)))
    if knobs.suspend_after is not None:
        after = knobs.suspend_after
        steps.append(lambda stored, hours, side, notes: _hourly(hours, suspend(stored, hours, after, side, notes)))
    if knobs.min_cu is not None:
        least = knobs.min_cu
        steps.append(lambda stored, hours, side, notes: _hourly(hours, min_cu(stored, hours, least, side, notes)))
    return steps


def _hourly(before: Sequence[UsageFact], after: list[UsageFact]) -> Changed:
    """The difference of two readings of the same hours; hours that only the second has are new."""
    known = {fact[:7]: fact.value for fact in before}
    deltas = [Delta(fact, fact.value - known.get(fact[:7], 0)) for fact in after]
    return Changed([each for each in deltas if each.value], after, Exactness.ESTIMATED)


def _priced(
    stored: Stored, facts: Sequence[UsageFact], knobs: Knobs, card: RateCard, plan: str | None
) -> tuple[Fraction, tuple[str, ...]]:
    """Price under the plan; with chosen projects only these move to it, and the rest stays as it was."""
    if knobs.plan is not None and stored.projects is None:
        priced = price(facts, card, plan=knobs.plan)
    elif knobs.plan is not None:
        chosen = stored.projects or frozenset()
        moved = [f._replace(plan=knobs.plan if f.project_id in chosen else plan or f.plan) for f in facts]
        priced = price(moved, card)
    else:
        priced = price(facts, card, plan=plan)
    unknown = {f"{each.plan}: {each.component}: {each.why}" for each in priced.unknown}
    return priced.total, tuple(sorted(unknown))


def _apply(facts: Sequence[UsageFact], deltas: Iterable[Delta], cuts: Sequence[int]) -> list[UsageFact]:
    """Change sums by what changed in their hours, of the branch and of its project alike."""
    changed = list(facts)
    where: dict[tuple[object, ...], list[int]] = {}
    for index, fact in enumerate(facts):
        where.setdefault(_key(fact, fact.branch_id, cuts), []).append(index)
    for fact, value in deltas:
        for branch in {fact.branch_id, ""}:
            places = where.setdefault(_key(fact, branch, cuts), [])
            if not places and value > 0:
                places.append(len(changed))
                changed.append(fact._replace(branch_id=branch, value=0, granularity=HOURLY))
            rest = value
            for index in places:
                moved = max(rest, -changed[index].value)
                changed[index] = changed[index]._replace(value=changed[index].value + moved)
                rest -= moved
                if not rest:
                    break
    return changed


def _key(fact: UsageFact, branch_id: str, cuts: Sequence[int]) -> tuple[object, ...]:
    """Which sum an hour is in: one between two changes of a rate; branch-hours stay hours."""
    at = fact.start if fact.metric == "extra_branches_month" else bisect_right(cuts, fact.start)
    return (fact.project_id, branch_id, fact.plan, fact.metric, at)


def within(stored: Stored, project_id: str) -> bool:
    """Whether the settings apply to a project."""
    return stored.projects is None or project_id in stored.projects


def only(stored: Stored, projects: frozenset[str]) -> Stored:
    """The same month, the settings for some projects only."""
    return replace(stored, projects=projects)
