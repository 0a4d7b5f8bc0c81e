"""The closed month: invoice lines in whole cents, and allocations that sum to them to the cent.

An invoice has one line per organisation, component, plan and rate, and is rounded once there. Below it, the cents are
spread over its allocations (project, branch, tenant) by largest remainder, ties by key, so that every row is a whole
number of cents and none is lost. What is closed never changes: what later usage changes is a correction, the difference
between the month priced now and all that was booked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.allocate import Confidence, Share, largest_remainder
from exporter.pricing.domain.price import CostLine

USAGE = "Usage"
"""The kind of a line that was metered; the others are the categories of ``exporter.cost.domain.extra``."""
_WEAKEST = {confidence: rank for rank, confidence in enumerate(Confidence)}


class Rounding(StrEnum):
    """How a line is rounded to the cent; both work on the distance from zero, so a credit mirrors a charge."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


class LineKey(NamedTuple):
    """What makes a line of an invoice. ``component`` is the name of the line where it was not metered."""

    org_id: str
    kind: str
    component: str
    plan: str = ""
    rate: str = ""
    """USD per unit as a decimal string; empty where there is none."""


class Path(NamedTuple):
    """Where an allocation belongs."""

    project_id: str
    branch_id: str
    tenant: str


@dataclass(frozen=True, slots=True)
class AllocationLine:
    """One row below a line, in whole cents."""

    path: Path
    cents: int
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line: exact cost and quantity, and the cents that an invoice shows. The allocations sum to the cents."""

    key: LineKey
    unit: str
    usage: int
    quantity: Fraction
    cost: Fraction
    cents: int
    lower_bound: bool = False
    allocations: tuple[AllocationLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Booking:
    """What was locked at one time for one month: its close (``sequence`` 0), or a later correction of it."""

    month: int
    """First instant of the month that the charges are of."""
    sequence: int
    booked_in: int
    """The month whose statement shows it: the same for a close, the open month for a correction."""
    at: int
    by: str
    forced: str
    """Why it was closed all the same; empty when all conditions were met."""
    through: int
    """Up to when the usage had been read."""
    facts: str
    """SHA-256 over the usage that was priced."""
    rate_card: str
    rounding: str
    lines: tuple[InvoiceLine, ...]

    @property
    def cents(self) -> int:
        """The sum of the lines."""
        return sum(line.cents for line in self.lines)

    @property
    def is_correction(self) -> bool:
        """Whether it corrects an earlier booking of the same month."""
        return self.sequence > 0


@dataclass(frozen=True, slots=True)
class Corrections:
    """The lines that a closed month lacks, and why others were left alone."""

    lines: tuple[InvoiceLine, ...]
    held: tuple[str, ...] = ()

    @property
    def cents(self) -> int:
        """The sum of the lines; it may be negative."""
        return sum(line.cents for line in self.lines)


def quantise(amount: Fraction, rounding: Rounding = Rounding.HALF_UP) -> int:
    """An exact amount in USD as whole cents."""
    cents, sign = abs(amount) * 100, -1 if amount < 0 else 1
    if rounding is Rounding.HALF_EVEN:
        return sign * round(cents)
    return sign * int(cents + Fraction(1, 2))


def spread(cents: int, weights: Mapping[Path, Fraction], whole: Fraction | None = None) -> dict[Path, int]:
    """Whole cents, which may be negative, over exact weights that sum to ``whole``; see `largest_remainder`.

    Raises:
        ValueError: a negative weight, weights that do not sum to ``whole``, or cents and no weight to put them on.
    """
    parts = largest_remainder(abs(cents), weights, whole)
    return {path: -part for path, part in parts.items()} if cents < 0 else parts


def usage_lines(
    lines: Iterable[CostLine], shares: Iterable[Share], rounding: Rounding = Rounding.HALF_UP
) -> tuple[InvoiceLine, ...]:
    """The metered lines of a month, in the order of their keys.

    Raises:
        ValueError: the shares of a line do not sum to it.
    """
    groups: dict[LineKey, list[CostLine]] = {}
    for line in lines:
        groups.setdefault(line_key(line), []).append(line)
    weights: dict[LineKey, dict[Path, Fraction]] = {}
    confidences: dict[tuple[LineKey, Path], Confidence] = {}
    for share in shares:
        key, path = line_key(share.line), Path(share.line.project_id, share.branch_id, share.tenant)
        if share.cost:
            below = weights.setdefault(key, {})
            below[path] = below.get(path, Fraction()) + share.cost
            held = confidences.get((key, path), share.confidence)
            confidences[key, path] = max(held, share.confidence, key=_WEAKEST.__getitem__)
    made = []
    for key, group in sorted(groups.items()):
        cost = sum((line.cost for line in group), Fraction())
        cents = quantise(cost, rounding)
        parts = spread(cents, weights.get(key, {}), cost)
        allocations = tuple(AllocationLine(path, parts[path], confidences[key, path]) for path in sorted(parts))
        made.append(
            InvoiceLine(
                key,
                group[0].unit,
                sum(line.usage for line in group),
                sum((line.quantity for line in group), Fraction()),
                cost,
                cents,
                any(line.lower_bound for line in group),
                allocations,
            )
        )
    return tuple(made)


def line_key(line: CostLine) -> LineKey:
    """The invoice line that a cost line belongs to."""
    return LineKey(line.org_id, USAGE, line.component.value, line.plan, line.rate.text if line.rate else "")


def corrections(now: Sequence[InvoiceLine], booked: Iterable[Booking]) -> Corrections:
    """What must be added to all that is booked of a month so that it is what the month costs now, to the cent.

    A line whose exact cost has not moved stays as it is, also below. A line that was priced from hourly branch counts
    and is only known by the day now is left alone: coarser data is no better knowledge.
    """
    balance: dict[LineKey, InvoiceLine] = {}
    for booking in booked:
        for line in booking.lines:
            held = balance.get(line.key)
            balance[line.key] = line if held is None else _combined(held, line, 1)
    lines, held_back = [], []
    current = {line.key: line for line in now}
    for key in sorted(current.keys() | balance.keys(), key=lambda key: (key.org_id, key.kind != USAGE, key)):
        then = balance.get(key)
        line = current.get(key) or _nothing(balance[key])
        if then is not None and line.lower_bound and not then.lower_bound:
            held_back.append(
                f"{key.org_id} {key.component}: its hourly counts no longer exist, it stays as it was closed"
            )
            continue
        if then is None:
            if line.cents or any(part.cents for part in line.allocations):
                lines.append(line)
            continue
        if line.cost == then.cost:
            continue
        change = _combined(line, then, -1)
        if change.cents or change.allocations:
            lines.append(change)
    return Corrections(tuple(lines), tuple(held_back))


def _nothing(line: InvoiceLine) -> InvoiceLine:
    return InvoiceLine(line.key, line.unit, 0, Fraction(), Fraction(), 0)


def _combined(first: InvoiceLine, second: InvoiceLine, sign: int) -> InvoiceLine:
    allocations = {part.path: part for part in first.allocations}
    for part in second.allocations:
        held = allocations.get(part.path)
        cents = (held.cents if held else 0) + sign * part.cents
        allocations[part.path] = AllocationLine(part.path, cents, held.confidence if held else part.confidence)
    return InvoiceLine(
        first.key,
        first.unit,
        first.usage + sign * second.usage,
        first.quantity + sign * second.quantity,
        first.cost + sign * second.cost,
        first.cents + sign * second.cents,
        first.lower_bound,
        tuple(allocations[path] for path in sorted(allocations) if allocations[path].cents),
    )
