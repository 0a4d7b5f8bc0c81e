"""Who kept a compute awake, and for how long: samples become shares of its awake time, and nothing is guessed.

The control plane says how long a compute was awake; a visit sees who held it at one moment. Between two visits in one
life of the compute (one ``started_at``) the later one speaks for the time, but for REACH at most, in equal parts over
the holders that it found. Where no visit speaks, the time is ``uncovered``: before the first, except for what that one
proves by itself (a session that has idled in its transaction since a known instant was there since), and after the
last. Found nobody: the compute only waited out its suspend timeout.

Everything is in integer microseconds of the API's clock, so that the shares sum to the awake time exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

MICRO = 1_000_000
HOUR = 3600 * MICRO
REACH = 900 * MICRO
"""One visit speaks for at most this much of the time before it."""
ENOUGH = 600 * MICRO
"""With less awake time than this no mean size is given."""
OTHER = "other"


class AwakeHolder(NamedTuple):
    """Who keeps a compute awake. ``slot`` is the replication slot that a walsender serves, else empty."""

    reason: str
    user: str = ""
    application: str = ""
    slot: str = ""


NOBODY = AwakeHolder("nobody")
UNCOVERED = AwakeHolder("uncovered")


class Sighting(NamedTuple):
    """A holder that a visit found; ``since`` is from when on it is proved to have been there, None: only now."""

    holder: AwakeHolder
    since: int | None = None


class Part(NamedTuple):
    """Awake time of one holder within one hour; ``hour`` is its start in unix seconds."""

    hour: int
    holder: AwakeHolder
    amount: int


@dataclass(frozen=True, slots=True)
class ShownState:
    """What the control plane shows of a compute."""

    active: bool
    started: int | None
    suspended: int | None


@dataclass(frozen=True, slots=True)
class AwakeState:
    """How far the awake time of one compute is accounted for."""

    since: int
    """First sight: nothing before is counted."""
    life: int
    """``started_at`` of the newest life, 0 before the first."""
    open: bool = False
    """Whether that life still lasts."""
    sampled: bool = False
    """Whether a visit saw it."""
    seen: int = 0
    """Up to here it was awake."""
    covered: int = 0
    """Up to here the awake time has been shared out."""

    @property
    def pending(self) -> int:
        """Awake time that a later visit may still speak for."""
        return self.seen - self.covered


def look(state: AwakeState | None, shown: ShownState, now: int) -> tuple[AwakeState, list[Part]]:
    """Take in what the control plane shows at ``now``: time passes, a life ends, another begins."""
    started = shown.started
    if state is None:
        return AwakeState(now, started or 0, shown.active and started is not None, seen=now, covered=now), []
    if started is None:
        return state, []
    parts: list[Part] = []
    if started != state.life:
        if state.open:
            ended = shown.suspended is not None and state.life <= shown.suspended <= started
            state, parts = _close(state, shown.suspended if ended else None)
        begin = max(started, state.seen)
        state = replace(state, life=started, open=True, sampled=False, seen=begin, covered=begin)
    if not state.open:
        if not shown.active:
            return state, parts
        # The same life that we took for ended: the API was ahead of itself.
        state = replace(state, open=True, sampled=False)
    if not shown.active:
        ended = shown.suspended is not None and shown.suspended >= started
        state, rest = _close(state, min(shown.suspended or 0, now) if ended else None)
        return state, parts + rest
    state = replace(state, seen=max(state.seen, now))
    late = state.seen - REACH
    if late > state.covered:
        parts += _share(state.covered, late, (UNCOVERED,))
        state = replace(state, covered=late)
    return state, parts


def _close(state: AwakeState, until: int | None) -> tuple[AwakeState, list[Part]]:
    end = max(state.seen, until or 0)
    parts = list(_share(state.covered, end, (UNCOVERED,)))
    return replace(state, open=False, seen=end, covered=end), parts


def sample(state: AwakeState, sightings: Collection[Sighting], at: int) -> tuple[AwakeState, list[Part]]:
    """Take in what a visit found at ``at``; outside a life that the control plane showed it says nothing."""
    if not state.open or at <= state.covered:
        return state, []
    reach = max(state.covered, at - REACH) if state.sampled else at
    holders = {sighting.holder for sighting in sightings}
    parts = [*_proven(state.covered, reach, sightings), *_share(reach, at, holders or (NOBODY,))]
    return replace(state, sampled=True, covered=at, seen=max(state.seen, at)), parts


def _proven(start: int, end: int, sightings: Iterable[Sighting]) -> Iterator[Part]:
    """Share out a span of time in which the visit proves of some holders that they were there."""
    since: dict[AwakeHolder, int] = {}
    for sighting in sightings:
        if sighting.since is not None:
            since[sighting.holder] = min(sighting.since, since.get(sighting.holder, sighting.since))
    cuts = sorted({start, end, *(at for at in since.values() if start < at < end)})
    for begin, stop in pairwise(cuts):
        present = [holder for holder, at in since.items() if at <= begin]
        yield from _share(begin, stop, present or (UNCOVERED,))


def _share(start: int, end: int, holders: Collection[AwakeHolder]) -> Iterator[Part]:
    """Equal parts of a span of time, hour by hour; what does not divide goes to the first by name."""
    ranked = sorted(holders)
    while start < end:
        stop = min(end, start // HOUR * HOUR + HOUR)
        portion, rest = divmod(stop - start, len(ranked))
        for index, holder in enumerate(ranked):
            amount = portion + (index < rest)
            if amount:
                yield Part(start // HOUR * 3600, holder, amount)
        start = stop


def named(holder: AwakeHolder, known: Collection[AwakeHolder], most: int) -> AwakeHolder:
    """The holder to count for: itself while fewer than ``most`` have a name, then ``other`` of its reason, for good.

    One that has a name never loses it, so that no counter goes back.
    """
    if holder in known or len(known) < most:
        return holder
    return AwakeHolder(holder.reason, OTHER, OTHER)


def mean_cu(cu_seconds: int, awake: int, least: Fraction, most: Fraction) -> Fraction | None:
    """CU while awake, as Neon metered it, within the limits of autoscaling; None when too little was metered."""
    if awake < ENOUGH or cu_seconds <= 0:
        return None
    return max(least, min(most, Fraction(cu_seconds * MICRO, awake)))


def usd(amount: int, cu: Fraction, rate: Fraction) -> Fraction:
    """What awake time costs; ``rate`` is USD per CU-hour."""
    return Fraction(amount, HOUR) * cu * rate


def usd_per_day(amount: int, window: int, cu: Fraction, rate: Fraction) -> Fraction:
    """What it costs a day when ``amount`` of every ``window`` is awake time."""
    return usd(24 * HOUR, cu, rate) * Fraction(amount, window) if window > 0 else Fraction()


def total(parts: Mapping[AwakeHolder, int], state: AwakeState) -> int:
    """All awake time: what was shared out, and what may still be."""
    return sum(parts.values()) + state.pending
