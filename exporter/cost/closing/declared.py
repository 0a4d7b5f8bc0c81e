"""Declared lines of the settings beside the metered cost of a month: as rows of their own, unrounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from exporter.cost.allocation.costs import MonthCosts
from exporter.cost.domain.close import LineKey, Path
from exporter.cost.domain.extra import Base, Category, ExtraLine, ExtraShare, MeteredCosts, Split, extra_shares
from exporter.cost.settings import ExtraLineSettings
from exporter.documents.terminal import dollars as money
from exporter.documents.terminal import table
from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.rates import decimal_text, to_decimal


@dataclass(frozen=True, slots=True)
class Declared:
    """What a month costs beside its meters. ``problems`` are lines that could not be placed, for a person."""

    metered: Fraction
    shares: tuple[ExtraShare, ...]
    problems: tuple[str, ...]

    @property
    def total(self) -> Fraction:
        """Metered and declared together, in USD."""
        return self.metered + sum((share.cost for share in self.shares), Fraction())

    @property
    def lines(self) -> dict[LineKey, Fraction]:
        """USD by line, in the order in which they are declared."""
        sums: dict[LineKey, Fraction] = {}
        for share in self.shares:
            sums[share.key] = sums.get(share.key, Fraction()) + share.cost
        return sums

    def text(self) -> str:
        """The lines under the metered total; empty when none is declared for the month."""
        if not self.shares and not self.problems:
            return ""
        orgs = len({key.org_id for key in self.lines}) > 1
        rows = [("metered, as above", money(to_decimal(self.metered)))]
        for key, cost in self.lines.items():
            rows.append((f"{key.component} ({key.kind}){f', {key.org_id}' if orgs else ''}", _signed(cost)))
        rows.append(("total", _signed(self.total)))
        text = "\n" + table(("declared in the settings", "cost"), rows)
        return text + "".join(f"not placed: cost.extra_lines: {problem}\n" for problem in self.problems)

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON; amounts are decimal strings."""
        return {
            "declared": [
                {
                    "org_id": share.key.org_id,
                    "kind": share.key.kind,
                    "name": share.key.component,
                    **share.path._asdict(),
                    "cost": decimal_text(share.cost),
                    "confidence": share.confidence.value,
                }
                for share in self.shares
            ],
            "declared_not_placed": list(self.problems),
            "total_with_declared": decimal_text(self.total),
        }


def declared(lines: Sequence[ExtraLine], costs: MonthCosts) -> Declared:
    """The declared lines of a month, on what its meters say."""
    allocations = MeteredCosts(
        (share.line.org_id, Path(share.line.project_id, share.branch_id, share.tenant), share.cost)
        for share in costs.shares
    )
    shares, problems = extra_shares(lines, costs.month, allocations)
    return Declared(costs.pricing.total, shares, problems)


def extra_lines(lines: Iterable[ExtraLineSettings]) -> tuple[ExtraLine, ...]:
    """The declared lines as the computations take them, in their order."""
    return tuple(
        ExtraLine(
            name=line.name,
            category=Category(line.category),
            amount=None if line.amount is None else Fraction(line.amount),
            percent=None if line.percent is None else Fraction(line.percent),
            base=Base(line.of),
            org_id=line.org or "",
            project_id=line.project or "",
            first=_seconds(line.from_),
            last=None if line.to is None else _seconds(line.to),
            monthly=line.monthly,
            split=Split(line.split),
        )
        for line in lines
    )


def _seconds(day: date) -> int:
    return day_seconds(day.isoformat())


def _signed(amount: Fraction) -> str:
    return f"-{money(to_decimal(-amount))}" if amount < 0 else money(to_decimal(amount))
