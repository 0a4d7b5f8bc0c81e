"""The agent as a process of its own, as people run it: start it on settings, look at it over HTTP, kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.core.http_client import ask, wait_until_ready
from exporter.demo.compute import Compute
from exporter.demo.postgres import free_port

QUICK = {"inventory_seconds": 1, "consumption_seconds": 2, "operations_seconds": 2, "publish_seconds": 1}
"""Paces of an agent under test; the rules of the wake policy stay as they are."""

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


class Agent:
    """One `neonmeter run` over one settings file; it can be ended in any way and started again."""

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = folder / "neonmeter.yaml"
        self.log = folder / "agent.log"
        self.settings = {
            **settings,
            "intervals": {**QUICK, **settings.get("intervals", {})},
            "sampling": {"tick_seconds": 1, **settings.get("sampling", {})},
            "http": {"listen": self.url.removeprefix("http://")},
            "storage": {"path": str(folder / "neonmeter.db"), **settings.get("storage", {})},
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        """Variables beside those of the tests."""

    def start(self, *, ready: bool = True, seconds: float = 180.0) -> Agent:
        """Start it; with ``ready`` wait until its first inventory is published."""
        self.config.write_text(yaml.safe_dump(self.settings))
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exporter", "run", "--config", str(self.config)],
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
            )
        if ready and not wait_until_ready(self.url, seconds, self.alive):
            self.kill()
            raise AssertionError(f"not ready in {seconds:g} s: {self.log.read_text()[-3000:]}")
        return self

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds: float = 120.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def page(self, path: str) -> str:
        return ask(f"{self.url}{path}", timeout=30.0)[1]

    def samples(self) -> Samples:
        """Everything on /metrics: name -> labels -> value."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.page("/metrics")):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def sum(self, name: str, **labels: str) -> float:
        """Sum of the series of one metric that carry these labels."""
        wanted = set(labels.items())
        return sum(value for key, value in self.samples().get(name, {}).items() if wanted <= set(key))

    def until(self, what: Callable[[Agent], object], seconds: float = 180.0, why: str = "") -> None:
        """Wait until something is true of this agent; fail with its log when it does not get so at all."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if what(self):
                    return
            time.sleep(0.2)
        tail = self.log.read_text()[-3000:]
        raise AssertionError(f"not in {seconds:g} s: {why or what}\n{self.page('/targets?format=json')}\n{tail}")


def put_to_sleep(agent: Agent, *computes: Compute) -> None:
    """Suspend computes that a running agent visits: disabled first, so that no visit of it meets the suspend."""
    for compute in computes:
        compute.endpoint.disabled = True
    try:
        agent.until(lambda agent: agent.page("/targets?format=json").count("the endpoint is disabled") >= len(computes))
        for compute in computes:
            compute.suspend()
    finally:
        for compute in computes:
            compute.endpoint.disabled = False


AgentMaker = Callable[[dict[str, Any]], Agent]


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[AgentMaker]:
    """Agents by settings; those that still run at the end are stopped, and must end well."""
    with ExitStack() as stack:
        count = 0

        def make(settings: dict[str, Any]) -> Agent:
            nonlocal count
            count += 1
            folder = tmp_path / f"agent{count}"
            folder.mkdir()
            agent = Agent(settings, folder)
            stack.callback(lambda: agent.stop() if agent.alive() else None)
            return agent

        yield make
