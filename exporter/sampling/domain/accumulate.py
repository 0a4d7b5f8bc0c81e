"""Growth of counters whose source forgets: what was counted since the last look, never negative and never twice.

A Neon compute loses pg_stat_statements at every suspend, and anyone may reset it; ordinary Postgres carries it over a
restart. Which of these happened is known by ``stats_reset``: it is written to the statistics file with the counters and
comes back with them, and it is set anew when the file is lost, when a crash wipes shared memory, and by a full reset
(checked on 14-18). So it names the life of the counters, and the postmaster's start is asked only when it is unknown.

What cannot be known: before PostgreSQL 17 a row that was evicted and came back with larger counters between two looks
is taken for growth, which misses its earlier calls. Such rows are counted as uncertain. From 17 on each row carries its
own birth (``stats_since``) and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import lt, sub
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

Counters = tuple[int, ...]
Key = TypeVar("Key", bound=Hashable)

HOUR_US: Final = 3_600_000_000
_SPREAD_MOST_US: Final = 168 * HOUR_US
_LOOK_MOST_US: Final = 60_000_000


class Row(Protocol):
    """Anything with the cumulative counters of one row and, from PostgreSQL 17 on, its birth in unix seconds."""

    @property
    def stats_since(self) -> float | None:
        """When the row began to count; None when the source does not show it."""

    @property
    def counters(self) -> Counters:
        """Cumulative, never negative."""


class Counted(NamedTuple):
    """The row as it was at the last look."""

    stats_since: float | None
    counters: Counters


@dataclass(frozen=True, slots=True)
class CounterEpoch:
    """Which life of the counters a look belongs to, and when it was; all in microseconds of the server's clock."""

    postmaster_us: int
    reset_us: int
    """When the counters began (pg_stat_statements_info.stats_reset); 0 when unknown."""
    clock_us: int
    """When the look began: before its rows and ``reset_us`` were read."""
    dealloc: int = 0
    """How often rows were evicted in this life."""

    def continues(self, before: CounterEpoch) -> bool:
        """Whether the counters went on from ``before``: then they compare, else they began at zero."""
        if self.reset_us and before.reset_us:
            return self.reset_us == before.reset_us
        return self.postmaster_us == before.postmaster_us

    def is_older_than(self, before: CounterEpoch) -> bool:
        """Whether this look was taken before one that is already counted (an answer that came late)."""
        return self.clock_us < before.clock_us and self.continues(before)

    def is_torn(self, before: CounterEpoch) -> bool:
        """Whether a reset fell into this very look: the rows may be from before it, and would count twice."""
        return 0 < self.reset_us - self.clock_us < _LOOK_MOST_US and not self.continues(before)

    def began_us(self, before: CounterEpoch | None) -> int:
        """The start of the time in which the growth since ``before`` happened; at most a week ago."""
        if before is not None and self.continues(before):
            start = before.clock_us
        else:
            start = max(self.reset_us or self.postmaster_us, before.clock_us if before else 0)
        return min(self.clock_us, max(start, self.clock_us - _SPREAD_MOST_US))


@dataclass(slots=True)
class Baseline(Generic[Key]):
    """The counters at the last look."""

    life: CounterEpoch
    rows: dict[Key, Counted]


@dataclass(slots=True)
class Growth(Generic[Key]):
    """What one look adds to the one before it."""

    deltas: dict[Key, Counters] = field(default_factory=dict)
    """Growth of the rows that grew; every number >= 0 and at least one > 0."""
    changed: dict[Key, Counted] = field(default_factory=dict)
    """Rows of the new baseline that differ from the old one."""
    gone: list[Key] = field(default_factory=list)
    """Rows of the old baseline that are no more. In a new life all of them are, and none is named."""
    new_life: bool = False
    stale: bool = False
    """The look came late, or a reset fell into it: nothing is counted, the baseline stays, the next look counts."""
    uncertain: int = 0
    """Rows whose growth may miss something."""

    @property
    def is_nothing(self) -> bool:
        """Whether the baseline stays as it is, but for the time of the look."""
        return not (self.changed or self.gone or self.new_life)

    def apply(self, rows: dict[Key, Counted]) -> None:
        """Turn the rows of the old baseline into those of the new one, in place."""
        if self.new_life:
            rows.clear()
        for key in self.gone:
            del rows[key]
        rows.update(self.changed)


def advance(before: Baseline[Key] | None, life: CounterEpoch, rows: Mapping[Key, Row]) -> Growth[Key]:
    """What ``rows`` add to ``before``; without one (or in a new life) all that they hold.

    ``rows`` must be complete: a row that is missing was evicted, and counts from zero when it comes back.
    """
    growth: Growth[Key] = Growth()
    if before is not None and (life.is_older_than(before.life) or life.is_torn(before.life)):
        growth.stale = True
        return growth
    growth.new_life = before is None or not life.continues(before.life)
    old_rows: Mapping[Key, Counted] = {} if before is None or growth.new_life else before.rows
    evicted = before is not None and not growth.new_life and life.dealloc != before.life.dealloc
    known = 0
    for key, row in rows.items():
        counters = row.counters
        old = old_rows.get(key)
        if old is not None:
            known += 1
            if old.counters == counters and old.stats_since == row.stats_since:
                continue
        delta, doubtful = (counters, False) if old is None else _delta(old, row, evicted)
        growth.changed[key] = Counted(row.stats_since, counters)
        growth.uncertain += doubtful
        if any(delta):
            growth.deltas[key] = delta
    if known < len(old_rows):
        growth.gone = [key for key in old_rows if key not in rows]
    return growth


def _delta(old: Counted, row: Row, evicted: bool) -> tuple[Counters, bool]:
    new = row.counters
    lower = any(map(lt, new, old.counters))
    if old.stats_since is not None and row.stats_since is not None:
        if microseconds(old.stats_since) != microseconds(row.stats_since):
            return new, False
        # The same life of the same row cannot have shrunk: the server was set back to an earlier state (or a part of a
        # summed row was evicted). What it counts from here on is growth; what it holds was counted already.
        return tuple(max(0, now - was) for now, was in zip(new, old.counters, strict=True)), lower
    if lower:
        return new, False
    return tuple(map(sub, new, old.counters)), evicted


def microseconds(seconds: float) -> int:
    """Unix seconds as the integer that is compared and stored; exact for any Postgres timestamp of our age."""
    return round(seconds * 1_000_000)


def spread(delta: Counters, start_us: int, end_us: int) -> Iterator[tuple[int, Counters]]:
    """Share growth out over the hours in which it happened, evenly by time; the parts sum to it exactly.

    Yields the hour's start in unix seconds and its part. Usually both instants lie in one hour.
    """
    first, last = start_us // HOUR_US, end_us // HOUR_US
    given: Counters = (0,) * len(delta)
    for hour in range(first, last):
        until = (hour + 1) * HOUR_US
        upto = tuple(value * (until - start_us) // (end_us - start_us) for value in delta)
        part = tuple(now - was for now, was in zip(upto, given, strict=True))
        if any(part):
            yield hour * 3600, part
        given = upto
    rest = tuple(now - was for now, was in zip(delta, given, strict=True))
    if any(rest):
        yield last * 3600, rest
