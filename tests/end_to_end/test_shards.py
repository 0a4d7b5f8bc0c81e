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

Key = tuple[str, tuple[tuple[str, str], ...]]


def settings_of(api: TwinApi) -> dict[str, Any]:
    fast = {"requests_per_minute": 60_000, "burst": 1_000, "consumption_per_minute": 60_000}
    return {"neon": {"api_url": api.url, "api_key": api.settings.org_key, **fast}}


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


def union(agents: Mapping[int, Agent]) -> dict[Key, float]:
    found = [series(agent) for agent in agents.values()]
    counts = Counter(key for one in found for key in one)
    assert [key for key, count in counts.items() if count > 1] == [], "shown by two shards"
    return {key: value for one in found for key, value in one.items()}


@pytest.mark.parametrize("total", [2, pytest.param(4, marks=pytest.mark.deep)])
def test_the_union_of_the_shards_is_what_one_agent_shows(make_agent: AgentMaker, total: int) -> None:
    now = time.time()
    with serve_named("large:10x3", TwinApiSettings(), clock=lambda: now) as api:
        alone = make_agent(settings_of(api)).start()
        shards = {
            index: make_agent({**settings_of(api), "sharding": {"shard": index, "total": total}}).start()
            for index in range(total)
        }
        for agent in (alone, *shards.values()):
            agent.until(lambda agent: complete(agent, "operations", "api", "posture"), why="operations")
        for agent in (alone, shards[0]):
            agent.until(lambda agent: complete(agent, "consumption", "pricing", "waste"), why="pricing")
        one, many = series(alone), union(shards)
        print(sorted({k[0] for k in one.keys() ^ many.keys()}))
        print(list(one.keys() ^ many.keys())[:20])
        assert one.keys() == many.keys()
