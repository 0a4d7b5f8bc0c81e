"""From Neon's consumption into the ledger: the hours as they come, and days and months where hours are gone.

Neon tells hours for 168 hours, days for 60 days and months for a year. A ledger that begins, or was away for longer,
reads the hours that are left, then days up to where they begin, then months up to where those begin: each bucket says
how long it is, and the ledger counts of a long one only what shorter ones do not hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.consumption import HOURLY_WINDOW_SECONDS, IDS_A_REQUEST, Consumption, UsageRow, read_consumption
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.models import ProjectAnswer
from exporter.core.clock import is_recent
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, month_start, next_month
from exporter.pricing.domain.components import USAGE_METRICS
from exporter.pricing.domain.rates import AccountPlan
from exporter.pricing.domain.units import ROOT_METRIC, STORED_METRICS, Bucket, UnitEvidence, UnitWalk
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY, UsageFact, bucket_hours
from exporter.pricing.ratecard import shipped
from exporter.storage.ledger.ledger import Ledger, from_rows
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

DAILY_WINDOW_SECONDS = 60 * DAY
MONTHLY_WINDOW_SECONDS = 365 * DAY
EARLIEST = day_seconds("2024-03-01")
"""Before that the API has nothing."""
BRANCH_BUCKETS = 4_000
"""So many of branches and projects are read at once: a first reading goes back 168 hours, and held whole it would take
more memory than all the rest of us."""
LEAST_BUCKETS = 4
"""What a reading in the steady state asks for: the running hour and three that may still grow."""
_DONE = -1


class Span(NamedTuple):
    """What to read: buckets of one size from ``start`` to ``end``, in unix seconds."""

    granularity: str
    start: int
    end: float


def hours_from(now: float) -> int:
    """The first hour that the API still tells."""
    return int(now - HOURLY_WINDOW_SECONDS + HOUR) // HOUR * HOUR


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


def windows(span: Span, buckets: int) -> Iterator[tuple[int, int]]:
    """The span in pieces of so many whole buckets, the newest first.

    Neon rounds both ends of a question to buckets and refuses one between whose ends nothing is left: where it rounds
    the end of the running bucket away, that would be a question for this bucket alone. So it has a neighbour wherever
    the span has another bucket.
    """
    edges = [span.start, _next(span.start, span.granularity)]
    while edges[-1] < span.end:
        edges.append(_next(edges[-1], span.granularity))
    last = len(edges) - 1
    while last > 0:
        first = max(0, last - (max(buckets, 2) if last == len(edges) - 1 else buckets))
        yield edges[first], edges[last]
        last = first


def _next(start: int, granularity: str) -> int:
    return next_month(start) if granularity == MONTHLY else start + (HOUR, DAY)[granularity == DAILY]


def root_sizes(inventory: Inventory) -> dict[str, int]:
    """Bytes of the root branches of each project, as far as Neon shows them: what root storage is billed by."""
    sizes: dict[str, int] = {}
    for branch in inventory.branches.values():
        if branch.role != "child" and branch.logical_size:
            sizes[branch.project_id] = sizes.get(branch.project_id, 0) + branch.logical_size
    return sizes


def created(inventory: Inventory) -> dict[str, float]:
    """When each project was made, unix seconds."""
    return {project.id: project.created_at or 0.0 for project in inventory.projects.values()}


Outcome = tuple[Status, tuple[str, ...]]
"""How a reading ended, and a sentence on each thing that is missing."""


class Reading(NamedTuple):
    """How a reading ended, and a sentence on each thing that is missing."""

    status: Status
    notes: tuple[str, ...] = ()
    delivered: int = 0
    """The end of the newest bucket that came, at most the moment of reading (unix seconds); 0 when none did."""


@dataclass(slots=True)
class Told:
    """What readings have told of an account beside its usage; kept while the agent runs."""

    evidence: UnitEvidence = field(default_factory=UnitEvidence)
    plan: AccountPlan = field(default_factory=AccountPlan)
    settled: bool = False
    """Whether the ledger's figures of an unknown unit have been looked at."""


class UsageImporter:
    """Reads spans of consumption and puts them into the ledger, piece by piece."""

    def __init__(
        self,
        client: NeonClient,
        ledger: Ledger,
        ledger_writer: WriterThread,
        *,
        storage_unit: str = "",
        progress: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """``ledger_writer`` is the thread on which the ledger works.

        ``storage_unit`` is the settings' word on what stored bytes are counted in, empty: found out. ``progress`` is
        called with the number of requests that each piece took.
        """
        self._client = client
        self._ledger = ledger
        self._ledger_writer = ledger_writer
        self._storage_unit = storage_unit
        self._progress = progress
        self._told: dict[str, Told] = {}

    def told_of(self, org_id: str) -> Told:
        """What readings have told of an organisation."""
        return self._told.setdefault(org_id, Told())

    async def read(self, inventory: Inventory, projects: Sequence[str], span: Span, now: float) -> Reading:
        """Read one span of some projects; ``now`` is the moment of reading, by Neon's clock.

        OK when all of it was read; TRUNCATED when something is missing; else why there is nothing.
        Where exactly a window of Neon's begins is not documented: when the oldest piece is refused, it is asked for
        one bucket later, which is surely within.

        Raises:
            NeonError: Neon does not answer.
            StoreError: the ledger cannot be written.
        """
        status, notes, delivered, told = Status.OK, dict[str, None](), 0, self.told_of(inventory.org_id)
        for chunk, pieces in planned(inventory, projects, span):
            sizes = root_sizes(inventory)
            mine = {project: sizes.get(project, 0) for project in chunk}
            walk = UnitWalk(mine, now, known=told.evidence.unit, created=created(inventory))
            for begin, end in pieces:
                read = await self._ask(inventory, chunk, (begin, end), span.granularity)
                later = _next(begin, span.granularity)
                if read.status is Status.UNSUPPORTED and begin == span.start and later < end:
                    read = await self._ask(inventory, chunk, (later, end), span.granularity)
                notes.update(dict.fromkeys(read.notes))
                if read.status not in (Status.OK, Status.TRUNCATED):
                    return Reading(read.status, tuple(notes), delivered)
                facts = self._facts(inventory, read.rows, now, walk)
                await self._ledger_writer.run(lambda facts=facts: self._ledger.put(facts))  # type: ignore[misc]
                if read.status is Status.TRUNCATED:
                    status = Status.TRUNCATED
                ends = (fact.start + HOUR * bucket_hours(fact.start, fact.granularity) for fact in facts)
                delivered = max(delivered, min(int(now), max(ends, default=0)))
            if walk.evidence.unit:
                told.evidence = walk.evidence
        return Reading(status, tuple(notes), delivered)

    async def _ask(
        self, inventory: Inventory, projects: Sequence[str], ends: tuple[int, int], granularity: str
    ) -> Consumption:
        read = await read_consumption(
            self._client, inventory.org_id, projects, *ends, granularity, metrics=USAGE_METRICS
        )
        if self._progress is not None:
            await self._progress(read.requests)
        return read

    def _facts(self, inventory: Inventory, rows: Sequence[UsageRow], now: float, walk: UnitWalk) -> list[UsageFact]:
        found, told = walk.units(root_buckets(rows)), self.told_of(inventory.org_id)
        if self._storage_unit:
            found = {(row.granularity, row.start): self._storage_unit for row in rows}
        facts, card = from_rows(inventory.org_id, rows, now, found), shipped()
        if any(not fact.unit and fact.metric in STORED_METRICS for fact in facts):
            told.settled = False
        plans = {plan: told.plan.billed(plan, card) for plan in {row.plan for row in rows}}
        return [fact if plans[fact.plan] == fact.plan else fact._replace(plan=plans[fact.plan]) for fact in facts]


def root_buckets(rows: Iterable[UsageRow]) -> list[Bucket]:
    """Root storage of whole projects, of what the API told."""
    return [
        Bucket(row.project_id, row.granularity, row.start, row.value)
        for row in rows
        if row.metric == ROOT_METRIC and not row.branch_id
    ]


def planned(
    inventory: Inventory, projects: Sequence[str], span: Span
) -> Iterator[tuple[Sequence[str], list[tuple[int, int]]]]:
    """The questions for a span: at most 100 projects each, which is Neon's limit, and so many buckets as fit."""
    count = Counter(branch.project_id for branch in inventory.branches.values())
    # The branches of other shards' projects are not known here; they are taken to have as many.
    usual = -(-len(inventory.branches) // max(1, len(inventory.holdings)))
    for at in range(0, len(projects), IDS_A_REQUEST):
        chunk = projects[at : at + IDS_A_REQUEST]
        rows = sum(1 + (count[project] or usual * (project not in inventory.holdings)) for project in chunk)
        yield chunk, list(windows(span, max(LEAST_BUCKETS, BRANCH_BUCKETS // rows)))


def requests(inventory: Inventory, projects: Sequence[str], span: Span) -> int:
    """How many requests a span takes: a list of branches and one of projects for each question."""
    return sum(2 * len(pieces) for _, pieces in planned(inventory, projects, span))


async def read_account_plan(client: NeonClient, inventory: Inventory) -> AccountPlan:
    """One request, for the detail of a project; what a key may not see is not known, and that is no failure."""
    for project_id in sorted(inventory.projects)[:1]:
        try:
            answer, _ = await client.get(f"/projects/{project_id}", None, ProjectAnswer)
        except NeonError:
            break
        owner = answer.project.owner
        return AccountPlan(inventory.plan, owner.subscription_type if owner else "")
    return AccountPlan(inventory.plan)


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

    async def pending(self, inventory: Inventory, now: float) -> int:
        """How many requests the next run takes."""
        groups = self._groups(inventory, await self._since(inventory), now)
        return sum(requests(inventory, projects, span) for wanted, projects in groups.items() for span in wanted)

    def _groups(
        self, inventory: Inventory, since_of: Mapping[str, int], now: float
    ) -> dict[tuple[Span, ...], list[str]]:
        groups: dict[tuple[Span, ...], list[str]] = {}
        for project in sorted(inventory.projects):
            since = since_of.get(project, 0)
            if since == _DONE or is_recent(self._tried.get(project, 0), now, DAY):
                continue
            created = inventory.projects[project].created_at or 0
            groups.setdefault(tuple(spans(max(since, created), now)), []).append(project)
        return groups

    async def run(self, inventory: Inventory, now: float) -> Outcome | None:
        """Read what is missing; None when nothing was, or it was tried within a day.

        Raises:
            NeonError: Neon does not answer; it is tried again with the next call.
            StoreError: the ledger cannot be written.
        """
        groups = self._groups(inventory, await self._since(inventory), now)
        status, notes, asked = Status.OK, dict[str, None](), False
        for wanted, projects in groups.items():
            whole = True
            for span in wanted:
                asked = True
                outcome, sentences, _ = await self._importer.read(inventory, projects, span, now)
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


__all__ = [
    "HOURLY",
    "Backfill",
    "Outcome",
    "Reading",
    "Span",
    "UsageImporter",
    "hours_from",
    "planned",
    "requests",
    "spans",
    "windows",
]
