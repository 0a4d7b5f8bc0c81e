"""A file that commit 11e5d90 wrote: today's stores read all of it back, and a new file has the same tables.

``store_of_11e5d90.sql`` is the dump of a file into which the stores of that commit wrote a few rows each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.base import Status
from collectors.postgres.domain.fingerprint import ObjectKey
from collectors.postgres.domain.migrations import Lock, Migration
from collectors.postgres.domain.security import TenantNames
from collectors.postgres.domain.settings import Setting
from exporter.app.features import SCHEMAS
from exporter.cost.closing.store import sqlite_closes
from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import AllocationLine, InvoiceLine, LineKey
from exporter.cost.domain.close import Path as CostPath
from exporter.cost.outlook.store import ForecastStore, StoredForecast
from exporter.cost.savings.store import StoredWaste, WasteStore
from exporter.drift.store import HistoryStore, SettingsStore
from exporter.posture.store import DAY, DayState, FactKey, PostureStore
from exporter.sampling import awake_store
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.awake_shares import AwakeHolder, AwakeState
from exporter.sampling.fingerprint_store import FingerprintStore
from exporter.sampling.wake_states import WAKE_STATES
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

DUMP = Path(__file__).with_name("store_of_11e5d90.sql").read_text("utf-8")
MONTH = 1793491200
KEY = DatabaseRef("p1", "br1", "app")


def restore(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(restore(tmp_path / "old.db"), SCHEMAS)) as opened:
        yield opened


def columns_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Name, type, NOT NULL and place in the primary key of each column, by table."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            table: [(row[1], row[2], row[3], row[5]) for row in connection.execute(f"PRAGMA table_info({table})")]
            for table in tables
        }


def test_an_opened_file_has_the_tables_of_a_new_one(store: Store, tmp_path: Path) -> None:
    Store.open(tmp_path / "new.db", SCHEMAS).close()
    assert columns_of(store.path) == columns_of(tmp_path / "new.db")


def test_wake_states_and_key_values(store: Store) -> None:
    assert WAKE_STATES.all(store) == {"ep-a": {"endpoint_id": "ep-a", "own_end": 1795410590.25}}
    assert KeyValueStore(store).read("names", "all") == {"p1": "shop", "br1": "main"}


def test_fingerprints(store: Store) -> None:
    fingerprints = FingerprintStore(store)
    found = fingerprints.read(KEY)
    assert found is not None
    assert (found.pg_major, found.database, found.taken_at) == (18, "app", 1795410600.5)
    assert found.objects[ObjectKey("column", "shop", "orders.id")] == ("c1", "c2", "bigint|not null")
    assert fingerprints.of_branch("p1", "br1") == {"app": found}
    assert fingerprints.of_branch("p1", "br2") == {}
    summary = fingerprints.summaries()[KEY]
    assert (summary.digest, summary.digests) == (found.digest, {"shop": "d1r1"})
    assert summary.extensions == {"citext": "1.6"}
    assert fingerprints.since() == {KEY: ("parent", 1795410000.0)}


def test_an_unchanged_fingerprint_gets_its_new_time_only(store: Store) -> None:
    fingerprints = FingerprintStore(store)
    found = fingerprints.read(KEY)
    assert found is not None
    with store.transaction() as cursor:
        cursor.execute("UPDATE drift_print SET pg_major = 17")
    fingerprints.write(KEY, found)
    with store.snapshot() as cursor:
        assert cursor.execute("SELECT pg_major FROM drift_print").fetchone() == (17,)


def test_histories_and_settings(store: Store) -> None:
    histories = HistoryStore(store).all()[KEY]
    flyway, rails = histories.facts.histories
    assert flyway.migrations == (Migration("1", "123", "applied", 1795400000.0), Migration("2", None, "failed", None))
    assert (flyway.table, flyway.digest, flyway.rolled_back) == ("flyway_schema_history", "dg", 1)
    assert (rails.schema, rails.status) == ("shop", Status.NO_PRIVILEGE)
    assert histories.facts.locks == (Lock("flyway", "public", 3.5, "ann"),)
    assert (histories.taken_at, histories.vanished) == (1795410601.0, {("rails", "shop"): 2})
    settings = SettingsStore(store).all()["p1", "br1", "ep-a"]
    assert settings.facts.settings["work_mem"] == Setting("8192", "h", "kB", "integer", True)
    assert settings.facts.settings["secret"].value is None
    assert (settings.facts.roles, settings.taken_at) == ({"app": "LOGIN"}, 1795410602.0)


def test_posture(store: Store) -> None:
    posture = PostureStore(store)
    fact = posture.facts()[FactKey("names", "p1/br1/app")]
    assert (fact.taken_at, fact.as_(TenantNames)) == (1795410603.0, TenantNames({"public": "owner"}, ("owner",)))
    assert posture.since() == {"rls/p1/br1/app": 1795410604.0}
    failures = {"rls/p1/br1/app": ("rls", "p1/br1/app", "no policy")}
    assert posture.day_before(1795410605.0 + DAY) == DayState(1795410605.0, failures)
    assert posture.day_before(1795410605.0) is None


def test_money(store: Store) -> None:
    forecast = StoredForecast(
        MONTH, "org-1/p1", 1795410606, 1795406400, Fraction(1, 3), Fraction(2), Fraction(7, 2), "high"
    )
    assert ForecastStore(store).first(MONTH) == {"org-1/p1": forecast}
    findings = WasteStore(KeyValueStore(store)).of(MONTH)
    assert findings is not None
    command = "neonctl branches delete br1"
    waste = ("idle", "p1", "br1", Fraction(9, 7), "no query for 30 days", "delete it", command, "measured")
    assert (findings.cost, findings.found) == (Fraction(100), (StoredWaste(*waste),))
    closes = sqlite_closes(store)
    (booking,) = closes.of(MONTH)
    assert (booking.sequence, booking.at, booking.by, booking.rounding) == (0, 1795410608, "ann", "half_up")
    allocations = (AllocationLine(CostPath("p1", "br1", "acme"), 32, Confidence.EXACT),)
    key = LineKey("org-1", "usage", "compute_unit_seconds", "launch", "0.16")
    assert booking.lines == (InvoiceLine(key, "CU-hour", 7200, Fraction(2), Fraction(8, 25), 32, False, allocations),)
    assert (closes.months(), closes.booked_in(MONTH), closes.statement(MONTH)) == ((MONTH,), (), {"total_cents": 32})
    closes.add(booking)
    assert closes.of(MONTH) == (booking,)


def test_awake_time(store: Store) -> None:
    records, totals, hours, looked_at = awake_store.load(store)
    assert looked_at == 1795410609000000
    record = awake_store.AwakeRecord(
        "ep-a", "p1", "br1", AwakeState(5, 6, True, True, 9, 8), plan="launch", least_cu="0.25", most_cu="2",
        suspend_after=300.0, added=4, added_pico=12,
    )  # fmt: skip
    holder = AwakeHolder("session", "app", "web")
    assert records == {"ep-a": record}
    assert totals == {"ep-a": {holder: 1500}}
    assert hours == {"ep-a": {1795406400: {holder: 1000}, 1795410000: {holder: 500}}}
    with store.transaction() as cursor:
        awake_store.save(cursor, record, [(1795410000, holder, 7), (1795410000, holder, 1)])
        awake_store.forget_hours(cursor, 1795410000)
    assert awake_store.load(store)[1:3] == ({"ep-a": {holder: 1508}}, {"ep-a": {1795410000: {holder: 508}}})
