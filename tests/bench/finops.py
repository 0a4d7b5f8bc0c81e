"""The money of one month, 1,000 branches x 744 h: time and memory to price, allocate and report, and how both grow.

``python -m tests.bench finops [--sizes 10,100,1000] [--seed S]``; ``--sizes 10,100,1000,10000`` takes some minutes and
a gigabyte of disk. Every size is written by one process and measured in others, so that each has its own peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from exporter.app.features import SCHEMAS
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.rows import CostReport
from exporter.cost.allocation.weights import TenantFacts
from exporter.demo.year import Year
from exporter.demo.year_ledger import seed_ledger, seed_tenants, seed_world
from exporter.documents.terminal import table
from exporter.pricing import ratecard
from exporter.pricing.domain.calendar import DAY
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import Tenancy

FIRST = "2026-07"
"""A month of 31 days: 744 hours."""
STEPS = ("first pass", "again", "rows", "report")


def world(branches: int, seed: int) -> Year:
    """A world whose branches are all there all the time; its first month is used, in which no plan changes."""
    year = Year(seed=seed, first=FIRST, months=4, branches=branches, faults=False)
    year.projects = tuple(
        replace(
            project,
            branches=tuple(replace(branch, created=year.start, deleted=year.end) for branch in project.branches),
        )
        for project in year.projects
    )
    return year


def write(path: Path, branches: int, seed: int) -> dict[str, float]:
    """A ledger of that size, as an agent would have kept it."""
    year, began = world(branches, seed), time.process_time()
    store = Store.open(path, SCHEMAS)
    seed_world(store, year)
    facts = seed_ledger(SqliteLedger(store), year, end=year.months[1])
    hours = seed_tenants(store, year, end=year.months[1])
    store.close()
    return {"facts": facts, "tenant hours": hours, "write": time.process_time() - began}


def measure(path: Path) -> dict[str, float]:
    """In this process: the month priced and allocated, then again as the agent does later, then its rows."""
    found: dict[str, float] = {"idle MB": peak_megabytes()}
    rules = TenantRules(())
    store = Store.open(path, SCHEMAS, read_only=True)
    facts = TenantFacts(DurableCounters(store, rules), Tenancy(store, rules), rules)
    costs = Costs(SqliteLedger(store), facts, ratecard.load())
    month = world(1, 1).start
    # On the last day the month is still open, so the second pass is the one that an agent does every 15 minutes.
    now = month + 31 * DAY - 1

    def timed(name: str, act: Callable[[], object]) -> object:
        began = time.process_time()
        answer = act()
        found[name] = time.process_time() - began
        return answer

    priced = timed("first pass", lambda: costs.month(month, now))
    timed("again", lambda: costs.month(month, now))
    found["pass MB"] = peak_megabytes()
    timed("rows", lambda: rows(priced))
    found["lines"], found["rows MB"] = len(costs.month(month, now).pricing.lines), peak_megabytes()
    store.close()
    return found


def rows(priced: object) -> None:
    """What `neonmeter cost --json --explain` does: every row, and the proof that they add up."""
    report = CostReport(priced)  # type: ignore[arg-type]
    report.as_dict()
    problems = report.problems()
    if problems:
        raise SystemExit("\n".join(problems))


def peak_megabytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def report(path: Path, out: Path) -> dict[str, float]:
    """The monthly review by its command; CPU and peak memory of that process."""
    environment = {**os.environ, "NEONMETER_STORAGE__PATH": str(path)}
    command = [sys.executable, "-m", "exporter", "report", "--month", FIRST, "--out", str(out)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode not in (0, 1):
        print(f"  report: not measured ({(ran.stderr.strip().splitlines() or ['no answer'])[-1][:100]})")
        return {}
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    return {"report": used.ru_utime + used.ru_stime, "report MB": used.ru_maxrss / 1000, "report files MB": size}


def apart(step: str, path: Path, branches: int, seed: int) -> dict[str, float]:
    """Run a step in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.finops", "--step", step, "--path", str(path), "--seed", str(seed)]
    told = subprocess.run([*command, "--sizes", str(branches)], stdout=subprocess.PIPE, text=True, check=True).stdout
    *said, last = told.splitlines()
    print("\n".join(said), end="\n" if said else "")
    answer: dict[str, float] = json.loads(last)
    return answer


def run(sizes: Sequence[int], seed: int) -> None:
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="neonmeter-bench-") as folder:
        for branches in sizes:
            path = Path(folder) / f"{branches}.db"
            figures = apart("write", path, branches, seed)
            figures["file MB"] = path.stat().st_size / 1e6
            for step in ("measure", "report"):
                figures |= apart(step, path, branches, seed)
            found[branches] = figures
            path.unlink()
            told = ", ".join(f"{name} {found[branches].get(name, 0):.1f} s" for name in STEPS)
            print(f"  {branches} branches: {told}", flush=True)
    print(table(("CPU seconds, megabytes", *(f"{size:,} branches" for size in sizes)), _figures(found, sizes)))
    if len(sizes) > 1:
        heads = ("times the one before", *(f"{size:,} : {before:,}" for before, size in pairwise(sizes)))
        print(table(heads, _growth(found, sizes)), end="")


_FIGURES = (
    ("usage facts", "facts", "{:,.0f}"), ("tenant hours", "tenant hours", "{:,.0f}"),
    ("cost lines", "lines", "{:,.0f}"),
    ("ledger file MB", "file MB", "{:,.1f}"), ("write all of it s", "write", "{:.2f}"),
    ("price and allocate, first pass s", "first pass", "{:.2f}"), ("the same a moment later s", "again", "{:.2f}"),
    ("peak after pricing MB", "pass MB", "{:.0f}"), ("rows and their proof s", "rows", "{:.2f}"),
    ("peak after rows MB", "rows MB", "{:.0f}"), ("monthly review s", "report", "{:.2f}"),
    ("monthly review peak MB", "report MB", "{:.0f}"), ("monthly review files MB", "report files MB", "{:.2f}"),
)  # fmt: skip


def _figures(found: dict[int, dict[str, float]], sizes: Sequence[int]) -> list[tuple[object, ...]]:
    return [
        (title, *(style.format(found[size][name]) if name in found[size] else None for size in sizes))
        for title, name, style in _FIGURES
    ]


def _growth(found: dict[int, dict[str, float]], sizes: Sequence[int]) -> list[tuple[object, ...]]:
    """How many times the figures are what they were: 10 is linear."""
    rows_: list[tuple[object, ...]] = []
    for title, name, _ in _FIGURES:
        cells: list[object] = []
        for before, size in pairwise(sizes):
            first, then = found[before].get(name), found[size].get(name)
            cells.append(f"{then / first:.1f}" if first and then else None)
        rows_.append((title, *cells))
    return rows_


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench finops", description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000", help="branches, comma-separated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", choices=("write", "measure", "report"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.sizes.split(",")]
    if options.step == "write":
        print(json.dumps(write(options.path, sizes[0], options.seed)))
    elif options.step == "measure":
        print(json.dumps(measure(options.path)))
    elif options.step == "report":
        with tempfile.TemporaryDirectory(prefix="neonmeter-bench-") as out:
            print(json.dumps(report(options.path, Path(out))))
    else:
        run(sizes, options.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
