"""A compute of the twin: woken by a connection and by nothing else, suspended at last_active + T, metered as awake."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from exporter.demo.compute import Compute
from exporter.demo.front import fatal, parse_startup
from exporter.demo.twin import Twin
from exporter.demo.world import TwinOperation
from tests.fix_twin_world import app_dsn, held_awake, suspended, wait_for

T = 3


@pytest.fixture
def sleepy(small_twin: Twin) -> Compute:
    """A suspended compute that nobody else uses at the moment; awake, it is suspended T after its last use."""
    compute = small_twin.compute("bookshop", "staging")
    compute.suspend()
    return compute


@pytest.fixture
def staging(sleepy: Compute) -> Iterator[Compute]:
    """The same; once awake it stays so until the test is over, however slow that is."""
    with held_awake(sleepy):
        yield sleepy


def operations_of(twin: Twin, compute: Compute) -> list[TwinOperation]:
    return [operation for operation in twin.world.operations if operation.endpoint_id == compute.endpoint.id]


def calls_of(compute: Compute, role: str) -> int:
    """What the server's own statistics say, read as the superuser beside the door."""
    with psycopg.connect(compute.cluster.conninfo()) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid"
            " WHERE rolname = %s",
            [role],
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_whole_world_is_there_and_asleep(small_twin: Twin) -> None:
    preview = small_twin.compute("bookshop", "preview")
    assert suspended(preview)
    assert not preview.cluster.running
    assert small_twin.world.branches[preview.endpoint.branch_id].logical_size > 20_000_000


def test_a_connection_wakes_the_compute_and_is_written_down(small_twin: Twin, staging: Compute) -> None:
    wakes, operations = len(staging.wakes), len(operations_of(small_twin, staging))
    before = time.time()
    with psycopg.connect(app_dsn(small_twin, staging, "acme", name="acme-web")) as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row == (3000,)
    assert len(staging.wakes) == wakes + 1
    wake = staging.wakes[-1]
    assert (wake.application_name, wake.user, wake.database) == ("acme-web", "acme", "app")
    assert staging.endpoint.current_state == "active"
    assert staging.endpoint.started_at is not None and staging.endpoint.started_at >= before
    operation = operations_of(small_twin, staging)[operations]
    assert operation.action == "start_compute"
    assert operation.duration_seconds > 0


def test_a_second_connection_wakes_nothing(small_twin: Twin, staging: Compute) -> None:
    psycopg.connect(app_dsn(small_twin, staging, "acme")).close()
    wakes = len(staging.wakes)
    psycopg.connect(app_dsn(small_twin, staging, "acme")).close()
    assert len(staging.wakes) == wakes


def test_it_suspends_at_t_after_the_last_activity_and_is_metered_to_the_second(
    small_twin: Twin, sleepy: Compute
) -> None:
    branch = sleepy.endpoint.branch_id

    def compute_microseconds_times_millicu() -> int:
        hours = small_twin.meter.to_json()["buckets"].get(branch, {})
        return sum(metrics.get("compute_unit_seconds", 0) for metrics in hours.values())

    before = compute_microseconds_times_millicu()
    psycopg.connect(app_dsn(small_twin, sleepy, "acme")).close()
    started, active = sleepy.endpoint.started_at, sleepy.endpoint.last_active
    assert started is not None and active is not None
    assert wait_for(lambda: suspended(sleepy))
    ended = sleepy.endpoint.suspended_at
    active = sleepy.endpoint.last_active
    assert ended is not None and active is not None
    assert ended - active >= T
    assert wait_for(lambda: operations_of(small_twin, sleepy)[-1].action == "suspend_compute")
    awake = (compute_microseconds_times_millicu() - before) / 1e6 / 1000
    # It is metered until some moment between the order to suspend and the end of the server.
    assert (operations_of(small_twin, sleepy)[-1].created_at - started) * 0.25 - 0.05 <= awake
    assert awake <= (ended - started) * 0.25 + 0.05


def test_nobody_connects_and_nothing_wakes(small_twin: Twin, staging: Compute) -> None:
    wakes = len(staging.wakes)
    headers = {"Authorization": f"Bearer {small_twin.api_key}"}
    answer = httpx.get(f"{small_twin.api_url}/projects/{staging.endpoint.project_id}/endpoints", headers=headers)
    states = {entry["id"]: entry["current_state"] for entry in answer.json()["endpoints"]}
    assert states[staging.endpoint.id] == "idle"
    time.sleep(1.5)
    assert suspended(staging) and len(staging.wakes) == wakes and not staging.cluster.running


def test_the_api_shows_a_compute_that_is_awake(small_twin: Twin, staging: Compute) -> None:
    headers = {"Authorization": f"Bearer {small_twin.api_key}"}
    with psycopg.connect(app_dsn(small_twin, staging, "acme")):
        path = f"/projects/{staging.endpoint.project_id}/endpoints/{staging.endpoint.id}"
        endpoint = httpx.get(small_twin.api_url + path, headers=headers).json()["endpoint"]
    assert endpoint["current_state"] == "active"
    assert endpoint["host"] == staging.endpoint.host


def test_a_suspend_loses_all_statistics(small_twin: Twin, staging: Compute) -> None:
    endpoint = staging.endpoint.id
    assert small_twin.workload.run_burst(endpoint, "acme", 7) == 7
    assert calls_of(staging, "acme") == 7
    staging.suspend()
    psycopg.connect(app_dsn(small_twin, staging, "acme")).close()
    assert calls_of(staging, "acme") == 0


def test_the_workload_is_counted_as_the_server_counts_it(small_twin: Twin, staging: Compute) -> None:
    before = small_twin.workload.done_on(staging.endpoint.id, "acme")
    for calls in (1, 30, 12):
        small_twin.workload.run_burst(staging.endpoint.id, "acme", calls)
    assert small_twin.workload.done_on(staging.endpoint.id, "acme") - before == 43
    assert calls_of(staging, "acme") == 43


def test_an_idle_connection_in_postgres_keeps_nothing_awake_and_is_closed(small_twin: Twin, sleepy: Compute) -> None:
    dsn = f"postgresql://monitor:{small_twin.monitor_password}@{sleepy.endpoint.host}/postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT 1")
        assert wait_for(lambda: suspended(sleepy))
        wakes = len(sleepy.wakes)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert len(sleepy.wakes) == wakes


@pytest.mark.deep
def test_work_keeps_it_awake(small_twin: Twin, sleepy: Compute) -> None:
    until = time.monotonic() + T + 2
    while time.monotonic() < until:
        small_twin.workload.run_burst(sleepy.endpoint.id, "acme", 2)
        time.sleep(0.3)
    assert sleepy.endpoint.current_state == "active"
    assert sleepy.kept_awake_by == "database"


def test_a_server_that_died_is_woken_again_or_shown_idle(small_twin: Twin, sleepy: Compute) -> None:
    with held_awake(sleepy):
        psycopg.connect(app_dsn(small_twin, sleepy, "acme")).close()
        sleepy.cluster.signal(signal.SIGKILL)
        assert wait_for(lambda: not sleepy.cluster.running)
    with psycopg.connect(app_dsn(small_twin, sleepy, "acme")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    sleepy.cluster.signal(signal.SIGKILL)
    assert wait_for(lambda: suspended(sleepy))


def test_a_disabled_endpoint_refuses_with_a_reason(small_twin: Twin, staging: Compute) -> None:
    staging.endpoint.disabled = True
    try:
        with pytest.raises(psycopg.OperationalError, match="the endpoint is disabled"):
            psycopg.connect(app_dsn(small_twin, staging, "acme"))
    finally:
        staging.endpoint.disabled = False
    assert suspended(staging)


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\x10\x04\xd2\x16\x2e" + b"\0" * 8, b"", b"\0\0\0\x09\0\3\0\0\0"]
)
def test_what_is_no_session_wakes_nothing(staging: Compute, sent: bytes) -> None:
    wakes = len(staging.wakes)
    host, _, port = staging.endpoint.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=120) as visitor:
        visitor.sendall(sent)
        visitor.shutdown(socket.SHUT_WR)
        assert visitor.recv(100) == b""
    assert suspended(staging) and len(staging.wakes) == wakes


def test_encryption_is_declined_in_the_protocols_own_way(staging: Compute) -> None:
    host, _, port = staging.endpoint.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=120) as visitor:
        for code in (80877103, 80877104):
            visitor.sendall((8).to_bytes(4, "big") + code.to_bytes(4, "big"))
            assert visitor.recv(100) == b"N"
    assert suspended(staging)


def test_a_startup_packet_says_who_knocks() -> None:
    visitor = parse_startup(b"user\0acme\0application_name\0web\0\0")
    assert (visitor.user, visitor.database, visitor.application_name) == ("acme", "acme", "web")
    with pytest.raises(ValueError, match="without a user"):
        parse_startup(b"database\0app\0\0")


def test_a_refusal_is_an_error_response() -> None:
    packet = fatal("no")
    assert packet[:1] == b"E" and int.from_bytes(packet[1:5], "big") == len(packet) - 1
    assert b"SFATAL\0" in packet and b"Mno\0" in packet
