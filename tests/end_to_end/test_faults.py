"""Show of faults: whatever breaks, /metrics answers, says what broke, and everything else stays fresh."""

from __future__ import annotations

import html
import json
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.compute import Compute
from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from tests.end_to_end.pinned_world import (
    ALONE,
    EAGER,
    answer_milliseconds,
    frozen,
    locked,
    pinned_world,
    run_sql,
    send_all,
    server_processes,
    sessions_of_ours,
    wake_all,
)
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import wait_for

BROKEN = {
    # branch: (collector that shows it, its status, what the page says, pg_up)
    "view-locked": ("settings", "timeout", "", 1),
    "evidence-locked": ("visit", "timeout", "lock timeout", 0),
    "catalogue-locked": ("visit", "timeout", "", 0),
    "frozen": ("visit", "timeout", "5 s", 0),
    "dead": ("visit", "unreachable", "connection refused", 0),
    "password": ("visit", "auth", "the password is wrong", 0),
    "nologin": ("visit", "auth", "LOGIN", 0),
    "revoked": ("visit", "no_privilege", "GRANT pg_monitor", 1),
}
FAULTS = {
    "view-locked": "database: a view that we read is locked",
    "evidence-locked": "database: what shows who else is there is locked",
    "catalogue-locked": "database: a catalogue is locked",
    "frozen": "database: the server is frozen",
    "dead": "database: the server was killed",
    "password": "database: our password was changed",
    "nologin": "database: our role may not log in",
    "revoked": "database: our role lost pg_monitor",
}
VICTIM = "victim"
"""Its server is killed; the branch `dead` is read there, and the API goes on saying that that one is active."""
SLOW_MS = 1000


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    world = pinned_world([*BROKEN, VICTIM])
    with Twin(world, open_state_dir / "faults", settings=ALONE) as twin:
        wake_all(twin)
        yield twin


def settings_for(twin: Twin) -> dict[str, Any]:
    settings = twin.agent_settings()
    port = twin.compute("shop", VICTIM).cluster.port
    settings["sampling"] = EAGER
    settings["postgres"]["overrides"] = [
        {"branch": VICTIM, "enabled": False},
        {"branch": "dead", "dsn": f"postgresql://monitor@127.0.0.1:{port}/postgres"},
    ]
    return settings


@pytest.fixture(scope="module")
def agent(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """It has seen every server well."""
    agent = Agent(settings_for(twin), tmp_path_factory.mktemp("agent")).start()
    try:
        agent.until(lambda agent: agent.sum("pg_up") == len(BROKEN) + 1, why="every compute is up")
        yield agent
    finally:
        if agent.alive():
            agent.stop()


def break_all(twin: Twin, stack: ExitStack) -> None:
    def of(branch: str) -> Compute:
        return twin.compute("shop", branch)

    stack.enter_context(locked(of("view-locked"), "pg_catalog.pg_settings"))
    stack.enter_context(locked(of("evidence-locked"), "pg_catalog.pg_subscription"))
    stack.enter_context(locked(of("catalogue-locked"), "pg_catalog.pg_database"))
    run_sql(of("password"), "ALTER ROLE monitor PASSWORD 'another'")
    run_sql(of("nologin"), "ALTER ROLE monitor NOLOGIN")
    run_sql(of("revoked"), "REVOKE pg_monitor FROM monitor")
    stack.enter_context(frozen(of("frozen")))
    send_all(server_processes(of(VICTIM)), signal.SIGKILL)


@pytest.fixture(scope="module")
def broken(twin: Twin, agent: Agent) -> Iterator[ExitStack]:
    """Everything breaks at once; closing the stack mends what can be mended."""
    with ExitStack() as stack:
        break_all(twin, stack)
        yield stack


@pytest.fixture(scope="module")
def told(agent: Agent, broken: ExitStack) -> set[str]:
    """The branches whose visits were shown as failed in the way that is theirs.

    All at once, because it passes: what fails again and again is left alone, and may have no connection left for us.
    """
    found: set[str] = set()
    visits = {branch for branch, (collector, *_) in BROKEN.items() if collector == "visit"}

    def all_told(agent: Agent) -> bool:
        rows: list[dict[str, Any]] = json.loads(agent.page("/targets?format=json"))
        for row in rows:
            if row["name"] in visits:
                _, status, said, _ = BROKEN[row["name"]]
                as_it_is = status in (row["status"], *row["why"].split(": ")) and said in row["why"]
                if row["status"] in (status, "breaker_open") and as_it_is:
                    found.add(row["name"])
        return visits <= found

    agent.until(all_told, why="every broken server is shown as what it is")
    return found


def visited_at(agent: Agent, compute: Compute) -> float:
    return agent.sum("neonmeter_endpoint_last_visit_timestamp_seconds", endpoint_id=compute.endpoint.id)


def statuses(agent: Agent, compute: Compute, collector: str) -> set[str]:
    shown = agent.samples()["neonmeter_collector_status"]
    key = {("collector", collector), ("target", f"endpoint:{compute.endpoint.id}")}
    return {dict(labels)["status"] for labels in shown if key <= set(labels)}


def check_fresh(twin: Twin, agent: Agent) -> None:
    """What acme does now arrives, to the call, and so does the next visit."""
    main = twin.compute("shop", "main")
    seen = visited_at(agent, main)
    twin.workload.run_burst(main.endpoint.id, "acme", 10)
    done = twin.workload.done["acme"]
    agent.until(lambda agent: agent.sum("neon_tenant_calls_total", tenant="acme") == done, why=f"{done} calls")
    agent.until(lambda agent: visited_at(agent, main) > seen, why="a later visit")


@pytest.mark.parametrize("branch", [pytest.param(name, marks=pytest.mark.fault(FAULTS[name])) for name in BROKEN])
def test_a_broken_server_is_shown_as_what_it_is(twin: Twin, agent: Agent, told: set[str], branch: str) -> None:
    collector, status, _, up = BROKEN[branch]
    compute = twin.compute("shop", branch)
    # A target that fails again and again is left alone, and then says so, and why.
    agent.until(
        lambda agent: (found := statuses(agent, compute, collector)) and found <= {status, "breaker_open"},
        why=f"{branch}: {collector} is {status}",
    )  # fmt: skip
    assert collector != "visit" or branch in told
    key = tuple(sorted(labels(twin, compute).items()))
    agent.until(lambda agent: agent.samples()["pg_up"].get(key) == up, why=f"{branch}: pg_up is {up}")
    assert answer_milliseconds(agent, branch) < SLOW_MS


def labels(twin: Twin, compute: Compute) -> dict[str, str]:
    endpoint = compute.endpoint
    return {"project_id": endpoint.project_id, "branch_id": endpoint.branch_id, "endpoint_id": endpoint.id}


def test_the_others_stay_fresh(twin: Twin, agent: Agent, broken: ExitStack) -> None:
    check_fresh(twin, agent)
    view_locked = twin.compute("shop", "view-locked")
    one = "one locked view costs one collector"
    agent.until(lambda agent: statuses(agent, view_locked, "statements") == {"ok"}, why=one)
    counts = [sessions_of_ours(twin.compute("shop", "main")) for _ in range(20)]
    assert max(counts) <= 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("drop", "no connection", marks=pytest.mark.fault("API: connections are dropped")),
        pytest.param("garbage", "not what Neon's API documents", marks=pytest.mark.fault("API: it sends garbage")),
        pytest.param("status", "HTTP 503", marks=[pytest.mark.deep, pytest.mark.fault("API: it fails (503)")]),
    ],
)
def test_the_api_breaks(twin: Twin, agent: Agent, broken: ExitStack, fault: str, said: str) -> None:
    twin.api.faults.put({"kind": fault})
    try:
        status = (("collector", "api"), ("status", "unreachable"), ("target", "agent:"))
        agent.until(lambda agent: status in agent.samples()["neonmeter_collector_status"], why="the API is unreachable")
        agent.until(lambda agent: said in html.unescape(agent.page("/")), why="a person reads why")
        assert answer_milliseconds(agent, f"API: {fault}") < SLOW_MS
        if fault == "drop":
            check_fresh(twin, agent)
    finally:
        twin.api.faults.clear()
    ok = (("collector", "api"), ("status", "ok"), ("target", "agent:"))
    agent.until(lambda agent: ok in agent.samples()["neonmeter_collector_status"], why="the API is back")


@pytest.mark.fault("disk: full while it runs")
def test_the_disk_is_full(twin: Twin, agent: Agent, broken: ExitStack) -> None:
    """No file of the agent may grow past a page: to it, that is a full disk."""
    assert agent.process is not None
    before = agent.sum("neon_tenant_calls_total", tenant="acme")
    soft, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        agent.until(lambda agent: agent.sum("neonmeter_rounds_total", status="store_error") > 0, why="it is told")
        agent.until(lambda agent: "neonmeter.db: " in agent.page("/"), why="a person reads which file")
        main = twin.compute("shop", "main")
        twin.workload.run_burst(main.endpoint.id, "acme", 10)
        agent.until(lambda agent: statuses(agent, main, "statements") == {"store_error"}, why="it is no bug of ours")
        seen = visited_at(agent, main)
        agent.until(lambda agent: visited_at(agent, main) > seen + 1, why="what never suspends is visited on")
        assert agent.sum("pg_up", endpoint_id=main.endpoint.id) == 1
        assert agent.sum("neon_tenant_calls_total", tenant="acme") == before, "what is not on the disk is not shown"
        assert answer_milliseconds(agent, "disk full") < SLOW_MS
    finally:
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    check_fresh(twin, agent)
    agent.until(lambda agent: "neonmeter.db: " not in agent.page("/"), why="the note is gone")


@pytest.mark.fault("disk: the file is moved away and comes back")
def test_the_ledger_is_moved_away(twin: Twin, agent: Agent, broken: ExitStack) -> None:
    """A backup that moves instead of copying: the file stays open, and is back under its name a moment later."""
    path = Path(agent.settings["storage"]["path"])
    generation = agent.sum("neonmeter_publish_generation")
    path.rename(path.with_suffix(".away"))
    try:
        agent.until(lambda agent: agent.sum("neonmeter_publish_generation") > generation + 2, why="it publishes")
    finally:
        path.with_suffix(".away").rename(path)
    check_fresh(twin, agent)


@pytest.mark.fault("database: a privilege is revoked for a while")
def test_what_was_hidden_for_a_while_is_counted_once(twin: Twin, agent: Agent, broken: ExitStack) -> None:
    main = twin.compute("shop", "main")
    check_fresh(twin, agent)
    before = agent.sum("neon_tenant_calls_total", tenant="acme")
    run_sql(main, "REVOKE pg_monitor FROM monitor")
    try:
        agent.until(lambda agent: statuses(agent, main, "statements") == {"no_privilege"})
        twin.workload.run_burst(main.endpoint.id, "acme", 10)
        seen = visited_at(agent, main)
        agent.until(lambda agent: visited_at(agent, main) > seen + 1)
        assert agent.sum("neon_tenant_calls_total", tenant="acme") == before
        read = "what needs no privilege is still read"
        agent.until(lambda agent: statuses(agent, main, "databases") == {"ok"}, why=read)
    finally:
        run_sql(main, "GRANT pg_monitor TO monitor")
    check_fresh(twin, agent)
    agent.until(lambda agent: statuses(agent, main, "visit") == {"ok"}, why="a visit that ended well")


def test_nothing_leaks_and_the_agent_ends_well(twin: Twin, agent: Agent, broken: ExitStack) -> None:
    broken.close()
    assert agent.stop() == 0
    wake_all(twin)  # The killed server comes back, and clears away the shared memory that it left.
    for compute in twin.computes.values():
        if compute.cluster.running:
            assert wait_for(lambda compute=compute: sessions_of_ours(compute) == 0), compute.endpoint.id
    assert not twin.truth.wakes("neonmeter")
    assert "Traceback" not in agent.log.read_text()


@pytest.mark.deep
@pytest.mark.fault("API: nobody answers since the start")
def test_an_api_that_never_answered(make_agent: AgentMaker) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/api/v2"
    agent = make_agent({"neon": {"api_url": nobody, "api_key": "some-key"}}).start(ready=False)
    status = (("collector", "api"), ("status", "unreachable"), ("target", "agent:"))
    agent.until(lambda agent: status in agent.samples().get("neonmeter_collector_status", {}), why="it says so")
    assert answer_milliseconds(agent, "no API since the start") < SLOW_MS
    assert "waiting for the first inventory" in agent.page("/readyz")
    assert agent.stop() == 0


@pytest.mark.fault("API: requests hang")
def test_it_stops_in_time_while_the_api_hangs(twin: Twin, make_agent: AgentMaker) -> None:
    """A container is killed 10 seconds after it was asked to stop; waiting for an API must not use them up."""
    twin.api.faults.put({"kind": "latency", "seconds": 60})
    try:
        agent = make_agent(settings_for(twin)).start(ready=False)
        agent.until(lambda agent: agent.page("/healthz"))
        time.sleep(1)
        began = time.monotonic()
        assert agent.stop(20) == 0
        print(f"stopped in {time.monotonic() - began:.1f} s")
        log = agent.log.read_text()
        assert "job round was cancelled" in log
        assert "Traceback" not in log
    finally:
        twin.api.faults.clear()
