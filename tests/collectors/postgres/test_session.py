"""The guarded session, on real servers: what it reads, what it survives, and that it never leaves anything behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collectors.base import Query, Result, Server, Status
from collectors.postgres.session import Deadlines, Visit, probe_sql, visit
from exporter.demo.postgres import Cluster
from tests.collectors.reading_fake import FakeCollector
from tests.collectors.visiting import PATIENT, admin, look, monitor, open_sockets, sessions_left, settled
from tests.fix_postgres import cluster


async def test_a_visit_brings_evidence_columns_and_rows_and_leaves_nothing(postgres: Cluster) -> None:
    before = open_sockets()
    found = await look(postgres, "SELECT 1 AS one, 'x'::text AS two", "SELECT generate_series(1, 3) AS n")
    assert (found.status, found.error, found.failures) == (Status.OK, "", {})
    assert found.results["fake"]["q0"].columns == ("one", "two")
    assert found.results["fake"]["q0"].rows == [(1, "x")]
    assert found.results["fake"]["q1"].rows == [(1,), (2,), (3,)]
    assert found.server is not None
    assert found.server.has("pg_stat_statements", "calls")
    assert found.server.has("pg_stat_database")
    assert not found.server.has("pg_stat_nothing")
    assert found.evidence is not None
    assert found.epoch is not None
    assert (found.epoch.endpoint_id, found.epoch.postmaster_start) == ("ep-1", found.evidence.postmaster_start)
    assert abs(found.evidence.server_clock - time.time()) < 60
    assert not found.woke_it
    assert found.round_trips == 2
    assert sessions_left(postgres) == 0
    assert open_sockets() == before


async def test_a_known_server_costs_one_round_trip(postgres: Cluster) -> None:
    first = await look(postgres)
    again = await look(postgres, "SELECT 1", "SELECT 2", "SELECT 3", probe=first)
    assert (again.status, again.round_trips, again.server) == (Status.OK, 1, first.server)
    assert [result.rows for result in again.results["fake"].values()] == [[(1,)], [(2,)], [(3,)]]


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A TCP relay that notes each time the direction changes."""
    turns: list[str] = []
    over = asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        while chunk := await reader.read(65536):
            if not turns or turns[-1] != name:
                turns.append(name)
            writer.write(chunk)
        writer.close()
        await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, up_writer, "ask"), pump(up_reader, writer, "answer"))
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], turns
        await over.wait()


async def test_the_wire_shows_as_few_turns_as_claimed(postgres: Cluster) -> None:
    first = await look(postgres)
    assert first.evidence is not None
    asks = []
    for known in (False, True):
        async with relay(postgres.port) as (port, turns):
            conninfo = monitor(postgres).replace(f"port={postgres.port}", f"port={port}")
            found = await visit(
                conninfo,
                [FakeCollector("SELECT 1", "SELECT 2")],
                probe=first.server if known else None,
                probed_start=first.evidence.postmaster_start,
            )
            assert found.status is Status.OK
            asks.append(turns.count("ask"))
    assert asks[0] - asks[1] == 1


@pytest.mark.fault("database: it was restarted between two visits")
async def test_a_restarted_server_is_probed_again_before_its_collectors_run(postgres: Cluster) -> None:
    first = await look(postgres)
    assert first.evidence is not None
    stale = Server(90000, {})
    found = await visit(
        monitor(postgres),
        [FakeCollector("SELECT 1")],
        probe=stale,
        probed_start=first.evidence.postmaster_start - 100,
    )
    assert (found.status, found.server) == (Status.OK, first.server)
    assert found.results["fake"]["q0"].rows == [(1,)]


async def test_one_locked_relation_costs_only_the_query_that_reads_it(postgres: Cluster) -> None:
    first = await look(postgres)
    with admin(postgres) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS locked (id int)")
        owner.execute("GRANT SELECT ON locked TO monitor")
        with owner.transaction():
            owner.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
            found = await look(postgres, "SELECT 1", "SELECT * FROM locked", "SELECT 3", probe=first)
        owner.execute("DROP TABLE locked")
    assert found.status is Status.OK
    assert found.failures["fake", "q1"][0] is Status.TIMEOUT
    assert {name: result.rows for name, result in found.results["fake"].items()} == {"q0": [(1,)], "q2": [(3,)]}
    assert sessions_left(postgres) == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("SELECT nothing_there", Status.UNSUPPORTED),
        ("SELECT * FROM nothing_there", Status.UNSUPPORTED),
        ("SELECT nothing_there()", Status.UNSUPPORTED),
        ("SELECT rolpassword FROM pg_catalog.pg_authid", Status.NO_PRIVILEGE),
        ("SELECT pg_sleep(60)", Status.TIMEOUT),
        ("CREATE TEMP TABLE mine (id int)", Status.BUG),
        ("SELECT 1 / 0", Status.BUG),
    ],
)
async def test_a_query_that_fails_is_named_and_the_others_answer(postgres: Cluster, query: str, status: Status) -> None:
    found = await look(postgres, query, "SELECT 2", deadlines=Deadlines(statement=1.0, session=60))
    assert found.status is Status.OK
    assert found.failures["fake", "q0"][0] is status
    assert found.results["fake"]["q1"].rows == [(2,)]


async def test_nothing_can_be_written_by_a_visit(postgres: Cluster) -> None:
    with admin(postgres) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS ours (id int)")
        owner.execute("GRANT ALL ON ours TO monitor")
    found = await look(postgres, "INSERT INTO ours VALUES (1)", "SET TRANSACTION READ WRITE", "SELECT 3")
    assert found.failures["fake", "q0"] == (Status.BUG, "cannot execute INSERT in a read-only transaction (25006)")
    assert ("fake", "q1") in found.failures
    with admin(postgres) as owner:
        assert owner.execute("SELECT count(*) FROM ours").fetchone() == (0,)
        owner.execute("DROP TABLE ours")


async def test_a_value_that_python_cannot_hold_fails_its_query_alone(postgres: Cluster) -> None:
    first = await look(postgres)
    for probe in (None, first):
        found = await look(postgres, "SELECT 'infinity'::timestamptz", "SELECT 2", probe=probe)
        assert found.status is Status.OK
        assert found.failures["fake", "q0"][0] is Status.BUG
        assert found.results["fake"] == {"q1": Result(("?column?",), [(2,)])}


@pytest.mark.fault("database: many queries fail")
async def test_many_broken_queries_cannot_eat_the_visit(postgres: Cluster) -> None:
    found = await look(postgres, *["SELECT broken"] * 30, "SELECT 2")
    assert found.status is Status.OK
    assert len(found.failures) == 31
    assert found.failures["fake", "q30"] == (Status.TIMEOUT, "not reached: too many queries failed in this visit")


async def test_a_collector_that_cannot_name_its_queries_is_a_bug_of_its_own(postgres: Cluster) -> None:
    class Broken(FakeCollector):
        name = "broken"

        def queries(self, server: Server) -> tuple[Query, ...]:
            raise KeyError("columns")

    await settled(postgres)
    found = await visit(monitor(postgres), [Broken(), FakeCollector("SELECT 1")], deadlines=PATIENT)
    assert found.failures == {("broken", ""): (Status.BUG, "KeyError: 'columns'")}
    assert found.results["fake"]["q0"].rows == [(1,)]


async def test_a_frozen_postmaster_is_left_at_the_deadline(postgres: Cluster) -> None:
    await settled(postgres)
    before = open_sockets()
    postgres.signal(signal.SIGSTOP)
    try:
        found = await visit(monitor(postgres), [], deadlines=Deadlines(connect=0.4, session=0.8))
    finally:
        postgres.signal(signal.SIGCONT)
    assert found.status is Status.TIMEOUT
    assert open_sockets() == before
    assert sessions_left(postgres) == 0


@pytest.mark.fault("database: our backend freezes in the middle")
async def test_a_backend_that_freezes_in_mid_visit_is_cut(postgres: Cluster) -> None:
    await settled(postgres)
    before = open_sockets()
    work = asyncio.create_task(
        visit(monitor(postgres), [FakeCollector("SELECT pg_sleep(60)")], deadlines=Deadlines(session=5.0))
    )
    pid = await backend_pid(postgres)
    os.kill(pid, signal.SIGSTOP)
    try:
        found = await asyncio.wait_for(work, 55)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (found.status, found.error) == (Status.TIMEOUT, "the visit was cut after 5 s while waiting for an answer")
    assert found.evidence is not None
    assert open_sockets() == before
    assert sessions_left(postgres) == 0


async def backend_pid(server: Cluster) -> int:
    with admin(server) as connection:
        while True:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'neonmeter' AND query LIKE '%pg_sleep%'"
            ).fetchone()
            if row is not None:
                return int(row[0])
            await asyncio.sleep(0.01)


@pytest.mark.fault("ourselves: a visit is cancelled")
async def test_a_cancelled_visit_leaks_nothing(postgres: Cluster) -> None:
    await settled(postgres)
    before = open_sockets()
    work = asyncio.create_task(visit(monitor(postgres), [FakeCollector("SELECT pg_sleep(60)")], deadlines=PATIENT))
    await backend_pid(postgres)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert open_sockets() == before
    assert sessions_left(postgres) == 0


async def test_a_visit_cancelled_while_it_connects_leaks_nothing(postgres: Cluster) -> None:
    before = open_sockets()
    for step in range(12):
        work = asyncio.create_task(visit(monitor(postgres), [], deadlines=PATIENT))
        await asyncio.sleep(step / 1500)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert open_sockets() == before
    assert sessions_left(postgres) == 0


async def visit_at_once(server: Cluster, collector: FakeCollector, probe: Server | None = None) -> Visit:
    """A visit in the first two seconds of a server's life, however slow the machine."""
    for _ in range(50):
        server.stop("immediate")  # It forgets what it counted.
        server.start()
        found = await visit(monitor(server), [collector], probe=probe, deadlines=PATIENT)
        if found.woke_it:
            break
    return found


async def test_a_server_that_our_connect_started_is_read_no_further() -> None:
    with cluster(18) as server:
        found = await visit_at_once(server, FakeCollector("SELECT pg_sleep(0)"))
        assert found.woke_it
        assert found.status is Status.ASLEEP
        assert found.results == {}
        known = await visit_at_once(server, FakeCollector("SELECT 42 AS guarded"), probe=Server(180000, {}))
        assert known.woke_it
        # Sent in the same round trip, and stopped on the server.
        assert times_run(server, "guarded") == 0
        await settled(server)
        later = await visit(
            monitor(server), [FakeCollector("SELECT 42 AS guarded")], probe=Server(180000, {}), deadlines=PATIENT
        )
        assert not later.woke_it
        assert times_run(server, "guarded") == 1
        assert sessions_left(server) == 0


def times_run(server: Cluster, word: str) -> int:
    with admin(server) as owner:
        found = owner.execute(
            "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements WHERE query LIKE %s", [f"%AS {word}%"]
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_a_probe_of_nothing_still_asks_the_version() -> None:
    assert "server_version_num" in probe_sql([])
    assert "'it''s'" in probe_sql([FakeCollector(probes=("it's",))])


async def test_nobody_can_slip_a_function_of_their_own_under_our_names(postgres: Cluster) -> None:
    """A schema that its owner put before pg_catalog, by role and by database: a visit does not look there."""
    with admin(postgres) as connection:
        connection.execute("CREATE SCHEMA trap CREATE VIEW pg_database AS SELECT 'trapped' AS datname")
        connection.execute("GRANT USAGE ON SCHEMA trap TO monitor; GRANT SELECT ON trap.pg_database TO monitor")
        connection.execute("ALTER ROLE monitor SET search_path = trap, pg_catalog")
        try:
            found = await look(postgres, "SELECT datname FROM pg_database WHERE datname = 'trapped'",
                               "SELECT count(*) FROM pg_stat_statements(false)")  # fmt: skip
        finally:
            connection.execute("ALTER ROLE monitor RESET search_path")
            connection.execute("DROP SCHEMA trap CASCADE")
    assert found.failures == {}
    assert found.results["fake"]["q0"].rows == []
    assert found.results["fake"]["q1"].rows
