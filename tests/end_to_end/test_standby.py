"""Two agents with one PostgreSQL ledger: one works, and whatever ends it, the other goes on where it was."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.core.http_client import ask
from exporter.demo.postgres import Cluster
from exporter.demo.twin import Twin
from tests.end_to_end.pinned_world import ALONE, EAGER, pinned_world, wake_all
from tests.end_to_end.test_restart import Watch
from tests.fix_agent import Agent, AgentMaker
from tests.fix_postgres import PASSWORD, cluster

LEASE = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """The database of the ledger."""
    with cluster(18) as running:
        yield running


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    with Twin(pinned_world(["child"]), open_state_dir / "standby", settings=ALONE) as twin:
        wake_all(twin)
        yield twin


@pytest.fixture
def pair(twin: Twin, server: Cluster, make_agent: AgentMaker) -> list[Agent]:
    """Two agents that do not run yet; the database is as new."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
    url = f"postgresql://cloud_admin:{PASSWORD}@127.0.0.1:{server.port}/postgres"
    standby = {"enabled": True, "lease_seconds": LEASE}
    settings = {**twin.agent_settings(), "sampling": EAGER, "ledger": {"url": url, "standby": standby}}
    return [make_agent(settings), make_agent(settings)]


def works(agent: Agent) -> bool:
    return agent.sum("neonmeter_active") == 1 and agent.sum("pg_up") > 0


def ready(agent: Agent) -> tuple[int, str]:
    status, text = ask(f"{agent.url}/readyz")
    return status, text.strip()


class Observer:
    """Scrapes both all the time. No counter goes back, whoever shows it, and who stands by visits nobody."""

    def __init__(self, agents: list[Agent]) -> None:
        self._agents = agents
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.watch = Watch()
        self.problems: list[str] = []

    @contextmanager
    def observing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()
        assert not self.problems

    def _look(self) -> None:
        visits: dict[str, float] = {}
        while not self._ended.wait(0.1):
            for agent in self._agents:
                with suppress(OSError):
                    self._look_at(agent, visits)

    def _look_at(self, agent: Agent, visits: dict[str, float]) -> None:
        samples = agent.samples()
        active = sum(samples["neonmeter_active"].values())
        made = visits_of(samples)
        key = f"{agent.url} {samples['neonmeter_process_start_timestamp_seconds']}"
        if active:
            try:
                self.watch.look(samples)
            except AssertionError as problem:
                self.problems.append(str(problem))
        elif made > visits.get(key, made):
            self.problems.append(f"{key} visits while it stands by")
        elif any(name.startswith(("pg_", "neon_")) for name in samples):
            self.problems.append(f"{key} shows computes while it stands by")
        visits[key] = made


def visits_of(samples: dict[str, Any]) -> float:
    found = samples.get("neonmeter_visits_total", {})
    return sum(value for labels, value in found.items() if ("rule", "none") in labels)


def kill_in_turn(twin: Twin, pair: list[Agent], kills: int) -> list[float]:
    """Kill the one that works, again and again; how long the other took to work, each time."""
    active, other = pair[0].start(), pair[1]
    active.until(works, why="the first works")
    other.start()
    observer, taken = Observer(pair), []
    endpoint = twin.compute("shop", "main").endpoint.id
    before = twin.workload.done.get("acme", 0)
    with observer.observing():
        for _ in range(kills):
            twin.workload.run_burst(endpoint, "acme", 5)
            other.until(lambda agent: ready(agent)[0] == 200 and agent.sum("neonmeter_standby_ready") == 1)
            assert "works" in ready(other)[1]
            time.sleep(0.5)
            killed = time.monotonic()
            active.kill()
            other.until(lambda agent: agent.sum("neonmeter_active") == 1, why="it takes over")
            taken.append(time.monotonic() - killed)
            other.until(works, why="it works")
            active.start(ready=False)
            active, other = other, active
    calls = twin.workload.done["acme"] - before
    active.until(lambda agent: agent.sum("neon_tenant_calls_total", tenant="acme") >= calls, why=f"{calls} calls")
    assert active.sum("neon_tenant_calls_total", tenant="acme") == twin.workload.done["acme"]
    assert not twin.truth.wakes("neonmeter")
    print(f"{kills} kills, takeover {min(taken):.1f} to {max(taken):.1f} s, {observer.watch.scrapes} scrapes")
    return taken


def test_the_other_takes_over_and_nothing_goes_back(twin: Twin, pair: list[Agent]) -> None:
    assert max(kill_in_turn(twin, pair, 2)) < 30


@pytest.mark.deep
def test_the_other_takes_over_50_times(twin: Twin, pair: list[Agent]) -> None:
    assert max(kill_in_turn(twin, pair, 50)) < 30


@pytest.mark.deep
def test_a_frozen_one_visits_nobody_when_it_goes_on(twin: Twin, pair: list[Agent]) -> None:
    """Its clock, its connection and its sessions are as they were; only time has passed."""
    one, two = pair[0].start(), pair[1]
    one.until(works)
    two.start()
    two.until(lambda agent: ready(agent)[0] == 200)
    before = visits_of(one.samples())
    assert one.process is not None
    one.process.send_signal(signal.SIGSTOP)
    try:
        two.until(works, why="it takes over from the frozen one")
        time.sleep(1)
    finally:
        one.process.send_signal(signal.SIGCONT)
    one.until(lambda agent: agent.sum("neonmeter_active") == 0, why="it stands by")
    after = visits_of(one.samples())
    assert after <= before + 2 * len(twin.computes), "what was under way ends, nothing else begins"
    time.sleep(2 * LEASE)
    assert visits_of(one.samples()) == after
    assert works(two)
    assert "the lease is lost" in one.log.read_text()
    assert "Traceback" not in one.log.read_text()


@pytest.mark.deep
def test_without_the_database_nobody_works_and_both_say_so(
    twin: Twin, pair: list[Agent], server: Cluster
) -> None:  # fmt: skip
    one, two = pair[0].start(), pair[1]
    one.until(works)
    two.start()
    server.stop("immediate")
    try:
        one.until(lambda agent: agent.sum("neonmeter_active") == 0, why="it stops")
        for agent in pair:
            agent.until(lambda agent: ready(agent)[0] == 503 and "cannot take over" in ready(agent)[1])
            assert not [name for name in agent.samples() if name.startswith(("pg_", "neon_"))]
    finally:
        server.start()
    deadline = time.monotonic() + 180
    while not any(works(agent) for agent in pair):
        assert time.monotonic() < deadline, "nobody works again"
        time.sleep(0.3)
    assert sum(agent.sum("neonmeter_active") for agent in pair) == 1
