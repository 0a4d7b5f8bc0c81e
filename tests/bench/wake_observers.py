"""Everything that may watch a compute in the comparison: nobody, what people use today, and neonmeter on bad days.

Each observer has a compute of its own in the same twin. neonmeter's have a control plane of their own over the same
world too, because how late or wrong ``last_active`` is, and by how much its clock is off, belongs to the API.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from exporter.demo.api import TwinApiSettings, serve
from exporter.demo.compute import Compute
from exporter.demo.lastactive import Follow
from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from tests.bench.wake_trace import repeated
from tests.fix_agent import Agent

DEBIAN = "prometheus-postgres-exporter"
SCRAPE_SECONDS = 15.0
POLL_SECONDS = 60.0
CRASH_SECONDS = 20.0
DEFAULTS = {"inventory_seconds": 60, "consumption_seconds": 900, "operations_seconds": 300, "publish_seconds": 15}
"""The paces that neonmeter has without settings."""
LOOK_SECONDS = 5.0
"""The pace of the variants: it looks more often than by default, so that it meets every transition at its worst."""


@dataclass(frozen=True)
class Observer:
    """One line of the comparison."""

    name: str
    title: str
    kind: str = "neonmeter"
    look: float = LOOK_SECONDS
    follow: Follow = Follow.EXACT
    lag: float = 0.0
    skew: float = 0.0
    agents: int = 1
    crashes: bool = False
    own_names: frozenset[str] = frozenset({"neonmeter"})
    """application_name or role of its sessions."""


def lagging(seconds: float) -> Observer:
    title = f"neonmeter, last_active {seconds:g} s late"
    return Observer(f"lag-{seconds:g}", title, follow=Follow.LAGGING, lag=seconds)


OBSERVERS: Sequence[Observer] = (
    Observer("nothing", "nothing", kind="nothing"),
    Observer("debian", f"{DEBIAN}, every 15 s", kind="debian", own_names=frozenset({"monitor"})),
    Observer("poller", "psycopg in the user database, every 60 s", kind="poller", own_names=frozenset({"poller"})),
    Observer("neonmeter", "neonmeter, as it comes", look=60.0),
    Observer("lag-0", "neonmeter, looking every 5 s"),
    lagging(30),
    lagging(60),
    lagging(120),
    Observer("frozen", "neonmeter, last_active moves at the suspend only", follow=Follow.FROZEN),
    Observer("lying", "neonmeter, last_active always now", follow=Follow.LYING),
    Observer("ahead", "neonmeter, API clock 5 min ahead", skew=300.0),
    Observer("behind", "neonmeter, API clock 5 min behind", skew=-300.0),
    Observer("two", "two neonmeters", agents=2),
    Observer("crashes", "neonmeter, kill -9 every 20 s", crashes=True),
)


def project(observer: Observer, number: int) -> str:
    """The name of the project with an observer's compute of that number."""
    return f"{observer.name}-{number}"


def wake_world(observers: Sequence[Observer], suspend_after: int, copies: int = 1) -> dict[str, Any]:
    """The twin's world: for each observer so many projects with one compute and one tenant."""
    tenant = {"name": "web", "schema": "t_web", "role": "web", "calls_per_second": 1, "kind": "reader"}
    endpoint = {"min_cu": 0.25, "max_cu": 0.25, "suspend_timeout": suspend_after}
    return {
        "org_id": "org-bench-00000001",
        "projects": [
            {"name": project(observer, number), "region": "aws-eu-central-1",
             "branches": [{"name": "main", "endpoint": endpoint, "tenants": [tenant]}]}
            for observer in observers
            for number in range(copies)
        ],
    }  # fmt: skip


@contextmanager
def watching(observer: Observer, twin: Twin, folder: Path, began: float, copies: int = 1) -> Iterator[None]:
    """Let it watch its computes from ``began`` (unix seconds) on, until the end of the context."""
    with ExitStack() as stack:
        for number in range(copies):
            compute = twin.compute(project(observer, number), "main")
            if observer.kind == "debian":
                url = stack.enter_context(_debian(twin, compute, folder / f"debian-{number}.log"))
                stack.enter_context(repeated(SCRAPE_SECONDS, partial(_get, url), began))
            elif observer.kind == "poller":
                stack.enter_context(repeated(POLL_SECONDS, partial(_poll, twin, compute), began))
        if observer.kind == "neonmeter":
            _neonmeter(observer, twin, folder, stack, copies)
        yield


def _neonmeter(observer: Observer, twin: Twin, folder: Path, stack: ExitStack, copies: int) -> None:
    api = stack.enter_context(
        serve(
            twin.world,
            twin.meter,
            TwinApiSettings(
                org_key=twin.api_key, follow=observer.follow, lag_seconds=observer.lag, skew_seconds=observer.skew
            ),
        )
    )
    settings = twin.agent_settings()
    settings["neon"] |= {"api_url": api.url, "include": [project(observer, count) for count in range(copies)]}
    settings["intervals"] = {**DEFAULTS, "inventory_seconds": observer.look}
    settings["sampling"] = {"tick_seconds": observer.look}
    for number in range(observer.agents):
        home = folder / f"{observer.name}-{number}"
        home.mkdir()
        agent = Agent(settings, home).start(seconds=120)
        stack.callback(_stop, agent)
        if observer.crashes:
            stack.enter_context(_crashing(agent))


def _stop(agent: Agent) -> None:
    if agent.alive():
        agent.stop()


@contextmanager
def _crashing(agent: Agent) -> Iterator[None]:
    ended = threading.Event()

    def crash() -> None:
        while not ended.wait(CRASH_SECONDS):
            agent.kill()
            agent.start(ready=False)

    thread = threading.Thread(target=crash, name="bench-crashes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def _poll(twin: Twin, compute: Compute) -> None:
    with psycopg.connect(
        conninfo(twin, compute, "app", "monitor", twin.monitor_password), application_name="poller", autocommit=True
    ) as connection:
        connection.execute("SELECT count(*) FROM pg_stat_activity")


def conninfo(twin: Twin, compute: Compute, database: str, user: str, password: str) -> str:
    """Through the compute's door, as anybody comes."""
    host, _, port = compute.endpoint.host.rpartition(":")
    return f"host={host} port={port} dbname={database} user={user} password={password} sslmode=disable"


@contextmanager
def _debian(twin: Twin, compute: Compute, log_file: Path) -> Iterator[str]:
    """Debian's exporter as its package has it: one data source, database postgres."""
    address = f"127.0.0.1:{free_port()}"
    source = f"postgresql://monitor:{twin.monitor_password}@{compute.endpoint.host}/postgres?sslmode=disable"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [shutil.which(DEBIAN) or DEBIAN, f"--web.listen-address={address}"],
            env={**os.environ, "DATA_SOURCE_NAME": source},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(200):
            with suppress(OSError):
                _get(f"http://{address}/")
                break
            time.sleep(0.05)
        yield f"http://{address}/metrics"
    finally:
        process.terminate()
        process.wait(10)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=14) as answer:
        answer.read()
