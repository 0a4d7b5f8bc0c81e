"""A real PgBouncer 1.18 read through its console, and the columns of newer releases through the mapping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from collectors.base import Observation, Result, Status
from collectors.metric import Series
from collectors.pgbouncer import console as module
from collectors.pgbouncer.console import METRICS, PoolerTarget, observe
from collectors.pgbouncer.shows import config_of, families_of
from exporter.demo.postgres import SUPERUSER, Cluster, free_port
from tests.fix_pgbouncer import STATS_PASSWORD, Pooler, pooler
from tests.fix_postgres import PASSWORD


async def one(conninfo: str, *, deadline: float = 20.0) -> Observation:
    (observation,) = await observe(PoolerTarget("main", lambda: conninfo), deadline_seconds=deadline)
    assert observation.collector == "pgbouncer" and observation.target.labels == ("main",)
    return observation


def named(observation: Observation) -> dict[str, Series]:
    return {metric.name: series for metric, series in observation.families.items()}


# --- the real one ------------------------------------------------------------------------------------------------


async def test_a_stats_user_sees_everything(pgbouncer: Pooler) -> None:
    async with await psycopg.AsyncConnection.connect(pgbouncer.app(), autocommit=True, prepare_threshold=None) as app:
        before = named(await one(pgbouncer.console()))
        for _ in range(5):
            await app.execute("SELECT 1")
        observation = await one(pgbouncer.console())
    assert (observation.status, observation.error) == (Status.OK, "")
    series = named(observation)
    counted = "pgbouncer_stats_totals_queries_pooled_total"
    # PgBouncer adds a finished query to its totals when the server is released, so all five are there.
    assert series[counted]["app",] - before[counted]["app",] == 5
    assert set(series[counted]) == {("app",)}, "the console's own pseudo database is dropped"
    assert 0 < series["pgbouncer_stats_totals_queries_duration_seconds_total"]["app",] < 60, "seconds, not microseconds"
    assert series["pgbouncer_pools_client_active_connections"]["app", SUPERUSER] == 1
    assert series["pgbouncer_databases_pool_size"] == {
        ("app", "127.0.0.1", next(iter(series["pgbouncer_databases_pool_size"]))[2], "postgres", "", ""): 1
    }
    assert series["pgbouncer_config_default_pool_size"] == {(): 7}
    assert series["pgbouncer_config_max_client_connections"] == {(): 100}
    assert series["pgbouncer_config_info"] == {("scram-sha-256", "transaction", "disable", "disable"): 1}
    assert series["pgbouncer_used_clients"][()] >= 2
    assert next(iter(series["pgbouncer_version_info"]))[0].startswith("PgBouncer 1.")
    assert observation.rows > 50


async def test_maxwait_shows_fractions_of_a_second(pgbouncer: Pooler) -> None:
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(pgbouncer.app(), autocommit=True) as first,
        await connect(pgbouncer.app(), autocommit=True) as second,
    ):
        await first.execute("BEGIN")  # holds the only server
        waiting = asyncio.create_task(second.execute("SELECT 1"))
        key = ("app", SUPERUSER)
        seen = []
        deadline = time.monotonic() + 60
        while len(seen) < 3:
            assert time.monotonic() < deadline
            series = named(await one(pgbouncer.console()))
            if series["pgbouncer_pools_client_waiting_connections"][key]:
                assert series["pgbouncer_pools_server_active_connections"][key] == 1
                seen.append(series["pgbouncer_pools_client_maxwait_seconds"][key])
            await asyncio.sleep(0.05)
        await first.execute("COMMIT")
        await waiting
    assert 0 < seen[0] < seen[1] < seen[2]
    assert any(value != int(value) for value in seen), "whole seconds would mean that maxwait_us was dropped"


@pytest.mark.parametrize(
    ("user", "password", "status", "text"),
    [
        ("stats", "wrong", Status.AUTH, "password was refused"),
        ("stranger", "wrong", Status.AUTH, "refused"),
        ("nobody", STATS_PASSWORD, Status.NO_PRIVILEGE, "stats_users"),
    ],
)
async def test_refusals(pgbouncer: Pooler, user: str, password: str, status: Status, text: str) -> None:
    observation = await one(pgbouncer.console(user, password))
    assert observation.status is status and text in observation.error
    assert password not in observation.error and "\n" not in observation.error
    assert len(observation.families) == 0


async def test_a_dead_one_is_unreachable() -> None:
    observation = await one(f"host=127.0.0.1 port={free_port()} user=stats")
    assert observation.status is Status.UNREACHABLE and "is PgBouncer running" in observation.error


async def test_postgres_itself_is_told_from_a_pgbouncer(postgres18: Cluster) -> None:
    observation = await one(f"host=127.0.0.1 port={postgres18.port} user={SUPERUSER} password={PASSWORD}")
    assert observation.status in (Status.UNSUPPORTED, Status.UNREACHABLE) and observation.error


def sockets() -> int:
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(path.readlink()).startswith("socket:")
    return found


async def test_a_frozen_one_costs_the_deadline_and_no_socket(postgres18: Cluster) -> None:
    with pooler(postgres18) as own:
        await one(own.console())
        before = sockets()
        own.signal(signal.SIGSTOP)
        observation = await one(own.console(), deadline=0.3)
        assert observation.status is Status.TIMEOUT and "frozen" in observation.error
        own.signal(signal.SIGCONT)
        assert (await one(own.console())).status is Status.OK
        assert sockets() == before


async def test_the_console_answers_when_clients_are_refused(postgres18: Cluster) -> None:
    connect = psycopg.AsyncConnection.connect
    with pooler(postgres18, max_client_conn="1") as own:
        async with await connect(own.app(), autocommit=True) as app:
            await app.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError, match="no more connections allowed"):
                await connect(own.app())
            observation = await one(own.console())
    assert observation.status is Status.OK
    assert named(observation)["pgbouncer_config_max_client_connections"] == {(): 1}


async def test_tls_is_used_when_the_dsn_asks_for_it(pgbouncer: Pooler) -> None:
    observation = await one(pgbouncer.console() + " sslmode=require")
    assert observation.status is Status.UNREACHABLE and "SSL" in observation.error, "this one offers none"


async def test_cancelling_a_visit_leaves_nothing_open(pgbouncer: Pooler) -> None:
    before = sockets()
    for pause in (0.0, 0.002, 0.01):
        visit = asyncio.create_task(one(pgbouncer.console()))
        await asyncio.sleep(pause)
        visit.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await visit
        del visit  # its traceback holds the frames of the connect
    for _ in range(3000):  # a cancelled connect ends a turn of the loop later
        await asyncio.sleep(0.02)
        gc.collect()
        if sockets() == before:
            break
    assert sockets() == before


@pytest.mark.fault("network: a pooler freezes in the middle")
async def test_one_that_freezes_in_the_middle_is_cut_off(pgbouncer: Pooler, monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", pgbouncer.port)

        async def up() -> None:
            while data := await reader.read(65536):
                if b"SHOW POOLS" in data:
                    await asyncio.sleep(3600)  # swallows the question: no answer ever comes
                upstream_writer.write(data)

        async def down() -> None:
            while data := await upstream_reader.read(65536):
                writer.write(data)

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        writer.close()
        upstream_writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    observation = await one(f"host=127.0.0.1 port={port} user=stats password={STATS_PASSWORD}", deadline=0.5)
    assert observation.status is Status.TIMEOUT
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:  # type: ignore[arg-type]
        task.cancel()


async def test_the_password_is_asked_for_at_each_visit(pgbouncer: Pooler) -> None:
    passwords = iter(["wrong", STATS_PASSWORD])
    target = PoolerTarget("main", lambda: pgbouncer.console(password=next(passwords)))
    assert (await observe(target))[0].status is Status.AUTH
    assert (await observe(target, deadline_seconds=20))[0].status is Status.OK
    assert STATS_PASSWORD not in repr(target)


async def test_another_database_in_the_dsn_is_never_entered(pgbouncer: Pooler) -> None:
    observation = await one(pgbouncer.console() + " dbname=app options='-c statement_timeout=1'")
    assert observation.status is Status.OK, "a SHOW through `app` would reach, and wake, the server behind"


# --- names and addresses -----------------------------------------------------------------------------------------


async def test_a_name_with_several_addresses_is_several_instances(
    pgbouncer: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def addresses(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "poolers.example"
        v4 = [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1")]
        return [*v4, (socket.AF_INET6, 1, 6, "", ("::1", port, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
    console = pgbouncer.console().replace("127.0.0.1", "poolers.example")
    found = await observe(PoolerTarget("main", lambda: console), deadline_seconds=20)
    assert {observation.target.labels[0]: observation.status for observation in found} == {
        f"main:127.0.0.1:{pgbouncer.port}": Status.OK,
        f"main:127.0.0.2:{pgbouncer.port}": Status.UNREACHABLE,
    }


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    observation = await one("host=no-such-host.invalid user=stats password=hush")
    assert observation.status is Status.UNREACHABLE and "does not resolve" in observation.error


@pytest.mark.parametrize("host", ["ep-cool-1-pooler.eu-central-1.aws.neon.tech", "ep-cool-1.neon.tech", "ep-x-pooler"])
async def test_neons_own_hosts_are_refused_before_anything_is_sent(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_visit", None)
    observation = await one(f"postgresql://stats@{host}/pgbouncer")
    assert observation.status is Status.UNSUPPORTED and "wake" in observation.error


@pytest.mark.parametrize("dsn", ["postgresql://u:hush@[::1/x", "host hush", "nonsense=hush", "postgresql://u:h%ush@h/"])
async def test_a_malformed_dsn_is_not_quoted(dsn: str) -> None:
    observation = await one(dsn)
    assert observation.status is Status.BUG and "malformed" in observation.error and "hush" not in observation.error


async def test_an_unreadable_password_file_is_auth() -> None:
    def conninfo() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/secret")

    (observation,) = await observe(PoolerTarget("main", conninfo))
    assert observation.status is Status.AUTH and "cannot be read" in observation.error


# --- releases ----------------------------------------------------------------------------------------------------

STATS_118 = ["xact_count", "query_count", "received", "sent", "xact_time", "query_time", "wait_time"]
STATS_123 = ["server_assignment_count", *STATS_118]
STATS_124 = [*STATS_123, "client_parse_count", "server_parse_count", "bind_count"]
POOLS_117 = "database,user,cl_active,cl_waiting,cl_cancel_req,sv_active,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,pool_mode"  # noqa: E501
POOLS_118 = (
    "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,sv_active_cancel,"
    "sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,pool_mode"
)
DATABASES_118 = (
    "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool,pool_mode,max_connections,"
    "current_connections,paused,disabled"
)
DATABASES_123 = DATABASES_118.replace("pool_mode,", "server_lifetime,pool_mode,")
DATABASES_124 = (
    "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,server_lifetime,pool_mode,"
    "load_balance_hosts,max_connections,current_connections,max_client_connections,current_client_connections,"
    "paused,disabled"
)
RELEASES = {
    "1.17": (STATS_118, POOLS_117, DATABASES_118),
    "1.18": (STATS_118, POOLS_118, DATABASES_118),
    "1.23": (STATS_123, POOLS_118, DATABASES_123),
    "1.24": (STATS_124, POOLS_118 + ",load_balance_hosts", DATABASES_124),
    "1.25": (STATS_124, POOLS_118 + ",load_balance_hosts", DATABASES_124),
}
TEXTS = {"name": "app", "database": "app", "user": "web", "host": "h", "force_user": None, "pool_mode": "transaction",
         "load_balance_hosts": "round-robin"}  # fmt: skip


def table(columns: list[str]) -> Result:
    """Each number is its column's position + 1, so that a value taken from the wrong column shows."""
    row = tuple(TEXTS[name] if name in TEXTS else index + 1 for index, name in enumerate(columns))
    return Result(tuple(columns), [row])


@pytest.mark.parametrize("release", RELEASES)
def test_columns_of_every_release(release: str) -> None:
    stats, pools, databases = RELEASES[release]
    stats_columns = ["database", *(f"total_{name}" for name in stats), *(f"avg_{name}" for name in stats)]
    shows = {"STATS": table(stats_columns), "POOLS": table(pools.split(",")), "DATABASES": table(databases.split(","))}
    series = {metric.name: values for metric, values in families_of(shows).items()}

    def at(result: Result, column: str) -> int | None:
        return result.columns.index(column) + 1 if column in result.columns else None

    def got(name: str) -> float | None:
        (value,) = series.get(name, {"": None}).values()
        return value  # type: ignore[return-value]

    for column, name in [("query_count", "queries_pooled"), ("server_assignment_count", "server_assignments"),
                         ("bind_count", "binds"), ("received", "received_bytes")]:  # fmt: skip
        assert got(f"pgbouncer_stats_totals_{name}_total") == at(shows["STATS"], f"total_{column}"), column
    wait = at(shows["STATS"], "total_wait_time")
    assert wait is not None and got("pgbouncer_stats_totals_client_wait_seconds_total") == wait / 1e6
    cancel = at(shows["POOLS"], "cl_waiting_cancel_req") or at(shows["POOLS"], "cl_cancel_req")
    assert got("pgbouncer_pools_client_waiting_cancel_connections") == cancel
    assert got("pgbouncer_pools_server_being_canceled_connections") == at(shows["POOLS"], "sv_being_canceled")
    longest, micro = at(shows["POOLS"], "maxwait"), at(shows["POOLS"], "maxwait_us")
    assert longest and micro and got("pgbouncer_pools_client_maxwait_seconds") == longest + micro / 1e6
    reserve = at(shows["DATABASES"], "reserve_pool") or at(shows["DATABASES"], "reserve_pool_size")
    assert got("pgbouncer_databases_reserve_pool") == reserve
    clients = at(shows["DATABASES"], "current_client_connections")
    assert got("pgbouncer_databases_current_client_connections") == clients
    assert series["pgbouncer_databases_pool_size"] == {("app", "h", "3", "app", "", "transaction"): 6}
    declared = {metric.name for metric in METRICS}
    assert series.keys() <= declared


def test_pseudo_database_types_and_duplicates() -> None:
    shows = {
        "STATS": Result(
            ("database", "total_query_count", "total_query_time"),
            [("pgbouncer", 9, 9), ("app", Decimal(3), Decimal(2_500_000)), ("app", "4", None)],
        ),
        "POOLS": Result(
            ("database", "user", "maxwait", "maxwait_us"),
            [
                ("pgbouncer", "pgbouncer", 1, 1),
                (b"app", b"web", 0, 250_000),
                ("app", "web", 2, 0),
                ("app", "web", 1, 0),
            ],
        ),
        "LISTS": Result(("list", "items"), [("pools", 3), ("peers", 1), ("used_clients", "many")]),
        "CONFIG": Result(
            ("key", "value"), [("max_client_conn", "100"), ("auth_type", "trust"), ("server_lifetime", "")]
        ),
    }
    families = families_of(shows)
    series = {metric.name: values for metric, values in families.items()}
    assert series["pgbouncer_stats_totals_queries_pooled_total"] == {("app",): 7}
    assert series["pgbouncer_stats_totals_queries_duration_seconds_total"] == {("app",): 2.5}
    assert series["pgbouncer_pools_client_maxwait_seconds"] == {("app", "web"): 2.0}
    assert series["pgbouncer_pools"] == {(): 3} and "pgbouncer_used_clients" not in series
    assert series["pgbouncer_config_info"] == {("trust", "", "", ""): 1}
    assert "pgbouncer_config_server_lifetime_seconds" not in series
    assert config_of(shows)["auth_type"] == "trust"


def test_nothing_gives_nothing() -> None:
    assert len(families_of({})) == 0
