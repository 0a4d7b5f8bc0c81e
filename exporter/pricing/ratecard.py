"""Loads rate cards: Neon's list prices as shipped, and over them a file of the user's own prices.

A rate card is data with dates and sources, so that a price can be looked up and argued with. Every mistake in a file is
one line that says what is wrong, where, and what to do; a file with a mistake is refused whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from collectors.errors import UsageError
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import Allowance, Rate, RateCard, contracted
from exporter.pricing.reader import FORMAT, SHIPPED, read_card

__all__ = ["FORMAT", "SHIPPED", "RateCardError", "load", "merge", "parse", "shipped"]

Entry = TypeVar("Entry", Rate, Allowance)


class RateCardError(UsageError):
    """A rate card file cannot be used. ``problems`` has one line each: where, what, and what to do."""

    heading = "neonmeter cannot start with the settings:"

    def __init__(self, origin: str, problems: list[str]) -> None:
        """Name the file and list what is wrong with it."""
        super().__init__("\n".join(f"{origin}: {problem}" for problem in problems))
        self.origin = origin
        self.problems = problems


def load(override: Path | None = None) -> RateCard:
    """The shipped card, with the file of ``cost.rate_card`` over it.

    For each plan and component that the file gives, its history holds from its first ``valid_from`` on; what the
    shipped card says about the days before stays.

    Raises:
        RateCardError: a file is missing, is not JSON, or breaks the format.
    """
    if override is None:
        return shipped()
    try:
        text = override.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise RateCardError(str(override), [f"{reason}; set cost.rate_card to a readable JSON file"]) from problem
    return merge(shipped(), parse(text, str(override)))


@cache
def shipped() -> RateCard:
    """The list prices, units and names as they come with neonmeter."""
    return parse(files("exporter.pricing").joinpath("neon.json").read_text("utf-8"), SHIPPED)


def parse(text: str, origin: str) -> RateCard:
    """Read one card from JSON text.

    Raises:
        RateCardError: with every problem that the text has.
    """
    try:
        # Numbers stay text here: a rate that went through a float would not be the rate in the file.
        document = json.loads(text, parse_float=str, object_pairs_hook=_unique)
    except ValueError as problem:
        raise RateCardError(origin, [f"not valid JSON ({problem}); correct it there"]) from problem
    card, problems = read_card(document, origin)
    if card is None:
        raise RateCardError(origin, problems)
    return card


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is a duplicate")
    return found


def merge(base: RateCard, over: RateCard) -> RateCard:
    """The base card with the histories of another over it, from the first day of each on.

    The rates of ``over`` are what is paid; where the base has a price too, it stays beside them as the list price.

    Raises:
        RateCardError: a plan is said to be like one that neither card has.
    """
    plans = dict(base.plans)
    for name, card in over.plans.items():
        if card.like and card.like not in base.plans:
            there = ", ".join(name for name, plan in base.plans.items() if not plan.unpriced)
            raise RateCardError(over.origin, [f"plans.{name}.like: no such plan: {card.like!r}; use one of {there}"])
        old = base.plans.get(card.like or name)
        if card.unpriced or old is None:
            plans[name] = card
            continue
        plans[name] = replace(
            old,
            name=name,
            label=card.label or old.label,
            rates={
                component: contracted(
                    _renamed(old.rates.get(component, ()), name),
                    card.rates.get(component, ()),
                    card.discounts.get(component, ()),
                )
                for component in sorted(old.rates.keys() | card.rates.keys())
            },
            allowances=_joined({c: _renamed(entries, name) for c, entries in old.allowances.items()}, card.allowances),
            unpriced="" if card.rates or card.like else old.unpriced,
            not_offered={**old.not_offered, **card.not_offered},
        )
    origin = f"{base.origin} with {over.origin}"
    history = (*base.plan_history, *over.plan_history)
    own = base.own or any(plan.rates or plan.discounts for plan in over.plans.values())
    return RateCard(
        plans.values(),
        currency=base.currency,
        origin=origin,
        plan_history=history,
        own=own,
        units={**base.units, **over.units},
        names={**base.names, **over.names},
    )


def _renamed(prices: tuple[Entry, ...], plan: str) -> tuple[Entry, ...]:
    return tuple(price if price.plan == plan else replace(price, plan=plan) for price in prices)


def _joined(
    old: Mapping[Component, tuple[Allowance, ...]], new: Mapping[Component, tuple[Allowance, ...]]
) -> dict[Component, tuple[Allowance, ...]]:
    joined = dict(old)
    for component, allowances in new.items():
        earlier = [one for one in old.get(component, ()) if one.valid_from < allowances[0].valid_from]
        joined[component] = (*earlier, *allowances)
    return joined
