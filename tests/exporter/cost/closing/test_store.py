"""Where closed months are kept: the same promises in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path as File

import psycopg
import pytest

from exporter.cost.closing.store import (
    CLOSE_POSTGRES,
    CLOSE_SCHEMA,
    AlreadyBookedError,
    CloseStore,
    postgres_closes,
    sqlite_closes,
)
from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import USAGE, AllocationLine, Booking, InvoiceLine, LineKey, Path
from exporter.demo.postgres import Cluster
from exporter.pricing.domain.calendar import day_seconds
from exporter.storage.ledger.postgres_link import PostgresConnection
from exporter.storage.store import Store
from tests.fix_postgres import PASSWORD

OCTOBER, NOVEMBER = day_seconds("2026-10-01"), day_seconds("2026-11-01")
LINE = InvoiceLine(
    LineKey("org-1", USAGE, "compute", "launch_v3", "0.106"),
    "CU-hour",
    10**19,
    Fraction(10, 3),
    Fraction(1, 3),
    33,
    lower_bound=True,
    allocations=(
        AllocationLine(Path("P", "b", "z"), 3, Confidence.MEASURED),
        AllocationLine(Path("p", "B", "a"), 20, Confidence.SAMPLED),
        AllocationLine(Path("p", "b", "__idle__"), 10, Confidence.DECLARED),
    ),
)
CREDIT = InvoiceLine(LineKey("org-1", "Credit", "Start, up"), "", 0, Fraction(1), Fraction("-0.5"), -50)
CLOSE = Booking(OCTOBER, 0, OCTOBER, NOVEMBER, "ana", "", NOVEMBER, "f" * 64, "card", "half_up", (LINE, CREDIT))
FIX = replace(CLOSE, sequence=1, booked_in=NOVEMBER, lines=(replace(LINE, cents=-3, allocations=()),))


@pytest.fixture
def sqlite(tmp_path: File) -> Iterator[CloseStore]:
    store = Store.open(tmp_path / "neonmeter.db", {"close": CLOSE_SCHEMA})
    yield sqlite_closes(store)
    store.close()


@pytest.fixture
def postgres(postgres18: Cluster) -> Iterator[CloseStore]:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
    parameters = {
        "host": "127.0.0.1",
        "port": str(postgres18.port),
        "user": "cloud_admin",
        "password": PASSWORD,
        "dbname": "postgres",
    }
    link = PostgresConnection(lambda: parameters, {"close": CLOSE_POSTGRES})
    yield postgres_closes(link.write, link.read)
    link.close()


@pytest.fixture(params=["sqlite", "postgres"])
def book(request: pytest.FixtureRequest) -> CloseStore:
    kept: CloseStore = request.getfixturevalue(request.param)
    return kept


def test_what_was_booked_comes_back_as_it_was(book: CloseStore) -> None:
    assert book.months() == book.of(OCTOBER) == book.booked_in(NOVEMBER) == ()
    assert book.statement(OCTOBER) is None
    book.add(CLOSE)
    book.add(FIX)
    book.add(replace(CLOSE, month=NOVEMBER, booked_in=NOVEMBER, forced="why, so", lines=()))
    assert book.of(OCTOBER) == (CLOSE, FIX)
    assert book.booked_in(NOVEMBER) == (FIX,)
    assert book.booked_in(OCTOBER) == ()
    assert book.months() == (OCTOBER, NOVEMBER)


def test_a_number_is_booked_once_and_the_same_again_is_no_second(book: CloseStore) -> None:
    book.add(CLOSE)
    book.add(CLOSE)
    with pytest.raises(AlreadyBookedError):
        book.add(replace(CLOSE, at=CLOSE.at + 1, lines=(LINE,)))
    assert book.of(OCTOBER) == (CLOSE,)


def test_a_statement_is_replaced_and_changes_no_row(book: CloseStore) -> None:
    book.add(CLOSE)
    book.save_statement(OCTOBER, {"variance": "1.00"})
    book.save_statement(OCTOBER, {"variance": "0.00", "lines": []})
    assert book.statement(OCTOBER) == {"variance": "0.00", "lines": []}
    assert book.of(OCTOBER) == (CLOSE,)


def test_of_many_that_close_at_once_one_does(book: CloseStore) -> None:
    lost: list[int] = []

    def close(number: int) -> None:
        try:
            book.add(replace(CLOSE, at=number))
        except AlreadyBookedError:
            lost.append(number)

    threads = [threading.Thread(target=close, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = book.of(OCTOBER)
    assert len(lost) == 4
    assert kept.at not in lost
    assert kept.lines == CLOSE.lines
