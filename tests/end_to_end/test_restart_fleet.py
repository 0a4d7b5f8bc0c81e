"""Show of a restart: what was known is shown at once with its age, and none of it justifies a session."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collectors.base import Epoch
from collectors.metric import Families, Kind, Scope
from collectors.postgres.cluster.replication import SPILL_TXNS
from exporter.app.catalog import CATALOG
from exporter.app.features import SCHEMAS
from exporter.demo.api import TwinApi, serve_named
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules
from tests.fix_agent import Agent, AgentMaker, Samples

LASTING = {
    name for name, metric in CATALOG.items()
    if metric.kind is Kind.COUNTER and metric.scope not in (Scope.AGENT, Scope.POOLER)
}  # fmt: skip
SECRETS = ("the-password-of-the-monitor",)


@dataclass
class Recorder:
    """Stands where the computes are, and writes down every session that is opened."""

    port: int = 0
    sessions: list[float] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[Recorder]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            yield self
            server.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            self.sessions.append(time.time())
            client.close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder().listening() as recorder:
        yield recorder


def settings_for(api: TwinApi, recorder: Recorder, **neon: object) -> dict[str, object]:
    dsn = f"postgresql://m@127.0.0.1:{recorder.port}/postgres?fallback_application_name={{host}}"
    return {
        "neon": {"api_url": api.url, "api_key": api.settings.org_key, **neon},
        "postgres": {"dsn": dsn, "password": SECRETS[0]},
    }


FAST = {"requests_per_minute": 60_000, "burst": 1000, "consumption_per_minute": 6000}


def count_at(path: Path, endpoints: list[str], samples: Samples) -> None:
    """What visits of an earlier life would have left on the disk: a durable counter of every compute."""
    places = {dict(labels)["endpoint_id"]: dict(labels) for labels in samples["neon_endpoint_info"]}
    store = Store.open(path, SCHEMAS)
    counters = DurableCounters(store, TenantRules(()))
    for number, endpoint_id in enumerate(endpoints):
        place = places[endpoint_id]
        families = Families()
        families.set(SPILL_TXNS, ("cdc",), 1000 + number)
        counters.absorb_counters(f"endpoint:{endpoint_id}", Epoch(endpoint_id, 1000.0, 2000.0), families)
        assert place["branch_id"]
    store.close()


def lasting(samples: Samples) -> Samples:
    return {name: series for name, series in samples.items() if name in LASTING}


def shown_again(before: Samples, now: Samples) -> bool:
    """Whether every counter and every figure of the ledger is there again, none below what it was."""
    return all(
        labels in now.get(name, {}) and now[name][labels] >= value
        for name, series in before.items()
        for labels, value in series.items()
    )


def first_life(agent: Agent, projects: int) -> Samples:
    """Let an agent read and price everything; the samples from before its death."""
    agent.start(ready=False)
    agent.until(lambda agent: agent.page("/readyz").startswith("ready"), 600)
    agent.until(lambda agent: agent.samples().get("neon_cost_usd_total"), 600, "it is priced")
    agent.until(lambda agent: agent.sum("neon_inventory_projects") == projects, 600)
    agent.until(settled, 600, "the operations are counted")
    before = agent.samples()
    agent.kill()
    return before


def settled(agent: Agent) -> bool:
    before = agent.samples()
    time.sleep(2)
    now = agent.samples()
    return all(len(now.get(name, ())) == len(series) for name, series in lasting(before).items())


def restart_without_neon(make_agent: AgentMaker, recorder: Recorder, world: str, projects: int) -> float:
    """Kill an agent, take Neon away, start it again: everything is there, with its age, and no session is opened."""
    with serve_named(world) as api:
        agent = make_agent(settings_for(api, recorder, **FAST))
        before = first_life(agent, projects)
        listen = api.url.removeprefix("http://").partition("/")[0]
    path = Path(agent.settings["storage"]["path"])
    endpoints = sorted(dict(labels)["endpoint_id"] for labels in before["neon_endpoint_info"])
    count_at(path, endpoints, before)
    seeded = {"pg_stat_replication_slots_spill_txns_total"}
    visited = len(recorder.sessions)
    killed_at, began = time.time(), time.monotonic()
    agent.start(ready=False)
    agent.until(lambda agent: shown_again(lasting(before), agent.samples()), why="all counters are there again")
    agent.until(lambda agent: len(agent.samples().get(*seeded, {})) == len(endpoints), why="those of visits, too")
    seconds = time.monotonic() - began
    assert agent.page("/readyz").startswith(f"ready; 0 of {projects} projects were read since the start")
    now = agent.samples()
    for name in ("neon_project_info", "neon_branch_info", "neon_endpoint_info", "neon_org_info"):
        assert now[name].keys() == before[name].keys()
    assert agent.sum("neon_inventory_unread_projects") == projects
    assert agent.sum("neonmeter_inventory_last_success_timestamp_seconds") < killed_at
    status = agent.sum("neonmeter_collector_status", collector="inventory", status="no_data")
    assert status >= projects
    ages = {
        value for labels, value in now["neonmeter_collector_last_success_timestamp_seconds"].items()
        if dict(labels)["collector"] == "inventory"
    }  # fmt: skip
    assert ages and max(ages) < killed_at
    assert "0 of" in agent.page("/")
    time.sleep(17)  # Computes that never suspend are considered every 15 s.
    assert len(recorder.sessions) == visited, "an inventory from the disk opened a session"
    with serve_named(world, listen=listen):
        agent.until(lambda agent: agent.sum("neon_inventory_unread_projects") == 0, 900, "Neon is read again")
        agent.until(lambda agent: agent.page("/readyz").strip() == "ready")
        agent.until(lambda _: len(recorder.sessions) > visited, 600, "the recorder sees sessions that are allowed")
    agent.kill()
    assert "Traceback" not in agent.log.read_text()
    stored = b"".join(file.read_bytes() for file in path.parent.glob("neonmeter.db*"))
    for secret in (*SECRETS, agent.settings["neon"]["api_key"]):
        assert secret.encode() not in stored
    return seconds


@pytest.mark.deep
def test_a_restart_shows_everything_at_once_and_visits_nothing_on_old_facts(
    make_agent: AgentMaker, recorder: Recorder
) -> None:
    print(f"after {restart_without_neon(make_agent, recorder, 'large:12x2', 12):.1f} s")


@pytest.mark.deep
def test_a_restart_with_1000_projects(make_agent: AgentMaker, recorder: Recorder) -> None:
    seconds = restart_without_neon(make_agent, recorder, "large:1000x5", 1000)
    print(f"1,000 projects: all ledger and counter series after {seconds:.1f} s")
    assert seconds < 60  # 5 s on a machine that does nothing else


@pytest.mark.deep
def test_what_the_settings_leave_out_is_not_recalled(make_agent: AgentMaker, recorder: Recorder) -> None:
    with serve_named("large:12x2") as api:
        agent = make_agent(settings_for(api, recorder, **FAST))
        before = first_life(agent, 12)
    gone = "large-000007"
    agent.settings["neon"] = {**agent.settings["neon"], "exclude": [gone]}
    agent.start(ready=False)
    agent.until(lambda agent: len(agent.samples().get("neon_cost_usd_total", ())) > 0)
    now = agent.samples()
    assert len(now["neon_project_info"]) == len(before["neon_project_info"]) - 1
    assert not [labels for series in now.values() for labels in series if ("project_id", gone) in labels]
    agent.kill()
