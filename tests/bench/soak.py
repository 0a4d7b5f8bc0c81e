"""`python -m tests.bench soak`: thirty days of an agent's work in minutes; what grows that should not.

Each round of the agent follows at once on the one before; a day is 1,440 of them, as the usual pace of one a minute has
it, with visits of a real PostgreSQL that somebody uses. Each day brings what days bring: the API fails for a while, the
settings are read again, tables come and go, the server drops our session. Looked at are memory, descriptors, threads,
tasks, the size of the file and the lag of the loop.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from exporter.demo.twin import Twin
from exporter.documents.terminal import table
from tests.bench.measure import Verdict, load, print_verdicts, rss_megabytes
from tests.end_to_end.pinned_world import ALONE, EAGER, pinned_world, run_sql, wake_all
from tests.fix_agent import Agent

ROUNDS_A_DAY = 1440
PACE, TICK = 0.01, 0.3
"""Seconds between two rounds, and between two visits, at least; they take longer where the machine is slow."""
WARM_UP = 0.25
"""Share of the days after which caches are full and what is still growing is a leak."""


@dataclass(frozen=True)
class Look:
    """The agent at one moment."""

    rounds: float
    rss: float
    descriptors: int
    threads: int
    tasks: float
    file: float
    lag: float
    visits: float

    @classmethod
    def at(cls, agent: Agent) -> Look:
        assert agent.process is not None
        pid = agent.process.pid
        threads = int(Path(f"/proc/{pid}/status").read_text().partition("Threads:")[2].split()[0])
        path = Path(agent.settings["storage"]["path"])
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6
        return cls(
            agent.sum("neonmeter_rounds_total", job="round"),
            rss_megabytes(pid),
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            threads,
            agent.sum("neonmeter_event_loop_tasks"),
            size,
            agent.sum("neonmeter_event_loop_lag_seconds"),
            agent.sum("neonmeter_visits_total", rule="none"),
        )

    def row(self, name: str) -> tuple[object, ...]:
        return (
            name, f"{self.rounds / ROUNDS_A_DAY:.1f}", f"{self.rounds:,.0f}", f"{self.visits:,.0f}", f"{self.rss:.1f}",
            self.descriptors, self.threads, f"{self.tasks:g}", f"{self.file:.2f}", f"{self.lag:.3f}",
        )  # fmt: skip


HEADS = ("", "days", "rounds", "visits", "RSS MB", "descriptors", "threads", "tasks", "file MB", "loop lag s")


def a_day(twin: Twin, agent: Agent, number: int) -> None:
    """What happens in a day, besides the work of every minute."""
    main = twin.compute("shop", "main")
    twin.workload.run_burst(main.endpoint.id, "acme", 10)
    fault = ("drop", "garbage", "status", "cut", "truncated")[number % 5]
    twin.api.faults.put({"kind": fault, "count": 20})
    with contextlib.suppress(psycopg.Error):
        run_sql(main, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'neonmeter'")
        run_sql(main, f"CREATE TABLE IF NOT EXISTS day_{number % 7} (id int)", f"DROP TABLE day_{number % 7}")
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)


def run(days: float, minutes: float) -> bool:
    """Work through so many days, or for so many minutes, and print the table; whether nothing grew."""
    began, looks, number = time.monotonic(), list[Look](), 0
    with tempfile.TemporaryDirectory(prefix="neonmeter-soak-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "agent").mkdir()
        with Twin(pinned_world([]), folder / "twin", settings=ALONE) as twin:
            wake_all(twin)
            intervals = {"inventory_seconds": PACE, "consumption_seconds": 1, "operations_seconds": 0.5,
                         "publish_seconds": 0.5}  # fmt: skip
            sampling = {**EAGER, "tick_seconds": TICK}
            settings = {**twin.agent_settings(), "intervals": intervals, "sampling": sampling}
            settings["neon"] = {
                **settings["neon"], "requests_per_minute": 1_000_000, "burst": 10_000,
                "consumption_per_minute": 1_000_000,
            }  # fmt: skip
            agent = Agent(settings, folder / "agent").start()
            try:
                while True:
                    with contextlib.suppress(OSError):
                        looks.append(Look.at(agent))
                    done = looks[-1].rounds / ROUNDS_A_DAY if looks else 0.0
                    if done >= days or time.monotonic() - began > minutes * 60 or not agent.alive():
                        break
                    if done >= number:
                        number += 1
                        a_day(twin, agent, number)
                    time.sleep(1)
                ended = agent.stop() if agent.alive() else -1
            finally:
                if agent.alive():
                    agent.kill()
            log = agent.log.read_text()
    return report(looks, days, ended, log, time.monotonic() - began)


def report(looks: Sequence[Look], days: float, ended: int, log: str, seconds: float) -> bool:
    """Print how it was at the beginning, when it was warm, and at the end."""
    last = looks[-1]
    warm = next(look for look in looks if look.rounds >= last.rounds * WARM_UP)
    print(table(HEADS, [looks[0].row("start"), warm.row("warm"), last.row("end")]), end="")
    print(f"{seconds:.0f} s, {load()}")
    lags = sorted(look.lag for look in looks)
    verdicts = [
        Verdict(
            "days of work", f"{last.rounds / ROUNDS_A_DAY:.1f}", f">= {days:g}", last.rounds / ROUNDS_A_DAY >= days
        ),
        _flat("RSS", warm.rss, last.rss, 8.0 + 0.05 * warm.rss, "MB"),
        _flat("descriptors", warm.descriptors, last.descriptors, 8, ""),
        _flat("threads", warm.threads, last.threads, 4, ""),
        _flat("tasks", warm.tasks, last.tasks, 10, ""),
        _flat("file", warm.file, last.file, 4.0 + 0.25 * warm.file, "MB"),
        Verdict("loop lag, median", f"{lags[len(lags) // 2]:.3f} s", "< 0.25 s", lags[len(lags) // 2] < 0.25),
        Verdict("ended well, no traceback", f"exit {ended}", "exit 0", ended == 0 and "Traceback" not in log),
    ]
    print_verdicts(verdicts)
    flat = all(verdict.met for verdict in verdicts[1:])
    print("flat: nothing grew" if flat else "NOT FLAT: something grows")
    return flat


def _flat(name: str, before: float, after: float, slack: float, unit: str) -> Verdict:
    measured = f"{before:.4g} to {after:.4g} {unit}".strip()
    return Verdict(name, measured, f"within {slack:.3g} {unit}".strip(), after - before <= slack)


def main(arguments: Sequence[str]) -> None:
    """Options of its own; ends with 1 when something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench soak", description=__doc__)
    parser.add_argument("--days", type=float, default=30, help="of an agent's work (default: 30)")
    parser.add_argument("--minutes", type=float, default=40, help="at most (default: 40)")
    options = parser.parse_args(arguments)
    if not run(options.days, options.minutes):
        raise SystemExit(1)
