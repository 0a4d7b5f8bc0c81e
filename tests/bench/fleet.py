"""The agent by the size of the fleet: start, first reading of all, a later round, publishing, loop lag, memory.

Against the twin's control plane, which answers as quickly as this machine lets it and has no limit of its own.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.core.http_client import ask
from exporter.demo.api import serve_named
from exporter.documents.terminal import table
from tests.bench.agent import UNHURRIED, peak_megabytes, settings
from tests.bench.measure import Verdict, cpu_seconds, load, print_verdicts, rss_megabytes
from tests.fix_agent import Agent

SIZES = (100, 1_000, 10_000)
"""Projects, each with five branches."""
SECONDS = {100: 300.0, 1_000: 600.0, 10_000: 900.0}
"""How long a size may take in all."""
LAG_GOAL, RSS_GOAL = 0.5, {100: 150.0, 1_000: 250.0, 10_000: 1_000.0}


class LateError(Exception):
    """A size did not get done in its time; the text says with what."""


@dataclass
class Fleet:
    """What one size came to. Seconds and megabytes."""

    first: float = 0.0
    whole: float = 0.0
    cycle: float = 0.0
    publish: float = 0.0
    lag: float = 0.0
    rss: float = 0.0
    peak: float = 0.0
    cpu: float = 0.0
    series: int = 0
    late: str = ""
    """With what it was not done in time."""


class Watched:
    """An agent that is looked at until a deadline; the worst lag of its loop is noted at each look."""

    def __init__(self, agent: Agent, seconds: float) -> None:
        self.agent = agent
        self.ends = time.monotonic() + seconds
        self.lag = 0.0
        self.text = ""

    def look(self) -> Mapping[str, float]:
        """The agent's own figures without labels; empty while it does not answer."""
        try:
            self.text = ask(f"{self.agent.url}/metrics", timeout=30)[1]
        except OSError:
            return {}
        found = {name: float(value) for name, value in re.findall(r"^(neonmeter_\w+) (\S+)$", self.text, re.MULTILINE)}
        self.lag = max(self.lag, found.get("neonmeter_event_loop_lag_seconds", 0.0))
        return found

    def until(self, what: str, name: str, more_than: float) -> float:
        """Wait until a figure is above a value; returns the figure.

        Raises:
            LateError: it did not get there in time.
        """
        while time.monotonic() < self.ends:
            found = self.look().get(name)
            if found is not None and found > more_than:
                return found
            if not self.agent.alive():
                raise LateError(f"the agent ended by itself: {self.agent.log.read_text()[-500:]}")
            time.sleep(0.5)
        raise LateError(f"{what}: not in time ({load()}); {self.agent.log.read_text()[-300:].strip()}")


def measure(projects: int, seconds: float) -> Fleet:
    """Start an agent on a fleet, wait until all of it was read, and for two rounds more, ``seconds`` in all."""
    fleet = Fleet()
    with tempfile.TemporaryDirectory() as made, serve_named(f"large:{projects}x5") as api:
        agent = Agent({**settings(api, {**UNHURRIED, "inventory_seconds": 20}, 20)}, Path(made))
        watched = Watched(agent, seconds)
        try:
            began = time.monotonic()
            agent.start(ready=False)
            watched.until("the first page", "neonmeter_publish_generation", -1)
            fleet.first = time.monotonic() - began
            read = watched.until("all projects", "neonmeter_inventory_last_success_timestamp_seconds", 0)
            fleet.whole = time.monotonic() - began
            watched.until("a second round", "neonmeter_inventory_last_success_timestamp_seconds", read)
            rounds = time.monotonic()
            before = watched.look()
            read = before.get("neonmeter_inventory_last_success_timestamp_seconds", 0.0)
            watched.until("a third round", "neonmeter_inventory_last_success_timestamp_seconds", read)
            fleet.cycle = time.monotonic() - rounds
            after = watched.look()
            published = after.get("neonmeter_publishes_total", 0) - before.get("neonmeter_publishes_total", 0)
            spent = after.get("neonmeter_publish_seconds_total", 0) - before.get("neonmeter_publish_seconds_total", 0)
            fleet.publish = spent / max(1, published)
        except LateError as problem:
            fleet.late = str(problem)[:160]
        finally:
            fleet.lag = watched.lag
            if agent.alive() and agent.process is not None:
                pid = agent.process.pid
                fleet.rss, fleet.peak, fleet.cpu = rss_megabytes(pid), peak_megabytes(pid), cpu_seconds(pid)
                fleet.series = sum(not line.startswith("#") for line in watched.text.splitlines())
            if agent.alive():
                agent.kill()
    return fleet


def run(sizes: Sequence[int] = SIZES) -> list[Verdict]:
    """Print all of it; returns the verdicts."""
    heads = ("projects", "series", "first page s", "all read s", "round to round s", "publish s", "worst loop lag s",
             "RSS MB", "peak MB", "CPU s")  # fmt: skip
    rows: list[tuple[object, ...]] = []
    verdicts: list[Verdict] = []
    for projects in sizes:
        limit = SECONDS.get(projects, 900.0)
        found = measure(projects, limit)
        rows.append((
            f"{projects:,}", f"{found.series:,}", f"{found.first:.2f}", f"{found.whole:.1f}", f"{found.cycle:.1f}",
            f"{found.publish:.3f}", f"{found.lag:.2f}", f"{found.rss:.0f}", f"{found.peak:.0f}", f"{found.cpu:.0f}",
        ))  # fmt: skip
        name, rss_goal = f"{projects:,} projects", RSS_GOAL.get(projects, 1_000.0)
        verdicts += [
            Verdict(f"{name}: in time", found.late or "yes", f"in {limit:g} s", not found.late),
            Verdict(f"{name}: loop lag", f"{found.lag:.2f} s", f"< {LAG_GOAL:g} s", found.lag < LAG_GOAL),
            Verdict(f"{name}: RSS", f"{found.rss:.0f} MB", f"< {rss_goal:g} MB", found.rss < rss_goal),
        ]
    print(table(heads, rows), end="")
    print_verdicts(verdicts)
    return verdicts


def main(arguments: Sequence[str]) -> None:
    """Options of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="projects")
    run(parser.parse_args(arguments).sizes)


if __name__ == "__main__":
    main(sys.argv[1:])
