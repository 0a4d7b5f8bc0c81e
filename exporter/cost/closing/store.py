"""The closed months: stored beside the usage they were worked out from, and never rewritten.

One implementation for SQLite and PostgreSQL: a booking is written whole in one transaction, under the number that it
has among the bookings of its month. A second writer with the same number gets an error, and nothing is doubled.
Exact figures are stored as text (``numerator/denominator``), cents as whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from collectors.errors import FINDINGS, NeonmeterError
from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import AllocationLine, Booking, InvoiceLine, LineKey, Path
from exporter.storage.store import Store
from exporter.storage.tables import Cursor, Table

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
"""The part ``close`` of the store. Each entry is one released migration."""
CLOSE_POSTGRES: Final[tuple[str, ...]] = tuple(
    script.replace(" STRICT, WITHOUT ROWID", "")
    .replace(" STRICT", "")
    .replace("INTEGER", "bigint")
    .replace("TEXT", "text")
    for script in CLOSE_SCHEMA
)
"""The same tables in PostgreSQL."""


Act = Callable[[Any], Any]
"""Something to do with a cursor, of sqlite3 or of psycopg."""
Session = Callable[[Act], Any]
"""Runs an act in one transaction, or over one consistent state; it may run it again when a connection was lost."""

_BOOKING: Final = ("month", "sequence")
_Number = tuple[int, int]
"""Month and sequence of a booking."""
_BOOKINGS: Final[Table[_Number, Booking]] = Table(
    "close_booking",
    _BOOKING,
    ("booked_in", "booked_at", "booked_by", "forced", "data_through", "facts", "rate_card", "rounding"),
    lambda made: (made.booked_in, made.at, made.by, made.forced, made.through, made.facts, made.rate_card,
                  made.rounding),
    lambda number, booked_in, at, by, forced, through, facts, card, rounding: Booking(
        number[0], number[1], booked_in, at, by, forced, through, facts, card, rounding, ()
    ),
    lambda *number: number,
)  # fmt: skip
_LINES: Final[Table[tuple[int, int, int], InvoiceLine]] = Table(
    "close_line",
    (*_BOOKING, "line"),
    ("org_id", "kind", "component", "plan", "rate", "unit", "usage", "quantity", "cost", "cents", "lower_bound"),
    lambda line: (*line.key, line.unit, str(line.usage), str(line.quantity), str(line.cost), line.cents,
                  int(line.lower_bound)),
    lambda _, *columns: _line(*columns),
    lambda *line: line,
)  # fmt: skip
_ALLOCATIONS: Final[Table[tuple[int, int, int, str, str, str], AllocationLine]] = Table(
    "close_leaf",
    (*_BOOKING, "line", "project_id", "branch_id", "tenant"),
    ("cents", "confidence"),
    lambda part: (part.cents, part.confidence.value),
    lambda key, cents, confidence: AllocationLine(Path(*key[3:]), cents, Confidence(confidence)),
    lambda *key: key,
)
_STATEMENTS: Final[Table[int, Mapping[str, Any]]] = Table(
    "close_statement",
    ("month",),
    ("statement",),
    lambda statement: (json.dumps(statement, sort_keys=True),),
    lambda _, statement: json.loads(statement),
    int,
)


class AlreadyBookedError(NeonmeterError):
    """Another process booked this number of this month first; what it wrote stands."""

    exit_code = FINDINGS


class CloseStore:
    """Bookings and reconciliations in SQLite or PostgreSQL; what ``add`` has written is never changed.

    See :func:`sqlite_closes` and :func:`postgres_closes`.
    """

    def __init__(self, write: Session, read: Session) -> None:
        """Use sessions of a database with the tables of ``CLOSE_SCHEMA``."""
        self._write = write
        self._read = read

    def add(self, booking: Booking) -> None:
        """Write a booking whole, or nothing.

        Raises:
            AlreadyBookedError: its month has another booking of that number.
        """
        number = (booking.month, booking.sequence)
        lines = [((*number, place), line) for place, line in enumerate(booking.lines)]
        allocations = [((*key, *part.path), part) for key, line in lines for part in line.allocations]

        def act(cursor: Cursor) -> None:
            if _BOOKINGS.add(cursor, [(number, booking)]):
                _LINES.add(cursor, lines)
                _ALLOCATIONS.add(cursor, allocations)
            elif _BOOKINGS.get(cursor, number) != replace(booking, lines=()):
                raise AlreadyBookedError(f"booking {booking.sequence} of this month was written meanwhile; try again")

        self._write(act)

    def of(self, month: int) -> tuple[Booking, ...]:
        """The close of a month and its corrections, in their order; empty while it is open."""
        return self._bookings(lambda cursor: _BOOKINGS.all(cursor, month).values())

    def booked_in(self, month: int) -> tuple[Booking, ...]:
        """The corrections of earlier months that the statement of this month shows."""

        def corrections(cursor: Cursor) -> Iterable[Booking]:
            bookings = _BOOKINGS.all(cursor).values()
            return (booking for booking in bookings if booking.booked_in == month and booking.is_correction)

        return self._bookings(corrections)

    def months(self) -> tuple[int, ...]:
        """The closed months, oldest first."""
        bookings: Iterable[_Number] = self._read(_BOOKINGS.all)
        return tuple(sorted(month for month, sequence in bookings if sequence == 0))

    def save_statement(self, month: int, statement: Mapping[str, object]) -> None:
        """Replace the newest reconciliation of a closed month."""
        self._write(lambda cursor: _STATEMENTS.put(cursor, [(month, statement)]))

    def statement(self, month: int) -> dict[str, Any] | None:
        """The newest reconciliation of a month, or None."""
        found: dict[str, Any] | None = self._read(lambda cursor: _STATEMENTS.get(cursor, month))
        return found

    def _bookings(self, select: Callable[[Cursor], Iterable[Booking]]) -> tuple[Booking, ...]:
        def act(cursor: Cursor) -> tuple[Booking, ...]:
            heads = sorted(select(cursor), key=lambda booking: (booking.month, booking.sequence))
            return tuple(replace(booking, lines=_lines(cursor, booking)) for booking in heads)

        found: tuple[Booking, ...] = self._read(act)
        return found


def _lines(cursor: Cursor, booking: Booking) -> tuple[InvoiceLine, ...]:
    number = (booking.month, booking.sequence)
    allocations: dict[int, list[AllocationLine]] = {}
    # Sorted here: a database sorts names by its collation, we by code point.
    for key, allocation in sorted(_ALLOCATIONS.all(cursor, *number).items()):
        allocations.setdefault(key[2], []).append(allocation)
    lines = sorted(_LINES.all(cursor, *number).items())
    return tuple(replace(line, allocations=tuple(allocations.get(key[2], ()))) for key, line in lines)


def _line(*columns: Any) -> InvoiceLine:
    usage, quantity, cost, cents, lower_bound = columns[6:]
    exact = (int(usage), Fraction(quantity), Fraction(cost))
    return InvoiceLine(LineKey(*columns[:5]), columns[5], *exact, cents, bool(lower_bound))


def sqlite_closes(store: Store) -> CloseStore:
    """Closed months in the agent's own file (part ``close``)."""

    def write(act: Act) -> Any:
        with store.transaction() as cursor:
            return act(cursor)

    def read(act: Act) -> Any:
        with store.snapshot() as cursor:
            return act(cursor)

    return CloseStore(write, read)


def postgres_closes(write: Session, read: Session) -> CloseStore:
    """Closed months in PostgreSQL (tables of ``CLOSE_POSTGRES``), with the sessions of a ``postgres_link.Link``."""
    return CloseStore(write, read)
