"""Several agents that share an account: together they show what one shows, and nothing twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from exporter.demo.api import TwinApi, TwinApiSettings, serve_named
from exporter.sampling.domain.sharding import owner_of
from tests.fix_agent import Agent, AgentMaker

OWN_PROJECTS_ONLY = {
    "neon_waste_usd",
    "neon_branch_allowance_left",
    "neon_history_day_usd",
    "neon_transfer_allowance_left_bytes",
    "neon_transfer_next_gigabyte_usd",
}
Key = tuple[str, tuple[tuple[str, str], ...]]


def settings_of(api: TwinApi, *, posture: bool) -> dict[str, Any]:
    fast = {"requests_per_minute": 60_000, "burst": 1_000, "consumption_per_minute": 60_000}
    neon = {"api_url": api.url, "api_key": api.settings.org_key, **fast}
    return {"neon": neon, "posture": {"enabled": posture}}  # Posture is read bit by bit, which takes a while.


def series(agent: Agent) -> dict[Key, float]:
    """Everything but what an agent says about itself."""
    return {
        (name, labels): value
        for name, found in agent.samples().items()
        for labels, value in found.items()
        if not name.startswith("neonmeter_")
    }


def complete(agent: Agent, *feeds: str) -> bool:
    return all(agent.sum("neonmeter_collector_status", collector=feed, status="ok") >= 1 for feed in feeds)


def keys(found: Mapping[Key, float]) -> set[Key]:
    """All but what shard 0 shows of its own projects only (docs/fleet.md)."""
    return {key for key in found if key[0] not in OWN_PROJECTS_ONLY}


def union(agents: Mapping[int, Agent]) -> dict[Key, float]:
    found = [series(agent) for agent in agents.values()]
    counts = Counter(key for one in found for key in one)
    assert [key for key, count in counts.items() if count > 1] == [], "shown by two shards"
    return {key: value for one in found for key, value in one.items()}


@pytest.mark.parametrize("total", [2, pytest.param(4, marks=pytest.mark.deep)])
def test_the_union_of_the_shards_is_what_one_agent_shows(make_agent: AgentMaker, total: int) -> None:
    now, whole = time.time(), total > 2
    with serve_named("large:10x3", TwinApiSettings(), clock=lambda: now) as api:
        alone = make_agent(settings_of(api, posture=whole)).start()
        shards = {
            index: make_agent({**settings_of(api, posture=whole), "sharding": {"shard": index, "total": total}}).start()
            for index in range(total)
        }
        for agent in (alone, *shards.values()):
            agent.until(
                lambda agent: complete(agent, "operations", "api", *(["posture"] if whole else [])), why="operations"
            )
        for agent in (alone, shards[0]):
            agent.until(lambda agent: complete(agent, "consumption", "pricing", "waste"), why="pricing")

        def equal(_: Agent) -> bool:
            return keys(series(alone)) == keys(union(shards))

        alone.until(equal, why=str(keys(series(alone)) ^ keys(union(shards))))
        one, many = series(alone), union(shards)
        money = [
            key for key in one if key[0].startswith(("neon_cost", "neon_tenant_cost")) and "_timestamp_" not in key[0]
        ]
        assert len(money) > 50
        assert {key: one[key] for key in money} == {key: many[key] for key in money}
        for index, agent in shards.items():
            others = [
                dict(labels).get("project_id", "") for name, labels in series(agent) if name == "neon_project_info"
            ]
            assert others
            assert {owner_of(project, total) for project in others} == {index}
            assert f"shard {index} of {total}" in agent.page("/")
            assert f"shard {index} of {total}" in agent.page("/targets")
