"""Standing by: this agent works only while it holds the lease, and its successor knows what it has shown or begun.

The lease is renewed by a thread of its own, so that a busy event loop does not lose it; but a loop that has stopped for
longer than a lease does. What an agent shows, and that it is about to connect to a compute, is in PostgreSQL first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from functools import partial
from typing import Final, Self

from exporter.app.features import SCHEMAS
from exporter.app.settings import Settings
from exporter.sampling.domain.sharding import Shard
from exporter.settings.secret import read_secret
from exporter.storage.ledger.lease import Lease, LeaseError, steady_clock
from exporter.storage.ledger.postgres_link import PostgresConnection, parameters_of
from exporter.storage.ledger.replica import REPLICA_POSTGRES, Replica
from exporter.storage.store import Store, StoreError
from exporter.storage.writer import WriterThread

FOLLOW_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.25
_log = logging.getLogger("neonmeter.standby")


class Standby:
    """One agent of a pair. Lives on the event loop; whatever asks the database does so on threads of its own."""

    def __init__(self, settings: Settings, shard: Shard) -> None:
        """Contact nothing yet; the settings must name a ledger in PostgreSQL."""
        ledger = settings.ledger
        conninfo = parameters_of(ledger.url or "", partial(read_secret, ledger.password, ledger.password_file))
        self._path = settings.storage.path
        self._seconds = ledger.standby.lease_seconds
        name = f"{ledger.standby.group}/{shard.index}"
        me = f"{socket.gethostname()} (process {os.getpid()}, {secrets.token_hex(4)})"
        # Its rows derive from nothing that others write, so it need not take turns with writers of usage.
        self._link = PostgresConnection(conninfo, {"standby": REPLICA_POSTGRES}, lock=None)
        self._replica = Replica(self._link, name, SCHEMAS)
        self.lease = Lease(conninfo, name, me, self._seconds)
        self._writer = WriterThread()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._beat = steady_clock()
        self._working: int | None = None
        self._next: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._problem = "not connected to ledger.url yet"

    @classmethod
    def of(cls, settings: Settings, shard: Shard) -> Self | None:
        """None where the settings name no standby."""
        return cls(settings, shard) if settings.ledger.standby.enabled else None

    @property
    def words(self) -> tuple[bool, str]:
        """Whether this agent could take over, and a sentence for people; asked while it stands by."""
        problem = self._problem or self.lease.problem
        if problem:
            return False, f"standing by, and cannot take over: {problem}"
        return True, f"standing by; {self.lease.other or 'nobody'} works"

    async def until_active(self, stopping: asyncio.Event) -> bool:
        """Follow the working agent until this one holds the lease and knows all that the other did; False: stopped."""
        due = 0.0
        while not stopping.is_set():
            self._beat = steady_clock()
            try:
                if self._thread is None:
                    await self._writer.run(self._prepare)
                    self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
                    self._thread.start()
                token = self.lease.token
                if token is not None or self._beat >= due:
                    due = self._beat + FOLLOW_SECONDS
                    await self._writer.run(lambda: self._replica.follow(self._path))
                    self._say("")
                if token is not None and self.lease.remaining > 0:
                    await self._writer.run(self._replica.let_go)
                    self._working = token
                    _log.info("working: the lease %s is ours", token)
                    return True
            except StoreError as problem:
                self._say(str(problem))
                if self.lease.token is not None:  # Whoever cannot take over leaves it to others.
                    await self._writer.run(self.lease.release)
            await _wait(stopping, _LOOK_SECONDS)
        return False

    def begin(self, store: Store) -> None:
        """Copy what is written to the store from now on. Blocks.

        Raises:
            StoreError: the database cannot be used, or the lease is lost.
        """
        self._replica.start(store, self._token())

    async def until_lost(self) -> None:
        """Return when this agent may not work any more."""
        while self._holds():
            self._beat = steady_clock()
            await asyncio.sleep(min(_LOOK_SECONDS, self._seconds / 20))
        _log.error("the lease is lost (%s): this agent stops working and stands by", self.lease.problem or "taken over")

    async def save(self) -> None:
        """Copy everything that is in the store now; it is in PostgreSQL when this returns.

        Raises:
            LeaseError: it could not be copied: nothing may be shown or begun that derives from it.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._save_next())
        await asyncio.shield(self._next)

    async def end(self, *, clean: bool) -> None:
        """The work has ended; ``clean``: everything was copied, so another agent may go on at once."""
        self._working = None
        self._replica.stop()
        await self._writer.run(self.lease.release if clean else self.lease.give_up)

    def close(self) -> None:
        """End the threads and the connections."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(1.0)
        self._replica.let_go()
        self._writer.close()
        self.lease.close()
        self._link.close()

    async def _save_next(self) -> None:
        async with self._one_at_a_time:
            self._next = None  # Who comes from now on may have written after this one reads.
            try:
                await self._writer.run(lambda: self._replica.push(self._token()))
            except StoreError as problem:
                raise LeaseError(str(problem)) from problem
            if not self._holds():
                raise LeaseError("ledger.standby: this agent does not hold the lease any more")

    def _token(self) -> int:
        """Raises StoreError without a tenure."""
        if self._working is None or not self._holds():
            raise StoreError("ledger.standby: this agent does not hold the lease any more")
        return self._working

    def _holds(self) -> bool:
        return self._working is not None and self.lease.token == self._working and self.lease.remaining > 0

    def _prepare(self) -> None:
        """Make the tables."""
        self._link.write(lambda cursor: cursor.execute("SELECT 1"))

    def _keep(self) -> None:
        """The thread of the lease."""
        while not self._ended.is_set():
            stalled = steady_clock() - self._beat > self._seconds
            if self.lease.token is None or not stalled:
                self.lease.step()
            self._ended.wait(self.lease.pace if self.lease.token is not None else min(1.0, self.lease.pace))

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            (_log.warning if problem else _log.info)("%s", problem or "standing by: what the working agent has is here")
        self._problem = problem


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
