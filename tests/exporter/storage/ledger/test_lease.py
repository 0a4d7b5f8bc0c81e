"""The lease on a real PostgreSQL: one holder at a time, whatever happens to connections, processes and clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from exporter.demo.postgres import Cluster
from exporter.storage.ledger.lease import HOLD, Lease, check_token
from exporter.storage.ledger.postgres_link import PostgresConnection
from exporter.storage.ledger.replica import REPLICA_POSTGRES
from exporter.storage.store import StoreError

SECONDS = 12.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def conninfo_of(server: Cluster) -> Callable[[], Mapping[str, str]]:
    return lambda: {key: str(value) for key, value in conninfo_to_dict(server.conninfo()).items() if value is not None}


@pytest.fixture
def link(postgres18: Cluster) -> Iterator[PostgresConnection]:
    """A database with the tables, without a lease."""
    made = PostgresConnection(conninfo_of(postgres18), {"standby": REPLICA_POSTGRES}, lock=None)
    made.write(lambda cursor: cursor.execute("TRUNCATE lease, replica, replica_head"))
    yield made
    made.close()


@contextmanager
def pair(server: Cluster, *clocks: Clock) -> Iterator[list[Lease]]:
    leases = [
        Lease(conninfo_of(server), "test/0", f"agent {number}", SECONDS, clock=clock)
        for number, clock in enumerate(clocks)
    ]
    try:
        yield leases
    finally:
        for lease in leases:
            lease.close()


def cut(server: Cluster) -> None:
    """The server ends every session of a lease, as a failover or a broken network does."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'neonmeter lease'"
        )


def test_one_holds_and_the_other_waits(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock, clock) as (one, two):
        assert one.step()
        assert one.remaining == pytest.approx(HOLD * SECONDS)
        for _ in range(30):
            clock.now += 2
            assert one.step()
            assert not two.step()
            assert two.other == "agent 0"
            assert (one.token, two.token, two.remaining) == (1, None, 0.0)


@pytest.mark.fault("ourselves: the active one of two agents vanishes")
def test_a_vanished_holder_has_stopped_before_the_other_begins(postgres18: Cluster, link: PostgresConnection) -> None:
    """Its session stands: it is frozen, or its host is gone and the server does not know. Each has its own clock."""
    here, there = Clock(), Clock()
    there.now = -5.0
    with pair(postgres18, here, there) as (one, two):
        one.step()
        stops = here.now + one.remaining
        two.step()
        waited = 0.0
        while two.token is None:
            assert waited < 3 * SECONDS, two.problem
            here.now, there.now, waited = here.now + 0.5, there.now + 0.5, waited + 0.5
            two.step()
        assert stops < here.now
        assert SECONDS < waited <= SECONDS + 1, "its session is ended first, then its lock is free"
        assert one.remaining < 0
        assert not one.step(), "the old token renews nothing"
        assert (one.token, two.token) == (None, 2)


def test_a_broken_connection_alone_moves_nothing(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock, clock) as (one, two):
        one.step()
        for _ in range(6):
            clock.now += 2
            cut(postgres18)
            one.step()  # fails
            assert one.problem
            one.step()  # connects anew
            assert one.remaining > 0
            assert not two.step()
        assert one.token == 1


def test_a_clean_stop_is_taken_over_at_once(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock, clock) as (one, two):
        one.step()
        assert not two.step()
        one.release()
        assert two.step()
        assert not one.step()
        assert (one.token, two.token) == (None, 2)


def test_a_database_that_is_away_ends_the_tenure_in_time(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock) as (one,):
        one.step()
        one._conninfo = lambda: {"host": "127.0.0.1", "port": "1", "dbname": "x"}
        one._drop()
        while one.token is not None:
            assert not one.step()
            assert one.problem
            clock.now += 1
        assert clock.now - 1000.0 <= HOLD * SECONDS + 1


@pytest.mark.fault("clock: an agent wakes up after its lease was taken over")
def test_a_late_holder_writes_nothing_more(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock, clock) as (one, two):
        one.step()
        token = one.token
        link.write(lambda cursor: check_token(cursor, "test/0", token))
        one.release()
        two.step()
        with pytest.raises(StoreError, match="another agent has taken over"):
            link.write(lambda cursor: check_token(cursor, "test/0", token))
        link.write(lambda cursor: check_token(cursor, "test/0", two.token))


def test_a_takeover_waits_for_what_the_holder_is_writing(postgres18: Cluster, link: PostgresConnection) -> None:
    clock = Clock()
    with pair(postgres18, clock, clock) as (one, two), psycopg.connect(postgres18.conninfo()) as writing:
        one.step()
        two.step()
        writing.execute("SET search_path = neonmeter")
        with writing.cursor() as cursor:
            check_token(cursor, "test/0", one.token)
            assert one.step(), "a renewal does not wait"
            one.give_up()
            two.step()
            clock.now += SECONDS + 1
            assert not two.step()
            assert "lock timeout" in two.problem
        writing.rollback()
        assert two.step()
