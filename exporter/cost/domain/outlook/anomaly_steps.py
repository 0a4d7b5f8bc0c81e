"""Finds the episodes of one series of whole numbers: days beyond the usual (steps), growth beyond the usual (leaks)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.cost.domain.outlook.robust import WEEK, Days, median, spread

LEARN = 14
"""Days before anything can be unusual."""
NEW_USUAL = 28
"""A step that lasts so long is the new usual."""
MEMORY = 8
"""Values remembered of each weekday."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When something is worth an alarm: all of it must hold."""

    spreads: Fraction = Fraction(4)
    """A day must be so many robust standard deviations above the median of its weekday."""
    usd: Fraction = Fraction(1)
    """It must have cost so much more than usual, so far."""
    usd_per_day: Fraction = Fraction(1, 10)
    """A day must cost so much more than usual to count."""
    days: int = 2
    """It must last so many days, a week when other weekdays are usually as high (work on a weekend); a single day
    counts only when it is far above all days remembered."""
    spread_floor: Fraction = Fraction(1, 10)
    """The spread is at least this part of the usual, so that a very even series does not cry wolf."""


@dataclass(slots=True)
class Episode:
    """Days by index; amounts in raw units. ``excess`` is summed beyond the usual.

    ``newest`` is what a day costs beyond ``usual``: of steps the mean of the days beyond, of leaks the last day.
    """

    start: int
    kind: str = "spike"
    last: int = 0
    detected: int = -1
    over: bool = False
    excess: int = 0
    newest: int = 0
    usual: int = 0
    count: int = 0
    """Days beyond."""
    above: int = 0
    """Of these, days above every day remembered."""
    calm: int = 0
    """Days in a row that were not, and could have been: a weekend that is quiet as ever says nothing."""
    quiet: int = 0
    """Days in a row that were not."""
    values: list[tuple[int, int]] = field(default_factory=list)


class _Usual:
    """What is usual: the last values of each weekday outside episodes. The spread is measured anew once a week."""

    def __init__(self, floor: Fraction) -> None:
        self._floor = floor
        self._weekdays: list[deque[int]] = [deque(maxlen=MEMORY) for _ in range(WEEK)]
        self.known = 0
        self._measured = -WEEK
        self._wide = 0
        self._rare = False
        self.highest = 0
        """Of all days remembered when the spread was measured, and since."""

    def learn(self, index: int, value: int) -> None:
        self._weekdays[index % WEEK].append(value)
        self.known += 1
        self.highest = max(self.highest, value)

    def forget(self) -> None:
        self.__init__(self._floor)  # type: ignore[misc]

    def of(self, index: int) -> tuple[int, int]:
        """(The usual of this weekday, the spread around it)."""
        if self.known >= self._measured + WEEK:
            self._measure()
        if self._rare:
            return 0, self._wide
        same = self._weekdays[index % WEEK]
        return median(same) if len(same) >= 3 else self._middle(), self._wide

    def _middle(self) -> int:
        return median(value for weekday in self._weekdays for value in weekday)

    def _measure(self) -> None:
        self._measured = self.known
        every = [value for weekday in self._weekdays for value in weekday]
        active = [value for value in every if value]
        self.highest = max(every)
        usual = median(active) if active else 0
        least = usual * self._floor.numerator // self._floor.denominator + 1
        self._rare = bool(active) and 10 * len(active) < 6 * len(every)
        if self._rare:
            # Zero on many days: an active day is compared with active days.
            self._wide = max(spread([value - usual for value in active]), least) + usual // 4
            return
        middle = median(every)
        medians = [median(weekday) if len(weekday) >= 3 else middle for weekday in self._weekdays]
        rests = [value - medians[day] for day, values in enumerate(self._weekdays) for value in values]
        self._wide = max(spread(rests), least)


def steps(days: Days, unit: Fraction, policy: Policy) -> Iterator[Episode]:
    """Episodes of a flow. One that is not over at the last day has ``over`` false. Only those worth an alarm."""
    usual = _Usual(policy.spread_floor)
    least = _least(policy.usd_per_day, unit)
    spreads, times = policy.spreads.numerator, policy.spreads.denominator
    episode: Episode | None = None
    for index, value in enumerate(days):
        if value is None:
            continue
        if usual.known < LEARN:
            usual.learn(index, value)
            continue
        # What costs less than a day's floor cannot be beyond it.
        middle, wide = usual.of(index) if value >= least or episode is not None else (value, 0)
        beyond = value - middle >= least and (value - middle) * times > wide * spreads
        if episode is None and not beyond:
            usual.learn(index, value)
            continue
        episode = episode or Episode(index, last=index)
        _step(episode, index, value, (middle, beyond))
        episode.above += beyond and value > usual.highest
        _detect_step(episode, index, value > usual.highest * 13 // 10, unit, policy)
        if episode.calm >= 2 or episode.quiet >= 4 or episode.count >= NEW_USUAL:
            episode.over = True
            if episode.count >= NEW_USUAL:
                usual.forget()
            for day, number in episode.values[-2:] if episode.count < NEW_USUAL else episode.values:
                usual.learn(day, number)
            if episode.detected >= 0:
                yield episode
            episode = None
    if episode is not None and episode.detected >= 0:
        yield episode


def _least(usd: Fraction, unit: Fraction) -> int:
    """Raw units that cost so much, at least one."""
    return max(1, -(-usd * unit.denominator // unit.numerator))


def _step(episode: Episode, index: int, value: int, now: tuple[int, bool]) -> None:
    middle, beyond = now
    episode.values.append((index, value))
    if beyond:
        episode.count += 1
        episode.calm = episode.quiet = 0
        episode.last = index
        episode.excess += value - middle
        episode.usual += (middle - episode.usual) // episode.count
        episode.newest = episode.excess // episode.count
    else:
        episode.calm += bool(middle)
        episode.quiet += 1


def _detect_step(episode: Episode, index: int, far: bool, unit: Fraction, policy: Policy) -> None:
    if episode.count > policy.days:
        episode.kind = "step"
    enough = episode.above >= policy.days or episode.count >= max(WEEK, policy.days) or far
    if episode.detected < 0 and enough and episode.excess * unit >= policy.usd:
        episode.detected = index


def leaks(days: Days, unit: Fraction, policy: Policy) -> Iterator[Episode]:
    """Episodes of a size, by its growth."""
    growths: deque[int] = deque(maxlen=56)
    episode: Episode | None = None
    before: int | None = None
    pressure, held = 0, Episode(0)
    least = _least(policy.usd_per_day, unit)
    for index, value in enumerate(days):
        if value is None or before is None:
            before = value if value is not None else before
            continue
        growth, before = value - before, value
        if len(growths) < LEARN or (value < least and pressure == 0):
            growths.append(growth)
            continue
        middle = median(growths)
        wide = max(
            spread([number - middle for number in growths]),
            abs(middle) * policy.spread_floor.numerator // policy.spread_floor.denominator,
            value // 1000,
            1,
        )
        # In hundredths of a spread, at most four spreads a day: one jump alone is not a leak.
        score = max(-400, min(400, 100 * (growth - middle) // wide)) - 100
        if pressure == 0 and score > 0:
            held = Episode(index, "slow_leak", usual=value - growth)
        pressure = max(0, pressure + score)
        if pressure == 0:
            if episode is not None:
                episode.over = True
                yield episode
                episode = None
            growths.append(growth)
            continue
        _leak(held, index, (value, middle, growth))
        if episode is None and pressure >= 600 and held.excess * unit >= policy.usd and held.count >= policy.days:
            episode = held
            episode.detected = index
        if episode is not None and held.calm >= 3:
            episode.over = True
            yield episode
            episode, pressure = None, 0
    if episode is not None:
        yield episode


def _leak(held: Episode, index: int, now: tuple[int, int, int]) -> None:
    value, middle, growth = now
    expected = held.usual + middle * (index - held.start + 1)
    held.newest = value - expected
    held.excess += max(0, held.newest)
    if growth > 2 * abs(middle):
        held.count += 1
        held.calm = 0
        held.last = index
    else:
        held.calm += 1
