"""Schema-per-tenant, end to end: a rule over schemas matches once a scan has read which role works in which schema."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import suspends_in_time, wait_for

SUSPEND_SECONDS = 16
FIRST_SIGHT_SECONDS = 18


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    settings = TwinSettings(suspend_seconds=SUSPEND_SECONDS, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "schemas", settings=settings) as running:
        yield running


def work_until_read(twin: Twin, agent: Agent, compute: Compute, done: dict[str, int]) -> float:
    """Each tenant works until the agent has all of its calls; answers when the last work ended, on the twin's clock.

    A visit that fell into the work (on a slow machine) brought its first part: the rest comes with the next one.
    """
    for calls in (30, *[1] * 9):
        for tenant in done:
            done[tenant] += twin.workload.run_burst(compute.endpoint.id, tenant, calls)
        used_at = twin.world.clock()
        if wait_for(lambda: calls_of(agent, done) == done, FIRST_SIGHT_SECONDS):
            return used_at
    raise AssertionError(f"{calls_of(agent, done)} is not {done}; {agent.page('/targets?format=json')}")


def calls_of(agent: Agent, done: dict[str, int]) -> dict[str, float]:
    return {tenant: agent.sum("neon_tenant_calls_total", tenant=tenant) for tenant in done}


def test_statements_go_to_the_tenant_of_their_roles_schema(twin: Twin, make_agent: AgentMaker) -> None:
    settings = {**twin.agent_settings(), "tenants": [{"schema": "t_(?P<tenant>[a-z]+)"}]}
    agent, compute = make_agent(settings).start(), twin.compute("bookshop", "main")
    time.sleep(FIRST_SIGHT_SECONDS)
    done = dict.fromkeys(("acme", "birch"), 0)
    for _ in range(2):
        suspends_in_time(compute, work_until_read(twin, agent, compute, done))
        time.sleep(1)
    sizes = agent.samples()["pg_schema_tables"]
    assert {dict(labels)["schema"] for labels in sizes} >= {"t_acme", "t_birch", "t_cedar"}
    assert calls_of(agent, done) == done
    before = {name: agent.sum(name) for name in ("neon_tenant_calls_total", "pg_stat_database_xact_commit_total")}
    assert all(before.values())
    agent.kill()
    agent.start()
    agent.until(lambda a: a.sum("neon_tenant_calls_total") > 0, why="totals of a sleeping compute after a restart")
    assert {name: agent.sum(name) for name in before} == before
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
