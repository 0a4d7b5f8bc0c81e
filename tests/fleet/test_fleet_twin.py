"""The model of a compute and the twin's real servers agree: same users, same agent, same suspends."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from collectors.wake.policy import WakePolicy
from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from exporter.demo.worldfile import parse
from tests.bench.wake_observers import conninfo
from tests.bench.wake_trace import Player, awake_spans
from tests.fix_agent import AgentMaker
from tests.fleet.monitor_model import Burst, Sampler, honest, run
from tests.fleet.monitor_model import Compute as Model

T = 20
TRACE: list[Burst] = [(0, 3), (45, 75), (115, 117), (133, 135)]
"""Seconds: one that we hold a little longer, a long one, and two that are one life. Nothing is near a threshold."""
VISIT_SECONDS = 1.4
"""A trigger at login makes every session of the agent's this long, so that the monitor notices each one."""
TOLERANCE = 2.0
WORLD = """
projects:
  - name: watched
    region: aws-eu-central-1
    branches: &branches
      - {name: main, tenants: [{name: web, schema: t_web, role: web}]}
  - {name: alone, region: aws-eu-central-1, branches: *branches}
"""
SLOW_LOGIN = f"""
CREATE FUNCTION slow_login() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN IF session_user = 'monitor' THEN PERFORM pg_sleep({VISIT_SECONDS - 0.2}); END IF; END $$;
CREATE EVENT TRIGGER slow_login ON login EXECUTE FUNCTION slow_login();
"""


def slow_logins(twin: Twin, compute: Compute) -> None:
    """Wake it, make the agent's sessions slow, and let it sleep again."""
    with psycopg.connect(conninfo(twin, compute, "app", "web", twin.password)):
        pass
    with psycopg.connect(compute.cluster.conninfo(), autocommit=True) as owner:
        owner.execute(SLOW_LOGIN)
    compute.suspend()


def predicted(bursts: list[Burst], sampler: Sampler | None) -> list[float]:
    """When the model suspends: bursts in unix seconds."""
    model = Model(float(T), bursts)
    until = bursts[-1][1] + 3 * T
    if sampler is None:
        run(model, [], until)
    else:
        at = sampler.phase
        while at < until:
            model.advance(at)
            sampler.look(model, at)
            at += sampler.tick
    return [transition.suspended_at for transition in model.transitions]


@pytest.mark.deep
def test_suspends_come_when_the_model_says_with_and_without_an_agent(
    open_state_dir: Path, make_agent: AgentMaker
) -> None:
    settings = TwinSettings(suspend_seconds=T, workload=False, consumers=False, poolers=False)
    with Twin(parse(WORLD), open_state_dir / "agree", settings=settings) as twin:
        watched, alone = twin.compute("watched", "main"), twin.compute("alone", "main")
        slow_logins(twin, watched)
        asked = twin.agent_settings()
        asked["neon"]["include"] = ["watched"]
        agent = make_agent(asked).start()
        began = time.time() + 18  # What comes sooner after the first sight may be our own (R6, R4).
        players = [
            Player(conninfo(twin, compute, "app", "web", twin.password), TRACE, began) for compute in (watched, alone)
        ]
        for player in players:
            player.start()
        for player in players:
            player.join()
            assert not player.failed
        time.sleep(2 * T)
        agent.stop()
        suspends = {name: [end for _, end in awake_spans(compute, 0.0) if end > began] for name, compute in
                    (("watched", watched), ("alone", alone))}  # fmt: skip
        wakes = twin.truth.wakes("neonmeter")
    sampler = Sampler(WakePolicy(tick=1.0), 1.0, began - 20, honest(), VISIT_SECONDS)
    assert suspends["alone"] == pytest.approx(predicted(players[1].played, None), abs=TOLERANCE)
    assert suspends["watched"] == pytest.approx(predicted(players[0].played, sampler), abs=TOLERANCE)
    assert suspends["watched"][0] - suspends["alone"][0] > TOLERANCE, "the agent is not seen at all"
    assert not wakes
