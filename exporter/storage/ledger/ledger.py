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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from exporter.pricing.domain.calendar import HOUR
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import UsageFact, bucket_hours
from exporter.storage.ledger.cost_counters import Counted, CounterKey

if TYPE_CHECKING:
    from exporter.storage.ledger.postgres_link import PostgresConnection

__all__ = [
    "ALWAYS_HOURLY",
    "Changes",
    "Compacted",
    "DurableLedger",
    "Holdings",
    "Ledger",
    "Through",
    "checked",
    "from_rows",
    "newest_ends",
]

ALWAYS_HOURLY = tuple(component.spec.metric for component in Component if component.spec.needs_hours)
"""Metrics whose hours are never summed up to days: the branch allowance is hourly, and so is the split by tenant."""
_MOST = 2**63 - 1


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


class Ledger(Protocol):
    """Keeps usage facts; another database fits by keeping these promises."""

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """Write facts, each replacing what its bucket held unless that was read later; all of them or none.

        ``read_through`` says, by organisation, up to when everything was read: absent buckets before it are zeros.

        Raises:
            ValueError: a negative value, or an unknown granularity.
            OverflowError: a value beyond 64 bits.
        """
        ...

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        """Facts with ``start`` <= bucket start < ``end``, the finest of each, oldest first.

        A daily or monthly fact bears what the finer buckets in it do not hold, and is left out when they hold all.
        """
        ...

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        """What ``price`` needs for whole UTC days: sums between the cuts, and branch-hours by the hour.

        ``cuts`` are the midnights at which a rate changes; a sum bears the first day that it holds. A coarser bucket
        counts when it lies within the span, as a fact of its own granularity.
        """
        ...

    def window(self, start: int, end: int) -> list[UsageFact]:
        """As ``priceable``, for any span of hours over which no rate changes: sums, and branch-hours by the hour."""
        ...

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        """Hourly facts of one metric."""
        ...

    def revisions(self, start: int, end: int) -> dict[int, int]:
        """Days (00:00 UTC) with facts, and how often their values changed: what a cache is valid for."""
        ...

    def through(self) -> Through:
        """Up to when the data goes."""
        ...

    def tally(self) -> dict[str, int]:
        """Lifetime counts: ``facts`` (new buckets) and ``corrections`` (buckets that shrank or moved)."""
        ...

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """Move the cost counters to newly worked out costs of a month, see ``storage.ledger.cost_counters``."""
        ...


class DurableLedger(Ledger, Protocol):
    """A ledger for those who maintain it: everything above, and the upkeep."""

    @property
    def where(self) -> str:
        """Where it is, for a person; never with a password."""
        ...

    @property
    def link(self) -> PostgresConnection | None:
        """The PostgreSQL database that it shares with tables of features; None where it is a file of ours."""
        ...

    def stored(self, start: int = 0, end: int = 2**40) -> Iterator[UsageFact]:
        """Facts exactly as they are kept, of every granularity, in the order of their hours and names."""
        ...

    def compact(self, before: int, *, days: int = 1_000_000) -> Compacted:
        """Sum the hours of days before ``before`` (00:00 UTC) up to days, at most so many days; see ``ALWAYS_HOURLY``.

        No answer about money changes by it.
        """
        ...

    def holdings(self) -> Holdings:
        """Count everything and check the sums. Reads all of it: seconds for millions of buckets."""
        ...

    def project_days(self) -> list[tuple[str, str, int, int]]:
        """Project, granularity, day (00:00 UTC), and in how many hours of that day buckets of that size begin."""
        ...

    def close(self) -> None:
        """Let go of connections of its own. May be called twice."""
        ...


def checked(facts: Iterable[UsageFact]) -> list[UsageFact]:
    """The facts as a list, each of them one that can be kept.

    Raises:
        ValueError: a negative value, or an unknown granularity.
        OverflowError: a value beyond 64 bits.
    """
    batch = list(facts)
    for fact in batch:
        if fact.value < 0:
            raise ValueError(f"project {fact.project_id}: {fact.metric} is {fact.value} at {fact.start}")
        if fact.value > _MOST:
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


class UsageRow(Protocol):
    """A row of ``collectors.neon.consumption``: one value of one bucket."""

    @property
    def project_id(self) -> str: ...
    @property
    def branch_id(self) -> str: ...
    @property
    def plan(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def granularity(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def value(self) -> int: ...


def from_rows(org_id: str, rows: Iterable[UsageRow], observed_at: float) -> list[UsageFact]:
    """Facts from what the consumption reader returned, all observed at one time (unix seconds)."""
    at = int(observed_at)
    return [
        UsageFact(org_id, r.project_id, r.branch_id, r.start, r.granularity, r.plan, r.metric, r.value, at)
        for r in rows
    ]
