"""Priced months for people with SQL: the same figures as the report, rewritten a month at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.cost.domain.allocate import Share, round_rows
from exporter.pricing.domain.price import CostLine
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.ledger.postgres_link import Cursor

if TYPE_CHECKING:
    from exporter.cost.allocation.costs import MonthCosts

PLACES = 20
"""Decimals of an amount, as in the cost report: sums of rows are exact."""
_WIDE = Context(prec=60)


def publish(
    cursor: Cursor, costs: MonthCosts, computed_at: float, *, closed: bool, names: Mapping[str, str]
) -> int:  # fmt: skip
    """Replace what the tables hold of a month; answers the rows written.

    A line's cost is the sum of its shares, so the two tables agree to the last digit.
    """
    month = datetime.fromtimestamp(costs.month, UTC).date()
    units = round_rows([share.cost for share in costs.shares], PLACES)
    by_line: dict[int, int] = {}
    for share, amount in zip(costs.shares, units, strict=True):
        by_line[id(share.line)] = by_line.get(id(share.line), 0) + amount
    through = datetime.fromtimestamp(costs.through, UTC) if costs.through else None
    cursor.execute("DELETE FROM cost_month WHERE month = %s", (month,))
    cursor.execute(
        "INSERT INTO cost_month VALUES (%s, %s, %s, %s, %s)",
        (month, _usd(sum(units)), through, closed, datetime.fromtimestamp(computed_at, UTC)),
    )
    with cursor.copy("COPY cost_line FROM STDIN") as copy:
        for line in costs.pricing.lines:
            copy.write_row(_line(month, line, by_line.get(id(line), 0)))
    with cursor.copy("COPY cost_share FROM STDIN") as copy:
        for share, amount in zip(costs.shares, units, strict=True):
            copy.write_row(_share(month, share, amount))
    if names:
        cursor.execute(
            "INSERT INTO name SELECT * FROM unnest(%s::text[], %s::text[]) "
            "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name.name <> excluded.name",
            (list(names), list(names.values())),
        )
    return len(costs.pricing.lines) + len(costs.shares)


def _line(month: date, line: CostLine, units: int) -> tuple[object, ...]:
    rate = None if line.rate is None else to_decimal(line.rate.amount)
    return (
        month, line.org_id, line.project_id, line.branch_id, line.component.value, line.plan, line.usage,
        _round(line.quantity), line.unit, rate, _usd(units), line.lower_bound,
    )  # fmt: skip


def _share(month: date, share: Share, units: int) -> tuple[object, ...]:
    line = share.line
    coverage = None if share.coverage is None else _round(Fraction(share.coverage))
    return (
        month, line.org_id, line.project_id, share.branch_id, share.tenant, line.component.value, line.plan,
        _usd(units), share.confidence.value, coverage,
    )  # fmt: skip


def _round(amount: Fraction) -> Decimal:
    scaled = amount * 10**PLACES
    return _usd((2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator))


def _usd(units: int) -> Decimal:
    return Decimal(units).scaleb(-PLACES, _WIDE)
