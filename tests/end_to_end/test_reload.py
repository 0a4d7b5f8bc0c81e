"""Reloading the settings of a running agent: swapped whole, or the old ones kept and the reason said."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from exporter.demo.worldfile import parse
from tests.end_to_end.pinned_world import ALONE, EAGER, wake_all
from tests.end_to_end.test_restart import Watch
from tests.fix_agent import Agent

WORLD = """
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - name: main
        endpoint: {suspend_timeout: -1}
        tenants: [{name: acme, schema: t_acme, role: acme}, {name: birch, schema: t_birch, role: birch}]
"""
INLINE = "pooler-password-in-the-dsn"


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    with Twin(parse(WORLD), open_state_dir / "reload", settings=ALONE) as twin:
        wake_all(twin)
        yield twin


@pytest.fixture(scope="module")
def agent(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """It knows one tenant, and a PgBouncer that is not there."""
    front = {"name": "front", "dsn": f"postgresql://stats:{INLINE}@127.0.0.1:{free_port()}/pgbouncer"}
    settings = {
        **twin.agent_settings(),
        "sampling": EAGER,
        "tenants": [{"tenant": "acme", "role": "acme"}],
        "pgbouncer": [{**front, "interval_seconds": 1}],
    }
    agent = Agent(settings, tmp_path_factory.mktemp("agent")).start()
    try:
        yield agent
    finally:
        ended, log = agent.stop(), agent.log.read_text()
        assert ended == 0, log[-3000:]
        assert "Traceback" not in log, log[max(0, log.index("Traceback") - 500) :]


def reload(agent: Agent, text: str | None = None, **sections: Any) -> tuple[int, str]:
    """Write these sections over the agent's settings (or this text instead of them), and ask it to reload."""
    agent.config.write_text(text if text is not None else yaml.safe_dump({**agent.settings, **sections}))
    host, port = agent.settings["http"]["listen"].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=300)
    try:
        connection.request("POST", "/-/reload")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def reloads(agent: Agent, status: str) -> float:
    return agent.sum("neonmeter_config_reloads_total", status=status)


def calls(agent: Agent, tenant: str) -> float:
    return agent.sum("neon_tenant_calls_total", tenant=tenant)


def work(twin: Twin, number: int) -> dict[str, int]:
    """Both tenants; how many calls each has made in all."""
    for tenant in ("acme", "birch"):
        twin.workload.run_burst(twin.compute("shop", "main").endpoint.id, tenant, number)
    return twin.workload.done


def test_a_new_rule_by_sighup(twin: Twin, agent: Agent) -> None:
    watch = Watch()
    done = work(twin, 10)
    agent.until(lambda agent: calls(agent, "acme") == done["acme"] and calls(agent, "__unattributed__") >= 10)
    watch.look(agent.samples())
    unattributed, before = calls(agent, "__unattributed__"), done["birch"]
    assert agent.process is not None
    agent.settings["tenants"] = [{"tenant": "acme", "role": "acme"}, {"tenant": "birch", "role": "birch"}]
    agent.config.write_text(yaml.safe_dump(agent.settings))
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda agent: reloads(agent, "ok") == 1)
    assert "the settings were read again and are in force" in agent.log.read_text()
    done = work(twin, 7)
    agent.until(lambda agent: calls(agent, "acme") == done["acme"], why="nothing lost by the swap")
    agent.until(lambda agent: calls(agent, "birch") == done["birch"] - before, why="the new rule is in force")
    watch.look(agent.samples())
    assert calls(agent, "__unattributed__") >= unattributed, "what was counted stays where it was"


@pytest.mark.fault("signals: SIGHUP again and again")
def test_nothing_is_lost_while_it_reloads_again_and_again(twin: Twin, agent: Agent) -> None:
    watch, ended = Watch(), threading.Event()
    began = {tenant: calls(agent, tenant) for tenant in ("acme", "birch")}
    done_before = twin.workload.done

    def keep_working() -> None:
        while not ended.wait(0.1):
            work(twin, 2)

    worker = threading.Thread(target=keep_working)
    worker.start()
    try:
        for number in range(4):
            assert reload(agent, sampling={**EAGER, "top_statements": number}) == (
                200,
                "the settings were read again and are in force\n",
            )
            watch.look(agent.samples())
    finally:
        ended.set()
        worker.join()
    for tenant, start in began.items():
        new = twin.workload.done[tenant] - done_before.get(tenant, 0)
        agent.until(lambda agent, t=tenant, n=start + new: calls(agent, t) == n, why=f"{tenant}: {new} new calls")
    watch.look(agent.samples())


BAD = {
    "not YAML": ("neon: [", {}, "not YAML"),
    "unknown key": (None, {"postgers": {}}, "postgers: unknown key; did you mean postgres?"),
    "bad rule": (None, {"tenants": [{"tenant": "x", "role": "("}]}, "tenants[0].role: '(' is not a regular expression"),
    "no key": (None, {"neon": {}}, "neon.api_key_file: no API key"),
    "fixed: http": (None, {"http": {"listen": "127.0.0.1:0"}}, "http: cannot change while running; restart neonmeter"),
    "fixed: storage": (None, {"storage": {"path": "other.db"}}, "storage: cannot change while running"),
    "fixed: telemetry": (None, {"telemetry": {"traces": False}}, "telemetry: cannot change while running"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.fault("ourselves: settings that cannot be read at a reload")
def test_bad_settings_keep_the_old(twin: Twin, agent: Agent, name: str) -> None:
    text, sections, said = BAD[name]
    shown = agent.page("/config")
    logged = agent.log.read_text().count("the old settings stay in force")
    status, answer = reload(agent, text, **sections)
    assert status == 422
    assert answer.startswith("the old settings stay in force:\n  ")
    assert said in answer
    assert agent.page("/config") == shown
    assert agent.log.read_text().count("the old settings stay in force") == logged + 1


def test_after_all_those_it_goes_on_as_before(twin: Twin, agent: Agent) -> None:
    done = work(twin, 1)
    agent.until(lambda agent: calls(agent, "acme") == done["acme"])
    refused = "the old settings stay in force"
    agent.until(lambda agent: reloads(agent, "refused") == agent.log.read_text().count(refused))


def test_secrets_are_never_on_the_config_page(twin: Twin, agent: Agent) -> None:
    assert reload(agent)[0] == 200
    shown = agent.page("/config")
    for secret in (twin.api_key, twin.monitor_password, INLINE):
        assert secret not in shown
        assert secret not in agent.page("/")
        assert secret not in agent.log.read_text()
    tree = yaml.safe_load(shown)
    assert tree["neon"]["api_url"] == twin.api_url
    assert tree["pgbouncer"][0]["dsn"].startswith("postgresql://stats:***@127.0.0.1:")


def test_what_is_no_longer_configured_is_no_longer_shown(agent: Agent) -> None:
    agent.until(lambda agent: "pooler:front" in agent.page("/targets?format=json"))
    assert reload(agent, pgbouncer=[], log={"format": "json"})[0] == 200
    agent.until(lambda agent: "pooler:" not in agent.page("/targets?format=json"), why="the pooler is gone")
    agent.until(lambda agent: 'target="pooler:' not in agent.page("/metrics"), why="and so is its status")
    last = agent.log.read_text().splitlines()[-1]
    assert json.loads(last)["message"] == "the settings were read again and are in force", "logging is swapped as well"
