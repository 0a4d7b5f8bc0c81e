"""Closed months: cents that sum to the line, and corrections that make it the month as it is known now."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import (
    USAGE,
    AllocationLine,
    Booking,
    InvoiceLine,
    LineKey,
    Path,
    Rounding,
    corrections,
    quantise,
    spread,
)


def path(tenant: str, branch: str = "b") -> Path:
    return Path("p", branch, tenant)


def weights(*amounts: int) -> dict[Path, Fraction]:
    return {path(f"t{number}"): Fraction(amount) for number, amount in enumerate(amounts)}


@pytest.mark.parametrize(
    ("cents", "over", "parts"),
    [
        (3083, (1, 1, 1), [1028, 1028, 1027]),
        (10001, (50, 30, 15, 5), [5001, 3000, 1500, 500]),
        (-3083, (1, 1, 1), [-1028, -1028, -1027]),
        (0, (0, 0), [0, 0]),
        (1, (1, 1), [1, 0]),
        (2, (0, 1), [0, 2]),
    ],
)
def test_cents_go_by_largest_remainder_and_ties_by_key(cents: int, over: tuple[int, ...], parts: list[int]) -> None:
    assert list(spread(cents, weights(*over)).values()) == parts


@given(st.integers(-(10**7), 10**7), st.lists(st.fractions(0, 10**6), min_size=1, max_size=12))
def test_a_spread_loses_no_cent_and_is_off_by_less_than_one(cents: int, amounts: list[Fraction]) -> None:
    over = {path(f"t{number:02}"): amount for number, amount in enumerate(amounts)}
    whole = sum(amounts, Fraction())
    if not whole:
        return
    parts = spread(cents, over)
    assert sum(parts.values()) == cents
    assert all(abs(parts[p] - cents * over[p] / whole) < 1 for p in over)
    assert all(parts[p] == 0 for p in over if not over[p])
    backwards = dict(reversed(list(over.items())))
    assert spread(cents, backwards) == parts
    assert spread(cents, {p: 7 * amount for p, amount in over.items()}) == parts


def test_a_spread_refuses_what_does_not_add_up() -> None:
    with pytest.raises(ValueError, match="all 0"):
        spread(5, weights(0, 0))
    with pytest.raises(ValueError, match="at least 0"):
        spread(5, weights(1, -1))
    with pytest.raises(ValueError, match="do not sum"):
        spread(500, weights(1, 1), Fraction(10))


@pytest.mark.parametrize(
    ("amount", "up", "even"),
    [("0.005", 1, 0), ("0.015", 2, 2), ("0.025", 3, 2), ("-0.025", -3, -2), ("1.0049", 100, 100)],
)
def test_rounding_is_half_up_from_zero_or_to_even(amount: str, up: int, even: int) -> None:
    assert quantise(Fraction(amount)) == up
    assert quantise(Fraction(amount), Rounding.HALF_EVEN) == even


# Corrections.

KEYS = [LineKey("o", USAGE, component, "launch_v3", "0.1") for component in ("compute", "root_storage", "snapshot")]
costs = st.dictionaries(
    st.sampled_from([path(t, b) for t in ("acme", "globex") for b in ("b1", "b2")]), st.fractions(0, 50), max_size=4
)
months = st.dictionaries(st.sampled_from(KEYS), costs, max_size=3)


def priced(month: dict[LineKey, dict[Path, Fraction]]) -> tuple[InvoiceLine, ...]:
    lines = []
    for key, below in sorted(month.items()):
        cost = sum(below.values(), Fraction())
        cents = quantise(cost)
        parts = spread(cents, below)
        allocations = tuple(AllocationLine(p, parts[p], Confidence.MEASURED) for p in sorted(parts) if below[p])
        lines.append(InvoiceLine(key, "u", int(cost * 1000), cost, cost, cents, allocations=allocations))
    return tuple(lines)


def booking(lines: tuple[InvoiceLine, ...], sequence: int = 0) -> Booking:
    return Booking(0, sequence, 0, 0, "", "", 0, "", "", "half_up", lines)


def cents_of(lines: tuple[InvoiceLine, ...]) -> dict[LineKey, int]:
    return {line.key: line.cents for line in lines if line.cents}


@given(months, st.lists(months, max_size=4))
def test_closed_and_corrections_are_the_month_priced_now_to_the_cent(
    first: dict[LineKey, dict[Path, Fraction]], later: list[dict[LineKey, dict[Path, Fraction]]]
) -> None:
    bookings = [booking(priced(first))]
    closed = bookings[0].lines
    for month in later:
        found = corrections(priced(month), bookings)
        for line in found.lines:
            assert sum(part.cents for part in line.allocations) == line.cents
        if found.lines:
            bookings.append(booking(found.lines, len(bookings)))
        total: dict[LineKey, int] = {}
        allocations: dict[tuple[LineKey, Path], int] = {}
        for entry in bookings:
            for line in entry.lines:
                total[line.key] = total.get(line.key, 0) + line.cents
                for part in line.allocations:
                    allocations[line.key, part.path] = allocations.get((line.key, part.path), 0) + part.cents
        assert {key: cents for key, cents in total.items() if cents} == cents_of(priced(month))
        for key, cents in total.items():
            assert sum(own for (k, _), own in allocations.items() if k == key) == cents
        assert corrections(priced(month), bookings).lines == (), "a correction is booked once"
    assert bookings[0].lines == closed


def test_a_line_whose_cost_has_not_moved_keeps_its_rows() -> None:
    then = priced({KEYS[0]: {path("acme"): Fraction(3), path("globex"): Fraction(1)}})
    now = priced({KEYS[0]: {path("acme"): Fraction(1), path("globex"): Fraction(3)}})
    assert corrections(now, [booking(then)]).lines == ()


def test_coarser_counts_correct_nothing() -> None:
    (line,) = priced({KEYS[0]: {path("acme"): Fraction(3)}})
    coarse = InvoiceLine(line.key, "u", 1, Fraction(1), Fraction(1), 100, lower_bound=True)
    found = corrections([coarse], [booking((line,))])
    assert found.lines == ()
    assert "hourly counts no longer exist" in found.held[0]
    assert corrections([line], [booking((coarse,))]).cents == 200
