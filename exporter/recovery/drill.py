"""One drill: go back in a branch of its own, see whether the data is there, delete the branch, write down what it took.

The branch is deleted whatever happens: after a failure, an interrupt, a SIGTERM; what a kill -9 leaves, the next drill
finds by the journal and by the name; and it carries an expiry. The source is never written to, but for a marker.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.models import Endpoint
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.recovery import checks
from exporter.recovery.journal import (
    ABORTED,
    BEGAN,
    ENDED,
    FAILED,
    OK,
    Check,
    Drill,
    DrillJournal,
    JournalError,
    copy_name,
)
from exporter.recovery.steps import (
    CLEAN_SECONDS,
    DrillError,
    Source,
    databases_of,
    find_copy,
    remove,
    wait_for_operations,
)
from exporter.recovery.writer import DrillBranch, DrillWriter
from exporter.settings.dsn import DsnError
from exporter.settings.recovery import Heartbeat, Marker, Sentinel
from exporter.settings.secret import SecretError

_LOOKS, _BETWEEN_LOOKS_SECONDS = 5, 2.0
_NOTHING = (
    "no check could be evaluated: set recovery.sentinels or recovery.heartbeats, give --check, or let the "
    "agent read the schema first"
)
_PAST_MARKER_SECONDS = 1.0
"""The instant lies so long after the marker's row, and the row that must be absent so long after the instant."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The source, the instant and the checks of one drill."""

    source: Source
    at: float | None
    """The instant to go back to (unix seconds); None with a marker: right after its row."""
    expires_seconds: float | None
    """None: Neon never deletes the branch by itself."""
    ready_seconds: float
    """Longest wait for the operations, and for the first connect."""
    dsn: Callable[[Endpoint], str]
    """The connection string of the restored branch, password included."""
    expected: Callable[[str], Awaitable[Fingerprint | None]] | None
    """What the schema should be: the fingerprint of a database of the source. None: it is not compared."""
    databases: tuple[str, ...] = ()
    """Empty: all that the control plane knows."""
    sql: str = ""
    """Text of a file of checks."""
    sentinels: tuple[Sentinel, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()
    marker: Marker | None = None
    marker_dsn: str = ""
    kind: str = "read_only"


class DrillRun:
    """Carries out one plan; ``say`` tells a person what is going on."""

    def __init__(
        self,
        plan: Plan,
        *,
        client: NeonClient,
        writer: DrillWriter,
        journal: DrillJournal,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._client = client
        self._writer = writer
        self._journal = journal
        self._say = say
        self._clock = clock
        self._found: list[Check] = []
        self._newest: float | None = None
        self._looks = 1
        """How often to look for the branch before it counts as never made."""
        now, source = clock(), plan.source
        name = copy_name(now)
        self.drill = Drill(
            id=name.removeprefix("neonmeter-drill-"),
            project_id=source.project_id,
            project_name=source.project_name,
            branch_id=source.branch_id,
            branch_name=source.branch_name,
            at=plan.at or 0.0,
            started_at=now,
            copy_name=name,
        )

    async def run(self) -> Drill:
        """Do it; never raises for what fails on the way: the drill says what it was.

        Raises:
            JournalError: the journal cannot be written. Before anything was made: nothing is made.
        """
        try:
            await self._mark()
        except (psycopg.Error, DrillError) as problem:
            self._end(FAILED, f"the marker cannot be written: {' '.join(str(problem).split())[:200]}", cleaned=True)
            self._journal.write(ENDED, self.drill, self._clock())
            return self.drill
        self.drill = replace(self.drill, started_at=self._clock())
        self._journal.write(BEGAN, self.drill, self._clock())
        try:
            await self._prove()
            failed = [f"{check.name}: {check.detail}" for check in self._found if check.ok is False]
            if not failed and not any(check.ok for check in self._found):
                failed = [_NOTHING]
            self._end(FAILED if failed else OK, "; ".join(failed))
        except (DrillError, NeonError, ConnectionError, psycopg.Error, DsnError, SecretError, JournalError) as problem:
            self._end(FAILED, " ".join(str(problem).split()))
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            self._end(ABORTED, "interrupted")
        except Exception as problem:
            # Whatever it was: the branch must not stay behind. Not the text: what is unforeseen may quote anything.
            self._end(FAILED, f"{type(problem).__name__} in the drill itself")
        await self._clean()
        self._journal.write(ENDED, self.drill, self._clock())
        return self.drill

    def _end(self, result: str, error: str, *, cleaned: bool = False) -> None:
        now = self._clock()
        rto = now - self.drill.started_at if result == OK else None
        rpo = None if self._newest is None else max(0.0, self.drill.at - self._newest)
        checked = tuple(self._found)
        self.drill = replace(
            self.drill, result=result, error=error, ended_at=now, rto_seconds=rto, rpo_seconds=rpo, checks=checked,
            cleaned=cleaned,
        )  # fmt: skip

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self._say(f"{name} ...")
        try:
            yield
        finally:
            self.drill = replace(self.drill, steps=(*self.drill.steps, (name, time.monotonic() - began)))

    async def _mark(self) -> None:
        """Fix the instant: between two rows of our own, where there is a marker and no instant was asked for."""
        plan = self._plan
        if plan.marker is None or plan.at is not None:
            return
        with self._step("marker"):
            at = await checks.mark(plan.marker_dsn, plan.marker.table, f"{self.drill.id} before")
            at = math.floor((at + _PAST_MARKER_SECONDS) * 1000) / 1000
            await asyncio.sleep(2 * _PAST_MARKER_SECONDS)
            after = await checks.mark(plan.marker_dsn, plan.marker.table, f"{self.drill.id} after")
            if after <= at:
                raise DrillError("the server's clock does not advance")
            self.drill = replace(self.drill, at=at)

    async def _prove(self) -> None:
        plan, source = self._plan, self._plan.source
        with self._step("branch"):
            expires = None if plan.expires_seconds is None else self._clock() + plan.expires_seconds
            wanted = DrillBranch(self.drill.copy_name, source.branch_id, self.drill.at, expires, plan.kind)
            self._looks = _LOOKS  # From here on it may exist, also when no answer comes.
            try:
                made = await self._writer.create(source.project_id, wanted)
            except NeonError as problem:
                if problem.http_status is not None and problem.http_status < 500:
                    self._looks = 1  # Refused: there is none.
                raise
            self._looks = 1
            self.drill = replace(self.drill, copy_id=made.branch.id)
            self._journal.write(BEGAN, self.drill, self._clock())
            if not made.endpoints:
                raise DrillError("Neon created the branch without a compute")
        with self._step("operations"):
            since = made.branch.created_at or self.drill.started_at
            took = await wait_for_operations(self._client, source.project_id, made.branch.id, since, plan.ready_seconds)
        told = tuple((f"  {action}, by Neon", seconds) for action, seconds in took.items())
        self.drill = replace(self.drill, steps=(*self.drill.steps, *told))
        dsn = plan.dsn(made.endpoints[0])
        with self._step("connect"):
            await checks.connect_when_up(dsn, plan.ready_seconds)
        with self._step("checks"):
            known = await databases_of(self._client, source.project_id, made.branch.id)
            await self._check(dsn, plan.databases or tuple(known))

    async def _check(self, dsn: str, databases: Sequence[str]) -> None:
        plan = self._plan
        for database in databases:
            if plan.expected is not None:
                self._found.append(await checks.fingerprint(dsn, database, await plan.expected(database)))
            counted = [sentinel for sentinel in plan.sentinels if checks.is_for(sentinel.database, database)]
            beats = [heartbeat for heartbeat in plan.heartbeats if checks.is_for(heartbeat.database, database)]
            if counted or beats:
                self._take(await checks.rows(dsn, database, counted, beats, self.drill.at))
        if plan.marker is not None and plan.at is None:
            database = checks.database_of(plan.marker_dsn)
            names = (f"{self.drill.id} before", f"{self.drill.id} after")
            self._take(await checks.markers(make_conninfo(dsn, dbname=database), plan.marker.table, *names))
        if plan.sql:
            named = {"dbname": databases[0]} if databases else {}
            self._found += await checks.statements(make_conninfo(dsn, **named), plan.sql)

    def _take(self, found: checks.Found) -> None:
        self._found += found.checks
        self._newest = max((value for value in (self._newest, found.newest) if value is not None), default=None)

    async def _clean(self) -> None:
        """Delete the branch, by its name when the answer to its making never came."""
        source = self._plan.source
        try:
            with self._step("delete"):
                copy = await find_copy(self._client, source.project_id, self.drill.copy_name)
                while copy is None and self._looks > 1:
                    self._looks -= 1
                    await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
                    copy = await find_copy(self._client, source.project_id, self.drill.copy_name)
                if copy is not None:
                    await remove(self._client, self._writer, copy, CLEAN_SECONDS)
            self.drill = replace(self.drill, cleaned=True)
        except (NeonError, DrillError, ValueError) as problem:
            left = f"the branch {self.drill.copy_name} is still there (`neonmeter drill list` deletes it): {problem}"
            self.drill = replace(self.drill, error="; ".join(filter(None, (self.drill.error, left))))


class Interrupts:
    """The first SIGINT or SIGTERM ends the drill, which deletes its branch; further ones are only answered."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._ended = False

    def arm(self) -> None:
        """From now on; the running task is the one that is ended."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: self._hear(task))

    def _hear(self, task: asyncio.Task[Any] | None) -> None:
        self._say("interrupted: the branch is being deleted, wait a moment")
        if not self._ended and task is not None:
            self._ended = True
            task.cancel()
