"""What is known now: the latest observation per collector and target, and how long it may still be shown.

A failed target keeps its last values for a while (``hold``), then its gauges vanish and its counters stay: a counter
that went away and came back would look like a reset, a gauge that stayed would be a lie. Money never vanishes; it
carries its age instead.

The state belongs to the event loop, so nothing here takes longer the more targets there are: what an owner shows of a
whole fleet is made a `Batch` in a worker thread and taken in as one; what changed is handed to publishing by `take`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator, KeysView
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import NamedTuple

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Scope

MINIMUM_HOLD_SECONDS = 300.0
EXPIRE_AT_ONCE = 5000
"""Entries that one call of `State.expire` looks at; the next call goes on."""
_HEALTHY = frozenset({Status.OK, Status.NO_DATA})
_PROJECT_POSITION = {scope: scope.value.index("project_id") if "project_id" in scope.value else None for scope in Scope}
"""Which label of a target is the id of its project; None where the scope has none."""

Key = tuple[str, str]
"""A collector and the key of a target."""


class Entry(NamedTuple):
    """One collector at one target: its last attempt and its last success. Never altered, only replaced."""

    last: Observation
    good: Observation | None
    """What is shown."""
    good_at: float | None
    """When it last succeeded, unix seconds; survives failures."""
    hold: float
    expired: int = 0
    """What is no longer shown: 0 nothing, 1 the gauges of the last success, 2 also those of a failure since."""

    @property
    def deadline(self) -> float:
        """After which instant (unix seconds) something of it is no longer shown; infinite when nothing will go."""
        if self.good is None or self.expired == 2:
            return inf
        if self.expired == 1:
            return self.last.at + self.hold if len(self.last.families) else -inf
        return (self.good.at if self.good_at is None else self.good_at) + self.hold


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that an owner has to show at one moment, ready to be taken in."""

    entries: dict[Key, Entry]
    """What succeeded."""
    failures: tuple[Observation, ...]
    """What did not: it is put onto what was known."""
    named: frozenset[Key]
    """All that the owner names, also what stays as it is."""
    deadline: float
    """When the first of the entries may expire; infinite when none does."""
    interval: float
    forever: bool

    @classmethod
    def of(
        cls,
        observations: Iterable[Observation],
        *,
        interval: float,
        forever: bool = False,
        unchanged: Iterable[tuple[str, Target]] = (),
    ) -> Batch:
        """Prepare it; safe in any thread. Parameters as for `State.show`."""
        hold = _hold(interval, forever=forever)
        entries: dict[Key, Entry] = {}
        failures: dict[Key, Observation] = {}
        for observation in observations:
            key = (observation.collector, observation.target.key)
            if observation.status in _HEALTHY:
                entries[key] = Entry(observation, observation, observation.at, hold)
            else:
                failures[key] = observation
        named = {*entries, *failures, *((collector, target.key) for collector, target in unchanged)}
        deadline = min((entry.deadline for entry in entries.values()), default=inf)
        return cls(entries, tuple(failures.values()), frozenset(named), deadline, interval, forever)


def _hold(interval: float, *, forever: bool) -> float:
    return inf if forever else max(2 * interval, MINIMUM_HOLD_SECONDS)


class State:
    """All entries. Only the event loop's thread touches it; publishing gets what changed from `take`."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._changes: dict[Key, Entry | None] = {}
        self._quiet: set[Key] = set()
        """Of the changes those that are no reason to publish."""
        self._shown: dict[str, set[Key]] = {}
        """By owner, everything that it showed last."""
        self._excluded: frozenset[str] = frozenset()
        self._deadlines = _Deadlines()

    @property
    def changed(self) -> bool:
        """Whether anything was taken in since the last `take` that is a reason to publish."""
        return len(self._changes) > len(self._quiet)

    def take(self) -> dict[Key, Entry | None]:
        """What changed since the last call: the present entry, or None for one that is gone."""
        changes, self._changes = self._changes, {}
        self._quiet.clear()
        return changes

    def put(
        self, observation: Observation, *, interval: float, forever: bool = False, quiet: bool = False
    ) -> Status | None:
        """Take in an observation; return the status that it replaces when that is another one (for one log line).

        ``interval`` is the collector's pace in seconds, which sets how long failed values are held; ``forever``
        keeps them (ledger figures); ``quiet``: it can wait for the next generation. What is about an excluded project
        is not taken in.
        """
        if self._is_excluded(observation.target):
            return None
        key = (observation.collector, observation.target.key)
        before = self._entries.get(key)
        ok = observation.status in _HEALTHY
        good, good_at = (before.good, before.good_at) if before else (None, None)
        if ok or observation.families.items():
            good = observation if ok else _over(good, observation)
        expired = before.expired if before and not ok and not observation.families.items() else 0
        hold = _hold(interval, forever=forever)
        if not quiet:
            self._quiet.discard(key)
        elif key not in self._changes:
            self._quiet.add(key)
        self._set(key, Entry(observation, good, observation.at if ok else good_at, hold, expired))
        return before.last.status if before and before.last.status is not observation.status else None

    def _set(self, key: Key, entry: Entry) -> None:
        self._entries[key] = self._changes[key] = entry
        self._deadlines.add(key, entry.deadline)

    def show(
        self,
        owner: str,
        observations: Iterable[Observation],
        *,
        interval: float,
        forever: bool = False,
        unchanged: Iterable[tuple[str, Target]] = (),
        complete: bool = True,
    ) -> None:
        """Take in all that an owner (a feature, or a part of one) has to show now.

        What it showed before and does not name any more leaves the exposition. ``unchanged`` are collector and target
        of what stays as it was put last; not ``complete``: all of it stays, because the owner could not find out what
        is gone. ``interval`` and ``forever`` as for ``put``. For a few observations: those of a whole fleet go through
        `show_made`.
        """
        batch = Batch.of(observations, interval=interval, forever=forever, unchanged=unchanged)
        self.show_batch(owner, batch, complete=complete)

    def show_batch(self, owner: str, batch: Batch, *, complete: bool = True) -> None:
        """As ``show``, of what was prepared."""
        entries = batch.entries
        if self._excluded:
            entries = {key: entry for key, entry in entries.items() if not self._is_excluded(entry.last.target)}
        self._entries.update(entries)
        self._changes.update(entries)
        self._deadlines.add_all(entries.keys(), batch.deadline)
        for observation in batch.failures:
            self.put(observation, interval=batch.interval, forever=batch.forever)
        before = self._shown.setdefault(owner, set())
        if complete:
            self._drop(before - batch.named)
            before.clear()
        before |= batch.named

    async def show_made(
        self,
        owner: str,
        make: Callable[[], Iterable[Observation]],
        *,
        interval: float,
        forever: bool = False,
        unchanged: Callable[[], Iterable[tuple[str, Target]]] = tuple,
    ) -> None:
        """As ``show``; ``make`` and ``unchanged`` run in a worker thread, and the event loop takes in the result."""

        def prepare() -> Batch:
            return Batch.of(make(), interval=interval, forever=forever, unchanged=unchanged())

        self.show_batch(owner, await asyncio.to_thread(prepare))

    def retire(self, owner: str) -> None:
        """Take everything that an owner showed out of the exposition: it was switched off."""
        self._drop(self._shown.pop(owner, set()))

    def owners(self) -> frozenset[str]:
        """Who has shown anything that is still there."""
        return frozenset(self._shown)

    def _drop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if self._entries.pop(key, None) is not None:
                self._changes[key] = None

    def restore(self, observation: Observation, *, interval: float) -> None:
        """Show what was known before our own restart (counters), until there is something newer. It is no success."""
        key = (observation.collector, observation.target.key)
        if key not in self._entries and not self._is_excluded(observation.target):
            hold = _hold(interval, forever=False)
            self._set(key, Entry(replace(observation, families=Families()), observation, None, hold))

    def expire(self, now: float) -> int:
        """Take the gauges of what has not succeeded within its hold out of the exposition; return how many.

        What a failure brought itself (that it is down) is as fresh as the failure, and is held from then on.
        """
        expired = 0
        for key in self._deadlines.take(now, EXPIRE_AT_ONCE):
            entry = self._entries.get(key)
            if entry is None:
                continue
            if now > entry.deadline:
                entry = _expired(entry, now)
                self._entries[key] = self._changes[key] = entry
                expired += 1
            self._deadlines.add(key, entry.deadline)
        return expired

    def date_back(self, seconds: float) -> None:
        """The clock that everything was dated by turned out to be ``seconds`` ahead: date it right.

        Else what fails from now on would be held for as much longer.
        """

        def earlier(observation: Observation) -> Observation:
            return replace(observation, at=observation.at - seconds)

        for key, entry in self._entries.items():
            self._set(
                key,
                entry._replace(
                    last=earlier(entry.last),
                    good=None if entry.good is None else earlier(entry.good),
                    good_at=None if entry.good_at is None else entry.good_at - seconds,
                ),
            )

    async def forget(self, gone: Callable[[str, Target], bool]) -> int:
        """Drop every entry whose collector and target are ``gone``; returns how many there were.

        ``gone`` is asked in a worker thread about what there is now.
        """
        entries = self._entries.copy()

        def find() -> list[Key]:
            return [key for key, entry in entries.items() if gone(key[0], entry.last.target)]

        keys = await asyncio.to_thread(find)
        self._drop(keys)
        return len(keys)

    def exclude(self, project_ids: frozenset[str]) -> None:
        """Drop everything about these projects and take in nothing about them; all others are taken in from now on."""
        new = project_ids - self._excluded
        self._excluded = project_ids
        if new:
            self._drop([key for key, entry in self._entries.items() if self._is_excluded(entry.last.target)])

    def _is_excluded(self, target: Target) -> bool:
        position = _PROJECT_POSITION[target.scope]
        return position is not None and target.labels[position] in self._excluded

    def get(self, collector: str, target: Target) -> Entry | None:
        """The entry of one collector at one target."""
        return self._entries.get((collector, target.key))

    def entries(self) -> Iterator[tuple[str, Target, Entry]]:
        """Every entry with its collector and target."""
        for (collector, _), entry in self._entries.items():
            yield collector, entry.last.target, entry


class _Deadlines:
    """Which entries to look at when: by the second, so that a call costs what is due and not what there is.

    A key is listed once. Its entry may be renewed meanwhile: it is then listed again when it was looked at.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[Key]] = {}
        self._order: list[int] = []
        self._listed: dict[Key, int] = {}

    def add(self, key: Key, deadline: float) -> None:
        """Look at a key after ``deadline`` (unix seconds); nothing to do where that is infinite."""
        if deadline == inf:
            return
        second = max(0, ceil(deadline)) if deadline > -inf else 0
        if second < self._listed.get(key, second + 1):
            self._listed[key] = second
            self._bucket(second).append(key)

    def add_all(self, keys: KeysView[Key], deadline: float) -> None:
        """As ``add``, of many; those that are listed already are looked at in their time."""
        if deadline == inf:
            return
        second = max(0, ceil(deadline))
        new = keys - self._listed.keys()
        self._listed.update(dict.fromkeys(new, second))
        self._bucket(second).extend(new)

    def _bucket(self, second: int) -> list[Key]:
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = []
            heapq.heappush(self._order, second)
        return bucket

    def take(self, now: float, most: int) -> list[Key]:
        """Up to ``most`` keys whose time has come; they are listed no more."""
        taken: list[Key] = []
        while self._order and self._order[0] <= now and len(taken) < most:
            second = self._order[0]
            bucket = self._buckets[second]
            room = most - len(taken)
            for key in bucket[-room:]:
                if self._listed.get(key) == second:  # else it was listed again, for earlier
                    del self._listed[key]
                    taken.append(key)
            del bucket[-room:]
            if not bucket:
                del self._buckets[second]
                heapq.heappop(self._order)
        return taken


def _over(old: Observation | None, new: Observation) -> Observation:
    """A partial observation over the last good one: what it brings is newer, what it lacks is kept."""
    merged = Families()
    fresh = {metric for metric, _ in new.families.items()}
    for metric, series in old.families.items() if old is not None else ():
        if metric not in fresh:
            merged.put(metric, series)
    for metric, series in new.families.items():
        if series:  # An empty family says that it is gone.
            merged.put(metric, series)
    return replace(new, families=merged)


def _expired(entry: Entry, now: float) -> Entry:
    """What is left of an entry after its deadline."""
    if entry.good is None:
        return entry
    latest = entry.last.families if now - entry.last.at <= entry.hold else Families()
    left = Families()
    for metric, series in entry.good.families.items():
        if metric.kind is Kind.COUNTER or latest.get(metric):
            left.put(metric, series)
    return entry._replace(expired=1 if len(latest) else 2, good=replace(entry.good, families=left))
