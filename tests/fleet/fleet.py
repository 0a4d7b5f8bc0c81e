"""A month of a fleet in seconds: what each way of watching costs, with neonmeter's own policy functions at work.

Event by event: a look that cannot bring another answer than the one before is not made, so that the same functions
that run in the agent can run for a thousand computes. A test holds that this changes nothing, another that the model
and the twin's real servers agree.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import repeat
from typing import Literal

from collectors.wake.policy import Decision, WakePolicy, WakeState, decide
from collectors.wake.state import replace
from exporter.demo.monitor import LOOK_SECONDS
from tests.fleet.monitor_model import REREAD_SECONDS, Burst, Compute, Sampler, frozen, honest
from tests.fleet.users import CLASSES, UserClass, month_of

SESSION_SECONDS = 0.3
"""How long neonmeter's sessions are here; the real ones take about a third of it."""


@dataclass(frozen=True, slots=True)
class Observer:
    """One way of watching. ``seen``: the share of a poller's sessions that the monitor notices."""

    title: str
    kind: Literal["nobody", "poller", "neonmeter"]
    every: float = 60.0
    length: float = SESSION_SECONDS
    seen: float = 1.0
    evidence: Literal["api", "database"] = "api"
    lag: float | None = 0.0
    """How late the API's last_active is; None: it moves at the suspend only."""


NOBODY = Observer("nobody", "nobody")
POLLERS: Sequence[Observer] = (
    *(Observer(f"poller of a user database, {value:g} s", "poller", value, 0.01) for value in (15.0, 60.0, 300.0)),
    Observer("poller of database postgres, 60 s", "poller", 60.0, 0.017, seen=0.017 / LOOK_SECONDS),
)
OURS: Sequence[Observer] = (
    *(Observer(f"neonmeter, last_active {lag:g} s late", "neonmeter", lag=lag) for lag in (0.0, 30.0, 120.0)),
    Observer("neonmeter, last_active at the suspend only", "neonmeter", lag=None),
    Observer("neonmeter, evidence: database", "neonmeter", evidence="database"),
    Observer("neonmeter, database, last_active at the suspend only", "neonmeter", evidence="database", lag=None),
)
OBSERVERS: Sequence[Observer] = (NOBODY, *POLLERS, *OURS)


@dataclass(slots=True)
class Sum:
    """What happened to some computes under one observer; seconds and counts."""

    computes: int = 0
    awake: float = 0.0
    foreign: float = 0.0
    """Somebody else was active."""
    wakes: int = 0
    """Caused by the observer."""
    samples: int = 0
    suspends: int = 0
    long_bursts: int = 0
    """Longer than G, their life over."""
    long_sampled: int = 0
    uncovered: float = 0.0
    """Foreign activity after the last sample before a suspend."""
    worst: float = 0.0
    """Most seconds that one suspend came later than T after the last foreign activity."""

    def add(self, other: Sum) -> None:
        """Add another's figures to these."""
        for field in fields(self):
            mine, more = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, max(mine, more) if field.name == "worst" else mine + more)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What to simulate: so many computes for so many hours, the same for everyone who names the seed."""

    endpoints: int = 1000
    hours: float = 744.0
    seed: int = 1
    classes: Sequence[UserClass] = CLASSES

    def members(self) -> Iterator[tuple[UserClass, float, list[Burst], float]]:
        """Every compute: class, T, bursts, and a number in 0..1 that shifts its observer's looks."""
        total = sum(user_class.share for user_class in self.classes)
        limits = [
            sum(user_class.share for user_class in self.classes[: n + 1]) / total for n in range(len(self.classes))
        ]
        for number in range(self.endpoints):
            place = (number + 0.5) / self.endpoints
            user = self.classes[next(n for n, limit in enumerate(limits) if place < limit or n == len(limits) - 1)]
            rhythm = random.Random(f"{self.seed}/{number}")
            suspend_after, bursts = month_of(user, rhythm, self.hours * 3600)
            yield user, suspend_after, bursts, rhythm.random()


def simulate(fleet: Fleet, observer: Observer) -> dict[str, Sum]:
    """The whole horizon under one observer, by class of user."""
    horizon = fleet.hours * 3600
    sums = {user_class.name: Sum() for user_class in fleet.classes}
    for number, (user, suspend_after, bursts, shift) in enumerate(fleet.members()):
        compute = Compute(suspend_after, bursts, holder=user.holder)
        phase = shift * observer.every
        if observer.kind == "neonmeter":
            watch(compute, agent(observer, phase), horizon, settled=observer.lag or 0.0)
        elif observer.kind == "poller":
            poll(compute, observer, phase, horizon, random.Random(f"{fleet.seed}/{number}/poller"))
        compute.advance(horizon)
        sums[user.name].add(_sum(compute, horizon))
    return sums


def _sum(compute: Compute, horizon: float) -> Sum:
    return Sum(
        computes=1,
        awake=compute.awake_seconds(horizon),
        foreign=sum(min(end, horizon) - start for start, end in compute.bursts),
        wakes=compute.caused_wakes,
        samples=len(compute.visits) + compute.visits_untold,
        suspends=len(compute.transitions),
        long_bursts=compute.long_bursts,
        long_sampled=compute.long_sampled,
        uncovered=sum(transition.uncovered for transition in compute.transitions),
        worst=max(
            (transition.suspended_at - transition.last_foreign for transition in compute.transitions),
            default=compute.suspend_after,
        )
        - compute.suspend_after,
    )


def agent(observer: Observer, phase: float) -> Sampler:
    """A neonmeter with its default paces over this observer's API."""
    shown = frozen if observer.lag is None else honest(repeat(observer.lag))
    policy = WakePolicy(evidence=observer.evidence, tick=observer.every)
    return Sampler(policy, observer.every, phase, shown, observer.length, on_disk=False, listed=True)


def watch(compute: Compute, sampler: Sampler, until: float, *, settled: float = 0.0) -> None:
    """Let an agent look, as `monitor_model.run` does, but not where the answer cannot be another one.

    ``settled``: seconds after which the API shows what is true.
    """
    turn = 0
    while (at := sampler.phase + turn * sampler.tick) <= until:
        compute.advance(at)
        decision = sampler.look(compute, at)
        if decision.allow:
            turn += 1 + _alike(compute, sampler, at, settled)
            continue
        target = min(until + sampler.tick, _quiet_until(compute, sampler, decision, at, settled))
        then = math.ceil((target - sampler.phase) / sampler.tick)
        # What is shown right before a suspend counts, because the suspend bears it out.
        turn = max(turn + 1, then - 1 if compute.awake and target == _suspends_at(compute) else then)


def _suspends_at(compute: Compute) -> float:
    return compute.activity + compute.suspend_after


def _alike(compute: Compute, sampler: Sampler, at: float, settled: float) -> int:
    """After a visit: how many looks to step over, because the visits in the middle of a long burst are all alike.

    When the next would be allowed is asked of the policy. The model and the agent are left as after the last of them.
    """
    burst = compute.burst_at(at)
    if burst is None or sampler.state is None or at - settled < burst[0]:
        return 0
    moves = 0.0 if sampler.shown is frozen else 1.0
    for step in range(1, 6):
        then = at + step * sampler.tick
        if then >= burst[1] - sampler.tick:
            return 0
        facts = compute.facts(sampler.shown(compute, at) + moves * step * sampler.tick, then)
        decision = decide(sampler.policy, facts, sampler.state, then)
        if decision.rule == "R10":
            return 0  # The longer it lives, the more it may cost: not alike.
        if decision.allow:
            visits = int((burst[1] - sampler.tick - at) / (step * sampler.tick))
            sampler.state = _later(sampler.state, visits, visits * step * sampler.tick)
            compute.repeat(at + visits * step * sampler.tick, sampler.length, visits)
            return visits * step
    return 0


def _later(state: WakeState, visits: int, seconds: float) -> WakeState:
    """The state after visits that were like the last one, the last of them so much later."""
    baseline = dict(state.baseline or {})
    for key in ("server_clock", "active_seconds"):
        baseline[key] += seconds
    return replace(
        state,
        baseline=baseline,
        visits=state.visits + visits,
        own_end=state.own_end + seconds,
        server_end=None if state.server_end is None else state.server_end + seconds,
        last_visit=state.last_visit + seconds,
        proof=state.proof + seconds,
        anchor=None if state.anchor is None else state.anchor + seconds,
    )


def _quiet_until(compute: Compute, sampler: Sampler, decision: Decision, at: float, settled: float) -> float:
    """Until when looks after this one are refused as well."""
    if not compute.awake:
        return compute.next_burst(at) if at >= compute.activity + settled else at
    burst = compute.burst_at(at)
    due = math.inf if decision.due_again is None or decision.due_again <= at else decision.due_again
    change = min(compute.next_burst(at), _suspends_at(compute))
    if decision.rule == "R1":
        # It woke, and the inventory does not know yet.
        shows = compute.started + settled
        shows = shows if shows > at else change if burst is None else burst[1]
        return min(shows, (at // REREAD_SECONDS + 1) * REREAD_SECONDS)
    within = burst is not None and at - settled >= burst[0]
    if burst is not None and within and decision.rule == "R3" and due == math.inf:
        # What the API shows in the middle of a burst stays as old as it is.
        return burst[1] - sampler.tick - settled
    if burst is not None and within and decision.rule == "R4" and due < math.inf:
        return min(due, burst[1] - sampler.tick)
    if burst is not None and sampler.policy.evidence == "api" and at >= decision.state.quiet_until:
        # last_active, which moves, may allow what nothing proves yet.
        due = max(at, min(due, decision.state.own_end + sampler.policy.eps))
    waits = decision.rule in ("R5", "R8") and due < math.inf
    still = decision.rule in ("R3", "R4", "R10") and burst is None and at >= compute.activity + settled
    return min(due, change) if waits or still else at


def poll(compute: Compute, observer: Observer, phase: float, until: float, chance: random.Random) -> None:
    """Let a poller connect at every turn, whoever sleeps; turns that change nothing are stepped over.

    A session that the monitor does not notice moves nothing; which ones it notices is chance. A connect to a suspended
    compute always wakes it.
    """
    every, lasts = observer.every, observer.length + LOOK_SECONDS
    hold = observer.seen >= 1 and every <= compute.suspend_after
    turn = noticed = 0
    while (at := phase + turn * every) <= until:
        compute.advance(at)
        if noticed <= turn:
            noticed = _noticed(observer, turn, chance)
        if not compute.awake or turn == noticed:
            compute.touch(at, (until if hold else at) + lasts)
            if hold:
                return
            noticed = _noticed(observer, turn + 1, chance)
        burst = compute.burst_at(at)
        # Nothing happens before the end of a burst, or else the next noticed one, the suspend, the next burst.
        change = (
            burst[1] if burst is not None else min(compute.activity + compute.suspend_after, compute.next_burst(at))
        )
        then = math.ceil((change - phase) / every)
        turn = max(turn + 1, then if burst is not None else min(noticed, then))


def _noticed(observer: Observer, turn: int, chance: random.Random) -> int:
    """The first turn from this one on that the monitor notices."""
    if observer.seen >= 1:
        return turn
    return turn + int(math.log(1.0 - chance.random()) / math.log(1.0 - observer.seen))


def totals(sums: dict[str, Sum]) -> Sum:
    """All classes together."""
    total = Sum()
    for entry in sums.values():
        total.add(entry)
    return total
