"""Money as text, and tables: rows in whole cents that sum to their total, whatever the amounts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.documents.tables import Column, Kind, Table, exact_rows, shown, total_row
from exporter.documents.text import cents, cents_of_rows, money, percent

AMOUNTS = st.lists(st.fractions(min_value=-1000, max_value=1000, max_denominator=10**6), max_size=30)


def test_the_golden_splits() -> None:
    assert cents_of_rows([Fraction("30.83") / 3] * 3) == [1028, 1028, 1027]
    assert cents_of_rows([Fraction("100.01") * part / 100 for part in (50, 30, 15, 5)]) == [5001, 3000, 1500, 500]


@given(AMOUNTS)
def test_rows_sum_to_the_rounded_total_and_are_near_their_amounts(amounts: list[Fraction]) -> None:
    rows = cents_of_rows(amounts)
    assert sum(rows) == cents(sum(amounts, Fraction()))
    assert all(
        abs(row - amount * 100) < 1 or abs(row - amount * 100) == 1 for row, amount in zip(rows, amounts, strict=True)
    )
    assert all(row == 0 for row, amount in zip(rows, amounts, strict=True) if amount == 0)


@given(AMOUNTS.filter(any), st.integers(-3, 3))
def test_rows_can_be_made_to_sum_to_a_total_that_was_rounded_elsewhere(amounts: list[Fraction], off: int) -> None:
    total = cents(sum(amounts, Fraction())) + off
    assert sum(cents_of_rows(amounts, total)) == total


def test_a_total_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        cents_of_rows([], 1)


def test_money_and_shares_as_text() -> None:
    assert [money(123456), money(-7), money(5, sign=True), money(0, sign=True)] == [
        "$1,234.56",
        "-$0.07",
        "+$0.05",
        "$0.00",
    ]
    assert [percent(Fraction(1, 8)), percent(Fraction(1, 10**6)), percent(None)] == ["12.5 %", "< 0.1 %", "\N{EN DASH}"]
    assert percent(Fraction(-1, 100), sign=True) == "-1.0 %"


def test_a_table_is_rounded_with_its_total_and_changes_are_of_cents() -> None:
    columns = (Column("name", "Name"), Column("usd", "Now", Kind.USD), Column("last", "Then", Kind.USD),
               Column("change", "Change", Kind.CHANGE, ("usd", "last")))  # fmt: skip
    rows = tuple((name, Fraction(1, 3), Fraction(2, 7), None) for name in "abc")
    table = Table("t", "T", columns, rows, total_row(columns, rows))
    seen = shown(table)
    assert [row[1] for row in seen.rows] == [34, 33, 33]
    assert seen.total is not None
    assert seen.total[1:] == (100, 86, 14)
    assert sum(int(row[3] or 0) for row in seen.rows) == 14
    assert exact_rows(table)[0][3] == "0.04761904761904761904761904761904761904762"
    folded = table.limited(1)
    assert [row[0] for row in folded.rows] == ["a", "2 more"]
    assert shown(folded).total == seen.total
