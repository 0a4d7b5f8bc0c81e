"""Counters survive: a compute suspends and wakes during a workload, and what is exported is what its server said.

A compute that falls asleep by itself is the longer test; in the quick one the control plane suspends it, right after
its server was asked what the agent must have: calls to the call, seconds to the microsecond.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import suspended, suspends_in_time, wait_for

TENANTS = ("acme", "birch", "cedar")
ROOMY_SECONDS = 300
"""T of the quick test: the policy may visit up to 60 s after the work, so that no load of this machine is too much."""
SLEEPY_SECONDS = 16
"""T of the longer test: over the 12 s within which the policy may still visit, and over the 15 s below."""
SETTLED_SECONDS = 40
"""T of the test that needs two visits in one life: a suspend of its own bears out what the API says, and comes soon."""
APART_SECONDS = 18
"""Rules R6 and R4: what happens within eps (15 s) of the first sight or of a visit is no evidence of somebody else."""
SERVER_SQL = """
SELECT rolname, sum(calls)::int8, sum((total_exec_time * 1000)::int8)::int8
  FROM pg_stat_statements(false) JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = ANY(%s) GROUP BY 1
"""
Figures = dict[str, tuple[int, int]]
"""Calls and microseconds by tenant."""


def twin_of(folder: Path, suspend_seconds: int) -> Twin:
    settings = TwinSettings(suspend_seconds=suspend_seconds, workload=False, consumers=False, poolers=False)
    return Twin("small", folder, settings=settings)


@pytest.fixture(scope="module")
def roomy_twin(open_state_dir: Path) -> Iterator[Twin]:
    with twin_of(open_state_dir / "roomy", ROOMY_SECONDS) as twin:
        yield twin


@pytest.fixture
def settled_twin(open_state_dir: Path) -> Iterator[Twin]:
    with twin_of(open_state_dir / "settled", SETTLED_SECONDS) as twin:
        yield twin


@pytest.fixture(scope="module")
def sleepy_twin(open_state_dir: Path) -> Iterator[Twin]:
    with twin_of(open_state_dir / "sleepy", SLEEPY_SECONDS) as twin:
        yield twin


def work(twin: Twin, compute: Compute, calls: int) -> None:
    """A burst of each tenant at the same time."""
    bursts = [
        threading.Thread(target=twin.workload.run_burst, args=(compute.endpoint.id, tenant, calls + number))
        for number, tenant in enumerate(TENANTS)
    ]
    for burst in bursts:
        burst.start()
    for burst in bursts:
        burst.join()


def exported(agent: Agent) -> Figures:
    """What /metrics has."""
    samples = agent.samples()

    def by_tenant(name: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for labels, value in samples.get(name, {}).items():
            found[dict(labels)["tenant"]] += round(value * 1_000_000)
        return found

    calls, micros = by_tenant("neon_tenant_calls_total"), by_tenant("neon_tenant_exec_seconds_total")
    return {tenant: (calls[tenant] // 1_000_000, micros[tenant]) for tenant in TENANTS if tenant in calls}


def by_statement(agent: Agent) -> Figures:
    """The same as the sum over the statements' series."""
    calls, exec_seconds = "pg_stat_statements_calls_total", "pg_stat_statements_seconds_total"
    return {
        tenant: (round(agent.sum(calls, tenant=tenant)), round(agent.sum(exec_seconds, tenant=tenant) * 1_000_000))
        for tenant in TENANTS
    }


def server_says(compute: Compute) -> Figures:
    """What the server itself has counted in this life, asked by its superuser."""
    with psycopg.connect(compute.cluster.conninfo()) as connection:
        rows = connection.execute(SERVER_SQL, [list(TENANTS)]).fetchall()
    return {name: (calls, micros) for name, calls, micros in rows}


def plus(left: Figures, right: Figures) -> Figures:
    return {
        name: (left.get(name, (0, 0))[0] + right[name][0], left.get(name, (0, 0))[1] + right[name][1]) for name in right
    }


def see(twin: Twin, agent: Agent, compute: Compute, before: Figures) -> Figures:
    """Wait until the agent has what was before and all that the server counted in this life; return that.

    A visit that fell into the work (on a slow machine) brought its first part: the rest comes with the next one.
    """
    for _ in range(10):
        wanted = plus(before, server_says(compute))
        if wait_for(lambda wanted=wanted: exported(agent) == wanted, APART_SECONDS):
            return wanted
        work(twin, compute, 1)
    raise AssertionError(f"{exported(agent)} is not {wanted}; {agent.page('/targets?format=json')}")


def part(compute: Compute) -> None:
    """Suspend now, and let the time pass within which nothing is evidence."""
    compute.suspend()
    assert suspended(compute)
    time.sleep(APART_SECONDS)


def calls_of(figures: Figures) -> dict[str, int]:
    return {tenant: calls for tenant, (calls, _) in figures.items()}


@pytest.fixture
def agent(roomy_twin: Twin, make_agent: AgentMaker) -> Agent:
    """It runs since long enough that work is evidence."""
    settings = roomy_twin.agent_settings()
    settings["sampling"]["collectors"] = {"statements": {"interval_seconds": 5}}  # Visits are seconds apart here.
    agent = make_agent(settings).start()
    time.sleep(APART_SECONDS)
    return agent


def reset(compute: Compute) -> None:
    """What any user who may can do to everybody's statistics."""
    with psycopg.connect(compute.cluster.conninfo(), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")


def test_calls_and_seconds_survive_suspends_a_kill_and_a_reset(roomy_twin: Twin, agent: Agent) -> None:
    twin, compute = roomy_twin, roomy_twin.compute("bookshop", "main")
    before = Counter(twin.workload.done)

    def done() -> dict[str, int]:
        return {tenant: twin.workload.done[tenant] - before[tenant] for tenant in TENANTS}

    work(twin, compute, calls=40)
    seen = see(twin, agent, compute, {})
    assert calls_of(seen) == done()
    agent.kill()
    part(compute)
    agent.start()
    assert exported(agent) in ({}, seen), "after a kill: what was there, or nothing yet"

    work(twin, compute, calls=41)
    seen = see(twin, agent, compute, seen)
    assert calls_of(seen) == done()
    part(compute)

    # A reset in the middle of the work: what we had not read is lost, and nothing else.
    work(twin, compute, calls=3)
    lost = server_says(compute)
    reset(compute)
    work(twin, compute, calls=20)
    seen = see(twin, agent, compute, seen)
    assert calls_of(seen) == {tenant: calls - lost[tenant][0] for tenant, calls in done().items()}
    compute.suspend()
    time.sleep(2)
    assert exported(agent) == by_statement(agent) == seen, "the statements sum to the tenant"
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
    assert not twin.truth.wakes("neonmeter")


@pytest.mark.deep
def test_a_reset_between_two_visits_counts_nothing_twice(settled_twin: Twin, make_agent: AgentMaker) -> None:
    twin, compute = settled_twin, settled_twin.compute("bookshop", "main")
    settings = twin.agent_settings()
    settings["sampling"]["collectors"] = {"statements": {"interval_seconds": 5}}
    agent = make_agent(settings).start()
    time.sleep(APART_SECONDS)
    work(twin, compute, calls=20)
    seen = see(twin, agent, compute, {})
    assert wait_for(lambda: suspended(compute)), "it suspends by itself"
    work(twin, compute, calls=20)
    seen = see(twin, agent, compute, seen)
    for calls in (50, 5):  # More than was there before, and less.
        time.sleep(APART_SECONDS)
        reset(compute)
        work(twin, compute, calls)
        seen = see(twin, agent, compute, seen)
    assert by_statement(agent) == seen


@pytest.mark.deep
def test_calls_survive_three_suspends_of_its_own(sleepy_twin: Twin, make_agent: AgentMaker) -> None:
    twin, compute = sleepy_twin, sleepy_twin.compute("bookshop", "main")
    agent = make_agent(twin.agent_settings()).start()
    time.sleep(APART_SECONDS)
    for round_number in range(3):
        work(twin, compute, calls=40 + round_number)
        used_at = twin.world.clock()
        agent.until(lambda agent: calls_of(exported(agent)) == twin.workload.done, why="every call")
        suspends_in_time(compute, used_at)
        time.sleep(1)
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
    assert not twin.truth.wakes("neonmeter")
