"""SIGTERM ends the agent within five seconds, whatever it is doing or waiting for: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from exporter.core.http_client import ask
from exporter.demo.api import serve_named
from exporter.demo.postgres import free_port
from tests.bench.agent import UNHURRIED, settings
from tests.fix_agent import Agent, AgentMaker

IN_TIME = 5.0
SLACK = 10.0
"""A busy machine may take this long to give a process its turns; the log says what the agent itself took."""
IN_FORCE = "not stopped within"


def stop(agent: Agent) -> float:
    """Seconds from SIGTERM to the end."""
    began = time.monotonic()
    assert agent.stop(60) == 0
    return time.monotonic() - began


def check(agent: Agent, *, forced: bool = False) -> None:
    took, log = stop(agent), agent.log.read_text()
    assert took < IN_TIME + SLACK, f"{took:.1f} s"
    assert forced or IN_FORCE not in log, log[-3000:]
    assert "Traceback" not in log, log[-6000:]


def caught(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1)


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address where the kernel accepts and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        host, port = listener.getsockname()
        yield host, port


def idle(**more: object) -> dict[str, object]:
    return {"neon": {"api_url": f"http://127.0.0.1:{free_port()}/api/v2", "api_key": "k"}, **more}


def serving(agent: Agent) -> Agent:
    agent.start(ready=False)
    agent.until(lambda agent: ask(f"{agent.url}/healthz")[0] == 200, why="it serves")
    return agent


@pytest.mark.fault("signals: SIGTERM at rest")
def test_at_rest(make_agent: AgentMaker) -> None:
    check(serving(make_agent(idle())))


@pytest.mark.fault("signals: SIGTERM while an API, a collector and a ledger do not answer")
def test_while_everything_it_talks_to_hangs(make_agent: AgentMaker) -> None:
    with silent() as (host, port):
        url = f"http://{host}:{port}"
        agent = serving(make_agent({
            "neon": {"api_url": url, "api_key": "k"},
            "telemetry": {"otlp_endpoint": url, "metrics": True, "interval_seconds": 1},
            "pgbouncer": [{"name": "p", "dsn": f"postgresql://x@{host}:{port}/pgbouncer", "interval_seconds": 1}],
        }))  # fmt: skip
        time.sleep(3)
        check(agent)


@pytest.mark.fault("disk: a write that does not return")
def test_while_a_write_waits(make_agent: AgentMaker) -> None:
    """Another program holds the file's write lock: the writer's thread waits for it inside SQLite."""
    with serve_named("small") as api:
        agent = make_agent({"neon": {"api_url": api.url, "api_key": api.settings.org_key}}).start()
        with contextlib.closing(sqlite3.connect(str(agent.settings["storage"]["path"]))) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(2)
            check(agent, forced=True)


@pytest.mark.fault("signals: SIGTERM while the main thread is stopped in a system call")
def test_while_the_main_thread_is_inside_a_system_call(make_agent: AgentMaker, tmp_path: Path) -> None:
    """A reload whose settings file is a pipe that nobody writes to: the loop itself stands still."""
    agent = serving(make_agent(idle()))
    agent.config.unlink()
    os.mkfifo(agent.config)
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    check(agent, forced=True)


@pytest.mark.deep
@pytest.mark.fault("signals: SIGTERM while 10,000 projects are read")
def test_in_the_middle_of_reading_ten_thousand_projects(make_agent: AgentMaker) -> None:
    with serve_named("large:10000x2") as api:
        agent = make_agent({**settings(api, UNHURRIED, 60)})
        serving(agent)
        time.sleep(20)
        check(agent, forced=True)


@pytest.mark.fault("signals: SIGTERM in the first second")
def test_before_it_serves(tmp_path: Path) -> None:
    """At any moment of the start, also while modules are imported: it ends at once."""
    for moment in (0.0, 0.1, 0.3, 0.6):
        agent = Agent(idle(), tmp_path)
        agent.start(ready=False)
        assert agent.process is not None
        while not caught(agent.process.pid):
            time.sleep(0.002)
        time.sleep(moment)
        began = time.monotonic()
        assert agent.stop(60) in (0, 143)
        assert time.monotonic() - began < IN_TIME + SLACK


@pytest.mark.fault("signals: SIGTERM to process 1 of a container")
@pytest.mark.parametrize("moment", [0.0, 0.5, 3.0])
def test_as_process_one(tmp_path: Path, moment: float) -> None:
    """The first process of a PID namespace ignores every signal that it has no handler for."""
    mine = ["unshare", "--pid", "--fork", "--kill-child"] if os.geteuid() == 0 else [
        "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]  # fmt: skip
    if subprocess.run([*mine, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no PID namespace may be made here (unshare --pid)")
    agent = Agent(idle(), tmp_path)
    agent.config.write_text(yaml.safe_dump(agent.settings))
    with agent.log.open("ab") as out:
        outside = subprocess.Popen(
            [*mine, sys.executable, "-m", "exporter", "run", "--config", str(agent.config)], stdout=out, stderr=out
        )
    try:
        inside = child_of(outside.pid)
        assert namespace_pid(inside) == 1
        began = time.monotonic()
        while not caught(inside):
            time.sleep(0.002)
        handled = time.monotonic() - began
        time.sleep(moment)
        began = time.monotonic()
        os.kill(inside, signal.SIGTERM)
        assert outside.wait(60) in (0, 143)
        took = time.monotonic() - began
        print(f"handler after {handled * 1000:.0f} ms, ended {took:.2f} s after the signal")
        assert took < IN_TIME + SLACK
    finally:
        outside.kill()
        outside.wait(60)


def child_of(pid: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found and "python" in Path(f"/proc/{found[0]}/cmdline").read_text():
            return int(found[0])
        time.sleep(0.002)
    raise AssertionError("unshare started nothing")


def namespace_pid(pid: int) -> int:
    line = Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0]
    return int(line.split()[-1])


@contextmanager
def hanging_names() -> Iterator[list[str]]:
    """How to start a program whose look-ups of host names never end: a resolver that takes questions and is silent."""
    address = "127.7.7.7"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind((address, 53))
        except OSError as problem:
            pytest.skip(f"port 53 cannot be used here ({problem.strerror})")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
            resolver.write(f"nameserver {address}\noptions timeout:30 attempts:5\n")
            resolver.flush()
            mount = f'mount --bind {resolver.name} /etc/resolv.conf && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, "sh"]
            probe = "import socket; socket.gethostbyname('localhost')"
            if subprocess.run([*command, sys.executable, "-c", probe], check=False, capture_output=True).returncode:
                pytest.skip("no mount namespace may be made here (unshare --mount)")
            yield command


@pytest.mark.fault("DNS: a resolver that never answers")
def test_while_no_name_resolves(tmp_path: Path) -> None:
    """Names hang; what has an address is read all the same, pages answer, and it stops in time."""
    with hanging_names() as command, serve_named("small") as api:
        poolers = [
            {"name": f"p{number}", "dsn": f"postgresql://x@pooler{number}.zone{number % 3}.example/pgbouncer",
             "interval_seconds": 1} for number in range(20)
        ]  # fmt: skip
        neon = {"api_url": api.url, "api_key": api.settings.org_key}
        agent = Agent({"neon": neon, "pgbouncer": poolers}, tmp_path)
        agent.config.write_text(yaml.safe_dump(agent.settings))
        with agent.log.open("ab") as out:
            agent.process = subprocess.Popen(
                [*command, sys.executable, "-m", "exporter", "run", "--config", str(agent.config)], stdout=out,
                stderr=out,
            )  # fmt: skip
        agent.until(lambda agent: ask(f"{agent.url}/readyz")[0] == 200, why="the API is read by its address")
        agent.until(
            lambda agent: any(
                dict(labels).get("collector") == "pgbouncer" and dict(labels).get("status") != "ok"
                for labels in agent.samples().get("neonmeter_collector_status", {})
            ),
            why="the poolers time out",
        )
        before = agent.sum("neonmeter_inventory_last_success_timestamp_seconds")
        agent.until(
            lambda agent: agent.sum("neonmeter_inventory_last_success_timestamp_seconds") > before + 3,
            why="what needs no name goes on",
        )
        check(agent)


@pytest.mark.deep
@pytest.mark.fault("signals: SIGTERM during a reload storm")
def test_in_a_storm_of_reloads(make_agent: AgentMaker) -> None:
    agent = serving(make_agent(idle()))
    assert agent.process is not None
    process = agent.process
    ended = threading.Event()

    def storm() -> None:
        while not ended.wait(0.02) and process.poll() is None:
            process.send_signal(signal.SIGHUP)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        time.sleep(2)
        check(agent)
    finally:
        ended.set()
        thread.join()
