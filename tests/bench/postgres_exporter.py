"""What a scrape costs, here and in the database, beside Debian's prometheus-postgres-exporter on the same server.

Both look at one PostgreSQL 18 with 50 databases and 6,000 statements, in turns, while its tenants work. Ours does what
the agent does at a visit a minute: one session, the collectors that are due (sizes of databases every third time),
totals to the disk, series rendered, snapshot compressed. A fresh series is one whose value was read in that scrape.
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

from collectors.base import Server, Target
from collectors.metric import Scope
from collectors.postgres.session import visit
from collectors.wake.policy import EndpointFacts
from exporter.app.features import SCHEMAS
from exporter.app.interpreter import tune_interpreter
from exporter.core.state import State
from exporter.demo.postgres import Cluster, PostgresStartError, free_port
from exporter.documents.terminal import table
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.readings import Readings
from exporter.serving.snapshot import SnapshotBuilder
from exporter.settings import SamplingSettings
from exporter.settings.dsn import EndpointRef
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from tests.bench import many_statements
from tests.bench.measure import Verdict, children, cpu_seconds, family_cpu_seconds, load, print_verdicts

PROGRAM = "prometheus-postgres-exporter"
WORK = 600
"""Statements that the tenants call between two scrapes: a tenth of all."""
BLOCK = 6
"""Scrapes of one, then of the other: what our collectors do at intervals comes to the same in each block."""
MINUTE = 60.0
"""Between two of our visits, by the clock that the collectors' intervals are held against."""


@dataclass
class Costs:
    """What the scrapes of one candidate took, by block. Seconds a scrape."""

    collect: list[float] = field(default_factory=list)
    """CPU of its process, from the request to series as text."""
    publish: list[float] = field(default_factory=list)
    """CPU of its process for joining and compressing."""
    wall: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    """CPU of all of the server's processes, connects included."""
    in_statements: list[float] = field(default_factory=list)
    """What pg_stat_statements says of its role: planning and execution."""
    statements: list[float] = field(default_factory=list)
    per_series: list[float] = field(default_factory=list)
    """``collect`` by fresh series."""
    sessions: int = 0
    series: int = 0
    """Series that it shows of this server."""
    fresh: float = 0.0
    """Of these, read anew in a scrape, on average."""
    read: float = 0.0
    """Numbers that the server sent in a scrape, also those that are summed into one series."""

    def add(self, scrapes: list[Scrape], cpu: float, in_statements: float, calls: int) -> None:
        """A block is over."""
        count, fresh = len(scrapes), sum(scrape.fresh for scrape in scrapes)
        self.collect.append(sum(scrape.collect for scrape in scrapes) / count)
        self.publish.append(sum(scrape.publish for scrape in scrapes) / count)
        self.wall.append(sum(scrape.wall for scrape in scrapes) / count)
        self.per_series.append(sum(scrape.collect for scrape in scrapes) / fresh)
        self.server_cpu.append(cpu / count)
        self.in_statements.append(in_statements / count)
        self.statements.append(calls / count)
        self.series = max(scrape.series for scrape in scrapes)
        self.fresh, self.read = fresh / count, sum(scrape.read for scrape in scrapes) / count


@dataclass(frozen=True)
class Scrape:
    """One of them."""

    collect: float
    publish: float
    wall: float
    series: int
    fresh: int
    read: int


class Ours:
    """One compute as the agent keeps it, in this process."""

    name = "neonmeter"
    role = "monitor"

    def __init__(self, cluster: Cluster, folder: Path, top: int) -> None:
        self.costs = Costs()
        self._settings = SamplingSettings(top_statements=top)
        self._conninfo = cluster.conninfo("postgres", self.role)
        self._builder = SnapshotBuilder()
        self._state = State()
        self._store = Store.open(folder / f"top{top}.db", SCHEMAS)
        rules = TenantRules([TenantRule(tenant=None, role=r"(?P<tenant>tenant\d+)")], own_roles={"monitor"})
        self._disk = WriterThread()
        self._readings = Readings(self._settings, DurableCounters(self._store, rules, top), self._state, self._disk)
        place = EndpointRef("ep-1", "localhost", "project-1", "shop", "br-1", "main")
        labels = (place.project_id, place.branch_id, place.endpoint_id)
        target = Target(Scope.ENDPOINT, labels, "shop/main")
        facts = EndpointFacts(
            endpoint_id=place.endpoint_id, current_state="active", pending_state="", disabled=False,
            last_active=time.time(), started_at=time.time(), suspend_timeout_seconds=-1, max_cu=1.0,
        )  # fmt: skip
        self._compute = Compute(cast("Any", None), place, target, facts)
        self._probe: tuple[Server | None, float] = (None, 0.0)
        self._now = time.time()
        self._loop = asyncio.new_event_loop()

    def scrape(self) -> Scrape:
        return self._loop.run_until_complete(self._scrape())

    async def _scrape(self) -> Scrape:
        began, wall = time.process_time(), time.perf_counter()
        server, start = self._probe
        collectors = self._readings.due(self._compute, self._now)
        made = await visit(self._conninfo, collectors, endpoint_id="ep-1", probe=server, probed_start=start)
        if made.error or made.failures:
            print(f"our visit failed: {made.error} {made.failures}")
        self._probe = made.server, made.evidence.postmaster_start if made.evidence else 0.0
        made.opened_at = self._now
        await self._readings.take(self._compute, collectors, made)
        rendered = time.process_time()
        for (name, target_key), entry in self._state.take().items():
            if entry is not None and entry.good is not None:
                self._builder.put(f"{name}/{target_key}", entry.good.target, entry.good.families)
        self._builder.publish(self._now)
        ended, wall = time.process_time(), time.perf_counter() - wall
        good = [entry.good for _, _, entry in self._state.entries() if entry.good]
        results = [result for of_one in made.results.values() for result in of_one.values()]
        return Scrape(
            collect=rendered - began,
            publish=ended - rendered,
            wall=wall,
            series=sum(len(observation.families) for observation in good),
            fresh=sum(len(observation.families) for observation in good if observation.at == self._now),
            read=sum(isinstance(cell, (int, float)) for result in results for row in result.rows for cell in row),
        )

    def pass_time(self) -> None:
        self._now += MINUTE

    def sessions(self) -> int:
        """It opens one for a visit, and closes it."""
        return 1

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

    def scrape(self) -> Scrape:
        asked = urllib.request.Request(self._url, headers={"Accept-Encoding": "gzip"})  # as Prometheus does
        began, wall = cpu_seconds(self._pid), time.perf_counter()
        with urllib.request.urlopen(asked, timeout=30) as answer:
            body = answer.read()
        wall, cpu = time.perf_counter() - wall, cpu_seconds(self._pid) - began
        text = gzip.decompress(body).decode()
        count = sum(line.startswith("pg_") and "exporter" not in line.split("{")[0] for line in text.splitlines())
        return Scrape(collect=cpu, publish=0.0, wall=wall, series=count, fresh=count, read=count)

    def pass_time(self) -> None:
        """It reads everything each time."""

    def sessions(self) -> int:
        with psycopg.connect(self._cluster.conninfo(), autocommit=True) as owner:
            row = owner.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'exporter'").fetchone()
        return int(row[0]) if row else 0


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
    scrapes = []
    for _ in range(BLOCK):
        tenants.work(WORK)
        who.pass_time()
        began, backends = family_cpu_seconds(cluster.pid), len(children(cluster.pid))
        scrapes.append(who.scrape())
        for _ in range(100):  # a session that was closed leaves its time behind when its process is gone
            if len(children(cluster.pid)) <= backends:
                break
            time.sleep(0.005)
        cpu += family_cpu_seconds(cluster.pid) - began
    after, calls_after = in_statements(owner, who.role)
    who.costs.add(scrapes, cpu, after - spent, calls_after - calls)
    who.costs.sessions = who.sessions()


def print_table(rows: list[tuple[str, Costs]]) -> None:
    heads = ("a scrape", "series", "fresh", "numbers read", "CPU ms", "us/fresh", "and publish ms", "ms in statements",
             "server CPU ms", "statements", "sessions", "takes ms")  # fmt: skip
    lines = []
    for name, costs in rows:
        publish = median(costs.publish)
        lines.append((
            name, f"{costs.series:,}", f"{costs.fresh:,.0f}", f"{costs.read:,.0f}",
            f"{median(costs.collect) * 1e3:.1f}", f"{median(costs.per_series) * 1e6:.2f}",
            f"{publish * 1e3:.1f}" if publish else None,
            f"{median(costs.in_statements) * 1e3:.1f}", f"{median(costs.server_cpu) * 1e3:.1f}",
            f"{median(costs.statements):.0f}", costs.sessions, f"{median(costs.wall) * 1e3:.0f}",
        ))  # fmt: skip
    print(table(heads, lines), end="")


def judge(few: Costs, every: Costs, other: Costs) -> list[Verdict]:
    verdicts = []
    for title, costs in (("every statement", every), ("20 statements a tenant", few)):
        per_series, theirs_each = median(costs.per_series) * 1e6, median(other.per_series) * 1e6
        said = f"{per_series:.2f} us against {theirs_each:.2f}"
        verdicts.append(Verdict(f"CPU per fresh series, {title}", said, "<= 1 us", per_series <= 1))
        per_series, theirs_each = (median(one.collect) / one.read * 1e6 for one in (costs, other))
        said = f"{per_series:.2f} us against {theirs_each:.2f}"
        verdicts.append(Verdict(f"CPU per number read, {title}", said, "<= 1 us", per_series <= 1))
    for title, mine, your in (
        ("time in statements", every.in_statements, other.in_statements),
        ("CPU of the server, connects included", every.server_cpu, other.server_cpu),
    ):
        ratio = median(mine) / median(your)
        said = f"{ratio:.2f} of theirs ({median(mine) * 1e3:.1f} against {median(your) * 1e3:.1f} ms)"
        verdicts.append(Verdict(title, said, "<= 0.5", ratio <= 0.5))
    for title, count in (("fresh series, every statement", every.fresh), ("fresh series, 20 a tenant", few.fresh),
                         ("numbers read", few.read)):  # fmt: skip
        said = f"{count / other.fresh:.1f} times theirs"
        verdicts.append(Verdict(title, said, ">= 3", count >= 3 * other.fresh))
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
                who.pass_time()
                who.scrape()
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
