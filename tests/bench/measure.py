"""What every benchmark needs: CPU and memory of another process from /proc, and a figure beside its goal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.documents.terminal import table

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Verdict:
    """One promise: what it is about, what was measured, what was wanted, and whether that is met."""

    about: str
    measured: str
    goal: str
    met: bool


def print_verdicts(verdicts: Iterable[Verdict]) -> None:
    rows = [(verdict.about, verdict.measured, verdict.goal, "met" if verdict.met else "MISSED") for verdict in verdicts]
    print(table(("promise", "measured", "goal", ""), rows), end="", flush=True)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its threads that live, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:  # a thread that ended meanwhile
            continue
    return total / 1e9


def children(pid: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def family_cpu_seconds(pid: int) -> float:
    """CPU time of a process, of its children, and of those that ended (these to 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = cpu_seconds(pid) + (int(fields[13]) + int(fields[14])) / _TICK
    for child in children(pid):
        try:
            total += cpu_seconds(child)
        except OSError:
            continue
    return total


def rss_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load() -> str:
    """The machine's load, so that whoever reads the figures knows how far to trust them."""
    return f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
