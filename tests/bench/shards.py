"""`python -m tests.bench shards`: several agents over one large account, at the requests that Neon allows it.

It runs for as long as it is told to (`--minutes 75` reads 10,000 projects twice) and prints, for each shard, what it
owns, how old its oldest project is, its requests, its memory and how late its loop was; and what two of them show.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.demo.api import TwinApi, serve_named
from exporter.documents.terminal import table
from tests.bench.measure import Verdict, print_verdicts, rss_megabytes
from tests.fix_agent import Agent

PUBLISH_SECONDS = 15


class Shard:
    """One agent, and the worst that was seen of it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.lag = self.rss = self.most_a_minute = self.oldest = 0.0
        self.projects = 0
        self._requests: list[tuple[float, float]] = []
        self._read: dict[str, float] = {}

    def look(self) -> None:
        """Scrape it once."""
        samples, now = self.agent.samples(), time.time()
        assert self.agent.process is not None
        self.rss = max(self.rss, rss_megabytes(self.agent.process.pid))
        self.lag = max(self.lag, *samples["neonmeter_event_loop_lag_seconds"].values())
        self.projects = int(sum(samples.get("neonmeter_shard_projects", {}).values()))
        self._requests.append((now, sum(samples.get("neonmeter_api_requests_total", {}).values())))
        earlier = [sent for at, sent in self._requests if at >= now - 60]
        self.most_a_minute = max(self.most_a_minute, self._requests[-1][1] - earlier[0])
        self._read = {
            dict(labels)["target"]: at
            for labels, at in samples.get("neonmeter_collector_last_success_timestamp_seconds", {}).items()
            if ("collector", "inventory") in labels
        }
        self.oldest = max((now - at for at in self._read.values()), default=0.0)


def run(world: str, shards: int, requests: int, minutes: float) -> bool:
    """Run it and print the table; True when every goal is met."""
    with tempfile.TemporaryDirectory(prefix="neonmeter-shards-") as folder, serve_named(world) as api:
        agents = [Agent(settings_of(api, index, shards, requests), _made(Path(folder) / str(index)))
                  for index in range(shards)]  # fmt: skip
        running = [Shard(agent.start(ready=False)) for agent in agents]
        try:
            ends = time.monotonic() + 60 * minutes
            while time.monotonic() < ends:
                time.sleep(min(PUBLISH_SECONDS, max(1.0, ends - time.monotonic())))
                for shard in running:
                    shard.look()
            counts = Counter(
                (name, labels)
                for agent in agents
                for name, found in agent.samples().items()
                for labels in found
                if not name.startswith("neonmeter_")
            )
        finally:
            for agent in agents:
                if agent.alive():
                    agent.kill()
    return _print(running, counts, requests)


def settings_of(api: TwinApi, index: int, total: int, requests: int) -> dict[str, Any]:
    """Settings of one shard: a part of the requests, and the usual paces."""
    neon = {"api_url": api.url, "api_key": api.settings.org_key, "requests_per_minute": requests, "burst": 5}
    intervals = {"inventory_seconds": 60, "consumption_seconds": 900, "operations_seconds": 300}
    return {
        "neon": neon,
        "sharding": {"shard": index, "total": total},
        "intervals": {**intervals, "publish_seconds": PUBLISH_SECONDS},
        "sampling": {"tick_seconds": 60},
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _print(shards: Sequence[Shard], counts: Counter[Any], requests: int) -> bool:
    rows = [
        (index, f"{shard.projects:,}", f"{shard.oldest / 60:.0f} min", f"{shard.most_a_minute:.0f}",
         f"{shard.rss:.0f} MB", f"{shard.lag:.2f} s")
        for index, shard in enumerate(shards)
    ]  # fmt: skip
    print(table(("shard", "projects", "oldest", "most requests a minute", "RSS", "loop late"), rows), end="")
    twice = sum(count > 1 for count in counts.values())
    lag, rss = max(shard.lag for shard in shards), max(shard.rss for shard in shards)
    oldest = max(shard.oldest for shard in shards)
    verdicts = [
        Verdict("series shown by two shards", f"{twice:,} of {len(counts):,}", "0", twice == 0),
        Verdict("age of the oldest project", f"{oldest / 60:.0f} min", "60 min", oldest < 3600),
        Verdict("loop lag", f"{lag:.2f} s", "0.5 s", lag < 0.5),
        Verdict("memory of a shard", f"{rss:.0f} MB", "400 MB", rss < 400),
    ]
    print_verdicts(verdicts)
    print(f"{requests} requests a minute allowed to each; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return all(verdict.met for verdict in verdicts)


def main(arguments: Sequence[str]) -> None:
    """Options of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench shards", description=__doc__)
    parser.add_argument("--world", default="large:10000x5", help="(default: %(default)s)")
    parser.add_argument("--shards", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=150, help="a minute, for each shard (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=75, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    run(options.world, options.shards, options.requests, options.minutes)
