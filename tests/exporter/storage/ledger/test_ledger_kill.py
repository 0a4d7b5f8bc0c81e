"""The ledger under kill -9: nothing that was committed is lost, nothing is counted twice. All 200: make bench-kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.neon.consumption import UsageRow
from exporter.demo.postgres import Cluster
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.ledger import from_rows
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.exporter.storage.ledger.ledger_contract import T0
from tests.exporter.storage.ledger.test_ledger_postgres import emptied
from tests.exporter.storage.ledger_kills import Damage, kill, look
from tests.exporter.storage.ledger_writer import batch
from tests.fix_postgres import PASSWORD


def test_rows_of_the_consumption_reader_become_facts() -> None:
    row = UsageRow("p1", "b1", "scale_v3", T0, "hourly", "compute_unit_seconds", 9)
    assert from_rows("org", [row], 12.9) == [
        UsageFact("org", "p1", "b1", T0, "hourly", "scale_v3", "compute_unit_seconds", 9, 12)
    ]


def address(server: Cluster) -> str:
    return f"postgresql://cloud_admin:{PASSWORD}@127.0.0.1:{server.port}/postgres"


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    found = kill(str(tmp_path / "neonmeter.db"), 7, seed=1)
    assert (found.kills, found.problems()) == (7, {})


def test_kill_9_of_two_writers_on_one_ledger(postgres18: Cluster) -> None:
    emptied(postgres18)
    found = kill(address(postgres18), 4, seed=1, writers=2)
    assert (found.kills, found.problems()) == (4, {})


@pytest.mark.deep
def test_kill_9_two_hundred_times(tmp_path: Path) -> None:
    assert kill(str(tmp_path / "neonmeter.db"), 200, seed=2).problems() == {}


@pytest.mark.deep
def test_kill_9_of_two_writers_fifty_times(postgres18: Cluster) -> None:
    emptied(postgres18)
    assert kill(address(postgres18), 50, seed=2, writers=2).problems() == {}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM ledger_usage WHERE series = 3", "lost"),
        ("DELETE FROM ledger_usage WHERE series = 3 AND start = 1793491200", "half"),
        ("UPDATE ledger_usage SET value = 1 WHERE series = 3", "wrong"),
        ("UPDATE ledger_day SET value = value + 1 WHERE series = 3", "unequal"),
        ("UPDATE ledger_tally SET value = value + 40 WHERE name = 'facts'", "doubled"),
        ("UPDATE cost_series SET counted = counted + 1000000000", "off"),
    ],
)
def test_damage_would_be_seen(tmp_path: Path, change: str, problem: str) -> None:
    store = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
    try:
        book = SqliteLedger(store)
        for number in range(4):
            book.put(batch(number))
        found = Damage()
        counter = look(book, found, committed=3, counter=look(book, found, committed=3, counter=0))  # type: ignore[arg-type]
        assert found.problems() == {}
        with store.transaction() as cursor:
            cursor.execute(change)
        look(book, found, committed=3, counter=counter)
        assert found.problems().get(problem)
    finally:
        store.close()
