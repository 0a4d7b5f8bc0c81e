"""The ledger: usage as Neon reported it, kept for good, because the API forgets hourly figures after 168 hours.

It lives in the agent's own file (`SqliteLedger`), or in a PostgreSQL database that replicas share (`PostgresLedger`);
both pass the same tests. Facts are raw integers; money is worked out from them, never stored in their place. Writing is
idempotent: a bucket that is read again replaces what was there, in one transaction with everything that derives from it
(sums per day, how far the data goes). So a kill at any moment loses nothing that was committed and counts nothing
twice.

A fact is a raw integer of one bucket with the time it was read. Hourly, daily and monthly buckets live together, each
marked by its granularity: hours are gone from the API after 168 hours, so a ledger that starts late, or was away, has
days and months where others have hours. Every answer takes the finest that there is: of a day counts what its hours do
not hold, of a month what its days do not hold. So nothing is counted twice and nothing is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from exporter.pricing.domain.calendar import DAY, HOUR, month_start, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.units import BYTE_HOURS, SCALE, STORED_METRICS, Bucket
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY, UsageFact, bucket_hours
from exporter.storage.ledger.cost_counters import Counted, CounterKey
from exporter.storage.ledger.finest import DaySum, Rest, cut_at_units, fact_in_byte_hours, in_byte_hours, rests
from exporter.storage.ledger.queries import BRANCH_HOURS, Queries

if TYPE_CHECKING:
    from collectors.neon.consumption import UsageRow
    from exporter.storage.ledger.postgres_link import PostgresConnection

ALWAYS_HOURLY = tuple(component.spec.metric for component in Component if component.spec.needs_hours)
"""Metrics whose hours are never summed up to days: the branch allowance is hourly, and so is the split by tenant."""
_MOST = 2**63 - 1
_PAGE = 6 * HOUR
_EVER = 2**40
_BY_NAME = attrgetter("start", "project_id", "branch_id", "metric", "granularity", "org_id", "plan")
Answer = TypeVar("Answer")
Select = Callable[..., Sequence[tuple[Any, ...]]]
"""Runs one query with its parameters, within one consistent state, and answers all rows."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one ``put`` did: buckets not seen before, grown, shrunk (a correction), and moved to another plan."""

    new: int = 0
    grown: int = 0
    shrunk: int = 0
    moved: int = 0

    def __add__(self, other: Changes) -> Changes:
        """What two of them did together."""
        return Changes(
            self.new + other.new, self.grown + other.grown, self.shrunk + other.shrunk, self.moved + other.moved
        )


@dataclass(frozen=True, slots=True)
class Through:
    """Up to when the data goes, in unix seconds.

    An organisation's is the end of its last complete reading, so that what a partial one missed is read again; before
    there was one, it is the earliest of its projects. A project's is the end of its newest usage.
    """

    orgs: Mapping[str, int]
    projects: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one compaction did: days summed up, hourly buckets that became daily ones."""

    days: int = 0
    hours: int = 0


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is in a ledger, counted: buckets by granularity, the first and last instant of usage, and how it is."""

    buckets: Mapping[str, int]
    first: int | None
    last: int | None
    mismatches: int
    """Days whose sum is not the sum of their buckets: 0, unless something else changed the database."""
    doubled: int
    """Buckets that are there more than once: 0, their key forbids it."""
    damage: tuple[str, ...] = field(default=())
    """What the database's own check found, a line each."""


class UnitSpan(NamedTuple):
    """In which unit an organisation's stored bytes were reported, and on which days (00:00 UTC, both inclusive)."""

    org_id: str
    unit: str
    """Empty where nothing told; the rate card's dates do then."""
    first: int
    last: int


@dataclass(slots=True)
class Coarse:
    """The daily and monthly sums that begin in a span, and what each holds beyond finer buckets."""

    rows: list[DaySum]
    rest: Rest


class Ledger(ABC):
    """Keeps usage facts, and answers the same from every database; a database brings its texts and what is abstract.

    Facts are kept as the API gave them, each with its unit. Answers give stored bytes in byte-hours, so that figures
    of both units add up: a byte-month is 744 of them.

    Every method raises `StoreError` when the database cannot be read or written; then nothing has changed.
    """

    queries: Queries
    where: str
    """Where it is, for a person; never with a password."""
    link: PostgresConnection | None
    """The PostgreSQL database that it shares with tables of features; None where it is a file of ours."""

    @abstractmethod
    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """Write facts, each replacing what its bucket held unless that was read later; all of them or none.

        ``read_through`` says, by organisation, up to when everything was read: absent buckets before it are zeros.

        Raises:
            ValueError: a negative value, or an unknown granularity.
            OverflowError: a value beyond 64 bits.
        """

    @abstractmethod
    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """Move the cost counters to newly worked out costs of a month, see ``storage.ledger.cost_counters``."""

    @abstractmethod
    def settle_unit(self, org_id: str, granularity: str, start: int, end: int, unit: str) -> int:
        """Note the unit of all stored bytes that begin in a span and have none; answers how many buckets that were.

        Values stay as they are. The days are revised, so that whatever was worked out from them is worked out again.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections of its own. May be called twice."""

    @abstractmethod
    def _read(self, act: Callable[[Select], Answer]) -> Answer:
        """Run ``act`` over one consistent state."""

    @abstractmethod
    def _sum_up(self, day: int, metrics: tuple[str, ...]) -> int:
        """Turn the hours of one day, but those of ``metrics``, into days; answers how many hours there were."""

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        """Facts with ``start`` <= bucket start < ``end``, the finest of each, oldest first.

        A daily or monthly fact bears what the finer buckets in it do not hold, and is left out when they hold all.
        """

        def act(select: Select) -> list[UsageFact]:
            coarse = self._coarse(select, start // DAY * DAY, end)
            left = dict(coarse.rest)
            facts = []
            for row in select(self.queries.facts, start, end, project_id, project_id):
                fact = fact_in_byte_hours(row)
                if fact.granularity == HOURLY:
                    facts.append(fact)
                    continue
                # Two buckets of one day (a change of plan cut it) share what their day has left.
                key = (row[10], fact.start // DAY * DAY)
                value = min(fact.value, left.get(key, 0))
                left[key] = left.get(key, 0) - value
                if value:
                    facts.append(fact._replace(value=value))
            return facts

        return self._read(act)

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        """What ``price`` needs for whole UTC days: sums between the cuts, and branch-hours by the hour.

        ``cuts`` are the midnights at which a rate changes; a sum bears the first day that it holds. A coarser bucket
        counts when it lies within the span, as a fact of its own granularity.
        """
        edges = [start, *sorted(cut for cut in cuts if start < cut < end), end]

        def act(select: Select) -> list[UsageFact]:
            cut = pairwise(cut_at_units(edges))
            spans = [map(fact_in_byte_hours, select(self.queries.days, *span)) for span in cut]
            return self._summed(select, edges, (fact for span in spans for fact in span))

        return self._read(act)

    def window(self, start: int, end: int) -> list[UsageFact]:
        """As ``priceable``, for any span of hours over which no rate changes: sums, and branch-hours by the hour."""

        def act(select: Select) -> list[UsageFact]:
            cut = pairwise(cut_at_units([start, end]))
            spans = [map(fact_in_byte_hours, select(self.queries.totals, *span)) for span in cut]
            return self._summed(select, [start, end], (fact for span in spans for fact in span))

        return self._read(act)

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        """Hourly facts of one metric."""
        return self._read(lambda select: [*map(fact_in_byte_hours, select(self.queries.hours, metric, start, end))])

    def revisions(self, start: int, end: int) -> dict[int, int]:
        """Days (00:00 UTC) with facts, and how often their values changed: what a cache is valid for."""
        return self._read(lambda select: dict(select(self.queries.revisions, start, end)))

    def through(self) -> Through:
        """Up to when the data goes."""
        rows = self._read(lambda select: select(self.queries.through))
        projects = {(org, project): end for org, project, end in rows if project}
        orgs: dict[str, int] = {}
        for (org, _), end in projects.items():
            orgs[org] = min(end, orgs.get(org, end))
        return Through(orgs | {org: end for org, project, end in rows if not project}, projects)

    def tally(self) -> dict[str, int]:
        """Lifetime counts: ``facts`` (new buckets) and ``corrections`` (buckets that shrank or moved)."""
        rows = self._read(lambda select: select(self.queries.tally))
        return {"facts": 0, "corrections": 0, **{name: int(value) for name, value in rows}}

    def stored(self, start: int = 0, end: int = _EVER) -> Iterator[UsageFact]:
        """Facts exactly as they are kept, of every granularity, in the order of their hours and names."""
        for day in sorted(self.revisions(start // DAY * DAY, end)):
            for at in range(day, day + DAY, _PAGE):
                span = (max(start, at), min(end, at + _PAGE), None, None)
                # By name, not by the number that a series happens to have: the same facts are the same file.
                yield from sorted((UsageFact._make(row[:10]) for row in self._facts(span)), key=_BY_NAME)

    def _facts(self, span: tuple[int, int, None, None]) -> Sequence[tuple[Any, ...]]:
        return self._read(lambda select: select(self.queries.facts, *span))

    def holdings(self) -> Holdings:
        """Count everything and check the sums. Reads all of it: seconds for millions of buckets."""

        def act(select: Select) -> Holdings:
            rows = select(self.queries.buckets)
            last = [start + HOUR * bucket_hours(start, granularity) for granularity, _, _, start in rows]
            return Holdings(
                {granularity: count for granularity, count, _, _ in rows},
                min((row[2] for row in rows), default=None),
                max(last, default=None),
                int(select(self.queries.mismatches)[0][0]),
                int(select(self.queries.doubled)[0][0]),
                self._damage(select),
            )

        return self._read(act)

    def _damage(self, select: Select) -> tuple[str, ...]:
        del select
        return ()

    def project_days(self) -> list[tuple[str, str, int, int]]:
        """Project, granularity, day (00:00 UTC), and in how many hours of that day buckets of that size begin."""
        return [
            (row[0], row[1], row[2], row[3]) for row in self._read(lambda select: select(self.queries.project_days))
        ]

    def undecided(self, start: int, end: int) -> dict[str, list[Bucket]]:
        """By organisation: root storage of whole projects whose unit is not known, as it was reported."""
        found: dict[str, list[Bucket]] = {}
        for org, *bucket in self._read(lambda select: select(self.queries.undecided, start, end)):
            found.setdefault(org, []).append(Bucket(*bucket))
        return found

    def units(self, start: int, end: int) -> list[UnitSpan]:
        """In which units stored bytes were reported on days from ``start`` to ``end``."""
        return [UnitSpan(*row) for row in self._read(lambda select: select(self.queries.units, start, end))]

    def compact(self, before: int, *, days: int = 1_000_000) -> Compacted:
        """Sum the hours of days before ``before`` (00:00 UTC) up to days, at most so many days; see ``ALWAYS_HOURLY``.

        No answer about money changes by it.
        """
        done = hours = 0
        for day in sorted(self.revisions(0, before // DAY * DAY)):
            if done >= days:
                break
            dropped = self._sum_up(day, ALWAYS_HOURLY)
            done, hours = done + bool(dropped), hours + dropped
        return Compacted(done, hours)

    def _coarse(self, select: Select, start: int, end: int, *, within: int = _EVER) -> Coarse:
        """The daily and monthly sums that begin in a span, and end before ``within``."""
        rows = [in_byte_hours(DaySum._make(row)) for row in select(self.queries.coarse, start, end)]
        rows = [row for row in rows if row.day + HOUR * bucket_hours(row.day, row.granularity) <= within]
        if not rows:
            return Coarse([], {})
        first = min(month_start(row.day) if row.granularity == MONTHLY else row.day for row in rows)
        last = max(next_month(row.day) if row.granularity == MONTHLY else row.day + DAY for row in rows)
        meters = {(row.project_id, row.branch_id, row.metric) for row in rows}
        around = (in_byte_hours(DaySum._make(row)) for row in select(self.queries.sums, first, last))
        return Coarse(rows, rests(row for row in around if (row.project_id, row.branch_id, row.metric) in meters))

    def _summed(self, select: Select, edges: Sequence[int], hourly: Iterable[UsageFact]) -> list[UsageFact]:
        """Hours summed between the edges, and what coarser buckets within all of them hold beyond.

        Days join the sums of the hours, so that it does not matter which of the two there is; months, and branch-hours
        of any size, stay one by one. In the order of their names: the same usage is the same answer.
        """
        start, end = edges[0], edges[-1]
        sums: dict[tuple[str, ...], UsageFact] = {}
        facts = [*map(fact_in_byte_hours, select(self.queries.hours, BRANCH_HOURS, start, end))]

        def add(fact: UsageFact) -> None:
            key = (str(bisect_right(edges, fact.start)), *fact[:3], fact.plan, fact.metric)
            held = sums.get(key)
            if held is not None:
                fact = held._replace(start=min(held.start, fact.start), value=held.value + fact.value)
            sums[key] = fact

        for fact in hourly:
            add(fact)
        coarse = self._coarse(select, start, end, within=end)
        for row in coarse.rows:
            rest = coarse.rest.get((row.series, row.day), 0)
            unit = BYTE_HOURS if row.metric in STORED_METRICS else ""
            fact = UsageFact(*row[1:4], row.day, row.granularity, row.plan, row.metric, rest, 0, unit)
            if rest and row.granularity == DAILY and row.metric != BRANCH_HOURS:
                add(fact)
            elif rest:
                facts.append(fact)
        return sorted([*sums.values(), *facts], key=_BY_NAME)


def checked(facts: Iterable[UsageFact]) -> list[UsageFact]:
    """The facts as a list, each of them one that can be kept.

    Raises:
        ValueError: a negative value, or an unknown granularity or unit.
        OverflowError: a value beyond 64 bits.
    """
    batch = list(facts)
    for fact in batch:
        if fact.value < 0:
            raise ValueError(f"project {fact.project_id}: {fact.metric} is {fact.value} at {fact.start}")
        if fact.unit not in SCALE:
            raise ValueError(f"project {fact.project_id}: {fact.unit!r} is no unit; byte-hour and byte-month are")
        if fact.value * SCALE[fact.unit] > _MOST:
            raise OverflowError(f"project {fact.project_id}: {fact.metric} is {fact.value}, more than 64 bits hold")
        bucket_hours(fact.start, fact.granularity)
    return batch


def newest_ends(batch: Iterable[UsageFact], read_through: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """By organisation (and project; empty for all of it): up to when a batch says that the data goes."""
    newest: dict[tuple[str, str], int] = {(org, ""): end for org, end in read_through.items()}
    for fact in batch:
        end = fact.start + HOUR * bucket_hours(fact.start, fact.granularity)
        # The newest bucket still grows: the data goes no further than the moment it was read.
        end = min(end, fact.observed_at) if fact.observed_at > fact.start else end
        owner = (fact.org_id, fact.project_id)
        newest[owner] = max(newest.get(owner, 0), end)
    return newest


def from_rows(
    org_id: str, rows: Iterable[UsageRow], observed_at: float, units: Mapping[tuple[str, int], str] | None = None
) -> list[UsageFact]:
    """Facts from what the consumption reader returned, all observed at one time (unix seconds).

    ``units`` says by granularity and start what stored bytes are counted in, as far as it is known.
    """
    at, known = int(observed_at), units or {}
    return [
        UsageFact(
            org_id, r.project_id, r.branch_id, r.start, r.granularity, r.plan, r.metric, r.value, at,
            known.get((r.granularity, r.start), "") if r.metric in STORED_METRICS else "",
        )
        for r in rows
    ]  # fmt: skip
