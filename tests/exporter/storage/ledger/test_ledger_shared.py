"""What only a ledger that several programs share must do: two writers, lost connections, newer and older programs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from exporter.demo.postgres import Cluster
from exporter.storage.ledger.cost_counters import CounterKey
from exporter.storage.ledger.postgres import PostgresLedger
from exporter.storage.ledger.postgres_link import LOCK
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store, StoreError
from tests.exporter.storage.ledger.ledger_contract import DAY, HOUR, T0, fact
from tests.exporter.storage.ledger.test_ledger_postgres import Fresh, maker, opened
from tests.fix_postgres import PASSWORD, cluster

EVER = 2**40


@pytest.fixture
def pair(postgres18: Cluster) -> Iterator[tuple[PostgresLedger, PostgresLedger]]:
    """One ledger as two programs see it."""
    with ExitStack() as stack:
        one = stack.enter_context(maker(postgres18)())
        other = opened(postgres18)
        stack.callback(other.close)
        yield one, other


def in_threads(*acts: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as problem:
            failures.append(problem)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_two_agents_that_read_the_same_write_it_once(pair: tuple[PostgresLedger, PostgresLedger]) -> None:
    def write(ledger: PostgresLedger, seed: int) -> Callable[[], None]:
        def act() -> None:
            hours = list(range(24)) * 2
            random.Random(seed).shuffle(hours)
            for hour in hours:
                ledger.put([fact(hour + n, T0 + DAY, start=T0 + hour * HOUR, branch=f"b{n}") for n in range(20)])

        return act

    in_threads(write(pair[0], 1), write(pair[1], 2))
    for ledger in pair:
        assert sum(f.value for f in ledger.priceable(T0, T0 + DAY)) == sum(h + n for h in range(24) for n in range(20))
        assert ledger.tally() == {"facts": 480, "corrections": 0}
        assert ledger.holdings().mismatches == ledger.holdings().doubled == 0


def test_a_plan_that_the_other_agent_saw_first(pair: tuple[PostgresLedger, PostgresLedger]) -> None:
    one, other = pair
    one.put([fact(30, T0 + 60)])
    other.put([fact(30, T0 + 120, plan="scale_v3")])
    one.put([fact(30, T0 + 60)])
    assert [(f.plan, f.value) for f in one.usage(T0, T0 + HOUR)] == [("scale_v3", 30)]
    one.put([fact(40, T0 + 180, plan="launch_v3")])
    assert [(f.plan, f.value) for f in other.usage(T0, T0 + HOUR)] == [("launch_v3", 40)]


def test_counters_of_two_agents_are_the_cost_once(pair: tuple[PostgresLedger, PostgresLedger]) -> None:
    keys = [CounterKey("p", f"b{n}", "compute") for n in range(50)]

    def price(ledger: PostgresLedger) -> Callable[[], None]:
        return lambda: [ledger.advance(T0, dict.fromkeys(keys, cost)) for cost in range(0, 500, 25)] and None

    in_threads(price(pair[0]), price(pair[1]))
    for counted in pair[0].advance(T0, dict.fromkeys(keys, 500)).values():
        assert counted.counted - counted.adjusted == 500
        assert counted.counted >= 500


def test_a_lost_connection_is_opened_anew(pair: tuple[PostgresLedger, PostgresLedger], postgres18: Cluster) -> None:
    ledger, _ = pair
    ledger.put([fact(1, T0)])
    ledger.usage(0, EVER)
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'neonmeter ledger'"
        assert connection.execute(query).rowcount >= 2
    assert ledger.put([fact(2, T0 + 60)]).grown == 1
    assert [f.value for f in ledger.usage(0, EVER)] == [2]


@pytest.mark.fault("disk: the PostgreSQL ledger is away")
def test_a_server_that_is_away_says_so_and_is_back_by_itself() -> None:
    with cluster(18) as server:
        ledger = opened(server)
        ledger.put([fact(1, T0)])
        server.stop("immediate")
        for _ in range(2):
            with pytest.raises(StoreError, match=r"ledger\.url: .*is the server of ledger\.url up") as told:
                ledger.put([fact(2, T0 + 60)])
            assert PASSWORD not in str(told.value)
        server.start()
        ledger.link._down_until = 0.0  # as if ten seconds had gone
        assert ledger.put([fact(2, T0 + 60)]).grown == 1
        ledger.close()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"password": "wrong"}, "check ledger.password"),
        ({"url": "postgresql://cloud_admin@127.0.0.1:{port}/nothing"}, "create the database"),
        ({"password": None, "password_file": Path("/nowhere/secret")}, "ledger.password_file: /nowhere/secret"),
        ({"url": "postgresql://stranger@127.0.0.1:{port}/postgres"}, "grant it to the user in ledger.url"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(postgres18: Cluster, changes: dict[str, object], problem: str) -> None:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        with suppress(psycopg.errors.DuplicateObject):
            connection.execute(f"CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
    changes = {key: v.format(port=postgres18.port) if isinstance(v, str) else v for key, v in changes.items()}
    ledger = opened(postgres18, **changes)
    with pytest.raises(StoreError, match=problem) as told:
        ledger.put([fact(1, T0)])
    assert PASSWORD not in str(told.value)
    ledger.close()


def test_a_newer_ledger_is_refused_and_a_reader_makes_none(fresh: Fresh, postgres18: Cluster) -> None:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
        reader = opened(postgres18, read_only=True)
        with pytest.raises(StoreError, match="start `neonmeter run` once"):
            reader.through()
        with fresh() as ledger:
            ledger.put([fact(1, T0)])
            reader.link._down_until = 0.0
            assert len(reader.usage(0, EVER)) == 1
            with pytest.raises(StoreError, match="reading only"):
                reader.put([fact(1, T0)])
            reader.close()
            connection.execute("UPDATE neonmeter.room SET version = version + 1")
            with pytest.raises(StoreError, match="newer neonmeter"):
                opened(postgres18).put([fact(1, T0)])
            connection.execute("UPDATE neonmeter.room SET version = version - 1")


@pytest.fixture
def fresh(postgres18: Cluster) -> Fresh:
    return maker(postgres18)


def test_a_writer_that_froze_with_the_lock_stops_nobody_for_ever(fresh: Fresh, postgres18: Cluster) -> None:
    with fresh() as ledger, psycopg.connect(postgres18.conninfo()) as frozen:
        ledger.put([fact(1, T0)])
        frozen.execute("SET idle_in_transaction_session_timeout = '1s'")
        frozen.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        assert ledger.put([fact(2, T0 + 60)]).grown == 1
        with suppress(psycopg.Error):
            frozen.rollback()


def test_agents_that_start_together_make_the_tables_once(postgres18: Cluster) -> None:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
    ledgers = [opened(postgres18) for _ in range(4)]
    in_threads(*(lambda ledger=entry: ledger.put([fact(1, T0)]) for entry in ledgers))  # type: ignore[misc]
    assert [len(list(postgres_ledger.stored())) for postgres_ledger in ledgers] == [1] * 4
    for postgres_ledger in ledgers:
        postgres_ledger.close()


def test_a_rolled_back_series_is_not_remembered(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
    ledger = SqliteLedger(store)
    with store.transaction() as cursor:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="the disk is full: free space"):
        ledger.put([fact(n, T0, branch=f"b{n}") for n in range(5000)])
    assert list(ledger.stored()) == []
    with store.transaction() as cursor:
        cursor.execute("PRAGMA max_page_count = 1000000")
    assert ledger.put([fact(n, T0, branch=f"b{n}") for n in range(5000)]).new == 5000
    assert ledger.holdings().mismatches == 0
    store.close()
