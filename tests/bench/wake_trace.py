"""The same users for every observer: one trace of bursts, played on many computes of one twin at once.

What is measured is what the twin's own operations history says: when each compute was awake. A compute that nobody
watches gets the same trace, so that what an observer adds is the time it was awake while that one slept.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from exporter.demo.compute import Compute
from exporter.demo.monitor import LOOK_SECONDS

Span = tuple[float, float]
USER = "web"
"""application_name of the trace's sessions, and the tenant's role."""
EDGE = 2.0
"""Seconds before a wake that count for nobody: the same burst wakes two computes a moment apart."""


def trace(seed: int, seconds: float, suspend_after: float, room: float) -> list[Span]:
    """Bursts (start, end) in seconds from the beginning; every pause is long enough to see ``room`` added seconds."""
    rhythm = random.Random(seed)
    bursts: list[Span] = []
    at = 10.0
    while True:
        end = at + rhythm.choice((1.0, 3.0, 8.0, 20.0, 45.0)) * rhythm.uniform(0.8, 1.2)
        pause = suspend_after + room * rhythm.uniform(1.0, 1.7)
        if end + pause > seconds and bursts:
            return bursts
        bursts.append((at, end))
        at = end + pause


class Player(threading.Thread):
    """One compute's users: a session through its door for the length of every burst."""

    def __init__(self, conninfo: str, bursts: Sequence[Span], began: float) -> None:
        super().__init__(name="bench-users", daemon=True)
        self.failed: list[str] = []
        self.played: list[Span] = []
        """From the session to its end, in unix seconds."""
        self._conninfo = conninfo
        self._bursts = bursts
        self._began = began

    def run(self) -> None:
        for start, end in self._bursts:
            time.sleep(max(0.0, self._began + start - time.time()))
            try:
                self._burst(self._began + end)
            except psycopg.Error as problem:
                self.failed.append(str(problem))

    def _burst(self, until: float) -> None:
        with psycopg.connect(
            self._conninfo, application_name=USER, autocommit=True, prepare_threshold=None, connect_timeout=20
        ) as connection:
            start = time.time()
            while True:
                connection.execute("SELECT count(*) FROM pg_catalog.pg_class")
                if time.time() >= until:
                    break
                time.sleep(0.25)
        self.played.append((start, time.time()))


class Reasons(threading.Thread):
    """Remembers what moved each compute's last_active, because the next activity overwrites it."""

    def __init__(self, computes: Mapping[str, Compute]) -> None:
        super().__init__(name="bench-reasons", daemon=True)
        self.moves: dict[str, list[tuple[float, str]]] = {name: [] for name in computes}
        """By name: last_active and why, in order."""
        self.ended = threading.Event()
        self._computes = computes

    def run(self) -> None:
        while not self.ended.wait(LOOK_SECONDS / 2):
            for name, compute in self._computes.items():
                move = (compute.endpoint.last_active or 0.0, compute.kept_awake_by)
                if not self.moves[name] or self.moves[name][-1] != move:
                    self.moves[name].append(move)

    def last_before(self, name: str, at: float) -> str:
        """What moved it last before this moment."""
        return next((reason for moved, reason in reversed(self.moves[name]) if moved <= at), "")


def awake_spans(compute: Compute, until: float) -> list[Span]:
    """When it was awake, by its operations history."""
    with compute.world.lock:
        mine = [operation for operation in compute.world.operations if operation.endpoint_id == compute.endpoint.id]
    spans: list[Span] = []
    since: float | None = None
    for operation in mine:
        if operation.action == "start_compute":
            since = operation.created_at + operation.duration_seconds
        elif operation.action == "suspend_compute" and since is not None:
            spans.append((since, operation.created_at))
            since = None
    return spans if since is None else [*spans, (since, until)]


@dataclass(frozen=True)
class Added:
    """What an observer added to one idle transition: awake seconds while the unwatched compute slept."""

    slept_at: float
    seconds: float
    until: float = 0.0
    """When it slept at last, or when the next burst came."""


def added(spans: Sequence[Span], alone: Sequence[Span], until: float) -> list[Added]:
    """Per sleep of the unwatched compute (``alone``): how long this one (``spans``) was awake in it."""
    found = []
    wakes = [start for start, _ in alone[1:]]
    for index, (_, slept) in enumerate(alone):
        next_wake = wakes[index] if index < len(wakes) else until
        end = next_wake - EDGE
        if slept >= end:
            continue
        held = [(max(a, slept), min(b, end)) for a, b in spans if b > slept and a < end]
        found.append(Added(slept, seconds_of(held), held[-1][1] if held else slept))
    return found


def seconds_of(spans: Sequence[Span]) -> float:
    return sum(end - start for start, end in spans)


@contextlib.contextmanager
def repeated(every: float, what: Callable[[], object], began: float) -> Iterator[threading.Thread]:
    """Call something every so many seconds, on a thread of its own, until the end of the context."""
    ended = threading.Event()

    def go() -> None:
        if ended.wait(max(0.0, began - time.time())):
            return
        while not ended.is_set():
            due = time.monotonic() + every
            with contextlib.suppress(psycopg.Error, OSError):
                what()
            ended.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=go, name="bench-observer", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join(60)
