"""Where closed months are kept: beside the usage they were worked out from, and never rewritten.

One implementation for SQLite and PostgreSQL: a booking is written whole in one transaction, under the number that it
has among the bookings of its month. Whoever comes second with the same number is told so, and nothing is doubled.
Exact figures are kept as text (``numerator/denominator``), cents as whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any, Final, Protocol

from exporter.compute.allocate import Confidence
from exporter.compute.close import Booking, InvoiceLine, Leaf, LineKey, Path
from exporter.storage.store import Store

ROOM = "close"
CLOSE_SCHEMA: Final[tuple[str, ...]] = (
    """
    CREATE TABLE close_booking (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, booked_in INTEGER NOT NULL, booked_at INTEGER NOT NULL,
        booked_by TEXT NOT NULL, forced TEXT NOT NULL, data_through INTEGER NOT NULL, facts TEXT NOT NULL,
        rate_card TEXT NOT NULL, rounding TEXT NOT NULL,
        PRIMARY KEY (month, sequence)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE close_line (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, line INTEGER NOT NULL,
        org_id TEXT NOT NULL, kind TEXT NOT NULL, component TEXT NOT NULL, plan TEXT NOT NULL, rate TEXT NOT NULL,
        unit TEXT NOT NULL, usage TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL, cents INTEGER NOT NULL,
        lower_bound INTEGER NOT NULL,
        PRIMARY KEY (month, sequence, line)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE close_leaf (
        month INTEGER NOT NULL, sequence INTEGER NOT NULL, line INTEGER NOT NULL,
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL, cents INTEGER NOT NULL,
        confidence TEXT NOT NULL,
        PRIMARY KEY (month, sequence, line, project_id, branch_id, tenant)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE close_statement (
        month INTEGER PRIMARY KEY, statement TEXT NOT NULL
    ) STRICT;
    """,
)
"""The room ``close`` of the store. Each entry is one released migration."""


class Cursor(Protocol):
    """What a cursor of sqlite3 and of psycopg have in common."""

    def execute(self, query: Any, params: Any = ..., /) -> Any: ...  # noqa: D102
    def executemany(self, query: Any, params: Any, /) -> Any: ...  # noqa: D102


Session = Callable[[], AbstractContextManager[Any]]
"""Opens a transaction, or a consistent view, and answers its cursor."""


class AlreadyBookedError(Exception):
    """Another process booked this number of this month first; what it wrote stands."""


class CloseBook(Protocol):
    """Keeps bookings; what ``add`` has written is never changed."""

    def add(self, booking: Booking) -> None:
        """Write a booking whole, or nothing.

        Raises:
            AlreadyBookedError: its month has a booking of that number.
        """
        ...

    def of(self, month: int) -> tuple[Booking, ...]:
        """The close of a month and its corrections, in their order; empty while it is open."""
        ...

    def booked_in(self, month: int) -> tuple[Booking, ...]:
        """The corrections of earlier months that the statement of this month shows."""
        ...

    def months(self) -> tuple[int, ...]:
        """The closed months, oldest first."""
        ...

    def keep_statement(self, month: int, statement: Mapping[str, object]) -> None:
        """Keep the newest reconciliation of a closed month."""
        ...

    def statement(self, month: int) -> dict[str, Any] | None:
        """The newest reconciliation of a month, or None."""
        ...


class SqlCloseBook:
    """The book in tables of a SQL database, see :func:`sqlite_book`."""

    def __init__(self, write: Session, read: Session, *, mark: str = "?") -> None:
        """Use sessions of a database with the tables of ``CLOSE_SCHEMA``; ``mark`` is its placeholder."""
        self._write = write
        self._read = read
        self._mark = mark

    def add(self, booking: Booking) -> None:
        """See :meth:`CloseBook.add`."""
        b, name = booking, (booking.month, booking.sequence)
        head = (*name, b.booked_in, b.at, b.by, b.forced, b.through, b.facts, b.rate_card, b.rounding)
        lines, leaves = [], []
        for number, line in enumerate(booking.lines):
            exact = (str(line.usage), str(line.quantity), str(line.cost), line.cents, int(line.lower_bound))
            lines.append((*name, number, *line.key, line.unit, *exact))
            leaves += [(*name, number, *leaf.path, leaf.cents, leaf.confidence.value) for leaf in line.leaves]
        with self._write() as cursor:
            marks = self._marks(len(head))
            cursor.execute(f"INSERT INTO close_booking VALUES ({marks}) ON CONFLICT DO NOTHING", head)
            if cursor.rowcount != 1:
                raise AlreadyBookedError(f"booking {booking.sequence} of this month was written meanwhile; try again")
            self._insert(cursor, "close_line", lines)
            self._insert(cursor, "close_leaf", leaves)

    def _insert(self, cursor: Cursor, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            cursor.executemany(f"INSERT INTO {table} VALUES ({self._marks(len(rows[0]))})", rows)

    def _marks(self, count: int) -> str:
        return ", ".join([self._mark] * count)

    def of(self, month: int) -> tuple[Booking, ...]:
        """See :meth:`CloseBook.of`."""
        return self._bookings(f"month = {self._mark}", (month,))

    def booked_in(self, month: int) -> tuple[Booking, ...]:
        """See :meth:`CloseBook.booked_in`."""
        return self._bookings(f"booked_in = {self._mark} AND sequence > 0", (month,))

    def months(self) -> tuple[int, ...]:
        """See :meth:`CloseBook.months`."""
        with self._read() as cursor:
            cursor.execute("SELECT month FROM close_booking WHERE sequence = 0 ORDER BY month")
            return tuple(month for (month,) in cursor.fetchall())

    def keep_statement(self, month: int, statement: Mapping[str, object]) -> None:
        """See :meth:`CloseBook.keep_statement`."""
        text = json.dumps(statement, sort_keys=True)
        with self._write() as cursor:
            cursor.execute(f"DELETE FROM close_statement WHERE month = {self._mark}", (month,))
            cursor.execute(f"INSERT INTO close_statement VALUES ({self._marks(2)})", (month, text))

    def statement(self, month: int) -> dict[str, Any] | None:
        """See :meth:`CloseBook.statement`."""
        with self._read() as cursor:
            cursor.execute(f"SELECT statement FROM close_statement WHERE month = {self._mark}", (month,))
            rows = cursor.fetchall()
        found: dict[str, Any] | None = json.loads(rows[0][0]) if rows else None
        return found

    def _bookings(self, where: str, params: tuple[int, ...]) -> tuple[Booking, ...]:
        with self._read() as cursor:
            cursor.execute(f"SELECT * FROM close_booking WHERE {where} ORDER BY month, sequence", params)
            heads = cursor.fetchall()
            found: list[Any] = [(*head, self._lines(cursor, head[0], head[1])) for head in heads]
            return tuple(Booking(*row) for row in found)

    def _lines(self, cursor: Any, month: int, sequence: int) -> tuple[InvoiceLine, ...]:
        one = f"WHERE month = {self._mark} AND sequence = {self._mark}"
        cursor.execute(
            "SELECT line, project_id, branch_id, tenant, cents, confidence FROM close_leaf "
            f"{one} ORDER BY line, project_id, branch_id, tenant",
            (month, sequence),
        )
        leaves: dict[int, list[Leaf]] = {}
        for line, project, branch, tenant, cents, confidence in cursor.fetchall():
            leaf = Leaf(Path(project, branch, tenant), cents, Confidence(confidence))
            leaves.setdefault(line, []).append(leaf)
        cursor.execute(
            "SELECT line, org_id, kind, component, plan, rate, unit, usage, quantity, cost, cents, lower_bound "
            f"FROM close_line {one} ORDER BY line",
            (month, sequence),
        )
        # The order of names is that of the database's collation; ours is that of the code points.
        return tuple(
            _line(row, sorted(leaves.get(row[0], ()), key=lambda leaf: leaf.path)) for row in cursor.fetchall()
        )


def _line(row: Sequence[Any], leaves: Iterable[Leaf]) -> InvoiceLine:
    usage, quantity, cost, cents, lower_bound = row[7:12]
    return InvoiceLine(
        LineKey(*row[1:6]),
        row[6],
        int(usage),
        Fraction(quantity),
        Fraction(cost),
        cents,
        bool(lower_bound),
        tuple(leaves),
    )


def sqlite_book(store: Store) -> SqlCloseBook:
    """The book in the agent's own file (room ``close``)."""
    return SqlCloseBook(store.transaction, store.snapshot)
