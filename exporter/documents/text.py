"""Figures as a person reads them: money to the cent, shares, months and instants; the same whatever the locale.

Amounts that are shown in rows are rounded together, so that the cents of the rows sum to those of the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

HALF = Fraction(1, 2)
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def cents(amount: Fraction) -> int:
    """Whole cents, half away from zero: what an invoice would show."""
    whole = int(abs(amount) * 100 + HALF)
    return whole if amount >= 0 else -whole


def cents_of_rows(amounts: Sequence[Fraction], total: int | None = None) -> list[int]:
    """Whole cents by row that sum to ``total`` (default: the rounded sum), by largest remainder; ties: earlier row.

    Rows may be negative. A total that was rounded elsewhere may be some cents off the sum: rows that are not 0 take
    the difference, cent by cent, and only if all are 0 the first row does.

    Raises:
        ValueError: there is a total and no row.
    """
    goal = cents(sum(amounts, Fraction())) if total is None else total
    rows = [amount.numerator * 100 // amount.denominator for amount in amounts]
    left = goal - sum(rows)
    order = sorted((row - amount * 100, i) for i, (row, amount) in enumerate(zip(rows, amounts, strict=True)) if amount)
    turn = [i for _, i in order] or [0] * bool(rows)
    if left and not turn:
        raise ValueError(f"{goal} cents and no row to put them on")
    if left < 0:
        turn.reverse()
    for step in range(abs(left)):
        rows[turn[step % len(turn)]] += 1 if left > 0 else -1
    return rows


def usd(amount: int) -> Decimal:
    """Whole cents as dollars."""
    return Decimal(amount).scaleb(-2)


def money(amount: int, *, sign: bool = False) -> str:
    """``$1,234.50``, ``-$0.07``; with ``sign`` also ``+$3.00``."""
    mark = "-" if amount < 0 else "+" if sign and amount > 0 else ""
    return f"{mark}${abs(amount) / Decimal(100):,.2f}"


def percent(ratio: Fraction | None, *, sign: bool = False) -> str:
    """One decimal, as ``12.5 %``; a dash where there is nothing to divide by."""
    if ratio is None:
        return "\N{EN DASH}"
    tenths = cents(ratio * 10)
    if tenths == 0 and ratio:
        return "< 0.1 %" if ratio > 0 else "> -0.1 %"
    text = f"{Decimal(tenths).scaleb(-1):,.1f} %"
    return f"+{text}" if sign and tenths > 0 else text


def month_name(at: float) -> str:
    """``October 2026``, of an instant in unix seconds, by UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{MONTHS[moment.month - 1]} {moment.year}"


def month_short(at: float) -> str:
    """``Oct 2026``: for a chart's axis."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{MONTHS[moment.month - 1][:3]} {moment.year}"


def instant(at: float) -> str:
    """``2026-10-31 17:00 UTC``; ``at`` in unix seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def zulu(at: float) -> str:
    """``2026-10-31T17:00:00Z``, as FOCUS wants it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
