"""The agent as a process: how soon it answers, how much memory it takes by number of series, what it does at rest.

It watches the twin's control plane, small for the start, `large:` worlds for the sizes: some forty series a branch,
with a week of hourly consumption to read at first.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import yaml

from exporter.core.http_client import ask
from exporter.demo.api import TwinApi, serve_named
from exporter.documents.terminal import table
from tests.bench.measure import Verdict, cpu_seconds, load, print_verdicts, rss_megabytes
from tests.bench.serving import FORMS, Client, Times
from tests.fix_agent import Agent

WORLDS = {1_000: "large:5x5", 10_000: "large:25x10", 100_000: "large:250x10"}
"""By the number of series they come to, about."""
UNHURRIED = {"inventory_seconds": 60, "consumption_seconds": 900, "operations_seconds": 300, "publish_seconds": 2}
BUSY = {"inventory_seconds": 1, "consumption_seconds": 2, "operations_seconds": 1, "publish_seconds": 1}
SETTLE_SECONDS = 150.0


class NotSettledError(Exception):
    """The agent did not get to the end of its first reading."""


def settings(api: TwinApi, intervals: Mapping[str, float], tick: float) -> dict[str, Any]:
    """No pace of the API holds it back: what is measured is the agent."""
    neon = {"api_url": api.url, "api_key": api.settings.org_key}
    pace = {"requests_per_minute": 1_000_000, "burst": 10_000, "consumption_per_minute": 1_000_000}
    return {"neon": {**neon, **pace}, "intervals": dict(intervals), "sampling": {"tick_seconds": tick}}


@contextmanager
def running(api: TwinApi) -> Iterator[Agent]:
    with tempfile.TemporaryDirectory() as made:
        agent = Agent(settings(api, UNHURRIED, 60), Path(made))
        try:
            yield agent
        finally:
            if agent.alive():
                agent.stop()


def until(agent: Agent, path: str, began: float) -> float:
    """Seconds from ``began`` until a page answers 200."""
    while time.perf_counter() - began < 60:
        try:
            if ask(f"{agent.url}{path}")[0] == 200:
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.002)
            continue
        time.sleep(0.01)
    raise RuntimeError(f"no answer from {path}: {agent.log.read_text()[-1000:]}")


def time_starts(runs: int) -> list[Verdict]:
    """From the command to the first /metrics, and to the first inventory on it."""
    first, ready, cpu = [], [], []
    with serve_named("small") as api:
        for _ in range(runs + 1):
            with running(api) as agent:
                began = time.perf_counter()
                agent.start(ready=False)
                assert agent.process is not None
                first.append(until(agent, "/metrics", began))
                cpu.append(cpu_seconds(agent.process.pid))
                ready.append(until(agent, "/readyz", began))
    first, ready, cpu = first[1:], ready[1:], cpu[1:]  # the first one compiles and warms the disk
    print(f"start to the first /metrics   {median(first):.2f} s, {min(first):.2f} to {max(first):.2f} in {runs} runs "
          f"(CPU until then {median(cpu):.2f} s), to the first inventory {median(ready):.2f} s")  # fmt: skip
    return [Verdict("start to the first /metrics", f"{median(first):.2f} s", "< 1 s", median(first) < 1)]


@dataclass(frozen=True)
class Size:
    """What the agent is like at a number of series."""

    series: int
    rss: float
    peak: float
    idle: float
    """Share of one core."""
    rest: Times
    busy: Times
    scraped: int


def measure(wanted: int, scrapes: int) -> Size:
    """Let it read a world whole, then rest, then collect as often as it can."""
    with serve_named(WORLDS[wanted]) as api, running(api) as agent:
        agent.start(seconds=SETTLE_SECONDS)
        assert agent.process is not None
        pid = agent.process.pid
        text = settled(agent)
        time.sleep(3)
        began, cpu = time.perf_counter(), cpu_seconds(pid)
        time.sleep(10)
        idle = (cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
        rss, peak = rss_megabytes(pid), peak_megabytes(pid)
        rest = scrape(agent, scrapes)
        reload(agent, BUSY)
        busy = scrape(agent, scrapes)
        series = sum(not line.startswith("#") for line in text.splitlines())
        return Size(series, rss, peak, idle, Times.of(rest), Times.of(busy), scrapes)


def settled(agent: Agent) -> str:
    """What /metrics says once inventory, consumption, prices and operations are all there."""
    deadline = time.monotonic() + SETTLE_SECONDS
    text = ""
    while time.monotonic() < deadline:
        text = agent.page("/metrics")
        if all(f'neonmeter_collector_last_success_timestamp_seconds{{collector="{name}"' in text
               for name in ("api", "pricing", "operations")):  # fmt: skip
            return text
        time.sleep(1)
    said = agent.log.read_text()[-300:]
    raise NotSettledError(f"not read whole in {SETTLE_SECONDS:g} s; is the machine busy ({load()})? {said}")


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def reload(agent: Agent, intervals: Mapping[str, float]) -> None:
    """Change the agent's paces while it runs."""
    agent.settings["intervals"] = dict(intervals)
    agent.settings["sampling"] = {"tick_seconds": 1}
    agent.config.write_text(yaml.safe_dump(agent.settings))
    urllib.request.urlopen(urllib.request.Request(f"{agent.url}/-/reload", method="POST"), timeout=10).close()


def scrape(agent: Agent, scrapes: int) -> list[float]:
    """Seconds of each scrape, ten milliseconds apart, as Prometheus asks."""
    client = Client(urlsplit(agent.url).port or 0, FORMS["gzip"])
    took = []
    for _ in range(scrapes):
        took.append(client.time())
        time.sleep(0.01)
    client.socket.close()
    return took


def measure_sizes(scrapes: int, sizes: list[int]) -> list[Verdict]:
    heads = ("agent at", "series", "RSS MB", "peak MB", "idle CPU", "scrape ms", "p99", "collecting: scrape ms", "p99")
    rows, verdicts = [], []
    for wanted in sizes:
        try:
            size = measure(wanted, scrapes)
        except NotSettledError as problem:
            print(f"skipped: {WORLDS[wanted]}: {problem}")
            continue
        rows.append((
            WORLDS[wanted], f"{size.series:,}", f"{size.rss:.1f}", f"{size.peak:.1f}", f"{size.idle:.2%}",
            f"{size.rest.median:.2f}", f"{size.rest.p99:.2f}", f"{size.busy.median:.2f}", f"{size.busy.p99:.2f}",
        ))  # fmt: skip
        if wanted == 10_000:
            verdicts.append(Verdict(f"RSS at {size.series:,} series", f"{size.rss:.1f} MB", "< 80 MB", size.rss < 80))
    print(table(heads, rows), end="")
    return verdicts


def run(runs: int = 7, scrapes: int = 500, sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> None:
    """Print all of it."""
    print(f"`neonmeter run` against the twin's control plane; {load()}")
    verdicts = time_starts(runs)
    verdicts += measure_sizes(scrapes, list(sizes))
    print_verdicts(verdicts)


if __name__ == "__main__":
    run()
