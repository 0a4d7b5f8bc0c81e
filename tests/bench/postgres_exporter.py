"""What a scrape costs, here and in the database, beside Debian's prometheus-postgres-exporter on the same server.

Both look at one PostgreSQL 18 with 50 databases and 6,000 statements, in turns, while its tenants work. Ours does what
the agent does at a visit: one session, every collector, totals to the disk, series rendered, snapshot compressed. A
fresh series is one whose value was read from the server in that scrape.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import psycopg

from collectors import ALL, Options
from collectors.base import Server, Target
from collectors.metric import Scope
from collectors.session import visit
from exporter.app import tune_interpreter
from exporter.compute.tenants import TenantRule, TenantRules
from exporter.demo.postgres import Cluster, PostgresStartError, free_port
from exporter.disk import Disk
from exporter.dsn import Place
from exporter.durable import Durable
from exporter.places import Compute
from exporter.readings import Readings
from exporter.settings import SamplingSettings
from exporter.snapshot import SnapshotBuilder
from exporter.state import State
from exporter.store import Store
from exporter.table import table
from exporter.wiring import ROOMS
from tests.bench import many_statements
from tests.bench.measure import Verdict, children, cpu_seconds, family_cpu_seconds, load, print_verdicts

PROGRAM = "prometheus-postgres-exporter"
WORK = 600
"""Statements that the tenants call between two scrapes: a tenth of all."""
BLOCK = 5
"""Scrapes of one, then of the other."""


@dataclass
class Costs:
    """What the scrapes of one candidate took. Seconds."""

    collect: list[float] = field(default_factory=list)
    """CPU of its process, from the request to series as text."""
    publish: list[float] = field(default_factory=list)
    """CPU of its process for joining and compressing."""
    wall: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    """CPU of all of the server's processes, connects included, a scrape."""
    in_statements: list[float] = field(default_factory=list)
    """What pg_stat_statements says of its role (planning and execution), a scrape."""
    statements: list[float] = field(default_factory=list)
    sessions: int = 0
    series: int = 0
    facts: int = 0
    """Numbers read: for ours also those that are added up into a series."""


class Ours:
    """One compute as the agent keeps it, in this process."""

    name = "neonmeter"
    role = "monitor"

    def __init__(self, cluster: Cluster, folder: Path, top: int) -> None:
        self.costs = Costs()
        self._settings = SamplingSettings(top_statements=top)
        self._conninfo = cluster.conninfo("postgres", self.role)
        self._builder = SnapshotBuilder()
        self._state = State(self._builder)
        self._store = Store.open(folder / f"top{top}.db", ROOMS)
        rules = TenantRules([TenantRule(tenant=None, role=r"(?P<tenant>tenant\d+)")], own_roles={"monitor"})
        self._disk = Disk()
        self._readings = Readings(self._settings, Durable(self._store, rules, top), self._state, self._disk)
        place = Place("ep-1", "localhost", "project-1", "shop", "br-1", "main")
        labels = (place.project_id, place.branch_id, place.endpoint_id)
        target = Target(Scope.ENDPOINT, labels, "shop/main")
        self._compute = Compute(cast("Any", None), place, target, cast("Any", None))
        self._probe: tuple[Server | None, float] = (None, 0.0)
        self._loop = asyncio.new_event_loop()

    def scrape(self) -> None:
        self._loop.run_until_complete(self._scrape())

    async def _scrape(self) -> None:
        collectors = [build(Options(top=self._settings.top_statements)) for build in ALL.values()]
        began, wall = time.process_time(), time.perf_counter()
        server, start = self._probe
        made = await visit(self._conninfo, collectors, endpoint_id="ep-1", probe=server, probed_start=start)
        if made.error or made.failures:
            print(f"our visit failed: {made.error} {made.failures}")
        self._probe = made.server, made.evidence.postmaster_start if made.evidence else 0.0
        await self._readings.take(self._compute, collectors, made)
        rendered = time.process_time()
        self._builder.publish(time.time())
        self.costs.publish.append(time.process_time() - rendered)
        self.costs.collect.append(rendered - began)
        self.costs.wall.append(time.perf_counter() - wall)
        good = [entry.good for _, _, entry in self._state.entries() if entry.good and entry.good.at == made.opened_at]
        self.costs.series = sum(len(each.families) for each in good)
        read = [result for results in made.results.values() for result in results.values()]
        numbers = (int, float)
        self.costs.facts = sum(isinstance(cell, numbers) for result in read for row in result.rows for cell in row)
        self.costs.sessions = 1

    def forget_warming(self) -> None:
        self.costs = Costs()

    def close(self) -> None:
        self._disk.close()
        self._store.close()
        self._loop.close()


class Theirs:
    """Debian's exporter as a process of its own, as a user has it who wants all databases."""

    name = PROGRAM
    role = "exporter"

    def __init__(self, cluster: Cluster, pid: int, url: str) -> None:
        self.costs = Costs()
        self._cluster = cluster
        self._pid = pid
        self._url = url

    def scrape(self) -> None:
        asked = urllib.request.Request(self._url, headers={"Accept-Encoding": "gzip"})  # as Prometheus does
        began, wall = cpu_seconds(self._pid), time.perf_counter()
        with urllib.request.urlopen(asked, timeout=30) as answer:
            body = answer.read()
        self.costs.wall.append(time.perf_counter() - wall)
        self.costs.collect.append(cpu_seconds(self._pid) - began)
        text = gzip.decompress(body).decode()
        lines = [line for line in text.splitlines() if line.startswith("pg_") and "exporter" not in line.split("{")[0]]
        self.costs.series = self.costs.facts = len(lines)

    def forget_warming(self) -> None:
        self.costs = Costs()
        with psycopg.connect(self._cluster.conninfo(), autocommit=True) as owner:
            row = owner.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'exporter'").fetchone()
        self.costs.sessions = int(row[0]) if row else 0


@contextmanager
def theirs(cluster: Cluster, folder: Path) -> Iterator[Theirs | None]:
    """Their process on loopback; None where it is not installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        yield None
        return
    address = f"127.0.0.1:{free_port()}"
    source = f"postgresql://exporter:{many_statements.PASSWORD}@127.0.0.1:{cluster.port}/postgres?sslmode=disable"
    with (folder / "their.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--web.listen-address={address}", "--auto-discover-databases"],
            env={**os.environ, "DATA_SOURCE_NAME": source},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{address}/", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.05)
        yield Theirs(cluster, process.pid, f"http://{address}/metrics")
    finally:
        process.terminate()
        process.wait(10)


def in_statements(owner: psycopg.Connection, role: str) -> tuple[float, int]:
    """Seconds and calls of a role so far, as the server itself counts them."""
    row = owner.execute(
        "SELECT coalesce(sum(total_exec_time + total_plan_time), 0) / 1000, coalesce(sum(calls), 0)::int8 "
        "FROM pg_stat_statements(false) JOIN pg_roles ON oid = userid WHERE rolname = %s",
        (role,),
    ).fetchone()
    return (float(row[0]), int(row[1])) if row else (0.0, 0)


def block(owner: psycopg.Connection, cluster: Cluster, tenants: many_statements.Tenants, who: Ours | Theirs) -> None:
    """A few scrapes of one candidate; what the server spent on them is the difference over the block."""
    cpu, (spent, calls) = 0.0, in_statements(owner, who.role)
    for _ in range(BLOCK):
        tenants.work(WORK)
        began, backends = family_cpu_seconds(cluster.pid), len(children(cluster.pid))
        who.scrape()
        for _ in range(100):  # a session that was closed leaves its time behind when its process is gone
            if len(children(cluster.pid)) <= backends:
                break
            time.sleep(0.005)
        cpu += family_cpu_seconds(cluster.pid) - began
    after, calls_after = in_statements(owner, who.role)
    who.costs.server_cpu.append(cpu / BLOCK)
    who.costs.in_statements.append((after - spent) / BLOCK)
    who.costs.statements.append((calls_after - calls) / BLOCK)


def print_table(rows: list[tuple[str, Costs]]) -> None:
    heads = ("a scrape", "series", "numbers read", "CPU ms", "us/series", "publish ms", "ms in statements",
             "server CPU ms", "statements", "sessions", "takes ms")  # fmt: skip
    lines = []
    for name, costs in rows:
        cpu = median(costs.collect)
        publish = f"{median(costs.publish) * 1e3:.1f}" if costs.publish else None
        lines.append((
            name, f"{costs.series:,}", f"{costs.facts:,}", f"{cpu * 1e3:.1f}", f"{cpu / costs.series * 1e6:.2f}",
            publish, f"{median(costs.in_statements) * 1e3:.1f}", f"{median(costs.server_cpu) * 1e3:.1f}",
            f"{median(costs.statements):.0f}", costs.sessions, f"{median(costs.wall) * 1e3:.0f}",
        ))  # fmt: skip
    print(table(heads, lines), end="")


def judge(few: Costs, every: Costs, other: Costs) -> list[Verdict]:
    verdicts = []
    theirs_each = median(other.collect) / other.series * 1e6
    for title, costs in (("20 statements a tenant", few), ("every statement", every)):
        each = median(costs.collect) / costs.series * 1e6
        said = f"{each:.2f} us against {theirs_each:.2f}"
        verdicts.append(Verdict(f"CPU per fresh series, {title}", said, "<= 1 us", each <= 1))
    for title, mine, your in (
        ("time in statements", few.in_statements, other.in_statements),
        ("CPU of the server, connects included", few.server_cpu, other.server_cpu),
    ):
        ratio = median(mine) / median(your)
        said = f"{ratio:.2f} of theirs ({median(mine) * 1e3:.1f} against {median(your) * 1e3:.1f} ms)"
        verdicts.append(Verdict(title, said, "<= 0.5", ratio <= 0.5))
    for title, count in (("series, 20 statements a tenant", few.series), ("series, every statement", every.series),
                         ("numbers read", few.facts)):  # fmt: skip
        said = f"{count / other.series:.1f} times theirs"
        verdicts.append(Verdict(title, said, ">= 3", count >= 3 * other.series))
    return verdicts


def run(rounds: int = 4) -> None:
    """Print it all. ``rounds`` times ``BLOCK`` scrapes of each."""
    tune_interpreter()
    try:
        with many_statements.server() as (cluster, tenants), tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            with theirs(cluster, folder) as debian, psycopg.connect(cluster.conninfo(), autocommit=True) as owner:
                _compare(owner, cluster, tenants, debian, folder, rounds)
    except PostgresStartError as problem:
        print(f"skipped: {problem}")


def _compare(
    owner: psycopg.Connection,
    cluster: Cluster,
    tenants: many_statements.Tenants,
    debian: Theirs | None,
    folder: Path,
    rounds: int,
) -> None:
    few, every = Ours(cluster, folder, top=20), Ours(cluster, folder, top=500)
    candidates: list[Ours | Theirs] = [few, every, *([debian] if debian else [])]
    print(f"PostgreSQL 18, {many_statements.DATABASES} databases, {many_statements.TENANTS} tenants with "
          f"{many_statements.EACH} statements each; a tenth of them is called between two scrapes; "
          f"median of {rounds * BLOCK} scrapes each; {load()}")  # fmt: skip
    try:
        for who in candidates:
            for _ in range(3):
                tenants.work(WORK)
                who.scrape()
            who.forget_warming()
        for _ in range(rounds):
            for who in candidates:
                block(owner, cluster, tenants, who)
    finally:
        few.close()
        every.close()
    rows = [("neonmeter, 20 statements a tenant", few.costs), ("neonmeter, every statement", every.costs)]
    print_table([*rows, *([(PROGRAM, debian.costs)] if debian else [])])
    if debian is None:
        print(f"{PROGRAM} is not installed: no comparison (apt-get install {PROGRAM})")
    else:
        print_verdicts(judge(few.costs, every.costs, debian.costs))


if __name__ == "__main__":
    run()
