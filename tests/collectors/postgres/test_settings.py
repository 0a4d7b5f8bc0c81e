"""Settings on real servers: base units, a fingerprint that follows every change, and no secret among the rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import NoDataError, Reading, Result
from collectors.postgres.cluster import settings as s
from collectors.postgres.cluster.settings import SettingsCollector
from collectors.postgres.domain.settings import SettingsFacts, base_value, fingerprint
from exporter.demo.postgres import Cluster
from tests.collectors.reading import EPOCH, admin, read, until, visited

COLUMNS = ("name", "value", "unit", "vartype", "changed", "hash", "pending_restart")


@contextmanager
def altered(server: Cluster, name: str, value: str) -> Iterator[None]:
    """ALTER SYSTEM for the time of the block."""
    pending = f"SELECT pending_restart OR setting <> boot_val FROM pg_settings WHERE name = '{name}'"
    with admin(server) as connection:
        connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")
        until(connection, pending)
    try:
        yield
    finally:
        with admin(server) as connection:
            # A setting that waits for a restart stops waiting when its value is back, not when its line is gone.
            row = connection.execute(f"SELECT boot_val FROM pg_settings WHERE name = '{name}'").fetchone()
            for change in (f"SET {name} = '{row[0] if row else ''}'", f"RESET {name}"):
                connection.execute(f"ALTER SYSTEM {change}")
                connection.execute("SELECT pg_reload_conf()")
                until(connection, f"SELECT NOT ({pending})")


def facts(reading: Reading) -> SettingsFacts:
    assert isinstance(reading.facts, SettingsFacts)
    return reading.facts


async def test_values_are_in_base_units(postgres: Cluster) -> None:
    reading = await read(postgres, SettingsCollector())
    values = {labels[0]: value for labels, value in reading.families.get(s.VALUE).items()}
    expected = {
        "shared_buffers": 16 * 1024**2, "max_connections": 60, "work_mem": 4 * 1024**2, "checkpoint_timeout": 300,
        "max_wal_size": 256 * 1024**2, "deadlock_timeout": 1, "wal_sender_timeout": 60, "random_page_cost": 4,
        "autovacuum": 1, "ssl": 0, "track_io_timing": 1, "max_slot_wal_keep_size": -1, "max_replication_slots": 10,
        # The visit itself sets these for its own transaction: the server's are shown.
        "statement_timeout": 0, "lock_timeout": 0, "idle_in_transaction_session_timeout": 0,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    (info,) = reading.families.get(s.INFO)
    assert dict(zip(s.INFO_NAMES, info, strict=True)) == {
        "server_version": info[0], "wal_level": "logical", "password_encryption": "scram-sha-256",
        "synchronous_commit": "on", "ssl": "off",
    }  # fmt: skip
    with admin(postgres) as connection:
        assert info[0].split(".")[0] == str(connection.info.server_version // 10_000)
        assert ("transaction_timeout" in values) == (connection.info.server_version >= 170000)
        assert ("idle_replication_slot_timeout" in values) == (connection.info.server_version >= 180000)


async def test_a_change_moves_the_fingerprint_and_its_undoing_moves_it_back(postgres: Cluster) -> None:
    before = await read(postgres, SettingsCollector())
    with altered(postgres, "work_mem", "8MB"):
        during = await read(postgres, SettingsCollector())
    after = await read(postgres, SettingsCollector())
    assert during.families.get(s.VALUE)["work_mem",] == 8 * 1024**2
    assert facts(before).fingerprint == facts(after).fingerprint != facts(during).fingerprint
    assert set(facts(during).changed) - set(facts(before).changed) == {"work_mem"}
    assert before.families.get(s.FINGERPRINT) != during.families.get(s.FINGERPRINT)
    assert int(during.families.get(s.CHANGED)[()]) == int(before.families.get(s.CHANGED)[()]) + 1
    assert {"port", "data_directory", "listen_addresses"}.isdisjoint(facts(before).changed)


async def test_what_waits_for_a_restart_is_counted(postgres: Cluster) -> None:
    with altered(postgres, "work_mem", "8MB"):
        # A reload finds the lines of postgresql.conf that the command line overrides: they wait for ever.
        before = await read(postgres, SettingsCollector())
    with altered(postgres, "max_prepared_transactions", "5"):
        during = await read(postgres, SettingsCollector())
    after = await read(postgres, SettingsCollector())
    waiting = [int(reading.families.get(s.PENDING)[()]) for reading in (before, during, after)]
    assert waiting == [waiting[0], waiting[0] + 1, waiting[0]]
    assert during.families.get(s.VALUE)["max_prepared_transactions",] == 0


async def test_no_secret_leaves_the_server(postgres: Cluster) -> None:
    with altered(postgres, "primary_conninfo", "host=nowhere password=hunter2"):
        made = await visited(postgres, SettingsCollector())
    rows = made.results["settings"]["settings"].rows
    assert "primary_conninfo" in {row[0] for row in rows}
    assert "hunter2" not in repr(rows)


@pytest.mark.parametrize(
    ("value", "unit", "vartype", "expected"),
    [
        ("2048", "8kB", "integer", 16 * 1024**2),
        ("4096", "kB", "integer", 4 * 1024**2),
        ("1", "MB", "integer", 1024**2),
        ("7", "16MB", "integer", 7 * 16 * 1024**2),
        ("1500", "ms", "integer", 1.5),
        ("60000", "ms", "integer", 60),
        ("5", "min", "integer", 300),
        ("-1", "ms", "integer", -1),
        ("-1", "MB", "integer", -1),
        ("1.1", None, "real", 1.1),
        ("on", None, "bool", 1),
        ("off", None, "bool", 0),
        ("logical", None, "enum", None),
        ("18.4", None, "string", None),
        (None, "kB", "integer", None),
    ],
)
def test_base_values(value: str | None, unit: str | None, vartype: str, expected: float | None) -> None:
    assert base_value(value, unit, vartype) == expected


def test_a_fingerprint_is_exact_as_a_float_and_ignores_who_the_compute_is() -> None:
    def row(name: str, hashed: str) -> tuple[object, ...]:
        return (name, None, None, "string", True, hashed, False)

    here = [row("work_mem", "a1"), row("port", "x"), row("neon.endpoint_id", "ep-1")]
    there = [row("neon.endpoint_id", "ep-2"), row("port", "y"), row("work_mem", "a1")]
    one, other = (
        SettingsCollector().read({"settings": Result(COLUMNS, rows)}, EPOCH).families.get(s.FINGERPRINT)[()]
        for rows in (here, there)
    )
    assert one == other == int(float(one)) > 0
    with pytest.raises(NoDataError):
        SettingsCollector().read({}, EPOCH)


@given(st.dictionaries(st.text("abc", min_size=1), st.text("01")), st.randoms())
def test_the_fingerprint_ignores_order_and_nothing_else(changed: dict[str, str], random: object) -> None:
    items = list(changed.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert fingerprint(dict(items)) == fingerprint(changed)
    assert fingerprint({**changed, "d": "0"}) != fingerprint(changed)
