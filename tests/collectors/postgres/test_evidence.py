"""What counts as someone else: by tables for the pure part, and on real servers for the statement."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg
import pytest
from psycopg import pq

from collectors.postgres.evidence import (
    ACTIVE_TIME,
    AUTOVACUUM,
    CLIENT_ACTIVE,
    EVIDENCE_SQL,
    HIDDEN,
    IDLE,
    IDLE_IN_TRANSACTION,
    SESSIONS,
    STARTED,
    SUBSCRIPTION,
    WALSENDER,
    Evidence,
    Holder,
    OwnUse,
    foreign,
    parse,
)
from exporter.demo.postgres import Cluster
from tests.fix_postgres import PASSWORD

T = TypeVar("T")


def holder(kind: str, changed: float | None = None, count: int = 1) -> Holder:
    return Holder(kind, "app", "web", "shop", count, changed)


def evidence(
    *holders: Holder, sessions: int = 10, active: float = 5.0, start: float = 100.0, connect: float = 900.0
) -> Evidence:
    return Evidence(start, 1000.0, sessions, active, holders, connect_clock=connect)


BEFORE = evidence()
OWN_END = 950.0


@pytest.mark.parametrize(
    ("now", "reasons"),
    [
        pytest.param(evidence(), (), id="nothing moved, nobody there"),
        pytest.param(evidence(holder(CLIENT_ACTIVE)), (CLIENT_ACTIVE,), id="a client runs a query"),
        pytest.param(
            evidence(holder(IDLE_IN_TRANSACTION)), (IDLE_IN_TRANSACTION,), id="a client sits in a transaction"
        ),
        pytest.param(evidence(holder(IDLE, 960.0)), (CLIENT_ACTIVE,), id="an idle client did something after our end"),
        pytest.param(evidence(holder(IDLE, 940.0)), (), id="an idle client that did nothing since our end is no sign"),
        pytest.param(evidence(holder(IDLE, None)), (), id="an idle client without a time is no sign"),
        pytest.param(evidence(holder(HIDDEN, None)), (), id="a client that we may not see is no sign"),
        pytest.param(evidence(holder(WALSENDER)), (WALSENDER,), id="a walsender"),
        pytest.param(evidence(holder(SUBSCRIPTION)), (SUBSCRIPTION,), id="a subscription worker"),
        pytest.param(evidence(holder(AUTOVACUUM)), (AUTOVACUUM,), id="an autovacuum worker"),
        pytest.param(evidence(sessions=11), (SESSIONS,), id="a session in a user database"),
        pytest.param(evidence(active=5.1), (ACTIVE_TIME,), id="active time in a user database"),
        pytest.param(evidence(sessions=0, active=0), (SESSIONS, ACTIVE_TIME), id="somebody reset the statistics"),
        pytest.param(evidence(start=800.0), (STARTED,), id="somebody else restarted the server"),
        pytest.param(evidence(start=899.0), (), id="our own connect restarted it"),
    ],
)
def test_signs_of_someone_else(now: Evidence, reasons: tuple[str, ...]) -> None:
    verdict = foreign(now, BEFORE, OWN_END)
    assert verdict.reasons == reasons
    assert bool(verdict) == bool(reasons)
    assert verdict.baseline


def test_without_a_previous_look_the_sums_tell_nothing() -> None:
    verdict = foreign(evidence(sessions=99), None, OWN_END)
    assert not verdict
    assert not verdict.baseline
    assert foreign(evidence(holder(WALSENDER)), None, None).reasons == (WALSENDER,)


@pytest.mark.parametrize(
    ("sessions", "active", "reasons"),
    [
        (12, 5.5, ()),
        (10, 5.0, ()),
        (11, 5.0, (SESSIONS,)),
        (13, 5.5, (SESSIONS,)),
        (12, 6.5, (ACTIVE_TIME,)),
    ],
)
def test_our_own_sessions_in_user_databases_are_subtracted(
    sessions: int, active: float, reasons: tuple[str, ...]
) -> None:
    own = OwnUse(sessions=2, seconds=1.0)
    assert foreign(evidence(sessions=sessions, active=active), BEFORE, OWN_END, own).reasons == reasons


def test_a_postmaster_as_young_as_our_connect_was_woken_by_us() -> None:
    assert evidence(start=898.0).woken_by_us
    assert evidence(start=901.0).woken_by_us
    assert not evidence(start=897.9).woken_by_us
    assert not evidence(start=901.0, connect=0.0).woken_by_us


def test_the_baseline_survives_json() -> None:
    stored = json.loads(json.dumps(evidence(holder(IDLE, 1.0)).baseline()))
    again = Evidence.from_baseline(stored)
    assert (again.sessions, again.active_seconds, again.postmaster_start) == (10, 5.0, 100.0)


@pytest.mark.parametrize("row", [(), (1, 2), (None,) * 7, (1.0, 2.0, 3, 4.0, 0, True, "[[1]]"), ("x",) * 7])
def test_a_row_that_is_none_of_ours_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(ValueError):
        parse(row)


# ---- the statement, on real servers


def backends(found: Evidence) -> int:
    """Client backends that are neither ours nor Neon's own, idle ones included."""
    return sum(found.count(kind) for kind in (CLIENT_ACTIVE, IDLE_IN_TRANSACTION, IDLE, HIDDEN))


def look(server: Cluster, user: str = "monitor") -> Evidence:
    with psycopg.connect(server.conninfo(user=user), application_name="neonmeter", autocommit=True) as connection:
        row = connection.execute(EVIDENCE_SQL.encode()).fetchone()
    assert row is not None
    return parse(row, connect_seconds=0.1)


@pytest.fixture
def shop(postgres: Cluster) -> Iterator[Cluster]:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as owner:
        owner.execute("CREATE DATABASE shop")
        owner.execute(f"CREATE ROLE seller LOGIN PASSWORD '{PASSWORD}'")
        yield postgres
        owner.execute("DROP DATABASE shop WITH (FORCE)")
        owner.execute("DROP ROLE seller")


def until(condition: Callable[[], T], seconds: float = 120.0) -> T:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found


def test_an_idle_server_shows_nobody_and_our_own_visits_are_no_sign(shop: Cluster) -> None:
    first = look(shop)
    second = look(shop)
    assert first.privileged
    assert backends(first) == first.walsenders == first.subscriptions == 0
    assert not foreign(second, first, first.server_clock + 1)


def test_another_neonmeter_is_a_peer_and_no_sign(shop: Cluster) -> None:
    first = look(shop)
    with psycopg.connect(shop.conninfo(user="monitor"), application_name="neonmeter", autocommit=True):
        second = look(shop)
    assert second.peers == 1
    assert backends(second) == 0
    assert not foreign(second, first, first.server_clock + 1)


def test_a_user_is_named_with_the_reason(shop: Cluster) -> None:
    first = look(shop)
    with psycopg.connect(shop.conninfo("shop", "seller"), application_name="till") as user:
        user.execute("SELECT 1")
        second = look(shop)
        named = [(entry.kind, entry.user, entry.application, entry.database) for entry in second.holders]
        assert named == [(IDLE_IN_TRANSACTION, "seller", "till", "shop")]
        assert IDLE_IN_TRANSACTION in foreign(second, first, first.server_clock).reasons
        assert second.busy_now


def test_a_user_who_came_and_went_is_seen_in_the_sums(shop: Cluster) -> None:
    first = look(shop)
    with psycopg.connect(shop.conninfo("shop", "seller")) as user:
        user.execute("SELECT count(*) FROM generate_series(1, 100000)")
    verdict = until(lambda: foreign(look(shop), first, first.server_clock + 3600))
    assert SESSIONS in verdict.reasons


def test_a_connection_that_was_never_used_is_told_from_one_that_was(shop: Cluster) -> None:
    with (
        psycopg.connect(shop.conninfo("shop", "seller"), application_name="pool"),
        psycopg.connect(shop.conninfo("shop", "seller"), application_name="driver", autocommit=True) as driver,
        psycopg.connect(shop.conninfo("shop", "seller"), application_name="till", autocommit=True) as till,
    ):
        driver.execute("SET extra_float_digits = 3")
        till.execute("SELECT 1")
        assert {(entry.application, entry.kind, entry.unused) for entry in look(shop).holders} == {
            ("pool", IDLE, True), ("driver", IDLE, True), ("till", IDLE, False),
        }  # fmt: skip


def test_the_owner_of_the_platform_is_no_user(shop: Cluster) -> None:
    with psycopg.connect(shop.conninfo("postgres", "cloud_admin"), application_name="its-own-monitor") as platform:
        platform.execute("SELECT 1")
        assert backends(look(shop)) == 0


def test_a_role_without_pg_monitor_counts_others_as_hidden(shop: Cluster) -> None:
    with psycopg.connect(shop.conninfo("shop", "monitor"), application_name="busy") as user:
        user.execute("SELECT 1")
        found = look(shop, "seller")
    assert not found.privileged
    assert found.count(HIDDEN) == 1
    assert backends(found) == 1
    assert not found.busy_now


def test_a_walsender_pins(shop: Cluster) -> None:
    conninfo = shop.conninfo("shop", "cloud_admin")
    with psycopg.connect(conninfo, autocommit=True) as owner:
        owner.execute("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
        owner.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    stream = pq.PGconn.connect(f"{conninfo} replication=database application_name=warehouse".encode())
    try:
        stream.send_query(
            b"START_REPLICATION SLOT feed LOGICAL 0/0 (proto_version '1', publication_names 'everything')"
        )
        select.select([stream.socket], [], [], 5)
        found = until(lambda: (seen := look(shop)).walsenders and seen)
        assert found.pinned_by == WALSENDER
        named = [(entry.kind, entry.user, entry.application, entry.slot) for entry in found.holders]
        assert named == [(WALSENDER, "cloud_admin", "warehouse", "feed")]
    finally:
        stream.finish()
        with psycopg.connect(conninfo, autocommit=True) as owner:
            until(lambda: owner.execute("SELECT NOT active FROM pg_replication_slots").fetchone()[0])  # type: ignore[index]
            owner.execute("SELECT pg_drop_replication_slot('feed')")
