"""What a stored month would have cost under other settings: each setting alone, and all of them together.

The stored usage is replayed, not modelled: a step changes the buckets that the setting would have changed, and the
same pricing prices the result, with all of its allowances. Where the facts leave room, the answer is a range that
holds the truth; nothing in the ledger changes. The same settings as now give the same total, to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from exporter.cost.domain.whatif.scenario import Change, Changes, Scenario, StoredMonth
from exporter.cost.domain.whatif.steps import Bound, Hours, branch_ttl, history, min_cu, suspend
from exporter.pricing.domain.price import price
from exporter.pricing.domain.rates import RateCard
from exporter.pricing.domain.usage import UsageFact


class Exactness(StrEnum):
    """How far a figure can be trusted."""

    EXACT = "exact"
    ESTIMATED = "estimated"
    BOUNDS = "bounds"


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
    prices: str = "list prices"
    """What the prices are, for a person."""


def replay(stored: StoredMonth, knobs: Knobs, card: RateCard, *, plan: str | None = None) -> WhatIf:
    """Replay the month. ``plan`` is the override that the ledger's costs are priced with (``cost.plan``).

    Raises:
        ValueError: a plan that the card does not have, or a setting below 0.
    """
    _check(knobs, card)
    before = price(stored.facts, card, plan=plan).total
    scene = Scenario(stored, card.boundaries)
    effects = {name: _effect(scene, own, card, plan) for name, own in knobs.given().items()}
    together = next(iter(effects.values())) if len(effects) == 1 else _effect(scene, knobs, card, plan)
    return WhatIf(before, effects, together, card.prices)


def _check(knobs: Knobs, card: RateCard) -> None:
    if knobs.plan is not None and knobs.plan not in card.plans:
        priced = ", ".join(sorted(name for name, plan in card.plans.items() if plan.rates))
        raise ValueError(f"plan {knobs.plan!r} is not in the rate card; with prices it has {priced}")
    for name in ("suspend_after", "history", "min_cu", "branch_ttl"):
        value = getattr(knobs, name)
        if value is not None and (value < 0 or (value == 0 and name in ("min_cu", "suspend_after"))):
            raise ValueError(f"{name} is {value}: it must be more than 0")


def _effect(scene: Scenario, knobs: Knobs, card: RateCard, plan: str | None) -> Effect:
    stored, notes = scene.stored, dict[str, None]()
    totals = []
    unpriced: tuple[str, ...] = ()
    exactness = Exactness.EXACT
    # Only these two leave room: the rest is the same from both sides.
    sides = [Bound.LOW, *([Bound.HIGH] if knobs.suspend_after is not None or knobs.min_cu is not None else [])]
    for side in sides:
        changes: Changes = {}
        hours = list(stored.compute)
        for step in _steps(knobs):
            (hours, changed), exact = step(scene, hours, side, notes)
            for key, change in changed.items():
                changes.setdefault(key, Change(change.like)).value += change.value
            exactness = max(exactness, Exactness(exact), key=list(Exactness).index)
        facts = scene.changed(changes)
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


_Step = Callable[[Scenario, list[UsageFact], Bound, dict[str, None]], tuple[Hours, str]]


def _steps(knobs: Knobs) -> list[_Step]:
    """In the order of their effects: what is gone neither sleeps nor shrinks, what sleeps does not shrink."""
    steps: list[_Step] = []
    if knobs.branch_ttl is not None:
        ttl = knobs.branch_ttl
        steps.append(lambda scene, hours, _, notes: branch_ttl(scene, hours, ttl, notes))
    if knobs.suspend_after is not None:
        after = knobs.suspend_after
        steps.append(lambda scene, hours, side, notes: (suspend(scene, hours, after, side, notes), Exactness.ESTIMATED))
    if knobs.min_cu is not None:
        least = knobs.min_cu
        steps.append(lambda scene, hours, side, notes: (min_cu(scene, hours, least, side, notes), Exactness.ESTIMATED))
    return steps


def _priced(
    stored: StoredMonth, facts: Sequence[UsageFact], knobs: Knobs, card: RateCard, plan: str | None
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
    unknown = {f"{usage.plan}: {usage.component}: {usage.why}" for usage in priced.unknown}
    return priced.total, tuple(sorted(unknown))
