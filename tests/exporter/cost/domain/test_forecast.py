"""Forecasts: exact where nothing moves, never below what is spent, the same at any scale, and honest."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cost.domain.outlook.forecast import Forecast, SeriesForecast, combined, forecast, look
from exporter.pricing.domain.calendar import DAY, day_seconds, next_month

MONTH = day_seconds("2026-06-01")
END = next_month(MONTH)
KINDS = ("flow", "level")


def series(value: Callable[[int], Fraction], days: int, through: int) -> dict[int, Fraction]:
    """``days`` days before ``through``; ``value`` gets the day."""
    return {day: Fraction(value(day)) for day in range(through - days * DAY, through, DAY)}


amounts = st.lists(st.fractions(min_value=0, max_value=1000, max_denominator=1000), min_size=1, max_size=75)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [1, 10, 29])
def test_a_constant_series_is_forecast_exactly(kind: str, known: int) -> None:
    through = MONTH + known * DAY
    made = forecast(series(lambda _: Fraction(10, 3), 120, through), MONTH, through, kind)
    assert made.p10 == made.p50 == made.p90 == 30 * Fraction(10, 3)
    assert made.spent == known * Fraction(10, 3)
    assert made.wape == made.bias == 0
    assert made.coverage == 1
    assert (made.method, made.confidence) == ("weekday", "high")


def test_a_steady_week_is_forecast_exactly() -> None:
    def week(day: int) -> Fraction:
        return Fraction((3, 5, 7, 11, 13, 0, 1)[day // DAY % 7])

    through = MONTH + 11 * DAY
    made = forecast(series(week, 150, through), MONTH, through)
    assert made.p50 == sum(week(day) for day in range(MONTH, END, DAY))
    assert made.p10 == made.p90 == made.p50


def test_a_size_that_grows_evenly_is_forecast_exactly() -> None:
    through = MONTH + 5 * DAY
    made = forecast(series(lambda day: Fraction(day // DAY - 20_000), 90, through), MONTH, through, "level")
    assert made.p50 == sum(day // DAY - 20_000 for day in range(MONTH, END, DAY))


def test_a_new_level_is_followed_within_days() -> None:
    through = MONTH + 10 * DAY
    made = forecast(series(lambda day: Fraction(10 if day < MONTH else 30), 120, through), MONTH, through)
    assert made.p50 == 30 * 30


def test_one_wild_day_moves_nothing() -> None:
    through = MONTH + 10 * DAY
    days = series(lambda _: Fraction(10), 120, through)
    days[MONTH - 5 * DAY] = Fraction(5000)
    made = forecast(days, MONTH, through)
    assert made.p50 == 300


def test_little_history_is_run_rate_and_says_so() -> None:
    through = MONTH + 4 * DAY
    made = forecast(series(lambda day: Fraction(day // DAY % 2 * 2), 6, through), MONTH, through)
    assert (made.method, made.confidence, made.wape, made.coverage) == ("run-rate", "low", None, None)
    assert made.p50 == made.spent + 26
    assert made.p10 < made.p50 < made.p90
    assert "6 whole days" in made.why


def test_nothing_known_costs_nothing() -> None:
    made = forecast({}, MONTH, MONTH + DAY)
    assert made.p10 == made.p50 == made.p90 == 0
    assert made.confidence == "low"


def test_a_month_that_is_over_is_what_it_was() -> None:
    days = series(lambda day: Fraction(day // DAY % 5), 200, END + 40 * DAY)
    made = forecast(days, MONTH, END + 40 * DAY)
    assert made.p10 == made.p50 == made.p90 == sum(days[day] for day in range(MONTH, END, DAY))
    assert (made.method, made.confidence) == ("actual", "exact")


def test_the_next_month_can_be_forecast_from_this_one() -> None:
    through = MONTH - 8 * DAY
    made = forecast(series(lambda _: Fraction(4), 100, through), MONTH, through)
    assert made.spent == 0
    assert made.p50 == 120


def test_a_day_that_was_not_read_is_no_zero() -> None:
    through = MONTH + 10 * DAY
    days = {day: usd for day, usd in series(lambda _: Fraction(6), 120, through).items() if day // DAY % 9}
    made = forecast(days, MONTH, through)
    assert made.p50 - made.spent == 20 * 6
    assert made.wape == 0


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a flow or a level"):
        forecast({}, MONTH, MONTH, "river")


def _noisy(seed: int, through: int, days: int = 150) -> dict[int, Fraction]:
    return series(lambda day: Fraction(100 + (day // DAY * 7919 + seed * 104729) % 41), days, through)


def test_past_forecasts_tell_error_and_range() -> None:
    through = MONTH + 10 * DAY
    made = forecast(_noisy(3, through), MONTH, through)
    assert made.wape is not None
    assert 0 < made.wape < Fraction(1, 5)
    assert made.coverage is not None
    assert made.coverage >= Fraction(1, 2)
    assert made.p10 < made.p50 < made.p90


def test_noise_that_cancels_narrows_the_sum() -> None:
    through = MONTH + 10 * DAY
    one = _noisy(1, through)
    other = {day: 240 - usd for day, usd in one.items()}
    whole = [int(one[day] + other[day]) for day in sorted(one)]
    assert set(whole) == {240}

    def series(days: dict[int, Fraction]) -> SeriesForecast:
        return SeriesForecast(min(days), [int(days[day]) for day in sorted(days)], lambda quantity: quantity)

    parts = [look(series(entry), MONTH, through) for entry in (one, other)]
    alone = combined([look(series(one), MONTH, through)], MONTH, through)
    both = combined([look(series(one), MONTH, through), look(series(other), MONTH, through)], MONTH, through)
    assert both.p90 - both.p10 < (alone.p90 - alone.p10) / 4
    assert both.p50 == sum(part.spent + part.rest for part in parts)


def test_egress_is_free_up_to_its_allowance() -> None:
    through = MONTH + 10 * DAY
    first = through - 100 * DAY

    def cost(quantity: Fraction) -> Fraction:
        return max(Fraction(), quantity - 500) * Fraction(1, 10)

    below = combined([look(SeriesForecast(first, [16] * 100, cost), MONTH, through)], MONTH, through)
    assert below.p50 == below.p90 == 0
    above = combined([look(SeriesForecast(first, [20] * 100, cost), MONTH, through)], MONTH, through)
    assert above.spent == 0
    assert above.p50 == 10


@settings(max_examples=60)
@given(usd=amounts, known=st.integers(0, 30), kind=st.sampled_from(KINDS))
def test_never_below_what_is_spent_and_in_order(usd: list[Fraction], known: int, kind: str) -> None:
    made = _told(usd, known, kind)
    assert made.spent <= made.p10 <= made.p50 <= made.p90


@settings(max_examples=40)
@given(usd=amounts, known=st.integers(0, 29), kind=st.sampled_from(KINDS), scale=st.integers(2, 1000))
def test_the_same_at_any_scale(usd: list[Fraction], known: int, kind: str, scale: int) -> None:
    one, other = _told(usd, known, kind), _told([amount * scale for amount in usd], known, kind)
    for name in ("p10", "p50", "p90", "spent"):
        assert float(getattr(other, name)) == pytest.approx(float(getattr(one, name) * scale), rel=1e-5, abs=1e-5)


def _told(usd: list[Fraction], known: int, kind: str) -> Forecast:
    through = MONTH + known * DAY
    days = {through - (len(usd) - index) * DAY: amount for index, amount in enumerate(usd)}
    return forecast(days, MONTH, through, kind)
