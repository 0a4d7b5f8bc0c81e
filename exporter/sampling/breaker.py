"""Circuit breakers: a target that keeps failing is left alone for a while, and all are when most fail alike."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from collectors.base import Status

FAILURES_TO_OPEN = 3
FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 900.0
GLOBAL_MINIMUM = 5
"""Below this many targets a common failure is no sign of a common cause."""

_NO_FAILURE = frozenset({
    Status.OK, Status.NO_DATA, Status.ASLEEP, Status.BREAKER_OPEN, Status.TRUNCATED, Status.UNSUPPORTED,
    Status.STORE_ERROR,  # our own disk says nothing about the target
})  # fmt: skip
_COUNTS = frozenset(Status) - _NO_FAILURE
_AT_ONCE = frozenset({Status.AUTH, Status.IP_NOT_ALLOWED, Status.NETWORK_BLOCKED, Status.NO_SNI})
"""Trying again changes nothing before a person changed something, and may lock a role or fill a log."""


@dataclass(slots=True)
class Breaker:
    """One target's breaker, by the monotonic clock.

    A wrong password, or a network that Neon refuses, opens it at once.
    """

    failures: int = 0
    open_until: float = 0.0
    cause: Status = Status.OK

    def is_open(self, now: float) -> bool:
        """Whether the target is to be left alone at ``now`` (monotonic seconds)."""
        return now < self.open_until

    def record(self, status: Status, now: float) -> None:
        """Count an outcome; open with a growing, jittered pause once it failed often enough."""
        if status not in _COUNTS:
            self.failures, self.open_until, self.cause = 0, 0.0, Status.OK
            return
        self.failures += 1
        self.cause = status
        needed = 1 if status in _AT_ONCE else FAILURES_TO_OPEN
        if self.failures >= needed:
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (self.failures - needed), LONGEST_PAUSE_SECONDS)
            self.open_until = now + pause * random.uniform(0.8, 1.2)  # noqa: S311  # spreads retries, no secret


@dataclass(slots=True)
class GlobalBreaker:
    """Opens when most targets of one round failed in the same way: then the network or the password is the cause.

    By the monotonic clock, as each target's.
    """

    open_until: float = 0.0
    cause: Status = Status.OK

    def is_open(self, now: float) -> bool:
        """Whether no visit is to be made at ``now``."""
        return now < self.open_until

    def record_round(self, outcomes: list[Status], now: float) -> None:
        """Judge a finished round of visits."""
        failed = Counter(status for status in outcomes if status in _COUNTS)
        if len(outcomes) < GLOBAL_MINIMUM or not failed:
            return
        status, count = failed.most_common(1)[0]
        if count * 2 > len(outcomes):
            self.open_until, self.cause = now + FIRST_PAUSE_SECONDS, status
