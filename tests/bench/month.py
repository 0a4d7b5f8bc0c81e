"""A month of a fleet, simulated: what each way of watching adds to the compute bill, and what ours sees for it.

``python -m tests.bench month [--endpoints N] [--hours H] [--seed S] [--tick SECONDS]``. The policy functions are the
agent's own; the users are seeded, so two runs print the same figures.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from functools import partial

from exporter.documents.terminal import table
from exporter.pricing import ratecard
from exporter.pricing.domain.components import Component
from tests.bench.measure import Verdict, print_verdicts
from tests.fleet.fleet import NOBODY, OBSERVERS, OURS, Fleet, Observer, Sum, simulate, totals

CU = Fraction(1, 4)
PLANS = {"Launch": "launch_v3", "Scale": "scale_v3"}
PROMISE = 0.01
"""Of the fleet's compute bill."""

Sums = dict[str, Sum]


def dollars(seconds: float, plan: str) -> Fraction:
    """Awake seconds at 0.25 CU at today's list price.

    Raises:
        ValueError: the rate card has no compute rate for the plan.
    """
    rate = ratecard.load().rate(plan, Component.COMPUTE, int(time.time()))
    if rate is None:
        raise ValueError(f"no compute rate for {plan}")
    return Fraction(round(seconds)) / 3600 * CU * rate.amount


def print_users(fleet: Fleet, alone: Sums) -> None:
    rows = []
    for user_class in fleet.classes:
        mine = alone[user_class.name]
        rows.append(
            (user_class.name, mine.computes, f"{mine.awake / 3600:,.0f}", f"{mine.suspends:,}", user_class.about)
        )
    print(table(("users", "computes", "awake h unwatched", "suspends", "what they do"), rows))


def print_costs(found: Sequence[tuple[Observer, Sums, float]]) -> None:
    """Per observer: hours, wakes, dollars of the horizon, share of the bill."""
    alone = totals(found[0][1])
    rows = []
    for observer, sums, cpu in found:
        total = totals(sums)
        more = total.awake - alone.awake
        watched = observer != NOBODY
        rows.append((
            observer.title, f"{total.awake / 3600:,.0f}", f"{more / 3600:+,.1f}" if watched else None,
            f"{total.wakes:,}", *(f"${float(dollars(total.awake, plan)):,.0f}" for plan in PLANS.values()),
            *(f"${float(dollars(more, plan)):,.2f}" if watched else None for plan in PLANS.values()),
            f"{100 * more / alone.awake:.2f} %" if watched else None, f"{cpu:.1f}",
        ))  # fmt: skip
    heads = ("observer", "awake h", "added h", "wakes caused", *PLANS, *(f"added {entry}" for entry in PLANS),
             "of the bill", "CPU s")  # fmt: skip
    print(table(heads, rows))


def print_sight(found: Sequence[tuple[Observer, Sums, float]], alone: Sums) -> None:
    """What ours saw, and what it added where: the classes of users differ by far."""
    rows = []
    for observer, sums, _ in found:
        if observer.kind != "neonmeter":
            continue
        total = totals(sums)
        fresh = 100 * total.long_sampled / total.long_bursts if total.long_bursts else 0.0
        classes = (f"{100 * (sums[name].awake - mine.awake) / mine.awake:.2f} %" for name, mine in alone.items())
        rows.append((
            observer.title, f"{total.samples:,}", f"{fresh:.1f} %", f"{total.uncovered / 3600:,.1f}",
            f"{100 * total.uncovered / total.foreign:.2f} %", f"{total.worst:.1f}", *classes,
        ))  # fmt: skip
    heads = ("observer", "samples", "bursts > G sampled", "uncovered h", "of foreign time", "worst s",
             *(f"added {name}" for name in alone))  # fmt: skip
    print(table(heads, rows))


def _simulated(fleet: Fleet, observer: Observer) -> tuple[Sums, float]:
    began = time.process_time()
    return simulate(fleet, observer), time.process_time() - began


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench month", description=__doc__)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=744.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tick", type=float, default=60.0, help="how often neonmeter looks at the API, in seconds")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many observers at once")
    asked = parser.parse_args(argv)
    fleet = Fleet(asked.endpoints, asked.hours, asked.seed)
    ours = [replace(our, every=asked.tick) for our in OURS]
    print(f"{fleet.endpoints:,} computes of 0.25 CU, {fleet.hours:g} h, seed {fleet.seed}; neonmeter looks every "
          f"{asked.tick:g} s; G = T/5 between 10 and 60 s\n", flush=True)  # fmt: skip
    found: list[tuple[Observer, Sums, float]] = []
    observers = [*(entry for entry in OBSERVERS if entry.kind != "neonmeter"), *ours]
    with ProcessPoolExecutor(asked.processes) as pool:
        for observer, (sums, cpu) in zip(observers, pool.map(partial(_simulated, fleet), observers), strict=True):
            found.append((observer, sums, cpu))
            if observer == NOBODY:
                print_users(fleet, sums)
    alone = found[0][1]
    print_costs(found)
    print_sight(found, alone)
    base = totals(alone).awake
    verdicts = []
    for observer, sums, _ in found:
        if observer.kind == "neonmeter" and base:
            share = (totals(sums).awake - base) / base
            said = f"{share:.2%} of the bill, {totals(sums).wakes} wakes"
            verdicts.append(Verdict(observer.title, said, f"< {PROMISE:.0%}, 0 wakes",
                                    share < PROMISE and not totals(sums).wakes))  # fmt: skip
    print_verdicts(verdicts)


if __name__ == "__main__":
    main()
