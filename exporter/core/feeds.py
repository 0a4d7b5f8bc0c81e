"""How readings of the Neon API went, and what is worked out from them: for the state, the index page and the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from collectors.base import Observation, Status, Target
from collectors.metric import Scope
from collectors.neon.errors import NeonError
from exporter.core.state import State

_AGENT = Target(Scope.AGENT, (), "Neon API")
_log = logging.getLogger("neonmeter.neon")


class Feeds:
    """Statuses and notes of some feeds. Lives on the event loop; logs a line when a status or a note changes."""

    def __init__(self, state: State, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._notes: dict[str, tuple[str, ...]] = {}

    def put(self, feed: str, status: Status, began: float, pace: float, error: str = "") -> None:
        """A reading that began at ``began`` (unix seconds) ended just now; ``pace`` is its interval in seconds."""
        now = self._clock()
        observation = Observation(feed, _AGENT, status, now, now - began, error=error)
        before = self._state.put(observation, interval=pace)
        if before is not None and status is Status.OK:
            _log.info("%s: ok again, was %s", feed, before.value)

    def failed(self, feed: str, problem: NeonError, pace: float, *, note: str = "") -> None:
        """Neon did not answer; ``note`` is the name for people where it is not the feed's."""
        self.put(feed, problem.status, self._clock(), pace, problem.message)
        self.note(note or feed, (problem.message,))

    def note(self, feed: str, notes: tuple[str, ...]) -> None:
        """Replace the degradations of a feed, a sentence each."""
        for note in notes:
            if note not in self._notes.get(feed, ()):
                _log.warning("%s: %s", feed, note)
        self._notes[feed] = notes

    def notes(self) -> tuple[str, ...]:
        """All degradations, by feed in the order in which each first had one."""
        return tuple(note for notes in self._notes.values() for note in notes)
