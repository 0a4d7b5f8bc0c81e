"""Suspended stays suspended: what neonmeter does to the sleep of computes, beside the same users without it.

Two twins with real servers live side by side for ten minutes, and the same users touch the same branches at the same
moments in both. One is watched by `neonmeter run`, the other by nobody. Run as ``python -m tests.bench sleep``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg

from collectors.postgres.evidence import APPLICATION_NAME
from exporter.demo.compute import Compute
from exporter.demo.postgres import PostgresStartError
from exporter.demo.truth import awake_seconds
from exporter.demo.twin import Twin, TwinSettings
from exporter.documents.terminal import table
from tests.bench.measure import Verdict, load, print_verdicts
from tests.fix_agent import Agent

ADDED_AT_MOST = 17.5
"""Seconds by which our visits may put off a suspend."""
USER = "a-user"
AS_SHIPPED: dict[str, Any] = {
    "intervals": {
        "inventory_seconds": 60,
        "consumption_seconds": 900,
        "operations_seconds": 300,
        "publish_seconds": 15,
    },
    "sampling": {"tick_seconds": 60},
}
"""The paces that the agent has when nobody sets any."""

WITHOUT_AUTOVACUUM = {"autovacuum": "off"}
"""Its worker counts as activity, and comes a minute after a start: just before or just after the suspend, by chance."""

Place = tuple[str, str]
"""Project and branch, by name."""
Touches = Mapping[Place, Sequence[float]]
"""When a user comes, in seconds from the start: connects, asks one thing, leaves."""

TEN_MINUTES: Touches = {
    ("bookshop", "main"): (30,),
    ("bookshop", "staging"): (20, 155, 285, 420),
    ("analytics", "main"): (100, 110, 120, 130, 140, 150, 160, 170, 180),
    ("bookshop", "preview"): (45,),
    ("analytics", "dev"): (),
}
"""Once; now and then; for a while; once where T is five minutes; never."""


@dataclass(frozen=True)
class Slept:
    """What became of one compute."""

    place: Place
    limit: float
    """T, in seconds."""
    touches: int
    wakes: tuple[str, ...]
    """By whom, oldest first."""
    awake: float
    """Seconds."""
    to_suspend: tuple[float, ...]
    """From the last touch before a suspend to the suspend's beginning, for each suspend."""
    sessions: int
    """Connections of ours."""
    still_awake: float | None
    """Seconds since the last touch, when it has not been suspended since."""
    reasons: tuple[str, ...]
    """What kept it awake, each once, in order."""

    @property
    def longest(self) -> float:
        return max((*self.to_suspend, self.still_awake or 0.0))


def touch(twin: Twin, place: Place) -> float:
    """What a user does; the moment at which it was over."""
    compute = twin.compute(*place)
    role = {"bookshop": "acme", "analytics": "dune"}[place[0]]
    host, _, port = compute.endpoint.host.rpartition(":")
    with psycopg.connect(
        host=host, port=port, user=role, password=twin.password, dbname="app", application_name=USER
    ) as session:
        session.execute("SELECT 1")
    return time.time()


def live(twin: Twin, touches: Touches, seconds: float, ended: threading.Event) -> dict[Place, list[float]]:
    """Play the users' plan and wait; the moments of their touches."""
    began = time.monotonic()
    done: dict[Place, list[float]] = {place: [] for place in touches}
    for at, place in sorted((at, place) for place, times in touches.items() for at in times if at < seconds):
        if ended.wait(max(0.0, began + at - time.monotonic())):
            return done
        done[place].append(touch(twin, place))
    ended.wait(max(0.0, began + seconds - time.monotonic()))
    return done


def note_reasons(twin: Twin, touches: Touches, ended: threading.Event) -> dict[Place, list[str]]:
    """What moved ``last_active`` of each compute, in order, as the twin's monitor names it."""
    found: dict[Place, list[str]] = {place: [] for place in touches}
    moved: dict[Place, float | None] = {}
    while not ended.wait(0.25):
        for place, reasons in found.items():
            compute = twin.compute(*place)
            if moved.get(place) != compute.endpoint.last_active:
                moved[place] = compute.endpoint.last_active
                reasons.append(compute.kept_awake_by)
    return found


def account(twin: Twin, place: Place, touched: Sequence[float], reasons: Sequence[str]) -> Slept:
    """What the twin's own books say of one compute."""
    compute: Compute = twin.compute(*place)
    endpoint = compute.endpoint
    with twin.world.lock:
        mine = [operation for operation in twin.world.operations if operation.endpoint_id == endpoint.id]
    suspends = [operation.created_at for operation in mine if operation.action == "suspend_compute"]
    waits = [
        at - max(value for value in touched if value <= at) for at in suspends if any(entry <= at for entry in touched)
    ]
    last = max([*touched, 0.0])
    still = time.time() - last if touched and not any(at >= last for at in suspends) else None
    return Slept(
        place,
        endpoint.suspend_after or 0.0,
        len(touched),
        tuple(wake.application_name for wake in compute.wakes),
        awake_seconds(twin.world, endpoint.id),
        tuple(waits),
        ours(compute),
        still,
        tuple(dict.fromkeys(reason for reason in reasons if reason)),
    )


@dataclass(frozen=True)
class Night:
    """The same time in both twins; ``alone`` is empty where there was only one."""

    watched: list[Slept]
    alone: list[Slept]
    caused: float
    """Wakes that the agent says it caused."""
    told: dict[Place, float]
    """Upper bound of the added seconds, as the agent exports it."""


def watch(
    seconds: float,
    touches: Touches,
    paces: Mapping[str, Any],
    suspend_seconds: int | None = None,
    *,
    compare: bool = True,
    patience: float = 0.0,
) -> Night:
    """Let both twins live for that long; without ``compare`` only the one that is watched.

    With ``patience`` (seconds) wait so much longer, if need be, until what was touched sleeps again.

    Raises:
        PostgresStartError: there is no PostgreSQL in this environment.
    """
    settings = TwinSettings(
        suspend_seconds, postgres=WITHOUT_AUTOVACUUM, workload=False, consumers=False, poolers=False
    )
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="neonmeter-sleep-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        (folder / "agent").mkdir()
        names = ("watched", "alone") if compare else ("watched",)
        twins = [stack.enter_context(Twin("small", folder / name, settings=settings)) for name in names]
        agent = Agent({**twins[0].agent_settings(), **paces}, folder / "agent").start()
        stack.callback(agent.stop)
        ended, over = threading.Event(), threading.Event()
        stack.callback(ended.set)
        stack.callback(over.set)
        with ThreadPoolExecutor(2 * len(twins)) as pool:
            watchers = [pool.submit(note_reasons, twin, touches, over) for twin in twins]
            users = [pool.submit(live, twin, touches, seconds, ended) for twin in twins]
            try:
                touched = [user.result() for user in users]
                wait_until_over(agent, twins[0], touches, patience)
            finally:
                ended.set()
                over.set()
            reasons = [watcher.result() for watcher in watchers]
        accounts = [
            [account(twin, place, touched[number][place], reasons[number][place]) for place in touches]
            for number, twin in enumerate(twins)
        ]
        told = {place: added(agent, twins[0].compute(*place)) for place in touches}
        return Night(
            accounts[0], accounts[1] if compare else [], agent.sum("neonmeter_endpoint_caused_wakes_total"), told
        )


def wait_until_over(agent: Agent, twin: Twin, touches: Touches, patience: float) -> None:
    """Wait, at most that many seconds, until everything that was touched sleeps again."""
    until = time.monotonic() + patience
    touched = [twin.compute(*place) for place, times in touches.items() if times]
    while time.monotonic() < until and not all(is_over(agent, compute) for compute in touched):
        time.sleep(0.2)


def is_over(agent: Agent, compute: Compute) -> bool:
    """Whether a compute sleeps again, and the agent has accounted for its visits."""
    asleep = compute.endpoint.current_state == "idle" and not compute.endpoint.pending_state
    return asleep and (added(agent, compute) > 0 or not ours(compute))


def ours(compute: Compute) -> int:
    """How often the agent connected."""
    return sum(count for who, count in compute.visits.items() if who.application_name == APPLICATION_NAME)


def added(agent: Agent, compute: Compute) -> float:
    name = "neonmeter_endpoint_added_awake_seconds_total"
    return agent.sum(name, endpoint_id=compute.endpoint.id)


def print_night(night: Night) -> None:
    heads = ("compute", "T s", "touches", "woken by", "by us", "our sessions", "awake s", "without us",
             "touch to suspend s", "without us", "added s, at most", "kept awake by", "without us")  # fmt: skip
    rows = []
    for mine, other in zip_longest(night.watched, night.alone):
        woken = mine.wakes.count(APPLICATION_NAME)
        by = ", ".join(f"{mine.wakes.count(who)} x {who}" for who in sorted(set(mine.wakes))) or "nobody"
        rows.append((
            "/".join(mine.place), f"{mine.limit:.0f}", mine.touches, by, woken, mine.sessions, f"{mine.awake:.1f}",
            f"{other.awake:.1f}" if other else None, waits(mine), waits(other) if other else None,
            f"{night.told[mine.place]:.1f}", ", ".join(mine.reasons) or None,
            ", ".join(other.reasons) or None if other else None,
        ))  # fmt: skip
    print(table(heads, rows), end="")


def waits(slept: Slept) -> str:
    said = [f"{entry:.1f}" for entry in slept.to_suspend]
    if slept.still_awake is not None:
        said.append(f"awake after {slept.still_awake:.1f}")
    return " ".join(said) or "-"


def judge(night: Night) -> list[Verdict]:
    unused = [entry for entry in night.watched if not entry.touches]
    caused = sum(entry.wakes.count(APPLICATION_NAME) for entry in night.watched)
    worst = max((entry.longest - entry.limit for entry in night.watched if entry.touches), default=0.0)
    sessions = sum(entry.sessions for entry in night.watched)
    slept = sum(len(entry.wakes) for entry in unused)
    return [
        Verdict("computes that nobody used: wakes", str(slept), "0", slept == 0),
        Verdict(
            f"wakes that our {sessions} sessions caused", f"{caused} (we say {night.caused:.0f})", "0", caused == 0
        ),
        Verdict("longest from a touch to the suspend", f"T + {worst:.1f} s", "<= T + 17.5 s", worst <= ADDED_AT_MOST),
    ]


def run(seconds: float = 600, touches: Touches = TEN_MINUTES) -> None:
    print(
        f"neonmeter as shipped, {seconds:g} s beside a twin with real servers, and the same users without it; {load()}"
    )
    try:
        night = watch(seconds, touches, AS_SHIPPED)
    except PostgresStartError as problem:
        print(f"skipped: {problem}")
        return
    print_night(night)
    print_verdicts(judge(night))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench sleep", description="What we do to computes' sleep.")
    parser.add_argument("--seconds", type=float, default=600)
    run(parser.parse_args(arguments).seconds)


if __name__ == "__main__":
    main()
