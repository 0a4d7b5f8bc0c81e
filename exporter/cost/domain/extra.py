"""Lines of an invoice that no meter shows: purchases, credits, taxes, adjustments. They are declared, month by month.

Amounts are exact. A line is computed from what stands before it, in the order in which the lines are declared: a tax
on "all" taxes the lines above it, also the declared ones. In a close every amount is whole cents at once, since an
invoice taxes what it shows; elsewhere nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from exporter.cost.domain.allocate import SHARED, Confidence
from exporter.cost.domain.close import AllocationLine, InvoiceLine, LineKey, Path, Rounding, quantise, spread
from exporter.pricing.domain.calendar import month_start
from exporter.pricing.domain.usage import PROJECT_LEVEL

ORG_LEVEL = "__org__"
"""The project id of a row that belongs to the organisation as a whole."""


class Category(StrEnum):
    """The kind of a line, in the words of FOCUS."""

    PURCHASE = "Purchase"
    CREDIT = "Credit"
    TAX = "Tax"
    ADJUSTMENT = "Adjustment"


class Base(StrEnum):
    """What a percentage is of."""

    USAGE = "usage"
    ALL = "all"


class Split(StrEnum):
    """Who bears it below the organisation or project."""

    SHARED = "shared"
    PRO_RATA = "pro_rata"


@dataclass(frozen=True, slots=True)
class ExtraLine:
    """A declared line. Either ``amount`` (USD) or ``percent``; a credit is written positive and is subtracted."""

    name: str
    category: Category
    amount: Fraction | None = None
    percent: Fraction | None = None
    base: Base = Base.USAGE
    org_id: str = ""
    """Empty: every organisation for a percentage, the only one for an amount."""
    project_id: str = ""
    first: int = 0
    """The day from which it holds (unix seconds); the month that holds it is the first."""
    last: int | None = None
    """The last day on which it holds; None for no end."""
    monthly: bool = True
    """False: in the month of ``first`` only."""
    split: Split = Split.SHARED

    def holds(self, month: int) -> bool:
        """Whether the calendar month has this line; it is never cut by days."""
        first = month_start(self.first)
        if not self.monthly:
            return month == first
        return month >= first and (self.last is None or self.last >= month)


@dataclass(frozen=True, slots=True)
class ExtraShare:
    """A part of a declared line; over all parts of one line and organisation the costs sum to it exactly."""

    key: LineKey
    path: Path
    cost: Fraction
    confidence: Confidence = Confidence.DECLARED


class MeteredCosts:
    """The metered cost by organisation and path: what percentages are of, and what is split by."""

    def __init__(self, costs: Iterable[tuple[str, Path, Fraction]]) -> None:
        """Sum (organisation, path, USD)."""
        self.orgs: dict[str, dict[Path, Fraction]] = {}
        for org, path, cost in costs:
            below = self.orgs.setdefault(org, {})
            below[path] = below.get(path, Fraction()) + cost

    def within(self, org: str, project: str) -> dict[Path, Fraction]:
        """The allocations of an organisation, or of one of its projects."""
        return {path: cost for path, cost in self.orgs.get(org, {}).items() if project in ("", path.project_id)}


def extra_shares(
    lines: Sequence[ExtraLine], month: int, allocations: MeteredCosts
) -> tuple[tuple[ExtraShare, ...], tuple[str, ...]]:
    """The declared lines of a month, unrounded, and one line for a person on each that cannot be placed."""
    shares: list[ExtraShare] = []
    amounts, problems = _amounts(lines, month, allocations, lambda amount: amount)
    for line, key, amount in amounts:
        weights = _weights(line, key, allocations)
        whole = sum(weights.values(), Fraction())
        shares.extend(ExtraShare(key, path, amount * weight / whole) for path, weight in sorted(weights.items()))
    return tuple(shares), problems


def extra_invoice_lines(
    lines: Sequence[ExtraLine], month: int, allocations: MeteredCosts, rounding: Rounding = Rounding.HALF_UP
) -> tuple[tuple[InvoiceLine, ...], tuple[str, ...]]:
    """The declared lines of a month in whole cents, each rounded before the next is computed, and what is wrong.

    ``allocations`` should hold the cents of the metered lines, since an invoice taxes what it shows.
    """

    def to_cents(amount: Fraction) -> Fraction:
        return Fraction(quantise(amount, rounding), 100)

    amounts, problems = _amounts(lines, month, allocations, to_cents)
    made = []
    for line, key, amount in amounts:
        cents = int(amount * 100)
        parts = spread(cents, _weights(line, key, allocations))
        below = tuple(AllocationLine(path, parts[path], Confidence.DECLARED) for path in sorted(parts))
        made.append(InvoiceLine(key, "", 0, Fraction(1), amount, cents, allocations=below))
    return tuple(made), problems


def _amounts(
    lines: Sequence[ExtraLine], month: int, allocations: MeteredCosts, rounded: Callable[[Fraction], Fraction]
) -> tuple[list[tuple[ExtraLine, LineKey, Fraction]], tuple[str, ...]]:
    found: list[tuple[ExtraLine, LineKey, Fraction]] = []
    problems: list[str] = []
    for line in (extra_line for extra_line in lines if extra_line.holds(month)):
        orgs = [line.org_id] if line.org_id else sorted(allocations.orgs)
        if line.project_id and not line.org_id:
            orgs = [org for org in orgs if allocations.within(org, line.project_id)]
        if line.amount is not None and len(orgs) != 1:
            many = f"{len(orgs)} organisations have cost" if orgs else "no organisation has cost"
            problems.append(f"{line.name}: {many} in the month; name the one that pays with org:")
            continue
        for org in orgs:
            amount = line.amount if line.amount is not None else _percent(line, org, allocations, found)
            signed = -amount if line.category is Category.CREDIT else amount
            found.append((line, LineKey(org, line.category.value, line.name), rounded(signed)))
    return found, tuple(problems)


def _percent(
    line: ExtraLine, org: str, allocations: MeteredCosts, before: Iterable[tuple[ExtraLine, LineKey, Fraction]]
) -> Fraction:
    base = sum(allocations.within(org, line.project_id).values(), Fraction())
    if line.base is Base.ALL:
        for other, key, amount in before:
            if key.org_id == org and line.project_id in ("", other.project_id):
                base += amount
    return base * (line.percent or 0) / 100


def _weights(line: ExtraLine, key: LineKey, allocations: MeteredCosts) -> Mapping[Path, Fraction]:
    if line.split is Split.PRO_RATA:
        weights = {path: cost for path, cost in allocations.within(key.org_id, line.project_id).items() if cost > 0}
        if weights:
            return weights
    return {Path(line.project_id or ORG_LEVEL, PROJECT_LEVEL, SHARED): Fraction(1)}
