"""Stored bytes without a unit: found out from the figures alone, noted without touching them, corrected when closed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cost.allocation.costs import Costs
from exporter.cost.closing.close import Closer
from exporter.cost.closing.store import CLOSE_SCHEMA, sqlite_closes
from exporter.cost.unit_repair import settle_units
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.units import BYTE_HOURS, BYTE_MONTHS, ROOT_METRIC, Bucket, UnitWalk
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.exporter.storage.ledger.test_ledger_postgres import fresh as fresh  # noqa: PLC0414 - a fixture
from tests.exporter.storage.ledger.test_ledger_postgres import ledger as postgres_ledger  # noqa: F401 - a fixture

CARD, GB = load(), 10**9
USD = Fraction("0.35")
JUNE, JULY, AUGUST = (day_seconds(f"2026-{month}-01") for month in ("06", "07", "08"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA, "close": CLOSE_SCHEMA})
    yield opened
    opened.close()


def told(size: int, unit: str) -> int:
    """What the API says of an hour of so many bytes."""
    return size if unit == BYTE_HOURS else (size + 372) // 744


def facts(
    start: int, end: int, changed: int, *, project: str = "p1", size: int = 744 * GB, unit: str = ""
) -> list[UsageFact]:
    """Hours of a root branch and of its project, in byte-hours until a day and in byte-months from then."""
    return [
        UsageFact("org", project, branch, at, "hourly", "launch", ROOT_METRIC,
                  told(size, BYTE_HOURS if at < changed else BYTE_MONTHS), at + HOUR, unit)
        for at in range(start, end, HOUR)
        for branch in ("", f"br-{project}")
    ]  # fmt: skip


def cost(ledger: Ledger, at: int) -> Fraction:
    return Costs(ledger, lambda start, end: (), CARD).month(at, at + 90 * DAY).pricing.total


def whole(hours: int) -> Fraction:
    """Dollars of 744 GB for so many hours."""
    return Fraction(hours) * USD


@pytest.mark.parametrize("changed", [JUNE + 3 * DAY + 5 * HOUR, JULY, JULY + 12 * DAY + 7 * HOUR])
def test_a_ledger_of_both_units_is_priced_right_after_the_repair(store: Store, changed: int) -> None:
    ledger = SqliteLedger(store)
    end = JULY + 20 * DAY
    ledger.put(facts(JUNE, end, changed), read_through={"org": end})
    before = [fact._replace(unit="") for fact in ledger.stored()]
    noted = settle_units(ledger, "org", {"p1": 744 * GB}, end + 600)
    assert noted == len(before)
    assert [fact._replace(unit="") for fact in ledger.stored()] == before, "figures stay as they were reported"
    units = {fact.start: fact.unit for fact in ledger.stored()}
    assert all(unit == (BYTE_HOURS if at < changed else BYTE_MONTHS) for at, unit in units.items())
    assert cost(ledger, JUNE) == whole(30 * 24) and cost(ledger, JULY) == whole(20 * 24)
    assert ledger.holdings().mismatches == 0 and ledger.holdings().doubled == 0
    assert settle_units(ledger, "org", {"p1": 744 * GB}, end + 600) == 0


def test_postgresql_repairs_the_same(postgres_ledger: Ledger) -> None:  # noqa: F811 - the fixture
    changed, end = JULY + 2 * DAY + 7 * HOUR, JULY + 4 * DAY
    postgres_ledger.put(facts(JULY, end, changed), read_through={"org": end})
    assert settle_units(postgres_ledger, "org", {"p1": 744 * GB}, end + 600) == 2 * 96
    assert {(fact.unit, fact.start < changed) for fact in postgres_ledger.stored()} == {
        (BYTE_HOURS, True), (BYTE_MONTHS, False)}  # fmt: skip
    assert cost(postgres_ledger, JULY) == whole(96)
    assert postgres_ledger.holdings().mismatches == 0


def test_the_repair_of_a_closed_month_is_a_correction(store: Store) -> None:
    """July was closed by the dates of the card, which say byte-months; the account went on with byte-hours."""
    ledger = SqliteLedger(store)
    end, size = AUGUST + 2 * DAY, 7440 * 10**6
    ledger.put(facts(JULY, end, AUGUST, size=size), read_through={"org": end})
    closer = Closer(sqlite_closes(store), Costs(ledger, lambda start, end: (), CARD))
    booked = closer.close(JULY, end)
    assert booked.cents == round(whole(744) * 744 / 100 * 100), "as if each byte-hour were a byte-month"
    assert settle_units(ledger, "org", {"p1": size}, end)
    right = round(whole(744) / 100 * 100)
    correction = Closer(sqlite_closes(store), Costs(ledger, lambda start, end: (), CARD)).book_corrections(JULY, end)
    assert correction is not None and booked.cents + correction.cents == right
    assert correction.is_correction and correction.booked_in == AUGUST


def test_a_file_of_before_units_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Store.open(path, {"ledger": LEDGER_SCHEMA[:2]})
    with old.transaction() as cursor:
        cursor.execute("INSERT INTO ledger_series VALUES (7, 'org', 'p1', '', ?, 'hourly', 'launch')", (ROOT_METRIC,))
        cursor.execute("INSERT INTO ledger_usage VALUES (?, 7, ?, ?)", (AUGUST, GB, AUGUST + HOUR))
        cursor.execute("INSERT INTO ledger_day VALUES (?, 7, ?)", (AUGUST, GB))
        cursor.execute("INSERT INTO ledger_revision VALUES (?, 1)", (AUGUST,))
    old.close()
    store = Store.open(path, {"ledger": LEDGER_SCHEMA})
    try:
        ledger = SqliteLedger(store)
        (fact,) = ledger.stored()
        assert (fact.value, fact.unit) == (GB, "")
        assert cost(ledger, AUGUST) == USD, "by date: a byte-month"
        assert ledger.put([fact._replace(value=2 * GB, observed_at=AUGUST + 2 * HOUR, unit=BYTE_MONTHS)]).moved == 1
        assert cost(ledger, AUGUST) == 2 * USD, "read again in a known unit, the bucket is still one"
        with store.snapshot() as cursor:
            assert not cursor.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        store.close()


sizes = st.lists(st.integers(30_000_000, 10**13), min_size=1, max_size=4)


@settings(max_examples=60)
@given(sizes, st.integers(0, 60), st.floats(0.7, 1.4), st.integers(0, 3599))
def test_the_unit_is_found_wherever_the_change_is(sizes: list[int], back: int, growth: float, second: int) -> None:
    """Projects of any size that grow or shrink from hour to hour: the hour of the change is the hour of the change."""
    now = JULY + 30 * DAY + second
    hours = range(now // HOUR * HOUR - 60 * HOUR, now // HOUR * HOUR, HOUR)
    changed = hours[-1] + HOUR - back * HOUR
    buckets = []
    for number, size in enumerate(sizes):
        held = Fraction(size)
        for at in reversed(hours):
            unit = BYTE_HOURS if at < changed else BYTE_MONTHS
            buckets.append(Bucket(f"p{number}", "hourly", at, told(int(held), unit)))
            held = max(Fraction(30_000_000), min(Fraction(10**13), held * Fraction(growth)))
    walk = UnitWalk({f"p{number}": size for number, size in enumerate(sizes)}, now)
    found = walk.units(buckets)
    assert all(unit == (BYTE_HOURS if at < changed else BYTE_MONTHS) for (_, at), unit in found.items())
    assert walk.evidence.unit == (BYTE_HOURS if back == 0 else BYTE_MONTHS)


def test_a_project_that_dropped_its_data_is_no_change_of_unit() -> None:
    now = day_seconds("2026-11-20")
    buckets = [
        Bucket("p", "hourly", at, told(30_000_000 if at >= now - 5 * HOUR else 22 * GB, BYTE_MONTHS))
        for at in range(now - 50 * HOUR, now, HOUR)
    ]
    assert set(UnitWalk({"p": 30_000_000}, now).units(buckets).values()) == {BYTE_MONTHS}
