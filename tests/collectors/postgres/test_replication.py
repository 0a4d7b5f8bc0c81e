"""Slots and walsenders on real servers: what a slot keeps, who reads it, and that a vanished one is seen."""

from __future__ import annotations

import pytest

from collectors.base import NoDataError, Reading, Result
from collectors.metric import Metric
from collectors.postgres.cluster import replication as r
from collectors.postgres.cluster.replication import ReplicationCollector, ReplicationFacts
from exporter.demo.postgres import Cluster
from tests.collectors.reading import EPOCH, NOWHERE, admin, database, read, role, until
from tests.collectors.slots import consumer, slot, write_wal
from tests.fix_postgres import cluster


def one(reading: Reading, metric: Metric, *labels: str) -> float:
    return float(reading.families.get(metric)[labels])


async def test_a_slot_that_nobody_reads(postgres: Cluster) -> None:
    with database(postgres, "repl_shop"), slot(postgres, "cdc", "pgoutput", "repl_shop"):
        before = one(await read(postgres, ReplicationCollector()), r.SLOT_RETAINED, "cdc")
        write_wal(postgres, 2_000_000)
        reading = await read(postgres, ReplicationCollector())
        with admin(postgres) as connection:
            version = connection.info.server_version
            age = connection.execute(
                "SELECT extract(epoch FROM clock_timestamp())::float8 - 60 FROM pg_replication_slots"
            ).fetchone()
    assert one(reading, r.SLOT_RETAINED, "cdc") >= before + 2_000_000
    assert one(reading, r.SLOT_LAG, "cdc") >= 2_000_000
    assert one(reading, r.SLOT_RETAINED, "cdc") >= one(reading, r.SLOT_LAG, "cdc")
    assert one(reading, r.SLOT_ACTIVE, "cdc") == 0
    assert one(reading, r.SLOT_INVALIDATED, "cdc") == 0
    statuses = {labels[1]: value for labels, value in reading.families.get(r.SLOT_STATUS).items()}
    assert statuses == {"reserved": 1, "extended": 0, "unreserved": 0, "lost": 0}
    (info,) = reading.families.get(r.SLOT_INFO)
    two_phase, failover = "false", "false" if version >= 170000 else ""
    assert info == ("cdc", "logical", "pgoutput", "repl_shop", failover, two_phase, "")
    assert (("cdc",) in reading.families.get(r.SLOT_CONFLICTING)) == (version >= 160000)
    since = reading.families.get(r.SLOT_INACTIVE_SINCE)
    assert bool(since) == (version >= 170000)
    assert age is not None
    assert all(float(value) >= age[0] for value in since.values())
    assert not reading.families.get(r.SENDERS)
    assert isinstance(reading.facts, ReplicationFacts)
    assert [(slot_fact.slot_name, slot_fact.active, slot_fact.datname) for slot_fact in reading.facts.slots] == [
        ("cdc", False, "repl_shop")
    ]


async def test_an_expected_slot_that_vanished_is_seen(postgres: Cluster) -> None:
    collector = ReplicationCollector(expected_slots=("cdc_orders", "cdc_never"))
    with slot(postgres, "cdc_orders"):
        there = await read(postgres, collector)
    gone = await read(postgres, collector)
    assert there.families.get(r.EXPECTED) == {("cdc_orders",): 1, ("cdc_never",): 0}
    assert gone.families.get(r.EXPECTED) == {("cdc_orders",): 0, ("cdc_never",): 0}
    assert isinstance(gone.facts, ReplicationFacts)
    assert gone.facts.missing == ("cdc_orders", "cdc_never")
    assert not gone.families.get(r.SLOT_ACTIVE)


async def test_neons_own_slots_are_left_out_but_take_room(postgres: Cluster) -> None:
    with admin(postgres) as connection:
        for name in ("wal_proposer_slot", "standby_1"):
            connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (name,))
    try:
        reading = await read(postgres, ReplicationCollector())
    finally:
        with admin(postgres) as connection:
            connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    assert set(reading.families.get(r.SLOT_ACTIVE)) == {("standby_1",)}
    # A physical slot confirms nothing: what it does not know stays absent.
    assert not reading.families.get(r.SLOT_LAG)
    assert one(reading, r.SLOTS_USED) == 2
    assert one(reading, r.SLOTS_LIMIT) == 10
    assert one(reading, r.SENDERS_LIMIT) == 10


async def test_a_consumer_is_named_with_its_slot(postgres: Cluster) -> None:
    with (
        database(postgres, "repl_mail"),
        slot(postgres, "cdc_mail", dbname="repl_mail"),
        consumer(postgres, "cdc_mail", "repl_mail", "debezium"),
    ):
        with admin(postgres) as connection:
            until(connection, "SELECT state = 'streaming' FROM pg_stat_replication WHERE application_name = 'debezium'")
        reading = await read(postgres, ReplicationCollector())
        with role(postgres, "repl_plain"):
            blind = await read(postgres, ReplicationCollector(), user="repl_plain")
    assert one(reading, r.SLOT_ACTIVE, "cdc_mail") == 1
    assert not reading.families.get(r.SLOT_INACTIVE_SINCE)
    assert reading.families.get(r.SENDERS) == {("debezium", "cdc_mail", "cloud_admin", "streaming"): 1}
    stages = {labels[2] for labels in reading.families.get(r.SENDER_LAG)}
    assert {"sent"} <= stages <= set(r.STAGES)
    assert all(labels[:2] == ("debezium", "cdc_mail") for labels in reading.families.get(r.SENDER_LAG))
    assert one(reading, r.SENDERS_USED) == 1
    # Without pg_monitor the walsender is there, but how far it is behind is not told, and no 0 is made up.
    assert sum(blind.families.get(r.SENDERS).values()) == 1
    assert not blind.families.get(r.SENDER_LAG)


async def test_decoding_counts_transactions_and_spills(postgres: Cluster) -> None:
    with database(postgres, "repl_spill"), slot(postgres, "cdc_spill", dbname="repl_spill"):
        with admin(postgres, "repl_spill") as connection:
            connection.execute("CREATE TABLE t (id int, pad text)")
            connection.execute("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g")
            connection.execute("SET logical_decoding_work_mem = '64kB'")
            connection.execute("SELECT count(*) FROM pg_logical_slot_get_changes('cdc_spill', NULL, NULL)")
            until(connection, "SELECT total_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'cdc_spill'")
        reading = await read(postgres, ReplicationCollector())
    assert one(reading, r.SPILL_TXNS, "cdc_spill") == 1
    assert one(reading, r.SPILLS, "cdc_spill") >= 1
    assert one(reading, r.SPILL_BYTES, "cdc_spill") > 300_000
    assert one(reading, r.STREAM_TXNS, "cdc_spill") == 0
    assert one(reading, r.TOTAL_TXNS, "cdc_spill") >= 1
    assert one(reading, r.TOTAL_BYTES, "cdc_spill") >= one(reading, r.SPILL_BYTES, "cdc_spill") // 2


@pytest.mark.deep
async def test_a_slot_that_lost_its_wal() -> None:
    small = {"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    with cluster(18, **small) as server:
        with admin(server) as connection:
            connection.execute("SELECT pg_create_logical_replication_slot('cdc_late', 'test_decoding')")
            for _ in range(4):
                connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
                connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        reading = await read(server, ReplicationCollector(expected_slots=("cdc_late",)))
    assert one(reading, r.SLOT_STATUS, "cdc_late", "lost") == 1
    assert one(reading, r.SLOT_INVALIDATED, "cdc_late") == 1
    assert next(iter(reading.families.get(r.SLOT_INFO)))[-1] == "wal_removed"
    # A lost slot retains nothing any more: the server has no position to tell, so there is no lag to show.
    assert ("cdc_late",) not in reading.families.get(r.SLOT_RETAINED)
    assert one(reading, r.EXPECTED, "cdc_late") == 1


SENDER_COLUMNS = (
    "pid", "usename", "application_name", "state",
    *(f"{stage}_lag" for stage in r.STAGES), *(f"{stage}_seconds" for stage in r.STAGES[1:]),
)  # fmt: skip


def test_senders_that_share_a_name_show_the_worst() -> None:
    rows: list[tuple[object, ...]] = [
        (1, "cdc", "reader", "streaming", 5, 10, 10, 10, None, None, 0.5),
        (2, "cdc", "reader", "catchup", 900, 10, 10, None, None, None, None),
        (3, "cloud_admin", "walproposer", "streaming", 7, 7, 7, 7, 1.0, 1.0, 1.0),
    ]
    families = ReplicationCollector().read({"senders": Result(SENDER_COLUMNS, rows)}, EPOCH).families
    assert families.get(r.SENDERS) == {("reader", "", "cdc", "streaming"): 1, ("reader", "", "cdc", "catchup"): 1}
    assert families.get(r.SENDER_LAG)["reader", "", "sent"] == 900
    assert families.get(r.SENDER_LAG)["reader", "", "replay"] == 10
    assert families.get(r.SENDER_LAG_SECONDS) == {("reader", "", "replay"): 0.5}


def test_slots_that_could_not_be_read_are_not_called_missing() -> None:
    collector = ReplicationCollector(expected_slots=("cdc",))
    reading = collector.read({"senders": Result(SENDER_COLUMNS, [])}, EPOCH)
    assert not reading.families.get(r.EXPECTED)
    assert reading.facts is None
    with pytest.raises(NoDataError):
        collector.read({}, EPOCH)


def test_one_text_serves_all_versions() -> None:
    assert [query.name for query in ReplicationCollector().queries(NOWHERE)] == [
        "slots", "senders", "decoding", "limits",
    ]  # fmt: skip
