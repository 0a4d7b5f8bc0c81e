"""Rides along into the user databases for their fingerprint and their migration histories."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from collectors.base import Observation, Reading, SqlCollector, Status
from collectors.metric import merged
from collectors.postgres.database import fingerprint, migrations
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.database.migrations import MigrationsCollector, families_of
from collectors.postgres.domain.fingerprint import FingerprintDelta
from collectors.postgres.domain.migrations import MigrationFacts
from exporter.core.state import State
from exporter.drift.store import HistoryStore, StoredHistories, onto
from exporter.sampling.computes import Compute, DatabaseRef, database_ref
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.storage.writer import WriterThread

INTERVAL = 3600.0
_log = logging.getLogger("neonmeter.drift")


@dataclass(slots=True)
class Scan:
    """The last attempt at one database."""

    at: float
    status: Status
    error: str = ""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed attempts by status, since the agent started."""
    seconds: float | None = None
    """What the last one that succeeded took on the server."""


OwnRoles = Callable[[Compute, str], Mapping[str, str]]
"""Answers, for a compute and a database, the role of each tenant's schema."""


class DriftScanner:
    """A rider (`collecting.riders`); what it learns is read by `drift.service`."""

    def __init__(
        self,
        fingerprints: FingerprintStore,
        disk: WriterThread,
        state: State,
        *,
        book: HistoryStore,
        own_roles: OwnRoles = lambda compute, datname: {},  # noqa: ARG005
        column_order: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fingerprints = fingerprints
        self._disk = disk
        self._state = state
        self._book = book
        self._own_roles = own_roles
        self._column_order = column_order
        self._clock = clock
        self.held: dict[DatabaseRef, FingerprintSummary] | None = None
        self.scans: dict[DatabaseRef, Scan] = {}
        self.histories: dict[DatabaseRef, StoredHistories] = {}
        self.moved: set[DatabaseRef] = set()
        """Databases about which something is new since the service last looked."""

    async def recall(self, compute: Compute) -> None:
        """Everything that is on the disk, once."""
        del compute
        await self.load()

    async def load(self) -> dict[DatabaseRef, FingerprintSummary]:
        """What is known of all databases."""
        if self.held is None:
            self.histories = await self._disk.run(self._book.all)
            self.held = await self._disk.run(self._fingerprints.summaries)
            self.moved.update(self.held)
        return self.held

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """Both, on every ride: what did not change costs next to nothing."""
        del now
        known = (self.held or {}).get(database_ref(compute, datname))
        digests = known.digests if known else {}
        own = self._own_roles(compute, datname)
        scan = FingerprintCollector(datname, digests, own, column_order=self._column_order)
        return (scan, MigrationsCollector(datname))

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Put what was sent onto what was known, and write it down."""
        key = database_ref(compute, datname)
        held = await self.load()
        reading = readings.get(fingerprint.NAME)
        if reading is not None and isinstance(reading.facts, FingerprintDelta):
            delta = reading.facts
            known = held.get(key)
            before = await self._disk.run(lambda: self._fingerprints.read(key)) if known else None
            found = delta.onto(before)
            held[key] = await self._disk.run(lambda: self._fingerprints.write(key, found))
            self._note(key, Status.OK, "", delta.seconds)
            if known is None or known.digest != found.digest:
                self.moved.add(key)
        else:
            status, why = failures.get(fingerprint.NAME, (Status.NO_DATA, "a lock stood in the way"))
            if "(XX000)" in why:
                status, why = Status.NO_DATA, f"a table was altered under the scan: {why}"
            self._note(key, status, why)
        told = readings.get(migrations.NAME)
        if told is not None and isinstance(told.facts, MigrationFacts):
            kept = onto(self.histories.get(key), told.facts, self._clock())
            self.histories[key] = kept
            await self._disk.run(lambda: self._book.write(key, kept))
            self.moved.add(key)

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """Databases that were dropped are forgotten; the histories of all of them are shown together."""
        place = (compute.place.project_id, compute.place.branch_id)
        for key in [key for key in self.held or {} if key[:2] == place and key.datname not in names]:
            if self.held is not None:
                self.held.pop(key, None)
            self.scans.pop(key, None)
            if self.histories.pop(key, None) is not None:
                await self._disk.run(partial(self._book.forget, key))
            self.moved.add(key)
        known = {
            key: families_of(kept.facts, kept.taken_at, kept.vanished)
            for key, kept in self.histories.items()
            if key[:2] == place
        }
        whole, count = merged(known.values()), len(known)
        told = Observation(migrations.NAME, compute.target, status, self._clock(), seconds, whole, count, error)
        self._state.put(told, interval=INTERVAL)

    def _note(self, key: DatabaseRef, status: Status, why: str, seconds: float | None = None) -> None:
        before = self.scans.get(key)
        failures = dict(before.failures) if before else {}
        if status is not Status.OK:
            failures[status.value] = failures.get(status.value, 0) + 1
            if before is None or before.status is not status:
                _log.info("%s/%s: fingerprint not read (%s: %s); the last one stays", *key[1:], status.value, why)
        seconds = before.seconds if seconds is None and before else seconds
        self.scans[key] = Scan(self._clock(), status, why, failures, seconds)
