"""Which statements of a tenant are exported on their own: the busiest few, chosen so that they seldom change.

A plain "top 20 of this minute" makes and drops series all the time, and sums over it are wrong. Here membership is
sticky, and whatever is no member's goes to one bucket, ``other``: each increment belongs to exactly one exported series
when it happens, so that increases always sum to the tenant's. A statement that enters starts at what its series last
showed (0 at first) and its past stays in ``other``; so nothing jumps, and nothing ever goes down.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_REBASE_AT: Final = 256.0


Key = TypeVar("Key", bound=tuple[str, ...])
"""Sortable, because ties are broken by the key: the choice does not depend on the order of the rows."""


@dataclass(frozen=True, slots=True)
class TopKPolicy:
    """How many statements, and how hard it is to displace one; times in seconds."""

    k: int = 20
    half_life: float = 3600.0
    """Busy time counts half after this long."""
    margin: float = 1.5
    """A newcomer must be busier than the member it displaces by this factor."""
    min_stay: float = 900.0
    """A member is safe for this long."""


@dataclass(frozen=True, slots=True)
class Change(Generic[Key]):
    """A planned step: who will enter and leave. Nothing has happened until :meth:`TopK.apply`."""

    at: float
    scores: Mapping[Key, float]
    entered: tuple[Key, ...]
    left: tuple[Key, ...]


@dataclass(slots=True)
class TopK(Generic[Key]):
    """The members of one tenant, and how busy they and the other candidates were lately."""

    policy: TopKPolicy
    members: dict[Key, float] = field(default_factory=dict)
    """Member -> when it entered, in unix seconds."""
    _scores: dict[Key, float] = field(default_factory=dict)
    _base: float = 0.0

    def plan(self, busy: Mapping[Key, int], now: float) -> Change[Key]:
        """Decide on what grew since the last step; ``busy`` is microseconds by statement, ``now`` the server's clock.

        ``busy`` holds every statement that grew, also those whose time rounds to 0.
        """
        weight = self._weight(now)
        scores = {key: self._scores.get(key, 0.0) + number * weight for key, number in busy.items()}

        def score(key: Key) -> float:
            return scores[key] if key in scores else self._scores.get(key, 0.0)

        if len(self.members) + sum(key not in self.members for key in busy) <= self.policy.k:
            # Room for all: nobody need be compared, which is most of the work where every statement is exported.
            return Change(now, scores, tuple(sorted(key for key in busy if key not in self.members)), ())
        ranked = sorted(self.members, key=lambda key: (-score(key), key))
        left = ranked[self.policy.k :]
        safe_since = now - self.policy.min_stay
        weakest = [key for key in ranked[: self.policy.k] if self.members[key] <= safe_since]
        candidates = sorted((key for key in busy if key not in self.members), key=lambda key: (-score(key), key))
        free = max(0, self.policy.k - len(ranked))
        entered = candidates[:free]
        for candidate in candidates[free:]:
            if not weakest or score(candidate) <= self.policy.margin * score(weakest[-1]):
                break
            left.append(weakest.pop())
            entered.append(candidate)
        return Change(now, scores, tuple(entered), tuple(left))

    def owns(self, change: Change[Key], key: Key) -> bool:
        """Whether this step's increment belongs to the statement's own series: a member before and after.

        That of a newcomer goes to ``other``, so that its series appears before it grows (``increase()`` sees all of
        it); that of a leaver too, because its own series is not looked at any more.
        """
        return key in self.members and key not in change.left

    def apply(self, change: Change[Key]) -> None:
        """Make the planned step happen, once what it led to is on the disk."""
        self._scores.update(change.scores)
        for key in change.left:
            del self.members[key]
        for key in change.entered:
            self.members[key] = change.at
        most = 1000 + 4 * self.policy.k
        if len(self._scores) > 2 * most:
            keep = heapq.nlargest(most, self._scores.items(), key=lambda item: item[1])
            members = {key: self._scores[key] for key in self.members if key in self._scores}
            self._scores = {**dict(keep), **members}

    def _weight(self, now: float) -> float:
        # Instead of halving every score as time passes, new time weighs more; now and then all of it is scaled back.
        age = (now - self._base) / self.policy.half_life
        if not -_REBASE_AT < age < _REBASE_AT:
            factor = 2.0 ** -min(1000.0, max(0.0, age)) if self._base else 0.0
            self._scores = {key: value * factor for key, value in self._scores.items() if value * factor >= 1.0}
            self._base = now
            return 1.0
        return float(2.0**age)
