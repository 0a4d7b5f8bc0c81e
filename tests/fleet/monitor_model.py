"""A model of Neon's side, in simulated time: one compute, its monitor, an API that may lag or lie, and samplers.

For what the twin's real servers are too slow: a month, a thousand computes, random users by the hundred. It is the
worst case throughout: the monitor sees every session of ours, at its very end and one look later. Times are real
seconds; each clock that is shown to a sampler has its own offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from collectors.postgres.evidence import CLIENT_ACTIVE, Evidence, Holder
from collectors.wake.policy import (
    Decision,
    EndpointFacts,
    WakePolicy,
    WakeState,
    after_visit,
    before_visit,
    decide,
    fresh_seconds,
)
from exporter.demo.monitor import LOOK_SECONDS

Burst = tuple[float, float]
"""A stretch in which every look of the monitor finds somebody: start, end."""
NEVER = -1e9
REREAD_SECONDS = 1800.0
"""The inventory trusts no list for longer than this."""


@dataclass
class Clocks:
    """How far each clock is ahead of real time (seconds)."""

    date: float = 0.0
    last_active: float = 0.0
    started: float = 0.0
    server: float = 0.0


@dataclass(slots=True)
class Transition:
    """One suspend: when, after which foreign activity, how often we came after that, and what no sample saw."""

    suspended_at: float
    last_foreign: float
    samples_after: int
    sampled: bool
    uncovered: float = 0.0
    """Seconds of foreign activity in that life after our last sample: their statistics are lost."""


@dataclass
class Compute:
    """A compute that wakes for bursts of a user and for connects, and suspends T after the last activity."""

    suspend_after: float
    bursts: Sequence[Burst]
    """In order of time, without overlaps."""
    clocks: Clocks = field(default_factory=Clocks)
    holder: str = CLIENT_ACTIVE
    """What a burst is to the evidence: a client, or a walsender."""
    awake: bool = False
    activity: float = NEVER
    last_foreign: float = NEVER
    started: float = NEVER
    suspended: float = NEVER
    shown_at_suspend: float = NEVER
    visits: list[float] = field(default_factory=list)
    caused_wakes: int = 0
    transitions: list[Transition] = field(default_factory=list)
    spans: list[Burst] = field(default_factory=list)
    """What the monitor took for activity, ours included."""
    long_bursts: int = 0
    """Bursts longer than G whose life is over."""
    long_sampled: int = 0
    """Those of them that got a sample before the suspend."""
    visits_untold: int = 0
    """Visits that whoever drives the model knows of and did not make, because they change nothing."""

    def __post_init__(self) -> None:
        """Prepare the sums over the bursts."""
        self._used = list(accumulate((end - start for start, end in self.bursts), initial=0.0))
        self._tops: list[float] = []
        self._slept = 0.0
        self._next = self._life_burst = self._life_visit = 0
        self._seen = 0.0

    def awake_seconds(self, until: float) -> float:
        """All seconds it was awake, the life that still goes on counted to ``until``."""
        return self._slept + (until - self.started if self.awake else 0.0)

    def burst_at(self, at: float) -> Burst | None:
        """The burst that goes on at this moment; ``advance`` there first."""
        burst = self.bursts[self._next] if self._next < len(self.bursts) else None
        return burst if burst is not None and burst[0] <= at else None

    def next_burst(self, at: float) -> float:
        """When the next one begins; infinity when none does."""
        index = self._next + (self.burst_at(at) is not None)
        return self.bursts[index][0] if index < len(self.bursts) else float("inf")

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
                self._wake(burst[0])
            until = min(burst[1], now)
            self.last_foreign = max(self.last_foreign, until)
            self._mark(burst[0], until)
            if burst[1] > now:
                return
            self._next += 1

    def _wake(self, at: float) -> None:
        self.awake, self.started = True, at
        self._life_burst, self._life_visit, self._seen = self._next, len(self.visits), self._used[self._next]

    def _mark(self, start: float, end: float) -> None:
        self.activity = max(self.activity, end)
        if self.spans and self.spans[-1][0] == start:
            self.spans.pop()
            self._tops.pop()
        self.spans.append((start, end))
        self._tops.append(self.activity)

    def _suspend(self, at: float) -> None:
        mine = self.visits[self._life_visit :]
        after = sum(1 for value in mine if value > self.last_foreign)
        uncovered = self._used[self._next] - self._seen
        self.transitions.append(Transition(at, self.last_foreign, after, bool(mine), uncovered))
        self._count_long(mine[-1] if mine else NEVER)
        self._slept += at - self.started
        self.suspended = at
        self.awake, self.shown_at_suspend = False, self.activity

    def _count_long(self, last_visit: float) -> None:
        least = fresh_seconds(self.suspend_after)
        for start, end in self.bursts[self._life_burst : self._next]:
            if end - start > least:
                self.long_bursts += 1
                self.long_sampled += last_visit >= start

    def last_active(self, at: float) -> float:
        """What the monitor had recorded by then."""
        for index in range(len(self.spans) - 1, -1, -1):
            if self.spans[index][0] <= at:
                return min(at, self._tops[index])
        return NEVER

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
            suspended_at=self.suspended + self.clocks.started if self.suspended > 0 else None,
        )

    def visit(self, at: float, length: float) -> Evidence:
        """A session of ours, seen by the monitor until its last moment."""
        self._come(at)
        self.visits.append(at)
        burst = self.burst_at(at)
        self._seen = self._used[self._next] + (at - burst[0] if burst else 0.0)
        off = self.clocks.server
        evidence = Evidence(
            postmaster_start=self.started + off,
            server_clock=at + off,
            sessions=self._next + (burst is not None),
            active_seconds=self._seen,
            holders=(Holder(self.holder, "app", "web", "shop", 1, at + off),) if burst else (),
            connect_clock=at + off,
        )
        # Before time passes: a session that runs is seen at every look.
        self._mark(at, at + length + LOOK_SECONDS)
        self.advance(at + length)
        return evidence

    def repeat(self, at: float, length: float, visits: int) -> None:
        """As many more visits as that in the burst that goes on, the last of them then."""
        if not visits:
            return
        self.visits_untold += visits
        self.advance(at)
        self.visits[-1] = at
        burst = self.burst_at(at)
        self._seen = self._used[self._next] + (at - burst[0] if burst else 0.0)
        self._mark(at, at + length + LOOK_SECONDS)
        self.advance(at + length)

    def touch(self, at: float, until: float) -> None:
        """A session of some other program, noticed by the monitor until the end."""
        self._come(at)
        self._mark(at, until)

    def _come(self, at: float) -> None:
        if not self.awake:
            self.caused_wakes += 1
            self._wake(at)


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
    on_disk: bool = True
    """Let the state go through its stored form after every visit."""
    listed: bool = False
    """Read a sleeping compute again only when its project's last activity moved, or every half hour: as the agent's
    inventory does."""
    _known: EndpointFacts | None = None
    _marks: float = NEVER

    def look(self, compute: Compute, now: float) -> Decision:
        """One turn of the loop."""
        clock = now + compute.clocks.date
        if self.looks in self.crash_at:
            self.state = None
        facts = self._read(compute, now, clock)
        decision = decide(self.policy, facts, self.state, clock)
        self.state = decision.state
        if decision.allow:
            self.state = before_visit(self.policy, self.state, clock)
            length = self.length if decision.end_by is None else min(self.length, decision.end_by - clock)
            evidence = compute.visit(now, length)
            if self.looks not in self.crash_at:
                self.state = after_visit(self.policy, self.state, facts, evidence, clock + length)
                if self.on_disk:
                    self.state = WakeState.from_dict(self.state.as_dict())
        self.looks += 1
        return decision

    def _read(self, compute: Compute, now: float, clock: float) -> EndpointFacts:
        shown = self.shown(compute, now)
        asleep = self._known is not None and self._known.current_state == "idle"
        spared = self.listed and asleep and shown == self._marks and now % REREAD_SECONDS >= self.tick
        if self._known is None or not spared:
            self._known, self._marks = compute.facts(shown, clock), shown
        return self._known


def run(compute: Compute, samplers: Sequence[Sampler], until: float) -> None:
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
