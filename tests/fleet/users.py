"""Who uses a simulated fleet: classes of users, each a description and a seeded month of bursts.

A burst is a stretch in which somebody is active at every look of the monitor (pauses of a few seconds inside it do not
matter to a suspend that takes a minute or more). The month begins on a Monday, 00:00 UTC. The shares are a guess at a
software company's organisation, not a measurement of Neon's customers: whoever knows better passes other ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from collectors.postgres.evidence import CLIENT_ACTIVE, WALSENDER
from tests.fleet.monitor_model import Burst

HOUR, DAY = 3600.0, 86400.0
MINUTE = 60.0

Bursts = Callable[[random.Random, float], Iterator[Burst]]
"""From a seeded source and a horizon in seconds to bursts, in order, perhaps overlapping."""


@dataclass(frozen=True, slots=True)
class UserClass:
    """One kind of user: which share of the fleet, what it does, how long its computes wait (T: seconds by weight)."""

    name: str
    share: float
    about: str
    bursts: Bursts
    holder: str = CLIENT_ACTIVE
    suspend_after: Sequence[tuple[float, float]] = ((300.0, 0.75), (60.0, 0.2), (3600.0, 0.05))


def _steady(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    noon = rhythm.uniform(0, DAY)
    at = rhythm.uniform(0, HOUR)
    while at < horizon:
        night = abs((at - noon) % DAY - DAY / 2) < 4 * HOUR
        end = at + rhythm.expovariate(1 / (20 * MINUTE if night else 8 * HOUR))
        yield at, end
        at = end + rhythm.expovariate(1 / (6 * MINUTE if night else MINUTE))


def _office(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    opens = (8 + rhythm.choice((-8, -5, 0, 0, 0, 1, 2, 8))) * HOUR
    for day in range(-1, int(horizon // DAY) + 1):
        if day % 7 >= 5:
            continue
        at = day * DAY + opens + rhythm.uniform(0, HOUR)
        closes = at + rhythm.uniform(8, 10) * HOUR
        while at < closes:
            end = at + rhythm.expovariate(1 / (25 * MINUTE))
            yield at, end
            at = end + rhythm.expovariate(1 / (4 * MINUTE))


def _cron(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    every = rhythm.choice((15 * MINUTE, 30 * MINUTE, HOUR, 6 * HOUR, DAY))
    offset = rhythm.choice((0.0, 0.0, rhythm.uniform(0, every)))
    usual = rhythm.choice((2.0, 10.0, 45.0, 300.0))
    for turn in range(int(horizon // every) + 1):
        at = turn * every + offset + rhythm.uniform(0, 3)
        yield at, at + usual * rhythm.uniform(0.7, 1.6)


def _bursty(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    a_day = rhythm.choice((4, 10, 24))
    at = 0.0
    while True:
        at += rhythm.expovariate(a_day / DAY)
        if at > horizon:
            return
        visit = at
        for _ in range(rhythm.randint(1, 4)):
            end = visit + min(1800.0, rhythm.lognormvariate(4.0, 1.5))
            yield visit, end
            visit = end + rhythm.expovariate(1 / 90)


def _rare(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    at = 0.0
    while True:
        at += rhythm.expovariate(1 / (2 * DAY))
        if at > horizon:
            return
        yield at, at + min(HOUR, rhythm.lognormvariate(4.5, 1.3))


def _pinned(rhythm: random.Random, horizon: float) -> Iterator[Burst]:
    yield rhythm.uniform(0, HOUR), horizon + HOUR


CLASSES: Sequence[UserClass] = (
    UserClass("steady", 0.15, "production: hours without a pause by day, 20 min at a time in its night", _steady),
    UserClass("office", 0.20, "weekdays 8-10 h, 25 min at a time with pauses of 4 min", _office),
    UserClass("cron", 0.15, "a job every 15 min to 1 day, 2 s to 5 min long, two thirds on the full minute", _cron),
    UserClass("bursty", 0.20, "4-24 visits a day, each 1-4 bursts of a minute (half of them under it)", _bursty),
    UserClass("rare", 0.25, "someone looks every other day: previews, development", _rare),
    UserClass("pinned", 0.05, "change data capture: a walsender that never leaves", _pinned, holder=WALSENDER),
)


def month_of(user: UserClass, rhythm: random.Random, horizon: float) -> tuple[float, list[Burst]]:
    """T of one compute of this class, and its bursts: in order, merged where they touch, within 0 and the horizon."""
    limits, weights = zip(*user.suspend_after, strict=True)
    suspend_after = rhythm.choices(limits, weights)[0]
    merged: list[Burst] = []
    for start, end in user.bursts(rhythm, horizon):
        if end <= 0 or start >= horizon or end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((max(0.0, start), end))
    return suspend_after, merged
