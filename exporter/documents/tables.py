"""Tables: exact inside, rounded where they are shown, and the same rows in every file.

A table knows what its columns are (dollars, shares, counts), not how they look. ``shown`` rounds each column of dollars
together with its total, so that what a reader adds up is what stands below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from exporter.documents.text import cents_of_rows, money, percent, usd
from exporter.pricing.domain.rates import decimal_text

Cell = str | int | Fraction | None
DASH = "\N{EN DASH}"


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    USD = "usd"
    """Exact dollars, rounded to cents together with the total."""
    CHANGE = "change"
    """The difference of two columns of dollars, of their cents."""
    PRICE = "price"
    """Dollars of a unit: up to six decimals, never summed."""
    SHARE = "share"
    """A ratio, shown as a percentage."""
    NUMBER = "number"
    """A quantity with up to two decimals."""
    COUNT = "count"
    LEVEL = "level"
    """``good``, ``warn`` or ``bad``."""
    DAY = "day"
    """A date as text."""
    CODE = "code"
    """A command or a setting."""

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers, or empty."""
        return self not in (Kind.TEXT, Kind.LEVEL, Kind.DAY, Kind.CODE)


class Column(NamedTuple):
    """One column; ``of`` names the two columns (later, earlier) that a change is the difference of."""

    key: str
    title: str
    kind: Kind = Kind.TEXT
    of: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; ``total`` is a last row, or None where a sum means nothing."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] | None = None
    note: str = ""
    cents: tuple[tuple[Cell, ...], ...] | None = None
    """The rows as they are shown, where they were rounded together with another table; totals are then their sums."""
    tail: int = 0
    """The number of last rows that stand apart: always shown, and muted."""

    def at(self, key: str) -> int:
        """Position of a column."""
        return next(i for i, column in enumerate(self.columns) if column.key == key)

    def limited(self, most: int) -> Table:
        """The ``most`` first rows, and one that sums up all the others; the tail and the total stay."""
        end = len(self.rows) - self.tail
        if end <= most + 1 or self.cents:
            return self
        rest = self.rows[most:end]
        last: list[Cell] = []
        for i, column in enumerate(self.columns):
            numbers = [row[i] for row in rest if isinstance(row[i], (int, Fraction))]
            summed = column.kind in (Kind.USD, Kind.SHARE, Kind.COUNT) and len(numbers) > 0
            last.append(sum(numbers) if summed else None if column.kind.numeric else "")  # type: ignore[arg-type]
        last[0] = f"{len(rest)} more"
        return replace(self, rows=(*self.rows[:most], tuple(last), *self.rows[end:]))


@dataclass(frozen=True, slots=True)
class Shown:
    """A table whose dollars are whole cents (int) and whose changes are filled in; other cells as they were."""

    table: Table
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] | None

    def text(self, column: int, cell: Cell) -> str:
        """A cell for a person."""
        return cell_text(self.table.columns[column].kind, cell)


def shown(table: Table) -> Shown:
    """Round the dollars of every column together with its total; the lines of a pivot are not rounded twice."""
    columns: list[list[Cell]] = [[row[i] for row in table.cents or table.rows] for i in range(len(table.columns))]
    total: list[Cell] = list(table.total) if table.total is not None else []
    for i, column in enumerate(table.columns):
        if column.kind is Kind.USD:
            known = [(n, Fraction(cell)) for n, cell in enumerate(columns[i]) if isinstance(cell, (int, Fraction))]
            amounts = [amount for _, amount in known]
            rounded = [int(amount) for amount in amounts] if table.cents else cents_of_rows(amounts)
            for (n, _), amount in zip(known, rounded, strict=True):
                columns[i][n] = amount
            if total:
                total[i] = sum(rounded)
    for i, column in enumerate(table.columns):
        if column.kind is Kind.CHANGE:
            later, earlier = table.at(column.of[0]), table.at(column.of[1])
            columns[i] = [_minus(a, b) for a, b in zip(columns[later], columns[earlier], strict=True)]
            if total:
                total[i] = _minus(total[later], total[earlier])
    return Shown(table, tuple(zip(*columns, strict=True)), tuple(total) if total else None)


def _minus(later: Cell, earlier: Cell) -> Cell:
    if not isinstance(later, int) and not isinstance(earlier, int):
        return None
    return (later if isinstance(later, int) else 0) - (earlier if isinstance(earlier, int) else 0)


def cell_text(kind: Kind, cell: Cell) -> str:
    """A cell for a person; dollars and changes come as whole cents."""
    if cell is None:
        return DASH
    return cell if isinstance(cell, str) else _TEXTS.get(kind, str)(cell)


_TEXTS: Mapping[Kind, Callable[[int | Fraction], str]] = {
    Kind.USD: lambda cell: money(int(cell)),
    Kind.CHANGE: lambda cell: money(int(cell), sign=True),
    Kind.PRICE: lambda cell: "$" + _unit_price(Fraction(cell)),
    Kind.SHARE: lambda cell: percent(Fraction(cell)),
    Kind.NUMBER: lambda cell: _places(Fraction(cell), 2),
    Kind.COUNT: lambda cell: f"{int(cell):,}",
}


def cell_value(kind: Kind, cell: Cell) -> str | int | float | Decimal | None:
    """A cell for a spreadsheet: dollars as dollars, shares as ratios."""
    if cell is None or isinstance(cell, str):
        return cell
    if kind in (Kind.USD, Kind.CHANGE):
        return usd(int(cell))
    if kind is Kind.COUNT:
        return int(cell)
    return round(Decimal(decimal_text(Fraction(cell))), 6)


def cell_exact(cell: Cell) -> str:
    """A cell for a program: plain decimals with all digits up to 40, no sign of a currency; empty for nothing."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else decimal_text(Fraction(cell))


def exact_rows(table: Table) -> list[list[str]]:
    """Rows and total for a program: dollars with all their digits, changes worked out."""
    lines: list[list[str]] = []
    for row in (*table.rows, *([table.total] if table.total else [])):
        cells = []
        for column, cell in zip(table.columns, row, strict=True):
            if column.kind is Kind.CHANGE:
                known = [row[table.at(key)] for key in column.of]
                later, earlier = (Fraction(value) if isinstance(value, (int, Fraction)) else None for value in known)
                change = (later or Fraction()) - (earlier or Fraction())
                cells.append("" if later is None and earlier is None else decimal_text(change))
            else:
                cells.append(cell_exact(cell))
        lines.append(cells)
    return lines


def ratio(part: Fraction, whole: Fraction) -> Fraction | None:
    """A share, or None of nothing."""
    return part / whole if whole else None


def total_row(columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], name: str = "Total") -> tuple[Cell, ...]:
    """Sums of dollars and counts under the first column's ``name``; shares sum to one where there is a total."""
    total: list[Cell] = []
    for i, column in enumerate(columns):
        numbers = [Fraction(row[i]) for row in rows if isinstance(row[i], (int, Fraction))]  # type: ignore[arg-type]
        if column.kind in (Kind.USD, Kind.SHARE):
            total.append(sum(numbers, Fraction()) if numbers else None)
        elif column.kind is Kind.COUNT:
            total.append(int(sum(numbers)))
        else:
            total.append(None if column.kind.numeric else "")
    total[0] = name
    return tuple(total)


def _unit_price(amount: Fraction) -> str:
    """Cents; of less than a dollar four decimals, of less than a cent six."""
    most = 2 if amount >= 1 or not amount else 4 if amount >= Fraction(1, 100) else 6
    return _places(amount, most, least=2)


def _places(amount: Fraction, most: int, least: int = 0) -> str:
    text = f"{Decimal(round(amount * 10**most)).scaleb(-most):,.{most}f}"
    whole, _, part = text.partition(".")
    part = part.rstrip("0").ljust(least, "0")
    return f"{whole}.{part}" if part else whole
