"""Budgets: pace, burn, the end of the month, and when the money is gone."""

from __future__ import annotations

from fractions import Fraction

import pytest

from exporter.cost.domain.budget import Budget, Projection, Spending, state
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds

NOVEMBER = day_seconds("2026-11-01")
BUDGET = Budget("all", Fraction(300))
"""300 over the 30 days of November: 10 a day."""


def spent(usd: int, days: int, **recent: int) -> Spending:
    windows = {name.lstrip("_"): Fraction(amount) for name, amount in recent.items()}
    return Spending(NOVEMBER, NOVEMBER + days * DAY, Fraction(usd), windows)


def test_at_an_even_pace_the_budget_is_spent_at_the_end() -> None:
    found = state(BUDGET, spent(100, 10, _24h=10, _6h=5, _3d=30))
    assert (found.used, found.elapsed, found.expected) == (Fraction(1, 3), Fraction(1, 3), Fraction(100))
    assert found.burn == {"24h": 1, "6h": 2, "3d": 1}
    assert found.projected == Projection(Fraction(300), "run-rate of 3d")
    assert (found.exhausted_at, found.verdict, found.reached) == (None, "within", None)


def test_a_fast_month_says_when_the_money_is_gone() -> None:
    found = state(BUDGET, spent(200, 10, _3d=60))
    assert found.projected == Projection(Fraction(600), "run-rate of 3d")
    assert found.exhausted_at == NOVEMBER + 15 * DAY
    assert (found.verdict, found.reached) == ("will be over", Fraction(1, 2))


def test_a_forecast_is_better_than_a_run_rate() -> None:
    found = state(BUDGET, spent(200, 10, _3d=60), Projection(Fraction(250), "forecast"))
    assert (found.exhausted_at, found.verdict) == (None, "ahead of pace")
    gone = state(BUDGET, spent(200, 20), Projection(Fraction(400), "forecast"))
    assert gone.exhausted_at == NOVEMBER + 25 * DAY


def test_over_is_over() -> None:
    found = state(BUDGET, spent(300, 12))
    assert (found.verdict, found.reached, found.exhausted_at) == ("over", 1, NOVEMBER + 12 * DAY)


def test_without_windows_the_month_so_far_goes_on() -> None:
    assert state(BUDGET, spent(30, 3)).projected == Projection(Fraction(300), "run-rate of the month")
    fresh = state(BUDGET, spent(0, 0))
    assert (fresh.projected, fresh.exhausted_at, fresh.elapsed) == (None, None, 0)


def test_a_closed_month_is_not_projected_beyond_its_end() -> None:
    found = state(BUDGET, Spending(NOVEMBER, NOVEMBER + 40 * DAY, Fraction(299)), Projection(Fraction(299), "closed"))
    assert (found.elapsed, found.verdict, found.exhausted_at) == (1, "within", None)


def test_a_budget_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        state(Budget("x", Fraction()), spent(1, 1))


def test_burn_is_of_the_length_of_the_month() -> None:
    february = day_seconds("2027-02-01")
    found = state(Budget("x", Fraction(28)), Spending(february, february + 6 * HOUR, Fraction(1), {"6h": Fraction(1)}))
    assert found.burn["6h"] == 4
