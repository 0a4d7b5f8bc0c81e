"""The five checks against the table of reproduced facts: what counts as activity, on real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from exporter.demo.monitor import ActivityCheck, Look, look_at
from exporter.demo.postgres import Cluster
from tests.collectors.reading import until

QUIET = Look(0.0, 0, 0, None, 0, 0, 0)


@pytest.mark.parametrize(
    ("look", "moved", "reason"),
    [
        (QUIET, None, ""),
        (Look(1.0, 0, 0, None, 0, 0, 0), 100.0, "database"),
        (Look(0.0, 1, 0, None, 0, 0, 0), 100.0, "database"),
        (Look(0.0, 0, 1, 30.0, 1, 0, 0), 100.0, "client"),
        (Look(0.0, 0, 0, 30.0, 0, 0, 0), 70.0, "idle client"),
        (Look(0.0, 0, 0, 30.0, 1, 1, 1), 100.0, "walsender"),
        (Look(0.0, 0, 0, None, 0, 1, 1), 100.0, "subscription"),
        (Look(0.0, 0, 0, None, 0, 0, 1), 100.0, "autovacuum"),
    ],
)
def test_each_check_moves_last_active_by_its_own_rule(look: Look, moved: float | None, reason: str) -> None:
    check = ActivityCheck()
    check.judge(QUIET, 99.5)
    check.judge(look, 100.0)
    assert (check.last_active, check.reason) == (moved, reason)


def test_the_first_look_has_nothing_to_compare_its_counters_with() -> None:
    check = ActivityCheck()
    check.judge(Look(5.0, 9, 0, None, 0, 0, 0), 100.0)
    assert check.last_active is None


def test_last_active_never_moves_back() -> None:
    check = ActivityCheck()
    check.judge(Look(0.0, 0, 1, None, 0, 0, 0), 100.0)
    check.judge(Look(0.0, 0, 0, 60.0, 0, 0, 0), 101.0)
    assert (check.last_active, check.reason) == (100.0, "client")


class Server:
    """A server with a user database and an ordinary role, and a watcher on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.check = ActivityCheck()
        self.eye = psycopg.connect(cluster.conninfo(), autocommit=True)
        self.alone()
        self.look()

    def alone(self) -> None:
        """Wait until the backends of those who left are gone: a session outlives its client by a moment."""
        until(
            self.eye,
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender')"
            " AND pid <> pg_backend_pid()",
        )

    def look(self) -> float | None:
        self.check.judge(look_at(self.eye), time.time())
        return self.check.last_active

    def client(self, database: str, **options: str) -> psycopg.Connection:
        return psycopg.connect(self.cluster.conninfo(database, "somebody"), autocommit=True, **options)  # type: ignore[arg-type]


@pytest.fixture
def server(postgres: Cluster) -> Iterator[Server]:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'somebody'").fetchone():
            admin.execute(f"CREATE ROLE somebody LOGIN REPLICATION PASSWORD '{postgres.password}'".encode())
            admin.execute("CREATE DATABASE facts OWNER somebody")
    watched = Server(postgres)
    yield watched
    watched.eye.close()


def test_a_session_of_milliseconds_in_a_user_database_is_seen(server: Server) -> None:
    for _ in range(3):
        before = time.time()
        server.client("facts").close()
        server.alone()  # The backend reports its session when it ends.
        seen = server.look()
        assert seen is not None and seen >= before
        assert server.check.reason == "database"


def test_a_session_in_postgres_between_two_looks_is_not_seen(server: Server) -> None:
    with server.client("postgres") as client:
        client.execute("SELECT 1")
    server.alone()
    assert server.look() is None


def test_a_session_in_postgres_that_works_during_a_look_is_seen(server: Server) -> None:
    with server.client("postgres") as client, client.cursor() as cursor:
        client.pgconn.send_query(b"SELECT pg_sleep(600)")
        until(server.eye, "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' AND usename = 'somebody'")
        assert server.look() is not None
        assert server.check.reason == "client"
        client.cancel_safe()
        while client.pgconn.get_result() is not None:
            pass
        assert cursor.closed is False


def test_an_idle_connection_in_postgres_counts_once_and_no_more(server: Server) -> None:
    with server.client("postgres") as client:
        client.execute("SELECT 1")
        time.sleep(0.2)
        first = server.look()
        time.sleep(1.0)
        second = server.look()
    assert server.check.reason == "idle client"
    assert first is not None and second is not None
    assert second - first < 0.5, "not by the second that passed"


def test_our_own_and_the_superusers_sessions_in_postgres_do_not_count(server: Server) -> None:
    with psycopg.connect(server.cluster.conninfo()) as connection:  # In a transaction: not idle.
        connection.execute("SELECT 1")
        assert server.look() is None


def test_an_idle_transaction_counts_at_every_look(server: Server) -> None:
    with server.client("postgres") as client:
        client.execute("BEGIN")
        first = server.look()
        time.sleep(0.3)
        second = server.look()
    assert first is not None and second is not None and second > first
    assert server.check.reason == "client"


@pytest.mark.parametrize(("name", "reason"), [("warehouse", "walsender"), ("walproposer", "")])
def test_a_walsender_counts_unless_it_is_neons_own(server: Server, name: str, reason: str) -> None:
    with psycopg.connect(
        server.cluster.conninfo("postgres", "cloud_admin"), replication="true", application_name=name, autocommit=True
    ):
        server.look()
    assert server.check.reason == reason


@pytest.mark.deep
def test_an_idle_connection_in_a_user_database_counts_again_when_statistics_are_flushed(server: Server) -> None:
    with server.client("facts") as client:
        client.execute("SELECT count(*) FROM pg_class")
        time.sleep(0.5)
        server.look()
        moved = []
        for _ in range(28):
            time.sleep(0.5)
            before = server.check.last_active
            server.look()
            if server.check.reason == "database" and server.check.last_active != before:
                moved.append(server.check.last_active)
    assert moved, "nothing was flushed while the connection was idle"
