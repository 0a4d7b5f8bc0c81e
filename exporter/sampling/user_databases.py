"""Scans of user databases on the back of an allowed visit (rule R9).

Once per life of a compute, and once an hour in a long one, each user database is read in a short session of its own,
all of them within the time that one visit may take. Our sessions there are accounted for, so that the next visit does
not take them for somebody else's. What is read is up to the scanners.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from psycopg.conninfo import make_conninfo

from collectors.base import Reading, SqlCollector, Status
from collectors.postgres.database.schemas import UserDatabaseNames
from collectors.postgres.session import Deadlines, Visit, visit
from collectors.wake.policy import WakePolicy, WakeState, after_user_visits, may_enter_user_databases
from exporter.core.parts import STEP, Turns
from exporter.sampling.computes import Compute
from exporter.sampling.runner import run

MOST_DATABASES = 10
"""Databases entered in one scan; the others have their turn in the next."""
LEAST_SECONDS = 0.5
"""With less than this left of the visit's time, no further session is opened."""
_LISTER = UserDatabaseNames()


class DatabaseScanner(Protocol):
    """Names what it wants to read in a user database, and takes what was read there.

    Lives on the event loop; one call at a time for each compute. When a session may be opened in a user database, for
    how long, and how it is accounted for, is decided once, by `UserDatabases`.
    """

    async def recall(self, compute: Compute) -> None:
        """Before a visit: load what an earlier run of the agent stored about this compute."""
        ...

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """The collectors to run in this database now (unix seconds); empty when nothing is due there."""
        ...

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Store what was read in one database, by collector name.

        ``failures`` has the status and one line for a person of each collector of which a query, or all, failed.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        ...

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """After all databases of a compute: ``names`` are those that exist; forget the others and show the rest.

        ``status`` and ``error`` are of the last session that failed, ``seconds`` is what the whole scan took.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        ...


class UserDatabases:
    """Scans the databases of all computes. Lives on the event loop."""

    def __init__(
        self,
        policy: WakePolicy,
        scanners: Sequence[DatabaseScanner],
        *,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``turns`` is where a scanner that raises is reported: it costs no other scanner its part."""
        self._turns = turns or Turns()
        self._policy = policy
        self._scanners = tuple(scanners)
        self._clock = clock
        self._queues: dict[str, deque[str]] = {}
        """By endpoint id, its databases in the order of their turns."""

    async def prepare(self, compute: Compute) -> list[SqlCollector]:
        """Before a visit: what it is to read for the scan."""
        for scanner in self._scanners:
            with self._guard(scanner):
                await scanner.recall(compute)
        return [_LISTER]

    def _guard(self, scanner: DatabaseScanner) -> AbstractContextManager[list[Exception]]:
        return self._turns.guard(f"{STEP}scan/{type(scanner).__name__}")

    async def scan(
        self, compute: Compute, conninfo: str, made: Visit, state: WakeState, deadlines: Deadlines, *, offset: float
    ) -> WakeState:
        """After a visit: scan the databases if the rules allow it; returns the wake state that follows from it.

        Whatever a scanner does, our sessions are accounted for. ``offset`` is what the wake policy adds to our clock,
        in seconds (`exporter.sampling.computes.policy_offset`).
        """
        listed = run(_LISTER, made, compute.target.key).reading
        if made.status is not Status.OK or listed is None or not isinstance(listed.facts, tuple):
            return state
        names = listed.facts
        if not may_enter_user_databases(self._policy, compute.facts, state, self._clock() + offset).allow:
            return state
        queue = self._queues[compute.endpoint.id] = _queued(self._queues.get(compute.endpoint.id, deque()), names)
        began, sessions, status, error = time.monotonic(), 0, Status.OK, ""
        for datname in [queue[index] for index in range(min(MOST_DATABASES, len(queue)))]:
            left = deadlines.session - made.seconds - (time.monotonic() - began)
            if left < LEAST_SECONDS:
                break
            queue.rotate(-1)
            wanted = [self._wanted(scanner, compute, datname) for scanner in self._scanners]
            if not any(wanted):
                continue
            inside = await visit(
                make_conninfo(conninfo, dbname=datname),
                [collector for collectors in wanted for collector in collectors],
                endpoint_id=compute.endpoint.id,
                deadlines=replace(deadlines, connect=min(deadlines.connect, left), session=left),
            )
            sessions += inside.evidence is not None
            if inside.status is not Status.OK:
                status, error = inside.status, f"database {datname}: {inside.error}"
            for scanner, collectors in zip(self._scanners, wanted, strict=True):
                if collectors:
                    with self._guard(scanner):
                        await _hand_over(scanner, collectors, compute, datname, inside)
        seconds = time.monotonic() - began
        for scanner in self._scanners:
            with self._guard(scanner):
                await scanner.finish(compute, names, status, error, seconds)
        now = self._clock() + offset
        return after_user_visits(state, compute.facts, sessions=sessions, seconds=seconds, now=now)

    def _wanted(self, scanner: DatabaseScanner, compute: Compute, datname: str) -> Sequence[SqlCollector]:
        with self._guard(scanner):
            return scanner.wants(compute, datname, self._clock())
        return ()


async def _hand_over(
    scanner: DatabaseScanner, collectors: Sequence[SqlCollector], compute: Compute, datname: str, session: Visit
) -> None:
    """Give a scanner its part of what a session read."""
    where = f"{compute.target.key}, database {datname}"
    outcomes = {collector.name: run(collector, session, where) for collector in collectors}
    readings = {name: outcome.reading for name, outcome in outcomes.items() if outcome.reading is not None}
    failures = {name: (outcome.status, outcome.error) for name, outcome in outcomes.items() if outcome.failed}
    await scanner.take(compute, datname, readings, failures)


def _queued(queue: deque[str], names: tuple[str, ...]) -> deque[str]:
    """The queue without databases that are gone; new ones join at its end."""
    staying = [name for name in queue if name in names]
    return deque([*staying, *(name for name in names if name not in staying)])
