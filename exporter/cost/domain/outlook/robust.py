"""Robust statistics on whole numbers: medians, spread, slopes by weekday. Exact, because money is made of them.

A median is the middle, or the lower half-way point of two; callers scale up first when that last digit matters to them.
Days are counted, not dated: index 0 is the first day of a series, and the same weekday is a multiple of seven away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

WEEK = 7
Days = Sequence[int | None]
"""One whole number per day; None where nothing was read."""


def median(values: Iterable[int]) -> int:
    """The middle value.

    Raises:
        ValueError: there is none.
    """
    ranked = sorted(values)
    if not ranked:
        raise ValueError("the median of nothing")
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) // 2


def quantile(ranked: Sequence[int], q: Fraction) -> Fraction:
    """Of sorted values, interpolated at (n + 1) q: a little wider than the sample, as the next value may be."""
    place = (len(ranked) + 1) * q - 1
    if place <= 0:
        return Fraction(ranked[0])
    low = int(place)
    if low >= len(ranked) - 1:
        return Fraction(ranked[-1])
    return ranked[low] + (ranked[low + 1] - ranked[low]) * (place - low)


def weekday_medians(days: Days, start: int, end: int) -> list[int]:
    """For each residue of the index by 7, the median of days[start:end]; where a weekday is missing, that of all."""
    groups: list[list[int]] = [[] for _ in range(WEEK)]
    for index in range(max(0, start), end):
        value = days[index]
        if value is not None:
            groups[index % WEEK].append(value)
    whole = [value for group in groups for value in group]
    usual = median(whole) if whole else 0
    return [median(group) if group else usual for group in groups]


_WEEKS = 840
"""A multiple of 1 to 8: slopes over up to eight weeks are whole numbers in this unit."""


def tilt(days: Days, start: int, end: int) -> tuple[int, int, int]:
    """The median weekly slope of days[start:end] (at most 63 days), and how many pairs rise and fall.

    The slope is per week and in 840ths, so that it is exact. No pairs: (0, 0, 0).
    """
    slopes: list[int] = []
    for index in range(max(0, start), end - WEEK):
        value = days[index]
        if value is None:
            continue
        for weeks, later in enumerate(range(index + WEEK, end, WEEK), 1):
            other = days[later]
            if other is not None:
                slopes.append((other - value) * (_WEEKS // weeks))
    if not slopes:
        return 0, 0, 0
    return median(slopes), sum(slope > 0 for slope in slopes), sum(slope < 0 for slope in slopes)


def spread(values: Sequence[int]) -> int:
    """1.4826 x the median absolute deviation from 0: a standard deviation that outliers do not move."""
    return median([abs(value) for value in values]) * 14826 // 10000 if values else 0
