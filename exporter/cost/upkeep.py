"""What a ledger needs beside new usage: old hours become days, and priced months become rows for people with SQL.

What tenants did by the hour goes when its month is old and closed: the closed month has its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.core.clock import is_recent
from exporter.cost.allocation.costs import Costs, MonthCosts
from exporter.cost.allocation.rows import PLACES, usd
from exporter.cost.domain.allocate import Share, round_rows
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.pricing.domain.price import CostLine
from exporter.pricing.domain.rates import to_decimal
from exporter.storage.ledger.ledger import Ledger

if TYPE_CHECKING:
    from exporter.storage.ledger.postgres_link import Cursor, PostgresConnection

COMPACT_DAYS = 4
"""Days summed up in one pass: each is one short transaction, and a pass comes every quarter of an hour."""
PUBLISH_SECONDS = HOUR


class Upkeep:
    """Does a little at each call. One caller at a time."""

    def __init__(
        self,
        ledger: Ledger,
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
        if self._ledger.link is not None:
            self._publish(self._ledger.link, now, names)

    def _forget(self, limit: int) -> None:
        """What old months were split by is dropped up to the first that is not closed: that one may be split again."""
        months = sorted({month_start(day) for day in self._ledger.revisions(0, limit)})
        self._costs.forget_measures(next((month for month in months if not self._closed(month)), limit))

    def _publish(self, link: PostgresConnection, now: float, names: Mapping[str, str]) -> None:
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
                due = not is_recent(at, now, PUBLISH_SECONDS)
            else:
                due, older = held != state and not older, older or held != state
            if due:
                costs = self._costs.month(month, now)
                publish(link, costs, now, closed=self._closed(month), names=names)
                self._published[month] = (state, now)


def publish(
    link: PostgresConnection,
    costs: MonthCosts,
    computed_at: float,
    *,
    closed: bool = False,
    names: Mapping[str, str] | None = None,
) -> int:
    """Write a priced month to the tables behind the SQL views, in one transaction; answers the number of rows.

    ``computed_at`` is in unix seconds. A line's cost is the sum of its shares, so the two tables agree to the last
    digit.

    Raises:
        StoreError: the database cannot be written.
    """
    return link.write(lambda cursor: _write_month(cursor, costs, computed_at, closed=closed, names=names or {}))


def _write_month(
    cursor: Cursor, costs: MonthCosts, computed_at: float, *, closed: bool, names: Mapping[str, str]
) -> int:  # fmt: skip
    month = datetime.fromtimestamp(costs.month, UTC).date()
    units = round_rows([share.cost for share in costs.shares], PLACES)
    by_line: dict[int, int] = {}
    for share, amount in zip(costs.shares, units, strict=True):
        by_line[id(share.line)] = by_line.get(id(share.line), 0) + amount
    through = datetime.fromtimestamp(costs.through, UTC) if costs.through else None
    cursor.execute("DELETE FROM cost_month WHERE month = %s", (month,))
    cursor.execute(
        "INSERT INTO cost_month VALUES (%s, %s, %s, %s, %s)",
        (month, usd(sum(units)), through, closed, datetime.fromtimestamp(computed_at, UTC)),
    )
    with cursor.copy("COPY cost_line FROM STDIN") as copy:
        for line in costs.pricing.lines:
            copy.write_row(_line(month, line, by_line.get(id(line), 0)))
    with cursor.copy("COPY cost_share FROM STDIN") as copy:
        for share, amount in zip(costs.shares, units, strict=True):
            copy.write_row(_share(month, share, amount))
    if names:
        cursor.execute(
            "INSERT INTO name SELECT * FROM unnest(%s::text[], %s::text[]) "
            "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name.name <> excluded.name",
            (list(names), list(names.values())),
        )
    return len(costs.pricing.lines) + len(costs.shares)


def _line(month: date, line: CostLine, units: int) -> tuple[object, ...]:
    rate = None if line.rate is None else to_decimal(line.rate.amount)
    return (
        month, line.org_id, line.project_id, line.branch_id, line.component.value, line.plan, line.usage,
        _round(line.quantity), line.unit, rate, usd(units), line.lower_bound,
    )  # fmt: skip


def _share(month: date, share: Share, units: int) -> tuple[object, ...]:
    line = share.line
    coverage = None if share.coverage is None else _round(Fraction(share.coverage))
    return (
        month, line.org_id, line.project_id, share.branch_id, share.tenant, line.component.value, line.plan,
        usd(units), share.confidence.value, coverage,
    )  # fmt: skip


def _round(amount: Fraction) -> Decimal:
    scaled = amount * 10**PLACES
    return usd((2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator))
