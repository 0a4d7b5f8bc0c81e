"""Reads the fingerprint and the migration histories of user databases, and remembers both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from collectors.base import Observation, Reading, SqlCollector, Status
from collectors.metric import merged
from collectors.postgres.database import fingerprint, migrations
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.database.migrations import MigrationsCollector, families_of
from collectors.postgres.domain.fingerprint import FingerprintDelta
from collectors.postgres.domain.migrations import MigrationFacts
from exporter.core.state import State
from exporter.drift.baselines import BranchKey
from exporter.drift.evaluation import Scan
from exporter.drift.store import HistoryStore, StoredHistories, onto
from exporter.sampling.computes import Compute, DatabaseRef, database_ref
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.storage.writer import WriterThread

INTERVAL = 3600.0
_log = logging.getLogger("neonmeter.drift")

OwnRoles = Callable[[Compute, str], Mapping[str, str]]
"""Answers, for a compute and a database, the role of each tenant's schema."""


class DriftScanner:
    """A `DatabaseScanner`; `exporter.drift.service` evaluates what it has read."""

    def __init__(
        self,
        fingerprints: FingerprintStore,
        histories: HistoryStore,
        writer: WriterThread,
        state: State,
        *,
        own_roles: OwnRoles = lambda compute, datname: {},  # noqa: ARG005
        column_order: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fingerprint_store = fingerprints
        self._history_store = histories
        self._writer = writer
        self._state = state
        self._own_roles = own_roles
        self._column_order = column_order
        self._clock = clock
        self._fingerprints: dict[DatabaseRef, FingerprintSummary] | None = None
        self.scans: dict[DatabaseRef, Scan] = {}
        """The last attempt at each database since the agent started."""
        self.histories: dict[DatabaseRef, StoredHistories] = {}
        """The histories of all databases, once `load` was called."""

    async def recall(self, compute: Compute) -> None:
        """Load everything that is on the disk, once."""
        del compute
        await self.load()

    async def load(self) -> dict[DatabaseRef, FingerprintSummary]:
        """The fingerprints of all databases.

        Raises:
            StoreError: the file is damaged.
        """
        if self._fingerprints is None:
            self.histories = await self._writer.run(self._history_store.all)
            self._fingerprints = await self._writer.run(self._fingerprint_store.summaries)
        return self._fingerprints

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """Both, every time: what did not change costs next to nothing."""
        del now
        known = (self._fingerprints or {}).get(database_ref(compute, datname))
        digests = known.digests if known else {}
        own = self._own_roles(compute, datname)
        scan = FingerprintCollector(datname, digests, own, column_order=self._column_order)
        return (scan, MigrationsCollector(datname))

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Put what was read onto what was known, and write it down.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        key = database_ref(compute, datname)
        fingerprints = await self.load()
        delta = _facts(readings, fingerprint.NAME)
        if isinstance(delta, FingerprintDelta):
            before = await self._writer.run(lambda: self._fingerprint_store.read(key)) if key in fingerprints else None
            found = delta.onto(before)
            fingerprints[key] = await self._writer.run(lambda: self._fingerprint_store.write(key, found))
            self._note(key, Status.OK, "", delta.seconds)
        else:
            status, why = failures.get(fingerprint.NAME, (Status.NO_DATA, "a lock was in the way"))
            if "(XX000)" in why:
                status, why = Status.NO_DATA, f"a table was altered during the scan: {why}"
            self._note(key, status, why)
        facts = _facts(readings, migrations.NAME)
        if isinstance(facts, MigrationFacts):
            histories = self.histories[key] = onto(self.histories.get(key), facts, self._clock())
            await self._writer.run(lambda: self._history_store.write(key, histories))

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """Forget databases that were dropped; show the histories of all of them together.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        branch = (compute.place.project_id, compute.place.branch_id)
        fingerprints = await self.load()
        there = {*fingerprints, *self.histories}
        dropped = {key for key in there if key.branch == branch and key.datname not in names}
        await self._forget(dropped, dropped)
        known = [
            families_of(stored.facts, stored.taken_at, stored.vanished)
            for key, stored in self.histories.items()
            if key.branch == branch
        ]
        families = merged(known)
        observation = Observation(
            migrations.NAME, compute.target, status, self._clock(), seconds, families, len(known), error
        )
        self._state.put(observation, interval=INTERVAL)

    async def forget(self, branches: Collection[BranchKey]) -> None:
        """Forget branches that were deleted.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        known = {*await self.load(), *self.histories, *self.scans}
        await self._forget(branches, [key for key in known if key.branch in branches])

    async def _forget(self, rows: Collection[tuple[str, ...]], keys: Iterable[DatabaseRef]) -> None:
        """``rows``: the ids of ``keys``, or of their branches, as the tables are cleared by."""
        if not rows:
            return
        await self._writer.run(lambda: self._fingerprint_store.forget(rows))
        await self._writer.run(lambda: self._history_store.forget(rows))
        for key in keys:
            (self._fingerprints or {}).pop(key, None)
            self.scans.pop(key, None)
            self.histories.pop(key, None)

    def _note(self, key: DatabaseRef, status: Status, why: str, seconds: float | None = None) -> None:
        before = self.scans.get(key)
        failures = dict(before.failures) if before else {}
        if status is not Status.OK:
            failures[status.value] = failures.get(status.value, 0) + 1
            if before is None or before.status is not status:
                _log.info("%s/%s: fingerprint not read (%s: %s); the last one stays", *key[1:], status.value, why)
        seconds = before.seconds if seconds is None and before else seconds
        self.scans[key] = Scan(self._clock(), status, why, failures, seconds)


def _facts(readings: Mapping[str, Reading], name: str) -> object:
    return readings[name].facts if name in readings else None
