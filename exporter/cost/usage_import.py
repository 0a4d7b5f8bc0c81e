"""From Neon's consumption into the ledger: the hours as they come, and days and months where hours are gone.

Neon tells hours for 168 hours, days for 60 days and months for a year. A ledger that begins, or was away for longer,
reads the hours that are left, then days up to where they begin, then months up to where those begin: each bucket says
how long it is, and the ledger counts of a long one only what shorter ones do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from collectors.base import Status
from collectors.neon import consumption
from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory
from exporter.core.clock import is_recent
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, month_start, next_month
from exporter.pricing.domain.components import USAGE_METRICS
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY
from exporter.storage.ledger.ledger import Ledger, from_rows
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

DAILY_WINDOW_SECONDS = 60 * DAY
MONTHLY_WINDOW_SECONDS = 365 * DAY
EARLIEST = day_seconds("2024-03-01")
"""Before that the API has nothing."""
BRANCH_BUCKETS = 1_000
"""So many are read at once, or four of every branch in a large organisation: a first reading goes back 168 hours, and
held whole it would take more memory than all the rest of us."""
_DONE = -1
Outcome = tuple[Status, tuple[str, ...]]
"""How a reading ended, and a sentence on each thing that is missing."""


class Span(NamedTuple):
    """What to read: buckets of one size from ``start`` to ``end``, in unix seconds."""

    granularity: str
    start: int
    end: float


def hours_from(now: float) -> int:
    """The first hour that the API still tells."""
    return int(now - consumption.HOURLY_WINDOW_SECONDS + HOUR) // HOUR * HOUR


def spans(since: float, now: float) -> list[Span]:
    """Days, then months, for what is gone by the hour: whole past buckets from ``since`` until the hours begin."""
    hours = hours_from(now)
    if since >= hours:
        return []
    days = int(max(now - DAILY_WINDOW_SECONDS, since)) // DAY * DAY
    found = [Span(DAILY, days, -(-hours // DAY) * DAY)]
    months = max(month_start(int(max(now - MONTHLY_WINDOW_SECONDS, since, 0))), EARLIEST)
    end = next_month(days - 1)
    if since < days and months < end:
        found.append(Span(MONTHLY, months, end))
    return found


def windows(span: Span, buckets: int) -> Iterator[tuple[float, float]]:
    """The span in pieces of so many buckets, and at last what remains until its end."""
    at = stop = span.start
    while True:
        for _ in range(buckets):
            stop = next_month(stop) if span.granularity == MONTHLY else stop + (HOUR, DAY)[span.granularity == DAILY]
        if stop >= span.end:
            yield at, span.end
            return
        yield at, stop
        at = stop


class UsageImporter:
    """Reads spans of consumption and puts them into the ledger, piece by piece."""

    def __init__(self, client: NeonClient, ledger: Ledger, ledger_writer: WriterThread) -> None:
        """``ledger_writer`` is the thread on which the ledger works."""
        self._client = client
        self._ledger = ledger
        self._ledger_writer = ledger_writer

    async def read(self, inventory: Inventory, projects: Sequence[str], span: Span, now: float) -> Outcome:
        """Read one span of some projects; ``now`` is the moment of reading, by Neon's clock.

        OK when all of it was read; TRUNCATED when something is missing; else why there is nothing.

        Raises:
            NeonError: Neon does not answer.
            StoreError: the ledger cannot be written.
        """
        status, notes = Status.OK, dict[str, None]()
        for begin, end in windows(span, _at_once(inventory, projects)):
            read = await consumption.read_consumption(
                self._client, inventory.org_id, projects, begin, end, span.granularity, metrics=USAGE_METRICS
            )  # fmt: skip
            notes.update(dict.fromkeys(read.notes))
            if read.status not in (Status.OK, Status.TRUNCATED):
                return read.status, tuple(notes)
            facts = from_rows(inventory.org_id, read.rows, now)
            await self._ledger_writer.run(lambda facts=facts: self._ledger.put(facts))  # type: ignore[misc]
            if read.status is Status.TRUNCATED:
                status = Status.TRUNCATED
        return status, tuple(notes)

    async def reach(self, inventory: Inventory, projects: Sequence[str], span: Span, now: float) -> Outcome:
        """As ``read``, for a span that begins where a window of Neon's does.

        Where exactly that is, is not documented: when it is refused, one bucket later is surely within.

        Raises:
            NeonError: Neon does not answer.
            StoreError: the ledger cannot be written.
        """
        status, notes = await self.read(inventory, projects, span, now)
        begin = next_month(span.start) if span.granularity == MONTHLY else span.start + DAY
        if status is Status.UNSUPPORTED and begin < span.end:
            status, notes = await self.read(inventory, projects, span._replace(start=begin), now)
        return status, notes


class Backfill:
    """Knows from when each project lacks usage, and reads it once, as days and months."""

    def __init__(self, importer: UsageImporter, key_values: KeyValueStore, disk: WriterThread) -> None:
        """``key_values`` remembers what is still to do, across restarts."""
        self._importer = importer
        self._key_values = key_values
        self._disk = disk
        self._tried: dict[str, float] = {}

    async def note(self, inventory: Inventory, through: Mapping[str, int], now: float) -> None:
        """Before the hours are read: a project that is new here, or whose last reading is too long ago, has a gap.

        ``through`` is up to when each project was read by the hour.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        since_of = await self._since(inventory)
        noted = dict(since_of)
        for project in inventory.projects:
            if project not in noted:
                noted[project] = 0
            elif noted[project] == _DONE and through.get(project, 0) < hours_from(now):
                noted[project] = through.get(project, 0)
        if noted != since_of:
            await self._write(inventory, noted)

    async def run(self, inventory: Inventory, now: float, *, everything: bool = False) -> Outcome | None:
        """Read what is missing; None when nothing was, or it was tried within a day.

        Raises:
            NeonError: Neon does not answer; it is tried again with the next call.
            StoreError: the ledger cannot be written.
        """
        since_of = await self._since(inventory)
        groups: dict[tuple[Span, ...], list[str]] = {}
        for project in sorted(inventory.projects):
            since = 0 if everything else since_of.get(project, 0)
            if since == _DONE or (not everything and is_recent(self._tried.get(project, 0), now, DAY)):
                continue
            created = inventory.projects[project].created_at or 0
            groups.setdefault(tuple(spans(max(since, created), now)), []).append(project)
        status, notes, asked = Status.OK, dict[str, None](), False
        for wanted, projects in groups.items():
            whole = True
            for span in wanted:
                asked = True
                outcome, sentences = await self._importer.reach(inventory, projects, span, now)
                notes.update(dict.fromkeys(sentences))
                whole = whole and outcome is Status.OK
                status = outcome if outcome is not Status.OK else status
            self._tried.update(dict.fromkeys(projects, now))
            if whole:
                since_of = await self._since(inventory)
                await self._write(inventory, since_of | dict.fromkeys(projects, _DONE))
        return (status, tuple(notes)) if asked else None

    async def _since(self, inventory: Inventory) -> dict[str, int]:
        since_of = await self._disk.run(lambda: self._key_values.read("backfill", inventory.org_id)) or {}
        return {project: int(str(at)) for project, at in since_of.items()}

    async def _write(self, inventory: Inventory, since_of: Mapping[str, int]) -> None:
        await self._disk.run(lambda: self._key_values.write("backfill", inventory.org_id, since_of))


def _at_once(inventory: Inventory, projects: Sequence[str]) -> int:
    chosen = frozenset(projects)
    branches = sum(branch.project_id in chosen for branch in inventory.branches.values())
    every = len(inventory.branches)
    # The branches of other shards' projects are not known here; they are taken to have as many.
    read = len(inventory.holdings)
    if 0 < read < len(inventory.projects):
        every, branches = every * len(inventory.projects) // read, every * len(chosen) // read
    return max(1, max(BRANCH_BUCKETS, 4 * every) // max(1, branches + len(chosen)))


__all__ = ["HOURLY", "Backfill", "Span", "UsageImporter", "hours_from", "spans", "windows"]
