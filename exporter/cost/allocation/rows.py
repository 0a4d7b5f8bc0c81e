"""What a month cost, as rows for a person or a program: by organisation, project, branch and tenant, and they add up.

Every row is a sum over the same shares, one per tenant, component and branch. The shares are rounded together to 20
decimals so that they sum to the exact total rounded once; above them are only sums of whole numbers. So the children of
any row sum to it to the last digit shown, and ``problems`` proves it against the exact fractions as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise

from exporter.cost.allocation.costs import MonthCosts, Stated
from exporter.cost.domain.allocate import AGENT, IDLE, SHARED, Confidence, Share, round_rows
from exporter.pricing.domain.calendar import day_text, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import decimal_text
from exporter.pricing.domain.usage import UNATTRIBUTED

PLACES = 20
"""Decimals of a figure in a report: enough to be exact for any purpose, few enough that a reader who adds up the rows
with the usual 28 digits finds the total, not a neighbour of it."""
Path = tuple[str, str, str, str]
"""Organisation, project, branch, tenant."""
NOT_TENANTS = (IDLE, SHARED, UNATTRIBUTED, AGENT)
"""Rows that belong to no tenant, in the order a report shows them, after the tenants."""
LEVELS = ("org", "project", "branch", "tenant")
_WIDE = Context(prec=60)
_WEAKEST = {confidence: rank for rank, confidence in enumerate(Confidence)}


@dataclass(slots=True)
class CostRow:
    """One row. Ids below the level of the row are empty; ``units`` is the cost in 10^-20 USD."""

    level: str
    org_id: str
    project_id: str = ""
    branch_id: str = ""
    tenant: str = ""
    units: int = 0
    components: dict[Component, int] = field(default_factory=dict)
    confidence: Confidence = Confidence.EXACT
    """The weakest of what is summed here."""
    how: dict[Confidence, int] = field(default_factory=dict)
    """Units by how they are known."""
    busy: Fraction = Fraction()
    compute: int = 0

    @property
    def cost(self) -> Decimal:
        """USD with up to 20 decimals."""
        return usd(self.units)

    @property
    def coverage(self) -> Fraction | None:
        """Share of the compute cost that measured statements explain; None where there is no compute."""
        return self.busy / self.compute if self.compute else None

    def add(self, share: Share, units: int) -> None:
        """Sum one share."""
        component = share.line.component
        self.units += units
        self.components[component] = self.components.get(component, 0) + units
        self.how[share.confidence] = self.how.get(share.confidence, 0) + units
        self.confidence = max(self.confidence, share.confidence, key=_WEAKEST.__getitem__)
        if share.coverage is not None:
            self.busy += share.coverage * units
            self.compute += units

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON: amounts and the coverage are decimal strings."""
        ids = {"org_id": self.org_id, "project_id": self.project_id, "branch_id": self.branch_id, "tenant": self.tenant}
        return {
            **{name: value for name, value in ids.items() if value or name == "org_id"},
            "cost": decimal_text(self.cost),
            "components": {c.value: decimal_text(usd(units)) for c, units in sorted(self.components.items())},
            "confidence": self.confidence.value,
            "by_confidence": {how.value: decimal_text(usd(units)) for how, units in sorted(self.how.items())},
            "coverage": None if self.coverage is None else decimal_text(self.coverage),
        }


class CostReport:
    """The rows of one month. ``group`` answers those of a level; ``as_dict`` the whole tree."""

    def __init__(self, costs: MonthCosts, stated: Stated | None = None) -> None:
        """Round the shares together, once; ``stated`` is what the API's project figures come to."""
        self.costs = costs
        self.stated = None if stated is None else stated.usd
        self._settled = None if stated is None else stated.settled
        self._rounded = {} if stated is None else stated.rounded
        self._shares = list(zip(costs.shares, round_rows([s.cost for s in costs.shares], PLACES), strict=True))

    @property
    def total(self) -> Decimal:
        """The whole month in USD."""
        return usd(sum(units for _, units in self._shares))

    def group(self, by: str) -> list[CostRow]:
        """Rows of a level: ``org``, ``project``, ``branch``, or ``tenant`` (a tenant over all of its branches).

        Tenants come first, then ``__idle__``, ``__shared__``, ``__unattributed__`` and ``__agent__``.

        Raises:
            ValueError: there is no such level.
        """
        if by not in LEVELS:
            raise ValueError(f"no level {by!r}; use one of {', '.join(LEVELS)}")
        if by == "tenant":
            return self._rows("tenant", lambda share: (share.line.org_id, "", "", share.tenant))
        depth = LEVELS.index(by) + 1
        return self._rows(by, lambda share: _cut(_path(share), depth))

    def tenants_by_branch(self) -> list[CostRow]:
        """A row per tenant and branch: the finest rows of the tree."""
        return self._rows("tenant", _path)

    def _rows(self, level: str, name: Callable[[Share], Path]) -> list[CostRow]:
        rows: dict[Path, CostRow] = {}
        for share, units in self._shares:
            key = name(share)
            row = rows.get(key)
            if row is None:
                row = rows[key] = CostRow(level, *key)
            row.add(share, units)
        return sorted(rows.values(), key=_order)

    def cents(self, rows: Iterable[CostRow]) -> list[Decimal]:
        """The costs of rows to the cent for display, summing to their rounded total."""
        exact = [Fraction(row.units, 10**PLACES) for row in rows]
        return [Decimal(cents).scaleb(-2) for cents in round_rows(exact, 2)]

    def problems(self) -> list[str]:
        """What does not add up, one line each; empty is the proof that everything does."""
        return [*self._lines_that_do_not_tie(), *self._levels_that_do_not_tie(), *self._projects_that_do_not_tie()]

    def growing(self) -> Fraction:
        """USD by which the branches exceed the API's project figures: they were read later, while the hour grew."""
        if self.stated is None:
            return Fraction()
        return sum((share.cost for share, _ in self._shares), Fraction()) - sum(self.stated.values(), Fraction())

    def _projects_that_do_not_tie(self) -> Iterator[str]:
        """Against the API's own project figures, where no hour grows any more."""
        for project, (rows, stated) in sorted((self._settled or {}).items()):
            if abs(rows - stated) > self._rounded.get(project, 0):
                yield f"{project}: its rows cost {decimal_text(rows)}, Neon's project figures {decimal_text(stated)}"

    def ties(self) -> bool:
        """Whether the children of every row sum to it exactly."""
        return not self.problems()

    def _lines_that_do_not_tie(self) -> Iterator[str]:
        split: dict[int, Fraction] = {}
        for share, _ in self._shares:
            split[id(share.line)] = split.get(id(share.line), Fraction()) + share.cost
        for line in self.costs.pricing.lines:
            if split.get(id(line), Fraction()) != line.cost:
                yield f"{line.project_id}/{line.branch_id} {line.component}: its tenants do not sum to {line.cost}"

    def _levels_that_do_not_tie(self) -> Iterator[str]:
        total = sum(units for _, units in self._shares)
        if abs(self.costs.pricing.total * 10**PLACES - total) > Fraction(1, 2):
            yield f"the shares sum to {usd(total)}, the lines to {decimal_text(self.costs.pricing.total)}"
        levels = [*(self.group(by) for by in LEVELS[:3]), self.tenants_by_branch()]
        if sum(row.units for row in levels[0]) != total or sum(row.units for row in self.group("tenant")) != total:
            yield f"the organisations, or the tenants, do not sum to {usd(total)}"
        for depth, (upper, lower) in enumerate(pairwise(levels), 1):
            sums: dict[Path, int] = {}
            for row in lower:
                path = _above(row, depth)
                sums[path] = sums.get(path, 0) + row.units
            if sums != {_above(row, depth): row.units for row in upper}:
                yield f"the parts of some {LEVELS[depth - 1]} do not sum to it"

    def as_dict(self) -> dict[str, object]:
        """The month as a tree for JSON; amounts are decimal strings, with 20 decimals where they never end."""
        through = self.costs.through
        return {
            "currency": "USD",
            "month": day_text(self.costs.month)[:7],
            "month_start": self.costs.month,
            "month_end": next_month(self.costs.month),
            "data_through": through or None,
            "estimated": True,
            "total": decimal_text(self.total),
            "stated_by_api": None if self.stated is None else decimal_text(sum(self.stated.values(), Fraction())),
            "ties": self.ties(),
            "orgs": self._tree(),
            "tenants": [row.as_dict() for row in self.group("tenant")],
            "storage_units": [
                {"org_id": span.org_id, "unit": span.unit or None, "first": span.first, "last": span.last}
                for span in self.costs.units
            ],
            "pricing_unknown": [
                {"project_id": u.project_id, "plan": u.plan, "component": u.component, "why": u.why}
                for u in self.costs.pricing.unknown
            ],
        }

    def _tree(self) -> list[dict[str, object]]:
        nodes: dict[Path, list[dict[str, object]]] = {}
        for row in self.tenants_by_branch():
            nodes.setdefault(_above(row, 3), []).append(row.as_dict())
        for depth, by, below in ((3, "branch", "tenants"), (2, "project", "branches"), (1, "org", "projects")):
            grown: dict[Path, list[dict[str, object]]] = {}
            for row in self.group(by):
                node = {**row.as_dict(), below: nodes.get(_above(row, depth), [])}
                grown.setdefault(_above(row, depth - 1), []).append(node)
            nodes = grown
        return nodes.get(("", "", "", ""), [])


def _path(share: Share) -> Path:
    return (share.line.org_id, share.line.project_id, share.branch_id, share.tenant)


def _cut(path: Path, depth: int) -> Path:
    """The first ids of a path; the others are empty."""
    first, second, third, _ = path
    return (first if depth > 0 else "", second if depth > 1 else "", third if depth > 2 else "", "")


def _above(row: CostRow, depth: int) -> Path:
    return _cut((row.org_id, row.project_id, row.branch_id, ""), depth)


def _order(row: CostRow) -> tuple[str, str, str, int, str]:
    rank = NOT_TENANTS.index(row.tenant) + 1 if row.tenant in NOT_TENANTS else 0
    return (row.org_id, row.project_id, row.branch_id, rank, row.tenant)


def usd(units: int) -> Decimal:
    """Units of 10^-20 USD as exact dollars."""
    return Decimal(units).scaleb(-PLACES, _WIDE)
