"""Where closed months are kept: beside the usage they were worked out from, and never rewritten.

One implementation for SQLite and PostgreSQL: a booking is written whole in one transaction, under the number that it
has among the bookings of its month. Whoever comes second with the same number is told so, and nothing is doubled.
Exact figures are kept as text (``numerator/denominator``), cents as whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, Protocol

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import AllocationLine, Booking, InvoiceLine, LineKey, Path
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
CLOSE_POSTGRES: Final[tuple[str, ...]] = tuple(
    script.replace(" STRICT, WITHOUT ROWID", "")
    .replace(" STRICT", "")
    .replace("INTEGER", "bigint")
    .replace("TEXT", "text")
    for script in CLOSE_SCHEMA
)
"""The same room in PostgreSQL."""


Act = Callable[[Any], Any]
"""Something to do with a cursor, of sqlite3 or of psycopg."""
Session = Callable[[Act], Any]
"""Runs an act in one transaction, or over one consistent state; it may run it again when a connection was lost."""


class AlreadyBookedError(Exception):
    """Another process booked this number of this month first; what it wrote stands."""


class CloseStore(Protocol):
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


class SqlCloseStore:
    """The book in tables of a SQL database, see :func:`sqlite_book`."""

    def __init__(self, write: Session, read: Session, *, mark: str = "?") -> None:
        """Use sessions of a database with the tables of ``CLOSE_SCHEMA``; ``mark`` is its placeholder."""
        self._write = write
        self._read = read
        self._mark = mark
        self._one = f"month = {mark} AND sequence = {mark}"

    def add(self, booking: Booking) -> None:
        """See :meth:`CloseBook.add`."""
        b, name = booking, (booking.month, booking.sequence)
        head = (*name, b.booked_in, b.at, b.by, b.forced, b.through, b.facts, b.rate_card, b.rounding)
        lines, leaves = [], []
        for number, line in enumerate(booking.lines):
            exact = (str(line.usage), str(line.quantity), str(line.cost), line.cents, int(line.lower_bound))
            lines.append((*name, number, *line.key, line.unit, *exact))
            leaves += [(*name, number, *leaf.path, leaf.cents, leaf.confidence.value) for leaf in line.leaves]

        def act(cursor: Any) -> None:
            cursor.execute(f"INSERT INTO close_booking VALUES ({self._marks(len(head))}) ON CONFLICT DO NOTHING", head)
            if cursor.rowcount == 1:
                self._insert(cursor, "close_line", lines)
                self._insert(cursor, "close_leaf", leaves)
            elif self._rows(cursor, f"SELECT * FROM close_booking WHERE {self._one}", name) != [head]:
                raise AlreadyBookedError(f"booking {b.sequence} of this month was written meanwhile; try again")

        self._write(act)

    def _insert(self, cursor: Any, table: str, rows: Sequence[tuple[object, ...]]) -> None:
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
        rows = self._answer("SELECT month FROM close_booking WHERE sequence = 0 ORDER BY month")
        return tuple(month for (month,) in rows)

    def keep_statement(self, month: int, statement: Mapping[str, object]) -> None:
        """See :meth:`CloseBook.keep_statement`."""
        text = json.dumps(statement, sort_keys=True)

        def act(cursor: Any) -> None:
            cursor.execute(f"DELETE FROM close_statement WHERE month = {self._mark}", (month,))
            cursor.execute(f"INSERT INTO close_statement VALUES ({self._marks(2)})", (month, text))

        self._write(act)

    def statement(self, month: int) -> dict[str, Any] | None:
        """See :meth:`CloseBook.statement`."""
        rows = self._answer(f"SELECT statement FROM close_statement WHERE month = {self._mark}", (month,))
        found: dict[str, Any] | None = json.loads(rows[0][0]) if rows else None
        return found

    def _answer(self, query: str, params: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._read(lambda cursor: self._rows(cursor, query, params))
        return rows

    @staticmethod
    def _rows(cursor: Any, query: str, params: tuple[object, ...]) -> list[tuple[Any, ...]]:
        cursor.execute(query, params)
        return list(cursor.fetchall())

    def _bookings(self, where: str, params: tuple[int, ...]) -> tuple[Booking, ...]:
        def act(cursor: Any) -> tuple[Booking, ...]:
            heads = self._rows(cursor, f"SELECT * FROM close_booking WHERE {where} ORDER BY month, sequence", params)
            found: list[Any] = [(*head, self._lines(cursor, (head[0], head[1]))) for head in heads]
            return tuple(Booking(*row) for row in found)

        found: tuple[Booking, ...] = self._read(act)
        return found

    def _lines(self, cursor: Any, name: tuple[int, int]) -> tuple[InvoiceLine, ...]:
        leaves: dict[int, list[AllocationLine]] = {}
        columns = "line, project_id, branch_id, tenant, cents, confidence"
        for row in self._rows(cursor, f"SELECT {columns} FROM close_leaf WHERE {self._one}", name):
            leaves.setdefault(row[0], []).append(AllocationLine(Path(*row[1:4]), row[4], Confidence(row[5])))
        columns = "line, org_id, kind, component, plan, rate, unit, usage, quantity, cost, cents, lower_bound"
        rows = self._rows(cursor, f"SELECT {columns} FROM close_line WHERE {self._one} ORDER BY line", name)
        # Sorted here: a database sorts names by its collation, we by code point.
        return tuple(_line(row, sorted(leaves.get(row[0], ()), key=lambda leaf: leaf.path)) for row in rows)


def _line(row: Sequence[Any], leaves: Iterable[AllocationLine]) -> InvoiceLine:
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


def sqlite_book(store: Store) -> SqlCloseStore:
    """The book in the agent's own file (room ``close``)."""

    def write(act: Act) -> Any:
        with store.transaction() as cursor:
            return act(cursor)

    def read(act: Act) -> Any:
        with store.snapshot() as cursor:
            return act(cursor)

    return SqlCloseStore(write, read)


def postgres_book(write: Session, read: Session) -> SqlCloseStore:
    """The book in PostgreSQL (tables of ``CLOSE_POSTGRES``), with the sessions of a ``postgres_link.Link``."""
    return SqlCloseStore(write, read, mark="%s")
