"""A world of computes that never suspend, so that an agent may visit them at every look, and what can befall them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from exporter.core.http_client import ask
from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from exporter.demo.worldfile import WorldSpec, parse
from tests.fix_agent import Agent

COLLECTORS = ("statements", "replication", "databases", "sizes", "activity", "settings")
EAGER: dict[str, Any] = {
    "session_seconds": 5,
    "connect_timeout_seconds": 5,
    "statement_timeout_seconds": 3,
    "collectors": {name: {"interval_seconds": 1} for name in COLLECTORS},
}
"""Sampling of an agent under test: every collector at every visit, and deadlines that a busy machine keeps, too."""
ALONE = TwinSettings(workload=False, consumers=False, poolers=False)


def pinned_world(branches: Iterable[str]) -> WorldSpec:
    """One project `shop`: a root `main` that the tenant acme uses, and children that nobody does. None ever sleeps."""
    endpoint = "{suspend_timeout: -1}"
    lines = [
        "projects: [{name: shop, region: aws-eu-central-1, branches: [",
        f"  {{name: main, endpoint: {endpoint}, tenants: [{{name: acme, schema: t_acme, role: acme}}]}},",
        *(f"  {{name: {name}, parent: main, endpoint: {endpoint}}}," for name in branches),
        "]}]",
    ]
    return parse("\n".join(lines))


def wake_all(twin: Twin) -> None:
    """What a first user does."""
    for compute in twin.computes.values():
        host, _, port = compute.endpoint.host.rpartition(":")
        user = f"host={host} port={port} dbname=postgres user=cloud_admin password={twin.password} sslmode=disable"
        psycopg.connect(user).close()


def run_sql(compute: Compute, *statements: str) -> None:
    """As the server's owner, past the door."""
    with psycopg.connect(compute.cluster.conninfo(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def locked(compute: Compute, relation: str) -> Iterator[None]:
    """Somebody holds a relation exclusively, as ALTER or VACUUM FULL does."""
    with psycopg.connect(compute.cluster.conninfo()) as connection:
        connection.execute(f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        connection.rollback()


def server_processes(compute: Compute) -> list[int]:
    """The postmaster and all that it started."""
    postmaster = compute.cluster.pid
    found = [postmaster]
    for folder in Path("/proc").iterdir():
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[1] == str(postmaster):
            found.append(int(folder.name))
    return found


def send_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@contextmanager
def frozen(compute: Compute) -> Iterator[None]:
    """Every process of the server stands still, as on a machine that is paused: the port is open and says nothing."""
    pids = server_processes(compute)
    send_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send_all(pids, signal.SIGCONT)


def sessions_of_ours(compute: Compute) -> int:
    """How many sessions the agent has on a server now."""
    with psycopg.connect(compute.cluster.conninfo(), autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'neonmeter' OR usename = 'monitor'"
        ).fetchone()
    return int(row[0]) if row else 0


def answer_milliseconds(agent: Agent, what: str) -> float:
    """Ask /metrics 20 times, print median and worst; the median, in ms. The goal is under 50.

    The worst of 20 is also a measure of what else this machine does. What a fault delays, it delays each time.
    """
    took = []
    for _ in range(20):
        began = time.perf_counter()
        status, text = ask(f"{agent.url}/metrics", timeout=30)
        took.append((time.perf_counter() - began) * 1000)
        assert status == 200
        assert "neonmeter_build_info" in text
    print(f"/metrics, {what}: median {median(took):.1f} ms, worst {max(took):.1f} ms of 20")
    return median(took)
