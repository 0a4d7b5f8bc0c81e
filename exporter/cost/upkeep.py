"""What a ledger needs beside new usage: old hours become days, and priced months become rows for people with SQL.

What tenants did by the hour goes when its month is old and closed: the closed month has its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.cost.allocation.costs import Costs
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.storage.ledger.ledger import DurableLedger

COMPACT_DAYS = 4
"""Days summed up in one pass: each is one short transaction, and a pass comes every quarter of an hour."""
PUBLISH_SECONDS = HOUR


class Upkeep:
    """Does a little at each call. One caller at a time."""

    def __init__(
        self,
        ledger: DurableLedger,
        costs: Costs,
        *,
        keep_hourly_days: int,
        closed: Callable[[int], bool] | None = None,
    ) -> None:
        """``closed`` answers whether a month (its first instant) is closed."""
        self._ledger = ledger
        self._costs = costs
        self._keep = keep_hourly_days * DAY
        self._closed = closed or (lambda _: False)
        self._published: dict[int, tuple[object, float]] = {}
        self._forgot = 0

    def run(self, now: float, names: Mapping[str, str]) -> None:
        """Compact and publish what is due; ``names`` are those of projects and branches by id.

        Raises:
            StoreError: the ledger cannot be read or written.
        """
        limit = month_start(int(now) - self._keep)
        self._ledger.compact(limit, days=COMPACT_DAYS)
        if self._forgot != int(now) // DAY:
            self._forget(limit)
            self._forgot = int(now) // DAY
        if self._ledger.has_views:
            self._publish(now, names)

    def _forget(self, limit: int) -> None:
        """What old months were split by is dropped up to the first that is not closed: that one may be split again."""
        months = sorted({month_start(day) for day in self._ledger.revisions(0, limit)})
        self._costs.forget_measures(next((month for month in months if not self._closed(month)), limit))

    def _publish(self, now: float, names: Mapping[str, str]) -> None:
        """The present and the last month once an hour, and one older month at a time that has changed."""
        months: dict[int, list[tuple[int, int]]] = {}
        for day, revision in sorted(self._ledger.revisions(0, int(now) + DAY).items()):
            months.setdefault(month_start(day), []).append((day, revision))
        this = month_start(int(now))
        recent = (this, month_start(this - 1))
        older = False
        for month in sorted(months, reverse=True):
            state: object = (months[month], self._closed(month))
            held, at = self._published.get(month, (None, 0.0))
            if month in recent:
                due = now - at >= PUBLISH_SECONDS
            else:
                due, older = held != state and not older, older or held != state
            if due:
                costs = self._costs.month(month, now)
                self._ledger.publish(costs, computed_at=now, closed=self._closed(month), names=names)
                self._published[month] = (state, now)
