"""What is billed of a charge: the cents of a closed month, put on the rows of its charges; else the cost as it stands.

A closed line knows its cents by project, branch and tenant. Several rows may stand for one of these (a price that
changed in mid-month, several tenants of a project's own charge): they share its cents by largest remainder, so the rows
of a line sum to the line, to the cent.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from exporter.cost.domain.close import USAGE, InvoiceLine, LineKey, Path
from exporter.cost.domain.weights import largest_remainder
from exporter.report.focus.charges import Charge, Part

Slot = tuple[LineKey, Path]


class Billed:
    """Answers the billed cost of a part of a charge."""

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
                    path = _path(charge, part)
                    rows.setdefault((key, path), {})[charge.key, part.branch_id, part.tenant] = part.units
        placed: dict[tuple[str, str, str], int] = {}
        for line in lines:
            for allocation in line.allocations if line.key.kind == USAGE else ():
                slot = rows.get((line.key, allocation.path))
                if slot is None or not any(slot.values()):
                    self.missing.append((line, allocation.path, allocation.cents))
                    continue
                names = {"\0".join(name): name for name in slot}
                weights = {text: Fraction(slot[name]) for text, name in names.items()}
                for text, cents in largest_remainder(abs(allocation.cents), weights).items():
                    placed[names[text]] = cents if allocation.cents >= 0 else -cents
        return placed


def _path(charge: Charge, part: Part) -> Path:
    return Path(charge.project_id, part.branch_id, part.tenant)
