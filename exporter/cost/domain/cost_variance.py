"""The bridge from one month's cost to the next: what prices did, what usage did, what came and what went.

Per branch and component, price effect = q1 x (r1 - r0) and volume effect = r0 x (q1 - q0), where q is the billable
quantity and r the cost per unit of it. Together with the branches that are new and those that are gone they are the
difference of the two months, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED

EFFECTS = ("price", "volume", "new", "gone")
_ZERO = Fraction()


class Item(NamedTuple):
    """What is compared between two months."""

    org_id: str
    project_id: str
    branch_id: str
    component: Component

    @property
    def thing(self) -> tuple[str, str]:
        """What can be new or gone: the branch, or the project for charges that belong to no branch."""
        return (self.project_id, "" if self.branch_id in (PROJECT_LEVEL, UNATTRIBUTED) else self.branch_id)


@dataclass(frozen=True, slots=True)
class CostVariance:
    """One item of the bridge, in USD; ``price + volume + new + gone`` = ``after - before``, exactly."""

    item: Item
    before: Fraction
    after: Fraction
    price: Fraction = _ZERO
    volume: Fraction = _ZERO
    new: Fraction = _ZERO
    gone: Fraction = _ZERO
    """Negative: what is not paid any more."""

    @property
    def change(self) -> Fraction:
        """``after - before``."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class CostVariances:
    """All moves in a stable order, and their sums."""

    moves: tuple[CostVariance, ...]

    @property
    def before(self) -> Fraction:
        """The earlier month in USD."""
        return sum((move.before for move in self.moves), _ZERO)

    @property
    def after(self) -> Fraction:
        """The later month in USD."""
        return sum((move.after for move in self.moves), _ZERO)

    @property
    def effects(self) -> dict[str, Fraction]:
        """USD by cause: ``price``, ``volume``, ``new``, ``gone``; they sum to ``after - before``."""
        return {name: sum((getattr(move, name) for move in self.moves), _ZERO) for name in EFFECTS}


@dataclass(slots=True)
class _Amount:
    quantity: Fraction = _ZERO
    cost: Fraction = _ZERO


def variances(before: Iterable[CostLine], after: Iterable[CostLine]) -> CostVariances:
    """Compare two months of cost lines; what was never billed in either is left out."""
    old, new = _amounts(before), _amounts(after)
    had, has = ({item.thing for item in side} for side in (old, new))
    moves = []
    for item in sorted({*old, *new}):
        was, now = old.get(item, _Amount()), new.get(item, _Amount())
        if not was.cost and not now.cost:
            continue
        if item.thing not in had:
            moves.append(CostVariance(item, _ZERO, now.cost, new=now.cost))
        elif item.thing not in has:
            moves.append(CostVariance(item, was.cost, _ZERO, gone=-was.cost))
        else:
            moves.append(_stayed(item, was, now))
    return CostVariances(tuple(moves))


def _stayed(item: Item, was: _Amount, now: _Amount) -> CostVariance:
    # A side without quantity has no price of its own: the other side's holds, so all of the change is volume.
    new_rate = now.cost / now.quantity if now.quantity else None
    old_rate = was.cost / was.quantity if was.quantity else new_rate or _ZERO
    new_rate = old_rate if new_rate is None else new_rate
    price = now.quantity * (new_rate - old_rate)
    return CostVariance(item, was.cost, now.cost, price=price, volume=old_rate * (now.quantity - was.quantity))


def _amounts(lines: Iterable[CostLine]) -> dict[Item, _Amount]:
    amounts: dict[Item, _Amount] = {}
    for line in lines:
        amount = amounts.setdefault(Item(line.org_id, line.project_id, line.branch_id, line.component), _Amount())
        amount.quantity += line.quantity
        amount.cost += line.cost
    return amounts
