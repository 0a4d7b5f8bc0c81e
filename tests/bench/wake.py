"""What watching costs: awake seconds, wakes and dollars, for nobody, for what people use today, and for neonmeter.

``python -m tests.bench wake [--minutes M] [--long] [--only NAMES] [--copies C]``. Every observer has computes
of its own in one twin, all get the same users at the same time, and everything runs side by side, so that one run
compares them; with more copies it sees more transitions in the same time.
What is printed is what really happened on real PostgreSQL servers, by the twin's operations history.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from collectors.wake.policy import WakePolicy, bound_seconds
from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from exporter.demo.worldfile import parse
from exporter.documents.terminal import table
from exporter.pricing import ratecard
from exporter.pricing.domain.components import Component
from tests.bench.measure import Verdict, load, print_verdicts
from tests.bench.wake_observers import DEBIAN, OBSERVERS, Observer, conninfo, project, wake_world, watching
from tests.bench.wake_trace import USER, Added, Player, Reasons, Span, added, awake_spans, seconds_of, trace

MONTH_HOURS = 744
CU = Fraction(1, 4)
PLANS = {"Launch": "launch_v3", "Scale": "scale_v3"}
NOISE = 1.0
"""Two computes with the same users and no observer suspend up to two looks of the monitor apart."""


@dataclass(frozen=True)
class Outcome:
    """What one observer's compute did. ``share`` is the awake part of the run."""

    observer: Observer
    awake: float
    share: float
    added: Sequence[Added]
    wakes: Counter[str]
    sessions: int
    held_by: str = ""
    """What the monitor saw last in the transition that took longest."""

    @property
    def caused(self) -> int:
        """Wakes by the observer."""
        return sum(count for name, count in self.wakes.items() if name in self.observer.own_names)

    @property
    def worst(self) -> float:
        return max((entry.seconds for entry in self.added), default=0.0)

    @property
    def mean(self) -> float:
        return sum(entry.seconds for entry in self.added) / len(self.added) if self.added else 0.0


def month_dollars(share: float, plan: str) -> Fraction:
    """Dollars of a 744 h month at 0.25 CU for a compute that is awake this share of the time.

    Raises:
        ValueError: the rate card has no compute rate for the plan today.
    """
    rate = ratecard.load().rate(plan, Component.COMPUTE, int(time.time()))
    if rate is None:
        raise ValueError(f"no compute rate for {plan}")
    return Fraction(share).limit_denominator(10**6) * MONTH_HOURS * CU * rate.amount


def observe(
    observer: Observer, computes: Sequence[Compute], alone: Sequence[Sequence[Span]], began: float, until: float,
    reasons: Reasons,
) -> Outcome:  # fmt: skip
    """All copies of one observer's compute together; ``alone``: when each copy that nobody watches was awake."""
    mine = observer.own_names
    names: Counter[str] = Counter()
    idle: list[tuple[Added, str]] = []
    awake = sessions = 0.0
    for number, compute in enumerate(computes):
        spans = [(max(start, began), end) for start, end in awake_spans(compute, until) if end > began]
        awake += seconds_of(spans)
        sessions += sum(count for who, count in dict(compute.visits).items() if {who.application_name, who.user} & mine)
        for wake in list(compute.wakes):
            own = {wake.application_name, wake.user} & mine
            names[own.pop() if own else (wake.application_name or wake.user)] += 1
        idle += [(entry, project(observer, number)) for entry in added(spans, alone[number], until)]
    worst = max(idle, key=lambda entry: entry[0].seconds, default=None)
    held_by = reasons.last_before(worst[1], worst[0].until) if worst is not None else ""
    share = awake / (until - began) / len(computes)
    return Outcome(observer, awake, share, [entry for entry, _ in idle], names, int(sessions), held_by)


def run(
    observers: Sequence[Observer], suspend_after: int, seconds: float, seed: int, copies: int = 1
) -> list[Outcome]:  # fmt: skip
    """One run: start the twin, let all watch, play the traces, wait for the last suspend."""
    room = bound_seconds(WakePolicy(), max(60.0, float(suspend_after))) + 10
    traces = [trace(seed + number, seconds, suspend_after, room) for number in range(copies)]
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="neonmeter-wake-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        world = parse(json.dumps(wake_world(observers, suspend_after, copies)))
        quiet = TwinSettings(
            suspend_seconds=suspend_after, workload=False, consumers=False, poolers=False,
            # Its workers come at times of their own and keep awake, whoever watches: noise in a comparison.
            postgres={"shared_buffers": "16MB", "autovacuum": "off"},
        )  # fmt: skip
        twin = stack.enter_context(Twin(world, folder / "twin", settings=quiet))
        with ExitStack() as watchers:
            start = time.time() + 2 + len(observers)
            for entry in observers:
                watchers.enter_context(watching(entry, twin, folder, start, copies))
            start = max(start, time.time() + 1)
            print(f"{sum(map(len, traces))} bursts on {copies} computes of each of {len(observers)} observers, "
                  f"T = {suspend_after} s, seed {seed}, {seconds / 60:.0f} min; {load()}", flush=True)  # fmt: skip
            computes = {project(entry, number): twin.compute(project(entry, number), "main")
                        for entry in observers for number in range(copies)}  # fmt: skip
            reasons = Reasons(computes)
            reasons.start()
            _play(twin, computes, traces, start)
            time.sleep(max(0.0, start + seconds - time.time()))
            until = time.time()
            reasons.ended.set()
            mine = {entry.name: [computes[project(entry, number)] for number in range(copies)] for entry in observers}
            alone = [awake_spans(compute, until) for compute in mine["nothing"]]
            return [observe(entry, mine[entry.name], alone, start, until, reasons) for entry in observers]


def _play(twin: Twin, computes: Mapping[str, Compute], traces: Sequence[Sequence[Span]], start: float) -> None:
    players = []
    for name, compute in computes.items():
        bursts = traces[int(name.rpartition("-")[2])]
        players.append(Player(conninfo(twin, compute, "app", USER, twin.password), bursts, start))
    for player in players:
        player.start()
    for player in players:
        player.join()
        for problem in player.failed:
            print(f"a burst failed: {problem}")


def report(outcomes: Sequence[Outcome], suspend_after: int) -> None:
    """Print both tables and the verdicts."""
    nothing = outcomes[0]
    rows = []
    for outcome in outcomes:
        more = outcome.awake - nothing.awake
        extra = [month_dollars(max(0.0, outcome.share - nothing.share), plan) for plan in PLANS.values()]
        rows.append((
            outcome.observer.title, f"{outcome.awake:.0f}", f"{more:+.0f}" if outcome is not nothing else None,
            sum(outcome.wakes.values()), ", ".join(f"{who} {count}" for who, count in sorted(outcome.wakes.items())),
            outcome.sessions,
            *(f"${float(month_dollars(outcome.share, plan)):.2f}" for plan in PLANS.values()),
            *((f"${float(dollars):.2f}" for dollars in extra) if outcome is not nothing else (None, None)),
        ))  # fmt: skip
    heads = ("observer", "awake s", "added s", "wakes", "by whom", "sessions", "Launch/month", "Scale/month",
             "added Launch", "added Scale")  # fmt: skip
    print(table(heads, rows), end="")
    print(f"dollars: this run's share of awake time, over {MONTH_HOURS} h at 0.25 CU, list prices of today\n")
    bound = bound_seconds(WakePolicy(), max(60.0, float(suspend_after)))
    print_verdicts(verdicts(outcomes, bound))


def verdicts(outcomes: Sequence[Outcome], bound: float) -> list[Verdict]:
    """neonmeter's promise, variant by variant: added seconds per idle transition, and wakes that it caused."""
    found = []
    for outcome in outcomes:
        if outcome.observer.kind != "neonmeter":
            continue
        said = (f"worst {outcome.worst:.1f} s, mean {outcome.mean:.1f} s of {len(outcome.added)} idle transitions, "
                f"{outcome.caused} wakes")  # fmt: skip
        if outcome.worst > NOISE:
            said += f" (the worst held by: {outcome.held_by})"
        met = outcome.worst <= bound + NOISE and not outcome.caused
        found.append(Verdict(outcome.observer.title, said, f"<= {bound:g} s each, 0 wakes", met))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run it and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench wake", description=__doc__)
    parser.add_argument("--minutes", type=float, help="length of the run: 13, with --long 22")
    parser.add_argument("--long", action="store_true", help="T = 300 s instead of 60 s")
    parser.add_argument("--suspend", type=int, help="any other T in seconds")
    parser.add_argument("--copies", type=int, help="computes for each observer: 1, with --long 2")
    parser.add_argument("--only", help=f"of {', '.join(entry.name for entry in OBSERVERS)}; separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    suspend_after = asked.suspend or (300 if asked.long else 60)
    minutes = asked.minutes or (22.0 if asked.long else 13.0)
    copies = asked.copies or (2 if asked.long else 1)
    names = {"nothing", *(asked.only.split(",") if asked.only else (entry.name for entry in OBSERVERS))}
    unknown = names - {entry.name for entry in OBSERVERS}
    if unknown:
        parser.error(f"no observer is called {', '.join(sorted(unknown))}")
    chosen = [entry for entry in OBSERVERS if entry.name in names]
    if shutil.which(DEBIAN, path=f"{os.environ.get('PATH', '')}:/usr/bin") is None:
        print(f"{DEBIAN} is not installed: it is left out (apt-get install {DEBIAN})")
        chosen = [entry for entry in chosen if entry.kind != "debian"]
    report(run(chosen, suspend_after, minutes * 60, asked.seed, copies), suspend_after)


if __name__ == "__main__":
    main()
