"""Show of kill -9: nothing that was exported goes back, nothing is counted twice, no hour is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.metric import Kind, Scope
from exporter.app.catalog import CATALOG
from exporter.app.features import SCHEMAS
from exporter.core.http_client import ask, wait_until_ready
from exporter.core.selfmetrics import ADDED_AWAKE
from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from exporter.demo.worldfile import parse
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from tests.end_to_end.pinned_world import ALONE, EAGER, wake_all
from tests.fix_agent import Agent, AgentMaker, Samples, put_to_sleep
from tests.fix_twin_world import wait_for

TENANTS = {"main": "acme", "naps": "birch"}
WORLD = """
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - {name: main, endpoint: {suspend_timeout: -1}, tenants: [{name: acme, schema: t_acme, role: acme}]}
      - {name: naps, parent: main, endpoint: {suspend_timeout: 60}, tenants: [{name: birch, schema: b, role: birch}]}
"""
LASTING = {
    name
    for name, metric in CATALOG.items()
    if metric.kind is Kind.COUNTER and (metric is ADDED_AWAKE or metric.scope not in (Scope.AGENT, Scope.POOLER))
}
"""Counters of computes and money. Those of a process (the agent, a PgBouncer) begin anew with it, as everywhere."""


class JumpingClock:
    """The time of day of the twin: an hour passes when told."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture(scope="module")
def twin(open_state_dir: Path, clock: JumpingClock) -> Iterator[Twin]:
    with Twin(parse(WORLD), open_state_dir / "restart", settings=ALONE, clock=clock) as twin:
        wake_all(twin)
        yield twin


@contextmanager
def at_work(twin: Twin) -> Iterator[None]:
    """Both tenants, all the time."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.2):
            for branch, tenant in TENANTS.items():
                twin.workload.run_burst(twin.compute("shop", branch).endpoint.id, tenant, 3)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Watch:
    """Scrapes, and holds every scrape against all before it."""

    def __init__(self) -> None:
        self.highest: Samples = {}
        self.scrapes = 0

    def look(self, samples: Samples) -> None:
        for name in LASTING & samples.keys():
            for labels, value in samples[name].items():
                before = self.highest.setdefault(name, {}).get(labels, 0.0)
                assert value >= before, f"{name}{dict(labels)} went back from {before} to {value}"
                self.highest[name][labels] = value
        self.scrapes += 1

    def during(self, agent: Agent, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look(agent.samples())
            time.sleep(0.1)


def settings_for(twin: Twin) -> dict[str, Any]:
    return {**twin.agent_settings(), "sampling": EAGER}


def check_ledger(twin: Twin, path: Path) -> int:
    """Every hour of compute in the twin's meter is in the ledger, to the second; returns how many there are."""
    twin.meter.refresh()  # What it shows is up to a second old: an agent that read it agrees with it, and is not done.
    store = Store.open(path, SCHEMAS, read_only=True)
    try:
        ledger = SqliteLedger(store)
        facts = ledger.hours("compute_unit_seconds", 0, 2**40)
        assert ledger.holdings().mismatches == 0
    finally:
        store.close()
    found = {(fact.branch_id, fact.start // 3600): fact.value for fact in facts if fact.branch_id and fact.value}
    hours = range(min(hour for _, hour in found) - 2, max(hour for _, hour in found) + 3)
    metered: dict[tuple[str, int], int] = {}
    for branch in twin.world.branches.values():
        for hour in hours:
            (whole,) = twin.meter.branch(branch.project_id, branch.id, [(hour, hour + 1)])
            if whole.get("compute_unit_seconds"):
                metered[branch.id, hour] = whole["compute_unit_seconds"]
    assert found == metered
    return len(found)


def kill_often(twin: Twin, clock: JumpingClock, agent: Agent, times: int, seed: int) -> None:
    dice, watch, hours = random.Random(seed), Watch(), len(twin.computes)
    before = twin.workload.done  # A suspend lost the statistics of these: to this ledger they never were.

    def done(tenant: str) -> int:
        return twin.workload.done[tenant] - before.get(tenant, 0)

    with at_work(twin):
        for round_number in range(times):
            serves = dice.random() < 0.6
            agent.start(ready=serves)
            if serves:
                watch.during(agent, 0.3 + 3 * dice.random())
            else:
                time.sleep(2 * dice.random())  # in the middle of its start
            agent.kill()
            if round_number == times // 2:
                clock.ahead += 3600 * 1.5  # Nobody watches, and the meter runs.
    agent.start()
    agent.until(
        lambda agent: agent.sum("neon_tenant_calls_total", tenant="acme") == done("acme"),
        why=f"to the call: {done('acme')}",
    )  # fmt: skip
    watch.during(agent, 1)
    assert agent.sum("neon_tenant_calls_total", tenant="birch") <= done("birch")
    agent.until(lambda agent: agent.samples().get("neon_cost_usd_total"), why="it is priced")
    put_to_sleep(agent, *twin.computes.values())
    hours += len(twin.computes)
    agent.until(lambda agent: cpu_seconds_settled(twin, agent), why="the ledger has what the meter has")
    agent.until(lambda agent: not agent.samples().get("pg_up"), why="asleep is neither up nor down")
    watch.look(agent.samples())
    assert agent.stop() == 0
    assert check_ledger(twin, Path(agent.settings["storage"]["path"])) >= hours
    assert not twin.truth.wakes("neonmeter")
    assert "Traceback" not in agent.log.read_text()
    print(f"{times} kills, {watch.scrapes} scrapes, {twin.workload.done} calls")


def cpu_seconds_settled(twin: Twin, agent: Agent) -> bool:
    try:
        check_ledger(twin, Path(agent.settings["storage"]["path"]))
    except AssertionError:
        return False
    return True


@pytest.mark.fault("signals: kill -9 at any moment")
def test_a_killed_agent_continues(twin: Twin, clock: JumpingClock, make_agent: AgentMaker) -> None:
    kill_often(twin, clock, make_agent(settings_for(twin)), times=4, seed=1)


@pytest.mark.deep
def test_a_killed_agent_continues_25_times(twin: Twin, clock: JumpingClock, make_agent: AgentMaker) -> None:
    wake_all(twin)
    kill_often(twin, clock, make_agent(settings_for(twin)), times=25, seed=2)


def kills_of_one_agent(times: int, seed: int) -> None:
    """For ``python -m tests.bench kill --agent N``.

    Raises:
        AssertionError: a counter went back, or the ledger does not have what the twin metered.
    """
    clock = JumpingClock()
    with tempfile.TemporaryDirectory(prefix="neonmeter-kills-") as folder:
        Path(folder).chmod(0o755)
        with Twin(parse(WORLD), Path(folder) / "twin", settings=ALONE, clock=clock) as twin:
            wake_all(twin)
            (Path(folder) / "agent").mkdir()
            agent = Agent(settings_for(twin), Path(folder) / "agent")
            try:
                kill_often(twin, clock, agent, times=times, seed=seed)
            finally:
                if agent.alive():
                    agent.kill()


@pytest.mark.fault("ourselves: a second agent on the same file")
def test_a_second_agent_on_the_same_ledger(make_agent: AgentMaker) -> None:
    nobody = {"neon": {"api_url": f"http://127.0.0.1:{free_port()}/api/v2", "api_key": "some-key"}}
    first = make_agent(nobody).start(ready=False)
    first.until(lambda agent: agent.page("/healthz"))
    path = first.settings["storage"]["path"]
    first.until(lambda _: Path(f"{path}.lock").read_text().strip() == str(first.process.pid) if first.process else 0)
    second = make_agent({**nobody, "storage": {"path": path}}).start(ready=False)
    assert second.process is not None
    assert second.process.wait(120) == 2
    said = second.log.read_text()
    assert f"{path}: another neonmeter (process {first.process.pid if first.process else ''}) writes to it" in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if "another neonmeter" in line]) == 1
    assert first.alive()


def processes_of(folder: Path) -> dict[int, str]:
    """Everything that runs on a state folder, by its command line or its working files."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found[int(process.name)] = command
    return found


@contextmanager
def demo(state: Path, log: Path, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A demo with its address, once its agent is ready; killed at the end."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "exporter", "demo", "--state", str(state), "--listen", url.removeprefix("http://")]
    with log.open("ab") as out:
        process = subprocess.Popen([*command, *more], stdout=out, stderr=out)
    try:
        assert wait_until_ready(url, 300, lambda: process.poll() is None), log.read_text()[-3000:]
        yield process, url
    finally:
        process.kill()
        process.wait()


def scrape(url: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(ask(f"{url}/metrics")[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def month_cost(state: Path) -> float:
    command = [sys.executable, "-m", "exporter", "cost", "--json", "--config", str(state / "neonmeter.yaml")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(told.stdout)["total"])


@pytest.mark.deep
@pytest.mark.parametrize("after", [4.0, 25.0])
def test_a_killed_demo_leaves_nothing_and_continues(open_state_dir: Path, after: float) -> None:
    state = open_state_dir / f"demo-{after:g}"
    log = open_state_dir / f"demo-{after:g}.log"
    watch = Watch()
    with demo(state, log) as (process, url):
        began = time.monotonic()
        while time.monotonic() - began < after:
            watch.look(scrape(url))
            time.sleep(0.5)
        assert any("postgres" in command for command in processes_of(state).values())
        process.kill()
    assert wait_for(lambda: not processes_of(state)), processes_of(state)
    before = month_cost(state)
    with demo(state, log, "--for", "20") as (process, url):
        while process.poll() is None:
            try:
                watch.look(scrape(url))
            except OSError:  # It ends by itself.
                assert process.wait(180) == 0, log.read_text()[-3000:]
            time.sleep(0.5)
        assert process.returncode == 0, log.read_text()[-3000:]
    assert month_cost(state) > before
    assert wait_for(lambda: not processes_of(state)), processes_of(state)
    assert watch.highest["neon_tenant_calls_total"]
    assert os.access(state / "neonmeter.db", os.R_OK)
