"""What costs more than it usually does: spikes, steps, slow leaks, and computes that no longer go to sleep.

A day is compared with the median of its weekday, in units of a robust spread that has a floor. It counts only when it
is many spreads away, when it is dollars, and when it lasts or is beyond anything seen before. Days inside an anomaly do
not teach what is usual; after four weeks a lasting step is the new usual. Sizes are measured by their daily growth,
summed up while it is above the usual growth (CUSUM), so that a leak shows before it is large. A series that is zero on
many days is compared by its active days. A compute that is awake and flat in every hour, as it was not before, is
stuck awake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from exporter.cost.domain.outlook.anomaly_steps import Episode, Policy, leaks, steps
from exporter.cost.domain.outlook.robust import Days, median
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.rates import to_decimal

SPIKE, STEP, SLOW_LEAK, STUCK_AWAKE = "spike", "step", "slow_leak", "stuck_awake"
_LOAD = Fraction(8, 10)
"""A compute that is busy more than this is working, not stuck."""
KINDS = (SPIKE, STEP, SLOW_LEAK, STUCK_AWAKE)
__all__ = ["KINDS", "Anomaly", "AwakeDay", "Policy", "Watched", "anomalies"]


@dataclass(frozen=True, slots=True)
class AwakeDay:
    """One day of one compute, from hourly facts."""

    hours: int
    """Hours in which it used anything."""
    flat: int
    """Of these, hours with the least use that any hour had (within a twentieth)."""
    cu_seconds: int
    busy: Fraction | None = None
    """Measured busy time over awake CU time; None where nobody looked."""


Awake = Callable[[int, int], Sequence[AwakeDay | None]]
"""Answers the days with index in [start, stop); None where no hours are left."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One series to look at: raw usage of one component of one branch by day, from ``first`` on."""

    org_id: str
    project_id: str
    branch_id: str
    component: str
    first: int
    days: Days
    unit: Fraction
    """USD of one raw unit, of today: a change of price is no anomaly."""
    level: bool = False
    """A size that is there every day, rather than something that is done."""
    awake: Awake | None = None
    """Of a compute, how it was awake; asked only where something is wrong."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that went wrong on one branch. Times are midnights in unix seconds; ends are exclusive."""

    kind: str
    org_id: str
    project_id: str
    branch_id: str
    component: str
    start: int
    end: int | None
    """None while it lasts."""
    detected: int
    """The end of the day with which it was clear."""
    usd: Fraction
    """Beyond the usual, so far (unrounded, at today's prices)."""
    usd_per_day: Fraction
    """Beyond the usual: the mean of its days; of a leak, its newest day."""
    usual_per_day: Fraction
    why: str
    also: tuple[str, ...] = ()
    """Other components of the branch that rose with it; their dollars are in ``usd``."""


def anomalies(series: Iterable[Watched], policy: Policy) -> tuple[Anomaly, ...]:
    """What is unusual in every series; what rose together on one branch is one anomaly. By start, then by dollars."""
    found: list[Anomaly] = []
    for watched in series:
        episodes = (
            leaks(watched.days, watched.unit, policy) if watched.level else steps(watched.days, watched.unit, policy)
        )
        found += [_anomaly(watched, episode) for episode in episodes]
    return tuple(sorted(_together(found), key=lambda a: (a.start, -a.usd, a.project_id, a.branch_id)))


def _anomaly(series: Watched, episode: Episode) -> Anomaly:
    kind = episode.kind
    start, stop = episode.start, episode.last + 1
    before: Sequence[AwakeDay | None] = ()
    busy: Fraction | None = None
    # One day awake is a spike, unless it is today.
    if series.awake is not None and (kind == STEP or (kind == SPIKE and not episode.over)):
        before = series.awake(max(0, start - 28), start)
        inside = series.awake(start, stop)
        busy = _busy(inside)
        kind = STUCK_AWAKE if _stuck(before, inside) else kind
    return Anomaly(
        kind,
        series.org_id,
        series.project_id,
        series.branch_id,
        series.component,
        series.first + start * DAY,
        series.first + stop * DAY if episode.over else None,
        series.first + (episode.detected + 1) * DAY,
        episode.excess * series.unit,
        episode.newest * series.unit,
        episode.usual * series.unit,
        _why(kind, series.unit, episode, before, busy),
    )


def _stuck(before: Sequence[AwakeDay | None], now: Sequence[AwakeDay | None]) -> bool:
    """Awake in nearly every hour and flat, which it was not before; and, where measured, nobody was busy."""
    inside = [day for day in now if day is not None]
    usual = _hours(before)
    if not inside or not usual:
        return False
    busy = _busy(inside)
    if busy is not None and busy > _LOAD:
        return False
    return median(_hours(inside)) >= 23 and median(day.flat for day in inside) >= 16 and median(usual) <= 20


def _busy(days: Sequence[AwakeDay | None]) -> Fraction | None:
    """The middle of what was measured; None where nobody looked."""
    known = sorted(day.busy for day in days if day is not None and day.busy is not None)
    return known[len(known) // 2] if known else None


def _hours(days: Sequence[AwakeDay | None]) -> list[int]:
    return [day.hours for day in days if day is not None]


def _why(kind: str, unit: Fraction, episode: Episode, before: Sequence[AwakeDay | None], busy: Fraction | None) -> str:
    usual, newest = _usd(episode.usual * unit), _usd((episode.usual + episode.newest) * unit)
    days = episode.last + 1 - episode.start
    lasting = f"for {days} days" if days > 1 else "on one day"
    if kind == SLOW_LEAK:
        return f"grew faster than usual {lasting}: by now {_usd(episode.newest * unit)} a day more"
    if kind == STUCK_AWAKE:
        load = "" if busy is None else f", busy {min(1.0, float(busy)):.0%} of it"
        normal = f"usually {median(_hours(before))} of 24 hours"
        return f"awake all day {lasting}{load}, {normal}: {newest} instead of {usual} a day"
    return f"{newest} a day {lasting} instead of {usual}"


def _usd(amount: Fraction) -> str:
    return f"${to_decimal(amount):,.2f}"


def _together(found: list[Anomaly]) -> list[Anomaly]:
    """Join what began within three days on one branch: the most expensive names it."""
    distinct: list[Anomaly] = []
    for anomaly in sorted(found, key=lambda a: -a.usd):
        for index, held in enumerate(distinct):
            same = (held.project_id, held.branch_id) == (anomaly.project_id, anomaly.branch_id)
            if same and held.component != anomaly.component and abs(held.start - anomaly.start) <= 3 * DAY:
                distinct[index] = replace(
                    held,
                    usd=held.usd + anomaly.usd,
                    usd_per_day=held.usd_per_day + anomaly.usd_per_day,
                    detected=min(held.detected, anomaly.detected),
                    also=(*held.also, anomaly.component),
                )
                break
        else:
            distinct.append(anomaly)
    return distinct
