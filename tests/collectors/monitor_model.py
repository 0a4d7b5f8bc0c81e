"""A model of Neon's side for the wake rules: one compute, its monitor, an API that may lag or lie, and samplers.

The worst case throughout: the monitor sees every session of ours, at its very end and one look later. Times are real
seconds; each clock that is shown to a sampler has its own offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from collectors.evidence import CLIENT_ACTIVE, Evidence, Holder
from collectors.wake import (
    Decision,
    EndpointFacts,
    WakePolicy,
    WakeState,
    after_visit,
    before_visit,
    decide,
)

Burst = tuple[float, float]


@dataclass
class Clocks:
    """How far each clock is ahead of real time (seconds)."""

    date: float = 0.0
    last_active: float = 0.0
    started: float = 0.0
    server: float = 0.0


@dataclass
class Transition:
    """One suspend: when, after which foreign activity, and how often we came after that."""

    suspended_at: float
    last_foreign: float
    samples_after: int
    sampled: bool


@dataclass
class Compute:
    """A compute that wakes for bursts of a user and for connects, and suspends T after the last activity."""

    suspend_after: float
    bursts: list[Burst]
    clocks: Clocks = field(default_factory=Clocks)
    awake: bool = False
    activity: float = -1e9
    last_foreign: float = -1e9
    started: float = -1e9
    shown_at_suspend: float = -1e9
    visits: list[float] = field(default_factory=list)
    caused_wakes: int = 0
    transitions: list[Transition] = field(default_factory=list)
    spans: list[Burst] = field(default_factory=list)
    _next: int = 0

    def advance(self, now: float) -> None:
        """Let time pass until ``now``."""
        while True:
            burst = self.bursts[self._next] if self._next < len(self.bursts) else None
            suspend = self.activity + self.suspend_after
            if self.awake and suspend <= now and (burst is None or burst[0] > suspend):
                self._suspend(suspend)
                continue
            if burst is None or burst[0] > now:
                return
            if not self.awake:
                self.awake, self.started = True, burst[0]
            until = min(burst[1], now)
            self.last_foreign = max(self.last_foreign, until)
            self._mark(burst[0], until)
            if burst[1] > now:
                return
            self._next += 1

    def _mark(self, start: float, end: float) -> None:
        self.activity = max(self.activity, end)
        if self.spans and self.spans[-1][0] == start:
            self.spans.pop()
        self.spans.append((start, end))

    def _suspend(self, at: float) -> None:
        after = sum(1 for each in self.visits if each > self.last_foreign and each >= self.started)
        sampled = any(each >= self.started for each in self.visits)
        self.transitions.append(Transition(at, self.last_foreign, after, sampled))
        self.awake, self.shown_at_suspend = False, self.activity

    def last_active(self, at: float) -> float:
        """What the monitor had recorded by then."""
        return max((min(end, at) for start, end in self.spans[-100:] if start <= at), default=-1e9)

    def facts(self, shown: float, read_at: float | None) -> EndpointFacts:
        """The API's answer now, with a ``last_active`` of the caller's choice (real time)."""
        return EndpointFacts(
            endpoint_id="ep-model",
            current_state="active" if self.awake else "idle",
            pending_state="",
            disabled=False,
            last_active=shown + self.clocks.last_active if shown > 0 else None,
            started_at=self.started + self.clocks.started if self.started > 0 else None,
            suspend_timeout_seconds=int(self.suspend_after),
            max_cu=2.0,
            read_at=read_at,
        )

    def visit(self, at: float, length: float) -> Evidence:
        """A session of ours, seen by the monitor until its last moment."""
        if not self.awake:
            self.caused_wakes += 1
            self.awake, self.started = True, at
        self.visits.append(at)
        used = [(start, min(end, at)) for start, end in self.bursts if start <= at]
        busy = any(start <= at < end for start, end in self.bursts)
        off = self.clocks.server
        holders = (Holder(CLIENT_ACTIVE, "app", "web", "shop", 1, at + off),) if busy else ()
        evidence = Evidence(
            postmaster_start=self.started + off,
            server_clock=at + off,
            sessions=len(used),
            active_seconds=sum(end - start for start, end in used),
            holders=holders,
            connect_clock=at + off,
        )
        # Before time passes: a session that runs is seen at every look.
        self._mark(at, at + length + 0.5)
        self.advance(at + length)
        return evidence


Shown = Callable[[Compute, float], float]
"""What the API shows as last_active at a moment (real time in, real time out)."""


def honest(lags: Iterator[float] | None = None) -> Shown:
    """The monitor's value, as late as the lags say."""
    return lambda compute, now: compute.last_active(now - (next(lags) if lags is not None else 0.0))


def frozen(compute: Compute, now: float) -> float:
    """It moves only when the compute is suspended."""
    return compute.shown_at_suspend


def lying(compute: Compute, now: float) -> float:
    """It is always just now."""
    return now


@dataclass
class Sampler:
    """An agent: it looks every ``tick`` seconds and keeps its state as it would on disk."""

    policy: WakePolicy
    tick: float
    phase: float
    shown: Shown
    length: float = 0.05
    state: WakeState | None = None
    crash_at: frozenset[int] = frozenset()
    """Looks at which it loses its state, and dies in mid-visit if it visits."""
    looks: int = 0
    rules: list[str] = field(default_factory=list)

    def look(self, compute: Compute, now: float) -> None:
        """One turn of the loop."""
        clock = now + compute.clocks.date
        if self.looks in self.crash_at:
            self.state = None
        facts = compute.facts(self.shown(compute, now), clock)
        decision: Decision = decide(self.policy, facts, self.state, clock)
        self.state = decision.state
        self.rules.append(decision.rule)
        if decision.allow:
            self.state = before_visit(self.policy, self.state, clock)
            evidence = compute.visit(now, self.length)
            if self.looks not in self.crash_at:
                after = after_visit(self.policy, self.state, facts, evidence, clock + self.length)
                self.state = WakeState.from_dict(after.as_dict())
        self.looks += 1


def run(compute: Compute, samplers: list[Sampler], until: float) -> None:
    """Let time pass and the samplers look, in order of time."""
    looks = sorted(
        (sampler.phase + turn * sampler.tick, index)
        for index, sampler in enumerate(samplers)
        for turn in range(int((until - sampler.phase) / sampler.tick) + 1)
    )
    for at, index in looks:
        compute.advance(at)
        samplers[index].look(compute, at)
    compute.advance(until)
