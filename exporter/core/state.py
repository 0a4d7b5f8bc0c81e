"""What is known now: the latest observation per collector and target, and how long it may still be shown.

A failed target keeps its last values for a while (``hold``), then its gauges vanish and its counters stay: a counter
that went away and came back would look like a reset, a gauge that stayed would be a lie. Money never vanishes; it
carries its age instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Scope

MINIMUM_HOLD_SECONDS = 300.0
_HEALTHY = frozenset({Status.OK, Status.NO_DATA})
_PROJECT_POSITION = {scope: scope.value.index("project_id") if "project_id" in scope.value else None for scope in Scope}
"""Which label of a target is the id of its project; None where the scope has none."""


class Sink(Protocol):
    """Where families go to be rendered: the snapshot builder."""

    def put(self, key: str, target: Target, families: Families) -> object:
        """Replace what stands under ``key``."""

    def drop(self, key: str) -> None:
        """Forget what stands under ``key``."""


@dataclass(slots=True)
class Entry:
    """One collector at one target: its last attempt and its last success."""

    last: Observation
    good: Observation | None
    good_at: float | None
    """When it last succeeded, unix seconds; survives failures."""
    hold: float
    expired: int = 0
    """What is no longer shown: 0 nothing, 1 the gauges of the last success, 2 also those of a failure since."""


class State:
    """All entries. Only the event loop's thread touches it; what others need is copied out at publish."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.changed = False
        """Whether anything was taken in since this was last set to False."""
        self._entries: dict[tuple[str, str], Entry] = {}
        self._shown: dict[str, frozenset[tuple[str, str]]] = {}
        """By owner, the collector and target key of everything that it showed last."""
        self._excluded: frozenset[str] = frozenset()

    def put(self, observation: Observation, *, interval: float, forever: bool = False) -> Status | None:
        """Take in an observation; return the status that it replaces when that is another one (for one log line).

        ``interval`` is the collector's pace in seconds, which sets how long failed values are held; ``forever``
        keeps them (ledger figures). What is about an excluded project is not taken in.
        """
        if self._is_excluded(observation.target):
            return None
        self.changed = True
        key = (observation.collector, observation.target.key)
        before = self._entries.get(key)
        hold = float("inf") if forever else max(2 * interval, MINIMUM_HOLD_SECONDS)
        ok = observation.status in _HEALTHY
        good, good_at = (before.good, before.good_at) if before else (None, None)
        if ok or observation.families.items():
            shown = good.families if good is not None and before is not None and not before.expired else None
            good = observation if ok else _over(good, observation)
            if good.families is not shown:  # a feed that saw no change gives the same object again
                self._sink.put("/".join(key), observation.target, good.families)
        expired = before.expired if before and not ok and not observation.families.items() else 0
        self._entries[key] = Entry(observation, good, observation.at if ok else good_at, hold, expired)
        return before.last.status if before and before.last.status is not observation.status else None

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
        is gone. ``interval`` and ``forever`` as for ``put``.
        """
        before = self._shown.get(owner, frozenset())
        named = {(collector, target.key) for collector, target in unchanged}
        for observation in observations:
            named.add((observation.collector, observation.target.key))
            self.put(observation, interval=interval, forever=forever)
        if complete:
            self._drop(before - named)
        self._shown[owner] = frozenset(named if complete else named | before)

    def retire(self, owner: str) -> None:
        """Take everything that an owner showed out of the exposition: it was switched off."""
        self._drop(self._shown.pop(owner, frozenset()))

    def owners(self) -> frozenset[str]:
        """Who has shown anything that is still there."""
        return frozenset(self._shown)

    def _drop(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            if self._entries.pop(key, None) is not None:
                self._sink.drop("/".join(key))
                self.changed = True

    def restore(self, observation: Observation, *, interval: float) -> None:
        """Show what was known before our own restart (counters), until there is something newer. It is no success."""
        key = (observation.collector, observation.target.key)
        if key not in self._entries and not self._is_excluded(observation.target):
            self.changed = True
            self._sink.put("/".join(key), observation.target, observation.families)
            hold = max(2 * interval, MINIMUM_HOLD_SECONDS)
            self._entries[key] = Entry(replace(observation, families=Families()), observation, None, hold)

    def expire(self, now: float) -> int:
        """Take the gauges of what has not succeeded within its hold out of the exposition; return how many.

        What a failure brought itself (that it is down) is as fresh as the failure, and is held from then on.
        """
        expired = 0
        for (collector, target_key), entry in self._entries.items():
            if entry.expired == 2 or entry.good is None:
                continue
            since = entry.good.at if entry.good_at is None else entry.good_at
            if now - since <= entry.hold:
                continue
            told = entry.last.families if now - entry.last.at <= entry.hold else Families()
            wanted = 1 if len(told) else 2
            if entry.expired == wanted:
                continue
            entry.expired = wanted
            entry.good = replace(entry.good, families=_counters(entry.good.families, told))
            self._sink.put(f"{collector}/{target_key}", entry.good.target, entry.good.families)
            expired += 1
        return expired

    def forget(self, gone: Callable[[str, Target], bool]) -> int:
        """Drop every entry whose collector and target are ``gone``; returns how many there were."""
        keys = [key for key, entry in self._entries.items() if gone(key[0], entry.last.target)]
        self._drop(keys)
        return len(keys)

    def exclude(self, project_ids: frozenset[str]) -> None:
        """Drop everything about these projects and take in nothing about them; all others are taken in from now on."""
        self._excluded = project_ids
        if project_ids:
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


def _counters(families: Families, told: Families) -> Families:
    kept = Families()
    for metric, series in families.items():
        if metric.kind is Kind.COUNTER or told.get(metric):
            kept.put(metric, series)
    return kept
