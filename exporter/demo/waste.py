"""What keeps computes awake for nothing in the demo, beside its slot: a forgotten transaction and a pool that pins.

They begin once the agent has seen the world without them (rule R6), so that it can tell who came.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg

from exporter.demo.compute import Compute
from exporter.demo.pooler import Pooler, PoolerStartError, find_pgbouncer
from exporter.demo.twin import Twin

AFTER_SECONDS = 20.0
LUNCH_SECONDS, WORK_SECONDS = 120.0, 240.0
SHELL, POOL = ("bookshop", "staging"), ("analytics", "dev")
_SHELL, _POOL = "/".join(SHELL), "/".join(POOL)
ABOUT = (
    f"After {AFTER_SECONDS:g} s somebody forgets a transaction on {_SHELL}, and a PgBouncer that holds an unused pool\n"
    f"comes up before {_POOL}: `neonmeter awake` names both, and the slot of analytics/main, with what they cost."
)


@contextlib.contextmanager
def wasting(twin: Twin, after: float = AFTER_SECONDS) -> Iterator[None]:
    """Let them waste from ``after`` seconds on; nothing of theirs is left at the end."""
    ended = threading.Event()
    shell = threading.Thread(target=_shell, args=(twin, after, ended), name="demo-shell", daemon=True)
    pool = threading.Thread(target=_pool, args=(twin, after, ended), name="demo-pool", daemon=True)
    shell.start()
    pool.start()
    try:
        yield
    finally:
        ended.set()
        shell.join()
        pool.join()


@contextlib.contextmanager
def idle_in_transaction(conninfo: str, application_name: str = "forgotten-shell") -> Iterator[psycopg.Connection]:
    """A session that began a transaction and went away for lunch.

    Raises:
        psycopg.Error: it cannot connect.
    """
    with psycopg.connect(conninfo, application_name=application_name) as connection:
        connection.execute("SELECT 1")
        yield connection


def pinning(pooler: Pooler, role: str) -> Pooler:
    """Configure a PgBouncer (not started yet) so that its compute never sleeps: it comes back after every suspend."""
    pooler.settings = {**pooler.settings, "min_pool_size": 1, "server_idle_timeout": 0}
    pooler.user = role
    return pooler


def _conninfo(twin: Twin, compute: Compute, role: str) -> str:
    host, _, port = compute.endpoint.host.rpartition(":")
    return f"host={host} port={port} dbname=app user={role} password={twin.password} sslmode=disable connect_timeout=10"


def _shell(twin: Twin, after: float, ended: threading.Event) -> None:
    conninfo = _conninfo(twin, twin.compute(*SHELL), "acme")
    wait = after
    while not ended.wait(wait):
        with contextlib.suppress(psycopg.Error), idle_in_transaction(conninfo):
            ended.wait(LUNCH_SECONDS)
        wait = WORK_SECONDS


def _pool(twin: Twin, after: float, ended: threading.Event) -> None:
    program = find_pgbouncer()
    if program is None or ended.wait(after):
        return
    compute = twin.compute(*POOL)
    pooler = Pooler(
        program=program,
        folder=twin.state_dir / f"pgbouncer-idle-{compute.endpoint.id}",
        host=compute.endpoint.host,
        database="app",
        users={"dune": twin.password},
        stats_password=twin.password,
    )
    try:
        # On the twin's own thread: a process ends with the thread that started it.
        twin.life.holder.submit(pinning(pooler, "dune").start).result()
    except PoolerStartError as problem:
        twin.notes.append(f"no PgBouncer in front of {compute.endpoint.id}: {problem}")
        return
    try:
        while not ended.is_set():
            # An application that holds its connection to the pool: without one PgBouncer opens none ahead of need.
            with (
                contextlib.suppress(psycopg.Error),
                psycopg.connect(pooler.conninfo("dune"), autocommit=True, connect_timeout=10) as connection,
            ):
                connection.execute("SELECT 1", prepare=False)
                ended.wait()
            ended.wait(1.0)
    finally:
        pooler.stop()
