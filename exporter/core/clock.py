"""The agent's time of day: what the system's clock said at the start, and monotonic time since.

A system clock may be set at any moment: by NTP after a boot, by a person, by a hypervisor after a pause. Nothing here
waits, expires or is fresh by it. Durations go by the monotonic clock; instants that are stored, shown or compared with
Neon's go by `AgentClock`, which a step of the system's clock does not move. The step is noticed, counted and shown; who
was right is settled by a third clock, that of Neon's API, at the next look at it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

STEP_SECONDS = 1.0
"""The system's clock is slewed by less than this between two looks at Neon; more is a step."""
TRIFLE_SECONDS = 10.0
"""A step this small is followed at the next look at Neon, whose clock is read to a second or two."""


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The system's clock was set: by how many seconds, positive for forward."""

    seconds: float

    @property
    def direction(self) -> str:
        """``forward`` or ``backward``, as in the metric."""
        return "forward" if self.seconds > 0 else "backward"


class AgentClock:
    """Answers unix seconds when called. May be called from any thread."""

    def __init__(
        self, system: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with what the system's clock says now."""
        self._system = system
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset = self._last = self._difference()

    def _difference(self) -> float:
        """System clock minus monotonic clock: it stands still unless the system's clock is set."""
        while True:
            before = self._monotonic()
            system = self._system()
            after = self._monotonic()
            if after - before < STEP_SECONDS / 10:  # Else this thread was paused between the two readings.
                return system - (before + after) / 2

    def __call__(self) -> float:
        """Now, in unix seconds; never moved by a step of the system's clock."""
        return self._monotonic() + self._offset

    @property
    def off(self) -> float:
        """How far the system's clock is ahead of this one, in seconds; negative: behind."""
        return self._difference() - self._offset

    def step(self) -> ClockStep | None:
        """Whether the system's clock was set since this was last asked. Ask several times a second."""
        with self._lock:
            now = self._difference()
            moved = now - self._last
            if abs(moved) < STEP_SECONDS:
                return None
            self._last = now
        return ClockStep(moved)

    def settle(self, skew: float) -> float:
        """Follow the system's clock if Neon's agrees with it; ``skew`` is Neon's clock minus this one, in seconds.

        Answers by how much this clock was set (0.0: not at all). Neon's clock never sets it, it only decides between
        the two: so a wrong Date header of some proxy cannot move our time away from the system's.
        """
        with self._lock:
            off = self.off
            if abs(off) > TRIFLE_SECONDS and abs(skew - off) >= abs(skew):
                return 0.0
            self._offset += off
            self._last = self._offset
            return off

    def trouble(self) -> str:
        """What is wrong with the system's clock, a sentence for a person; empty when nothing is."""
        off = self.off
        if abs(off) <= TRIFLE_SECONDS:
            return ""
        direction = "ahead" if off > 0 else "back"
        return (
            f"the system clock was set {direction} by {abs(off):.0f} s while neonmeter ran, and Neon's clock has not"
            " confirmed it: times here go by the clock before that"
        )


def is_recent(at: float, now: float, seconds: float) -> bool:
    """Whether ``at`` lies within the last ``seconds``. Of an instant in the future the age is unknown: it does not."""
    return -TRIFLE_SECONDS <= now - at < seconds
