"""Counters survive: a compute suspends and wakes during a workload, and what is exported is what the workload did."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import suspended, wait_for

TENANTS = ("acme", "birch", "cedar")
SUSPEND_SECONDS = 16
"""T of the computes here: over the 12 s within which the policy may still visit."""

FIRST_SIGHT_SECONDS = 18
"""Rules R6 and R4: what happens within eps (15 s) of the first sight is no evidence of somebody else."""


@pytest.fixture(scope="module")
def sleepy_twin(open_state_dir: Path) -> Iterator[Twin]:
    settings = TwinSettings(suspend_seconds=SUSPEND_SECONDS, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "sleepy", settings=settings) as twin:
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


def exported(agent: Agent) -> dict[str, int]:
    """Calls by tenant as /metrics has them."""
    return {tenant: int(agent.sum("neon_tenant_calls_total", tenant=tenant)) for tenant in TENANTS}


def test_calls_and_seconds_survive_three_suspends(sleepy_twin: Twin, make_agent: AgentMaker) -> None:
    twin, compute = sleepy_twin, sleepy_twin.compute("bookshop", "main")
    agent = make_agent(twin.agent_settings()).start()
    time.sleep(FIRST_SIGHT_SECONDS)
    for round_number in range(3):
        work(twin, compute, calls=40 + round_number)
        done = dict(twin.workload.done)
        assert wait_for(lambda done=done: exported(agent) == done, SUSPEND_SECONDS + 10), (exported(agent), done)
        assert wait_for(lambda: suspended(compute), SUSPEND_SECONDS + 17.5 + 5), "our visits must not keep it awake"
        time.sleep(1)
    for tenant in TENANTS:
        assert agent.sum("neon_tenant_calls_total", tenant=tenant) == twin.workload.done[tenant]
        by_statement = agent.sum("pg_stat_statements_calls_total", tenant=tenant)
        assert by_statement == twin.workload.done[tenant], "the statements sum to the tenant"
        assert agent.sum("neon_tenant_exec_seconds_total", tenant=tenant) > 0
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
    assert not [wake for each in twin.computes.values() for wake in each.wakes if wake.application_name == "neonmeter"]
