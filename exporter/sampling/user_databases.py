"""Rides into the user databases on the back of an allowed visit (rule R9).

Once per life of a compute, and once an hour in a long one, each user database is read in a short session of its own,
all of them within the time that one visit may take. Our sessions there are accounted for, so that the next visit does
not take them for somebody else's. What is read is up to the riders.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from psycopg.conninfo import make_conninfo

from collectors.base import NoDataError, Reading, SqlCollector, Status
from collectors.postgres.database.schemas import UserDatabaseNames
from collectors.postgres.session import Deadlines, Visit, visit
from collectors.wake.policy import WakePolicy, WakeState, after_user_visits, may_enter_user_databases
from exporter.sampling.computes import Compute
from exporter.sampling.scanner import DatabaseScanner

MOST_DATABASES = 10
"""Databases entered on one ride; the others have their turn on the next."""
LEAST_SECONDS = 0.5
"""With less than this left of the visit's time, no further session is opened."""
_LISTER = UserDatabaseNames()


class UserDatabases:
    """Enters the databases of all computes. Lives on the event loop."""

    def __init__(
        self, policy: WakePolicy, scanners: Sequence[DatabaseScanner], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._policy = policy
        self._scanners = tuple(scanners)
        self._clock = clock
        self._turns: dict[str, deque[str]] = {}

    async def prepare(self, compute: Compute) -> list[SqlCollector]:
        """Before a visit: what it is to read for us."""
        for scanner in self._scanners:
            await scanner.recall(compute)
        return [_LISTER]

    async def ride(
        self, compute: Compute, conninfo: str, made: Visit, state: WakeState, deadlines: Deadlines, *, offset: float
    ) -> WakeState:
        """After a visit: enter the databases if the rules allow it; returns the wake state to keep."""
        results = made.results.get(_LISTER.name, {})
        if made.status is not Status.OK or made.epoch is None or not results:
            return state
        names = _LISTER.read(results, made.epoch).facts
        decision = may_enter_user_databases(self._policy, compute.facts, state, self._clock() + offset)
        if not decision.allow or not isinstance(names, tuple):
            return state
        turn = self._turns[compute.endpoint.id] = _queued(self._turns.get(compute.endpoint.id, deque()), names)
        began, sessions, status, error = time.monotonic(), 0, Status.OK, ""
        for datname in [turn[index] for index in range(min(MOST_DATABASES, len(turn)))]:
            left = deadlines.session - made.seconds - (time.monotonic() - began)
            if left < LEAST_SECONDS:
                break
            turn.rotate(-1)
            wanted = [scanner.wants(compute, datname, self._clock()) for scanner in self._scanners]
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
                    await _hand_over(scanner, collectors, compute, datname, inside)
        seconds = time.monotonic() - began
        for scanner in self._scanners:
            await scanner.finish(compute, names, status, error, seconds)
        now = self._clock() + offset
        return after_user_visits(state, compute.facts, sessions=sessions, seconds=seconds, now=now)


async def _hand_over(
    scanner: DatabaseScanner, collectors: Sequence[SqlCollector], compute: Compute, datname: str, inside: Visit
) -> None:
    """Give a rider its part of what the session read: a reading for each collector that was answered at all."""
    readings: dict[str, Reading] = {}
    failures: dict[str, tuple[Status, str]] = {}
    for collector in collectors:
        results = inside.results.get(collector.name, {})
        failed = [why for (name, _), why in inside.failures.items() if name == collector.name]
        if inside.epoch is not None and results:
            try:
                readings[collector.name] = collector.read(results, inside.epoch)
            except NoDataError as nothing:
                failures[collector.name] = (Status.NO_DATA, str(nothing))
            except Exception as problem:
                # One rider's mistake must not cost the others their ride, nor the visit its books.
                failures[collector.name] = (Status.BUG, f"{type(problem).__name__} in {collector.name}")
        else:
            failures[collector.name] = (inside.status, inside.error)
        if failed:
            failures[collector.name] = failed[0]
    await scanner.take(compute, datname, readings, failures)


def _queued(turn: deque[str], names: tuple[str, ...]) -> deque[str]:
    """Databases that are gone leave, new ones join at the end of the queue."""
    kept = [name for name in turn if name in names]
    return deque([*kept, *(name for name in names if name not in kept)])
