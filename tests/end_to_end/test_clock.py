"""Show of the clock: whatever the system clock is set to, a running agent goes on, stays small and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.core.http_client import ask
from exporter.demo.api import serve
from exporter.demo.meter import Meter
from exporter.demo.twin import Twin
from exporter.demo.worldfile import build_world, load, parse
from tests.end_to_end.pinned_world import ALONE, EAGER, wake_all
from tests.fix_agent import Agent, AgentMaker, Samples
from tests.fix_clock import SystemClock

DAY = 86_400
STEPS = (-3600, -30, 30 * DAY, 400 * DAY)
COSTS, MONTH, THROUGH = (
    "neon_cost_usd_total", "neon_cost_month_to_date_usd", "neon_billing_data_through_timestamp_seconds"
)  # fmt: skip


@contextmanager
def watched(make_agent: AgentMaker, clock: SystemClock) -> Iterator[Agent]:
    """An agent under a settable clock, before a control plane whose clock is right, once it has priced something."""
    world = build_world(load("small"), time.time)
    with serve(world, Meter(world, refresh=0.0)) as plane:
        agent = make_agent({"neon": {"api_url": plane.url, "api_key": plane.settings.org_key}})
        agent.environment = clock.environment
        agent.start()
        agent.until(lambda agent: {COSTS, MONTH, THROUGH} <= agent.samples().keys(), why="it is priced")
        yield agent


def generation(agent: Agent) -> float:
    return agent.sum("neonmeter_publish_generation")


def resident(agent: Agent) -> float:
    assert agent.process is not None
    pages = Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def ready(agent: Agent) -> tuple[int, str]:
    status, text = ask(f"{agent.url}/readyz", timeout=30.0)[:2]
    return status, text


def check_money(before: Samples, after: Samples) -> None:
    """No month was changed for another, no counter went back, and the data goes as far as Neon's clock does."""
    for labels, value in after[COSTS].items():
        assert value >= before[COSTS].get(labels, 0.0), labels
    assert sum(after[MONTH].values()) == pytest.approx(sum(before[MONTH].values()), abs=0.01)
    assert sum(after[MONTH].values()) > 0
    assert all(abs(through - time.time()) < 600 for through in after[THROUGH].values())


def step(agent: Agent, clock: SystemClock, seconds: int) -> None:
    """Set the clock; the agent goes on, says what happened, and is as before when the clock is right again."""
    agent.until(lambda agent: ready(agent)[0] == 200)
    direction = "forward" if seconds > 0 else "backward"
    counted = agent.sum("neonmeter_clock_steps_total", direction=direction)
    before, memory, known = generation(agent), resident(agent), agent.samples()
    clock.set(seconds)
    began = time.monotonic()
    agent.until(lambda agent: generation(agent) >= before + 2, why="it publishes")
    took = time.monotonic() - began
    agent.until(
        lambda agent: agent.sum("neonmeter_clock_steps_total", direction=direction) > counted, why="it is counted"
    )
    agent.until(lambda agent: abs(agent.sum("neonmeter_clock_step_seconds") - seconds) < 2, why="the gauge says so")
    status, text = ready(agent)
    assert status == 503
    assert f"set {'ahead' if seconds > 0 else 'back'} by {abs(seconds):.0f} s" in text
    looked = agent.sum("neonmeter_inventory_last_success_timestamp_seconds")
    assert abs(looked - time.time()) < 600, "instants are dated by a clock that is right"
    agent.until(
        lambda agent: agent.sum("neonmeter_inventory_last_success_timestamp_seconds") > looked + 1, why="it looks on"
    )
    consumed = agent.sum("neonmeter_consumption_last_success_timestamp_seconds")
    agent.until(
        lambda agent: agent.sum("neonmeter_consumption_last_success_timestamp_seconds") > consumed, why="it reads on"
    )
    assert ask(f"{agent.url}/healthz")[0] == 200
    assert resident(agent) - memory < 10e6
    check_money(known, agent.samples())
    print(f"{seconds:+d} s: two publishes in {took:.1f} s, memory {(resident(agent) - memory) / 1e6:+.1f} MB")
    clock.set(0)
    agent.until(lambda agent: ready(agent)[0] == 200, why="the clock is right again")


@pytest.mark.fault("clock: set back an hour, set ahead a month")
def test_a_step_of_the_clock_either_way_changes_nothing(make_agent: AgentMaker, system_clock: SystemClock) -> None:
    with watched(make_agent, system_clock) as agent:
        for seconds in (-3600, 30 * DAY):
            step(agent, system_clock, seconds)
        assert "Traceback" not in agent.log.read_text(), agent.log.read_text()


@pytest.mark.deep
@pytest.mark.fault("clock: set again and again, by seconds or by a year")
def test_many_steps_of_the_clock(make_agent: AgentMaker, system_clock: SystemClock) -> None:
    with watched(make_agent, system_clock) as agent:
        for seconds in STEPS:
            step(agent, system_clock, seconds)
        assert "Traceback" not in agent.log.read_text(), agent.log.read_text()


@pytest.mark.deep
def test_visits_go_on_and_wake_nobody(make_agent: AgentMaker, system_clock: SystemClock, open_state_dir: Path) -> None:
    lines = ["projects: [{name: shop, region: aws-eu-central-1, branches: ["]
    lines += ["{name: main, endpoint: {suspend_timeout: -1}, tenants: [{name: acme, schema: t_acme, role: acme}]},"]
    lines += ["{name: naps, parent: main, endpoint: {suspend_timeout: 60}}]}]"]
    with Twin(parse("\n".join(lines)), open_state_dir / "clock", settings=ALONE) as twin:
        wake_all(twin)
        agent = make_agent({**twin.agent_settings(), "sampling": EAGER})
        agent.environment = system_clock.environment
        agent.start()
        main, naps = (twin.compute("shop", branch).endpoint.id for branch in ("main", "naps"))

        def visited() -> float:
            return agent.sum("neonmeter_endpoint_last_visit_timestamp_seconds", endpoint_id=main)

        agent.until(lambda _: visited() > 0, why="the first visit")
        for seconds in (0, *STEPS, 0):
            system_clock.set(seconds)
            before = visited()
            agent.until(lambda _, before=before: visited() > before + 5, why="visits go on")
            assert abs(visited() - time.time()) < 60
        twin_naps = twin.compute("shop", "naps")
        agent.until(lambda _: twin_naps.endpoint.current_state == "idle", why=f"{naps} falls asleep by itself")
        system_clock.set(-3600)
        before = visited()
        agent.until(lambda _: visited() > before + 10)
        assert not twin.truth.wakes("neonmeter")
        assert "Traceback" not in agent.log.read_text(), agent.log.read_text()
