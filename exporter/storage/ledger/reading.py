"""How a ledger answers: the same for every database, over that database's own texts of the same questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar

from exporter.pricing.domain.calendar import DAY, HOUR, month_start, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY, UsageFact, bucket_hours
from exporter.storage.ledger.finest import DaySum, Rest, rests
from exporter.storage.ledger.ledger import ALWAYS_HOURLY, Compacted, Holdings, Through

BRANCH_HOURS = Component.EXTRA_BRANCHES.spec.metric
_PAGE = 6 * HOUR
_EVER = 2**40
_BY_NAME = attrgetter("start", "project_id", "branch_id", "metric", "granularity", "org_id", "plan")
Answer = TypeVar("Answer")
Select = Callable[..., Sequence[tuple[Any, ...]]]
"""Runs one query with its parameters, within one consistent state, and answers all rows."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The questions in one dialect. Parameters in brackets; a fact is the nine columns of ``UsageFact``."""

    facts: str
    """(start, end, project, project): facts, then their series; a project of None is all of them."""
    days: str
    """(start, end): hourly facts but branch-hours, summed from the sums of whole days."""
    totals: str
    """(start, end): the same from the hours."""
    hours: str
    """(metric, start, end): hourly facts of one metric."""
    coarse: str
    """(start, end): the ``DaySum`` rows of daily and monthly series."""
    sums: str
    """(start, end): the ``DaySum`` rows of all series."""
    revisions: str
    """(start, end): day, revision."""
    through: str
    tally: str
    mismatches: str
    buckets: str
    """Granularity, number of buckets, first and last bucket start."""
    doubled: str
    project_days: str
    """Project, granularity, day, number of different hours in which buckets begin."""


@dataclass(slots=True)
class Coarse:
    """The daily and monthly sums that begin in a span, and what each holds beyond finer buckets."""

    rows: list[DaySum]
    rest: Rest


class LedgerReading(ABC):
    """Answers a ledger's questions; a database brings ``_read`` and its texts."""

    queries: Queries

    @abstractmethod
    def _read(self, act: Callable[[Select], Answer]) -> Answer:
        """Run ``act`` over one consistent state.

        Raises:
            StoreError: it cannot be read.
        """

    @abstractmethod
    def _sum_up(self, day: int, metrics: tuple[str, ...]) -> int:
        """Turn the hours of one day, but those of ``metrics``, into days; answers how many hours there were."""

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        """See :meth:`Ledger.usage`."""

        def act(select: Select) -> list[UsageFact]:
            coarse = self._coarse(select, start // DAY * DAY, end)
            left = dict(coarse.rest)
            facts = []
            for row in select(self.queries.facts, start, end, project_id, project_id):
                fact = UsageFact._make(row[:9])
                if fact.granularity == HOURLY:
                    facts.append(fact)
                    continue
                # Two buckets of one day (a change of plan cut it) share what their day has left.
                key = (row[9], fact.start // DAY * DAY)
                value = min(fact.value, left.get(key, 0))
                left[key] = left.get(key, 0) - value
                if value:
                    facts.append(fact._replace(value=value))
            return facts

        return self._read(act)

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        """See :meth:`Ledger.priceable`."""
        edges = [start, *sorted(cut for cut in cuts if start < cut < end), end]

        def act(select: Select) -> list[UsageFact]:
            spans = [map(UsageFact._make, select(self.queries.days, *span)) for span in pairwise(edges)]
            return self._summed(select, edges, (fact for span in spans for fact in span))

        return self._read(act)

    def window(self, start: int, end: int) -> list[UsageFact]:
        """See :meth:`Ledger.window`."""

        def act(select: Select) -> list[UsageFact]:
            return self._summed(select, [start, end], map(UsageFact._make, select(self.queries.totals, start, end)))

        return self._read(act)

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        """See :meth:`Ledger.hours`."""
        return self._read(lambda select: [UsageFact._make(r) for r in select(self.queries.hours, metric, start, end)])

    def revisions(self, start: int, end: int) -> dict[int, int]:
        """See :meth:`Ledger.revisions`."""
        return self._read(lambda select: dict(select(self.queries.revisions, start, end)))

    def through(self) -> Through:
        """See :meth:`Ledger.through`."""
        rows = self._read(lambda select: select(self.queries.through))
        projects = {(org, project): end for org, project, end in rows if project}
        orgs: dict[str, int] = {}
        for (org, _), end in projects.items():
            orgs[org] = min(end, orgs.get(org, end))
        return Through(orgs | {org: end for org, project, end in rows if not project}, projects)

    def tally(self) -> dict[str, int]:
        """See :meth:`Ledger.tally`."""
        rows = self._read(lambda select: select(self.queries.tally))
        return {"facts": 0, "corrections": 0, **{name: int(value) for name, value in rows}}

    def stored(self, start: int = 0, end: int = _EVER) -> Iterator[UsageFact]:
        """See :meth:`DurableLedger.stored`."""
        for day in sorted(self.revisions(start // DAY * DAY, end)):
            for at in range(day, day + DAY, _PAGE):
                span = (max(start, at), min(end, at + _PAGE), None, None)
                # By name, not by the number that a series happens to have: the same facts are the same file.
                yield from sorted((UsageFact._make(row[:9]) for row in self._facts(span)), key=_BY_NAME)

    def _facts(self, span: tuple[int, int, None, None]) -> Sequence[tuple[Any, ...]]:
        return self._read(lambda select: select(self.queries.facts, *span))

    def mismatches(self) -> int:
        """Days whose sum is not the sum of their buckets: 0, unless the database was changed by something else."""
        return int(self._read(lambda select: select(self.queries.mismatches))[0][0])

    def holdings(self) -> Holdings:
        """See :meth:`DurableLedger.holdings`."""

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
        """See :meth:`DurableLedger.project_days`."""
        return [
            (row[0], row[1], row[2], row[3]) for row in self._read(lambda select: select(self.queries.project_days))
        ]

    def compact(self, before: int, *, days: int = 1_000_000) -> Compacted:
        """See :meth:`DurableLedger.compact`."""
        done = hours = 0
        for day in sorted(self.revisions(0, before // DAY * DAY)):
            if done >= days:
                break
            dropped = self._sum_up(day, ALWAYS_HOURLY)
            done, hours = done + bool(dropped), hours + dropped
        return Compacted(done, hours)

    def _coarse(self, select: Select, start: int, end: int, *, within: int = _EVER) -> Coarse:
        """The daily and monthly sums that begin in a span, and end before ``within``."""
        rows = [DaySum._make(row) for row in select(self.queries.coarse, start, end)]
        rows = [row for row in rows if row.day + HOUR * bucket_hours(row.day, row.granularity) <= within]
        if not rows:
            return Coarse([], {})
        first = min(month_start(row.day) if row.granularity == MONTHLY else row.day for row in rows)
        last = max(next_month(row.day) if row.granularity == MONTHLY else row.day + DAY for row in rows)
        meters = {(row.project_id, row.branch_id, row.metric) for row in rows}
        around = map(DaySum._make, select(self.queries.sums, first, last))
        return Coarse(rows, rests(row for row in around if (row.project_id, row.branch_id, row.metric) in meters))

    def _summed(self, select: Select, edges: Sequence[int], hourly: Iterable[UsageFact]) -> list[UsageFact]:
        """Hours summed between the edges, and what coarser buckets within all of them hold beyond.

        Days join the sums of the hours, so that it does not matter which of the two there is; months, and branch-hours
        of any size, stay one by one. In the order of their names: the same usage is the same answer.
        """
        start, end = edges[0], edges[-1]
        sums: dict[tuple[str, ...], UsageFact] = {}
        facts = [UsageFact._make(row) for row in select(self.queries.hours, BRANCH_HOURS, start, end)]

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
            fact = UsageFact(*row[1:4], row.day, row.granularity, row.plan, row.metric, rest, 0)
            if rest and row.granularity == DAILY and row.metric != BRANCH_HOURS:
                add(fact)
            elif rest:
                facts.append(fact)
        return sorted([*sums.values(), *facts], key=_BY_NAME)
