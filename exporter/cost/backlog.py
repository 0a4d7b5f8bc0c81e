"""How far a long reading of usage is: a first reading takes minutes, because Neon allows few such requests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from exporter.core import selfmetrics
from exporter.core.selfmetrics import SelfMetrics
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

LONG = 12
"""Requests from which on a reading is worth a word."""
_TABLE = "backlog"
_WRITE_SECONDS = 2.0


class Backlog:
    """The requests of the present reading, planned and done: a metric, a note, and a row for commands."""

    def __init__(
        self,
        metrics: SelfMetrics,
        key_values: KeyValueStore,
        disk: WriterThread,
        *,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``per_minute`` is how many the settings allow."""
        self._metrics = metrics
        self._key_values = key_values
        self._disk = disk
        self._per_minute = per_minute
        self._clock = clock
        self._org_id = ""
        self._planned = self._done = 0
        self._written = 0.0

    async def begin(self, org_id: str, planned: int) -> None:
        """A reading of so many requests begins.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        self._org_id, self._planned, self._done = org_id, planned, 0
        await self._show()

    async def count(self, done: int) -> None:
        """So many more are done; a reading that takes more than was planned is not over for that."""
        self._done += done
        self._planned = max(self._planned, self._done)
        if self._clock() - self._written >= _WRITE_SECONDS:
            await self._show()

    async def end(self) -> None:
        """The reading is over, or broke off: what is left is planned anew by the next one."""
        if self._org_id:
            self._planned = self._done
            await self._show()

    def notes(self) -> tuple[str, ...]:
        """A sentence while a long reading is under way."""
        return sentences({"planned": self._planned, "done": self._done, "per_minute": self._per_minute})

    async def _show(self) -> None:
        self._written = self._clock()
        self._metrics.set(selfmetrics.CONSUMPTION_PLANNED, self._planned)
        self._metrics.set(selfmetrics.CONSUMPTION_DONE, self._done)
        row = {"planned": self._planned, "done": self._done, "per_minute": self._per_minute}
        org_id = self._org_id
        await self._disk.run(lambda: self._key_values.write(_TABLE, org_id, row))


def sentences(row: Mapping[str, object] | None) -> tuple[str, ...]:
    """What a stored row says; nothing when no long reading is under way."""
    if not row:
        return ()
    planned, done, pace = (int(str(row.get(name, 0))) for name in ("planned", "done", "per_minute"))
    if planned - done <= 0 or planned < LONG:
        return ()
    minutes = math.ceil((planned - done) / max(1, pace))
    return (f"usage history is being read: {done} of {planned} requests, about {minutes} min left at {pace} a minute",)


def stored(key_values: KeyValueStore, org_id: str) -> tuple[str, ...]:
    """The same of an agent that runs beside this process.

    Raises:
        StoreError: the file cannot be read.
    """
    return sentences(key_values.read(_TABLE, org_id))
