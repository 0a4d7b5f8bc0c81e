"""The charges of a month: what a row of FOCUS is about, in exact figures, before anything is text.

A charge is one component of one resource over the span in which neither its price nor its allowance changes. What the
allowance covers and what is billed are two charges. A charge that is shared by tenants is split: its parts are whole
numbers of the smallest quantity that a row shows, so the rows of a split sum to the charge to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.allocate import Share
from exporter.cost.domain.close import USAGE, InvoiceLine, LineKey, Path
from exporter.cost.domain.weights import Confidence, largest_remainder
from exporter.pricing.domain.calendar import next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine
from exporter.pricing.domain.rates import Rate, RateCard
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED

PLACES = 15
"""Decimals of a quantity: with a price of up to twelve, the cost still fits a 38-digit decimal."""
RATIO_PLACES = 18
"""Decimals of an AllocatedRatio."""


class Part(NamedTuple):
    """A tenant's part of a charge; ``units`` are 10^-15 of what is priced, ``ratio`` is in 10^-18."""

    branch_id: str
    tenant: str
    confidence: Confidence
    ratio: int
    units: int


@dataclass(frozen=True, slots=True)
class Charge:
    """One metered charge. ``start`` and ``end`` are unix seconds, the end exclusive."""

    org_id: str
    project_id: str
    branch_id: str
    """Empty for a charge of the whole project."""
    component: Component
    plan: str
    rate: Rate
    start: int
    end: int
    included: bool
    """Whether the allowance covers it: it has a quantity and costs nothing."""
    lower_bound: bool
    parts: tuple[Part, ...]
    split: bool
    """Whether the parts are tenants' shares; if not, there is one part."""

    @property
    def key(self) -> str:
        """A name that no other charge of the month has."""
        kind = "included" if self.included else "billed"
        ids = (self.org_id, self.project_id, self.branch_id or "-", self.component.value, self.plan, str(self.start))
        return "/".join((*ids, kind))


def charges(lines: Sequence[CostLine], shares: Iterable[Share], card: RateCard, through: int) -> Iterator[Charge]:
    """The charges of a month's cost lines, in their order; usage without a price is left out (it has no cost)."""
    by_line: dict[int, list[Share]] = {}
    for share in shares:
        by_line.setdefault(id(share.line), []).append(share)
    for line in lines:
        if line.rate is not None and line.usage:
            yield from _of_line(line, line.rate, by_line.get(id(line), []), _span(line, card, through))


def _span(line: CostLine, card: RateCard, through: int) -> tuple[int, int]:
    """When a line begins and ends: its part of the month, up to what has been read."""
    month, period = line.period
    start = max(month, card.period_start(period))
    later = [edge for edge in card.boundaries if edge > start]
    end = min([next_month(month), *later[:1]])
    return start, max(start + 3600, min(end, -(-through // 3600) * 3600))


def _of_line(line: CostLine, rate: Rate, shares: list[Share], span: tuple[int, int]) -> Iterator[Charge]:
    usage = Fraction(line.usage, line.component.spec.per_unit(span[0]))
    billed = min(line.quantity, usage)
    for quantity, included in ((billed, False), (usage - billed, True)):
        if not quantity:
            continue
        for branch, portion, tenants in _resources(line, shares, included=included):
            own = quantity * portion
            yield Charge(
                line.org_id,
                line.project_id,
                branch,
                line.component,
                line.plan,
                rate,
                *span,
                included,
                line.lower_bound,
                *_parts(own, tenants),
            )


Tenants = Mapping[tuple[str, str], tuple[Fraction, Confidence]]
"""(branch, tenant) -> the cost that it bears and how that is known."""


def _resources(line: CostLine, shares: list[Share], *, included: bool) -> Iterator[tuple[str, Fraction, Tenants]]:
    """The resources of a line, each with its portion of it and its tenants.

    Snapshots are charged by project and split by the branch they are of: each branch is a resource then. What costs
    nothing has nothing to split.
    """
    own = "" if line.branch_id in (PROJECT_LEVEL, UNATTRIBUTED) else line.branch_id
    if included or not line.cost:
        yield own, Fraction(1), {}
        return
    branches: dict[str, dict[tuple[str, str], tuple[Fraction, Confidence]]] = {}
    for share in shares:
        if share.cost:
            is_part = line.component is Component.SNAPSHOT_STORAGE and not share.branch_id.startswith("__")
            tenants = branches.setdefault(share.branch_id if is_part else own, {})
            held = tenants.get((share.branch_id, share.tenant), (Fraction(), share.confidence))
            tenants[share.branch_id, share.tenant] = (held[0] + share.cost, share.confidence)
    for branch, tenants in sorted(branches.items()):
        yield branch, sum((cost for cost, _ in tenants.values()), Fraction()) / line.cost, tenants


def _parts(quantity: Fraction, tenants: Tenants) -> tuple[tuple[Part, ...], bool]:
    units = int(quantity * 10**PLACES + Fraction(1, 2))
    if not tenants:
        return (Part("", "", Confidence.EXACT, 10**RATIO_PLACES, units),), False
    if len(tenants) == 1 and next(iter(tenants))[1].startswith("__"):
        ((key, (_, confidence)),) = tenants.items()
        return (Part(*key, confidence, 10**RATIO_PLACES, units),), False
    weights = {key: cost for key, (cost, _) in tenants.items()}
    ratios = largest_remainder(10**RATIO_PLACES, weights)
    quantities = largest_remainder(units, weights)
    return tuple(
        Part(*key, confidence, ratios[key], quantities[key]) for key, (_, confidence) in sorted(tenants.items())
    ), True


Slot = tuple[LineKey, Path]


class Billed:
    """Answers the billed cost of a part of a charge: of a closed month its cents, else the cost as it stands.

    A closed line knows its cents by project, branch and tenant. Several rows may stand for one of these (a price that
    changed in mid-month, several tenants of a project's own charge): they share its cents by largest remainder, so the
    rows of a line sum to the line, to the cent.
    """

    def __init__(self, lines: Iterable[InvoiceLine] | None, charges: Iterable[Charge]) -> None:
        """``lines`` are those of the closed month; None while it is open."""
        self.missing: list[tuple[InvoiceLine, Path, int]] = []
        """Closed cents that no charge of today stands for: usage that a later correction took away."""
        self._cents: dict[tuple[str, str, str], int] | None = None
        if lines is not None:
            self._cents = self._placed(list(lines), charges)

    def cost(self, charge: Charge, part: Part, contracted: Decimal) -> Decimal:
        """USD billed."""
        if self._cents is None:
            return contracted
        return Decimal(self._cents.get((charge.key, part.branch_id, part.tenant), 0)).scaleb(-2)

    def _placed(self, lines: list[InvoiceLine], charges: Iterable[Charge]) -> dict[tuple[str, str, str], int]:
        rows: dict[Slot, dict[tuple[str, str, str], int]] = {}
        for charge in charges:
            if not charge.included:
                key = LineKey(charge.org_id, USAGE, charge.component.value, charge.plan, charge.rate.text)
                for part in charge.parts:
                    path = Path(charge.project_id, part.branch_id, part.tenant)
                    rows.setdefault((key, path), {})[charge.key, part.branch_id, part.tenant] = part.units
        placed: dict[tuple[str, str, str], int] = {}
        for line in lines:
            for allocation in line.allocations if line.key.kind == USAGE else ():
                slot = rows.get((line.key, allocation.path))
                if slot is None or not any(slot.values()):
                    self.missing.append((line, allocation.path, allocation.cents))
                    continue
                for name, cents in largest_remainder(abs(allocation.cents), slot).items():
                    placed[name] = cents if allocation.cents >= 0 else -cents
        return placed
