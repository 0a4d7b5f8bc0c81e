"""What a month will have cost: what is spent, and a forecast of the days that remain, with honest intervals.

Flows (compute, extra branches, transfer) follow the week: the shape is the weekday median, the level the median of
the last days without that shape, the trend a damped slope between equal weekdays. Levels (storage) go on from the last
day with a robust slope. The interval is not assumed: the same forecast is made at many past days over as many days, and
what it missed by, relative to its size, is what the next one may miss by. A sum is tested as a sum, so that what moves
together widens it and what does not cancels out. Egress is forecast in bytes and then put through its allowance.

Everything is whole numbers and fractions; there is no chance in it, so the same days give the same forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

from exporter.cost.domain.outlook.robust import WEEK, Days, median, quantile, tilt, weekday_medians
from exporter.pricing.domain.calendar import DAY, day_text, month_start, next_month

FLOW, LEVEL = "flow", "level"
ENOUGH = 14
"""Days below which there are no weekdays to speak of: run-rate, marked low."""
SHAPE = 8 * WEEK
RECENT = 2 * WEEK
SLOPE = 6 * WEEK
LEVEL_SLOPE = 3 * WEEK
DAMPING = Fraction(97, 100)
LOOKS = 60
"""At most so many past forecasts are made, every third day."""
STRIDE = 3
TRUSTED = 8
"""Past forecasts below which an interval is not called a measured one."""
_FINE = 10**6
_HIGHEST = 10**18
_PARTS = 10**9
"""Misses are counted in so many parts of their size."""
_WIDEST = 3 * _PARTS
_NOTHING = (Fraction(), Fraction(), Fraction())


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """One series of a forecast: whole numbers by day, from ``first`` (00:00 UTC, unix seconds) on.

    ``cost`` turns a month's quantity into USD; it must not fall. For most it is a price; for egress, the allowance.
    """

    first: int
    days: Days
    cost: Callable[[Fraction], Fraction]
    kind: str = FLOW
    spent: Fraction | None = None
    """USD of the month's whole days so far, where prices moved within the month; None: as ``cost`` says."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """USD of one month (unrounded), and how far to trust it: from the series' own past forecasts over as many days."""

    p10: Fraction
    p50: Fraction
    p90: Fraction
    method: str
    """``actual`` (the month is over), ``weekday`` or ``run-rate``."""
    confidence: str
    """``exact``, ``high`` (intervals measured), ``medium`` (few past forecasts), ``low`` (under 14 days)."""
    wape: Fraction | None = None
    """Sum of misses over sum of actuals; None before there was anything to test."""
    bias: Fraction | None = None
    """Sum of (forecast - actual) over sum of actuals: above 0 it is usually too high."""
    coverage: Fraction | None = None
    """How often the actual lay in P10-P90 as it would have been shown then; 0.8 is right."""
    why: str = ""
    spent: Fraction = Fraction()
    """The whole days of the month so far."""
    looks: int = 0
    """How many past forecasts that was measured on."""


@dataclass(slots=True)
class Sight:
    """One series, or a sum of them, looked ahead and back: what is spent, what remains, and its past forecasts."""

    spent: Fraction = Fraction()
    rest: Fraction = Fraction()
    usual: Fraction = Fraction()
    """What remains, were every day as the last four weeks: the size that misses are measured by when it is larger."""
    history: int = 0
    """Days known, of the longest."""
    past: dict[int, tuple[Fraction, Fraction, Fraction]] = field(default_factory=dict)
    """By the day it was made: forecast, what came, what was usual."""

    def add(self, other: Sight) -> None:
        """Sum; past forecasts are summed by the day that they were made."""
        self.spent += other.spent
        self.rest += other.rest
        self.usual += other.usual
        self.history = max(self.history, other.history)
        for day, values in other.past.items():
            held = self.past.get(day, _NOTHING)
            self.past[day] = (held[0] + values[0], held[1] + values[1], held[2] + values[2])


def forecast(days: Mapping[int, Fraction], month: int, through: int, kind: str = FLOW) -> Forecast:
    """Forecast one series of USD by day (00:00 UTC); days that are not in it were not read.

    ``month`` is any instant of the month to forecast, ``through`` up to when the data goes; its last whole day counts.

    Raises:
        ValueError: the kind is neither flow nor level.
    """
    until = through // DAY * DAY
    known = {day: value for day, value in days.items() if day < until}
    first = min(known, default=until)
    unit = min(lcm(*(value.denominator for value in known.values())), _HIGHEST)
    whole: list[int | None] = [None] * ((until - first) // DAY)
    for day, value in known.items():
        whole[(day - first) // DAY] = int(value * unit)
    spent = sum((value for day, value in known.items() if month_start(day) == month_start(month)), Fraction())
    series = SeriesForecast(first, whole, lambda quantity: quantity / unit, kind, spent)
    return combined([look(series, month, through)], month, through)


def look(series: SeriesForecast, month: int, through: int) -> Sight:
    """Forecast one series, now and at many past days. Its days end at ``through``, rounded down to whole days.

    Raises:
        ValueError: the kind is neither flow nor level.
    """
    if series.kind not in (FLOW, LEVEL):
        raise ValueError(f"kind {series.kind!r}: a series is a flow or a level")
    begin, end, until = month_start(month), next_month(month), through // DAY * DAY
    used = _between(series, begin, min(until, end))
    sight = Sight(series.cost(used) if series.spent is None else series.spent)
    sight.history = size = max(0, (until - series.first) // DAY)
    if until >= end:
        return sight
    ahead = ((max(begin, until) - until) // DAY, (end - until) // DAY)
    before = series.cost(used)

    def usd(quantity: Fraction) -> Fraction:
        return series.cost(used + quantity) - before

    sight.rest = usd(predict(series.days, size, ahead, series.kind))
    sight.usual = usd(_usual(series.days, size, ahead))
    if not sight.rest and not usd(_most(series.days, ahead)):
        # Free, whatever comes: far below an allowance.
        return sight
    for number in range(LOOKS):
        origin = size - ahead[1] - number * STRIDE
        if origin + ahead[1] <= 0:
            break
        sight.past[series.first + origin * DAY] = tuple(usd(amount) for amount in _past(series, origin, ahead))  # type: ignore[assignment]
    return sight


def combined(sights: Iterable[Sight], month: int, through: int) -> Forecast:
    """The forecast of a sum."""
    whole = Sight()
    for sight in sights:
        whole.add(sight)
    end, until = next_month(month), through // DAY * DAY
    if until >= end:
        spent = whole.spent
        return Forecast(spent, spent, spent, "actual", "exact", why="the month is over", spent=spent)
    return _forecast_of(whole, until, (end - until) // DAY)


def predict(days: Days, origin: int, ahead: tuple[int, int], kind: str) -> Fraction:
    """The sum over days[origin + ahead[0] : origin + ahead[1]], from what was known before ``origin``."""
    known = sum(1 for value in days[max(0, origin - SHAPE) : origin] if value is not None)
    if known == 0:
        return Fraction()
    if known < ENOUGH:
        recent = [value for value in days[max(0, origin - ENOUGH) : origin] if value is not None]
        return Fraction(sum(recent) * (ahead[1] - ahead[0]), len(recent))
    if kind == LEVEL:
        return _predict_level(days, origin, ahead)
    return _predict_flow(days, origin, ahead)


def _predict_flow(days: Days, origin: int, ahead: tuple[int, int]) -> Fraction:
    shape = weekday_medians(days, origin - SHAPE, origin)
    total = sum(shape)
    if not total:
        return _usual(days, origin, ahead)
    # The level: the last days as they were had all weekdays been alike, so that a new level shows within days.
    # Whole numbers in parts so fine that every weekday divides them, so an even week is forecast to the last digit.
    common = lcm(*(number for number in shape if number))
    fine = 2 * WEEK * common
    seen = [
        2 * value * total * (common // shape[index % WEEK])
        for index in range(max(0, origin - RECENT), origin)
        if (value := days[index]) is not None and shape[index % WEEK]
    ]
    level = median(seen) if seen else 2 * common * total
    per_day = _trend(days, origin, SLOPE, fine)
    result = 0
    for step in range(*ahead):
        day = max(0, 1000 * level + per_day * (500 * RECENT + _damped(step + 1)))
        result += day * shape[(origin + step) % WEEK]
    return Fraction(result * WEEK, 1000 * fine * total)


def _predict_level(days: Days, origin: int, ahead: tuple[int, int]) -> Fraction:
    level = _FINE * next(value for value in reversed(days[:origin]) if value is not None)
    per_day = _trend(days, origin, LEVEL_SLOPE, _FINE)
    return Fraction(sum(max(0, level + per_day * (step + 1)) for step in range(*ahead)), _FINE)


def _trend(days: Days, origin: int, length: int, fine: int) -> int:
    """Change per day, times ``fine``, as far as the pairs of weekdays agree on a direction: noise is no trend."""
    slope, rises, falls = tilt(days, origin - length, origin)
    return slope * fine * abs(rises - falls) // (840 * WEEK * (rises + falls)) if rises + falls else 0


_DAMPED: list[int] = [0]


def _damped(steps: int) -> int:
    """Days of trend in so many days ahead, in thousandths: each day adds a little less than the one before it."""
    while len(_DAMPED) <= steps:
        _DAMPED.append(_DAMPED[-1] + round(1000 * DAMPING ** len(_DAMPED)))
    return _DAMPED[steps]


def _most(days: Days, ahead: tuple[int, int]) -> Fraction:
    return Fraction(2 * max((value for value in days if value is not None), default=0) * (ahead[1] - ahead[0]))


def _usual(days: Days, origin: int, ahead: tuple[int, int]) -> Fraction:
    recent = [value for value in days[max(0, origin - 4 * WEEK) : origin] if value is not None]
    return Fraction(sum(recent) * (ahead[1] - ahead[0]), len(recent)) if recent else Fraction()


def _between(series: SeriesForecast, begin: int, end: int) -> Fraction:
    low, high = max(0, (begin - series.first) // DAY), max(0, (end - series.first) // DAY)
    return Fraction(sum(value for value in series.days[low:high] if value is not None))


def _past(series: SeriesForecast, origin: int, ahead: tuple[int, int]) -> tuple[Fraction, Fraction, Fraction]:
    """The forecast that was made before a day, what came, and what was usual then."""
    came = [value for value in series.days[max(0, origin + ahead[0]) : origin + ahead[1]] if value is not None]
    actual = Fraction(sum(came))
    if origin <= 0:
        # Not there yet: what came is a surprise to the sum, as it was.
        return Fraction(), actual, Fraction()
    if came:
        # A day that was not read counts as the mean of those that were.
        actual = actual * (ahead[1] - ahead[0]) / len(came)
    return predict(series.days, origin, ahead, series.kind), actual, _usual(series.days, origin, ahead)


def _forecast_of(whole: Sight, until: int, horizon: int) -> Forecast:
    spent, rest = whole.spent, whole.rest
    if whole.history < ENOUGH:
        why = f"only {whole.history} whole days are known: the mean of these days goes on"
        low, high = rest * Fraction(7, 10), rest * Fraction(3, 2)
        return Forecast(spent + low, spent + rest, spent + high, "run-rate", "low", why=why, spent=spent)
    first = until - (whole.history - ENOUGH) * DAY
    days = [day for day in sorted(whole.past) if day >= first]
    misses = {day: int(_miss(whole.past[day]) * _PARTS) for day in days}
    band = _band(list(misses.values()))
    wider, coverage = _widened(misses, horizon)
    size = max(rest, whole.usual)
    wape, bias = _errors([whole.past[day] for day in days])
    why = f"weekdays of {min(whole.history, SHAPE)} days through {day_text(until - 1)}, {len(days)} past forecasts"
    return Forecast(
        spent + max(Fraction(), rest + band[0] * wider * size),
        spent + rest,
        spent + rest + band[1] * wider * size,
        "weekday",
        "high" if len(days) >= TRUSTED else "medium",
        wape,
        bias,
        coverage,
        why,
        spent,
        len(days),
    )


def _band(misses: Sequence[int]) -> tuple[Fraction, Fraction]:
    """P10 and P90 of past forecast errors; never both on one side of the forecast.

    The narrower side is at least half of the wider: luck of the past is no promise.
    """
    if len(misses) < 3:
        return -Fraction(3, 10), Fraction(1, 2)
    ranked = sorted(misses)
    low = min(Fraction(), quantile(ranked, Fraction(1, 10))) / _PARTS
    high = max(Fraction(), quantile(ranked, Fraction(9, 10))) / _PARTS
    return min(low, -high / 2), max(high, -low / 2)


def _miss(past: tuple[Fraction, Fraction, Fraction]) -> Fraction:
    made, actual, usual = past
    size = max(made, usual)
    return (actual - made) / size if size else Fraction()


def _errors(past: Sequence[tuple[Fraction, Fraction, Fraction]]) -> tuple[Fraction | None, Fraction | None]:
    came = sum((actual for _, actual, _ in past), Fraction())
    if not came:
        return None, None
    missed = sum((abs(made - actual) for made, actual, _ in past), Fraction())
    return missed / came, sum((made - actual for made, actual, _ in past), Fraction()) / came


def _widened(misses: Mapping[int, int], horizon: int) -> tuple[Fraction, Fraction | None]:
    """How much wider past bands should have been for 8 of 10 to hold, and how often they did hold, widened as then.

    Each past forecast is given the band, and the widening, that it could have had: from those over when it was made.
    """
    needed: dict[int, int] = {}
    held = tested = 0
    for day, miss in misses.items():
        over = [number for made, number in misses.items() if made + horizon * DAY <= day]
        if len(over) < TRUSTED:
            continue
        side = int(_band(over)[miss > 0] * _PARTS)
        known = [number for made, number in needed.items() if made + horizon * DAY <= day]
        needed[day] = min(_WIDEST, _PARTS * miss // side) if side else _WIDEST if miss else 0
        tested += 1
        held += needed[day] <= _factor(known)
    return _factor(list(needed.values())) / _PARTS, Fraction(held, tested) if tested else None


def _factor(needed: Sequence[int]) -> Fraction:
    return max(Fraction(_PARTS), quantile(sorted(needed), Fraction(8, 10))) if needed else Fraction(_PARTS)
