"""How long a compute stays awake after its last use, without us and with us: measured at the control plane.

It never wakes the compute: it waits until somebody else has used it, and a session of ours is opened only when the
wake policy allows one, as by a running agent. Times are unix seconds of the API's clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from collectors.base import Status
from collectors.errors import NeonmeterError
from collectors.neon.client import NeonClient
from collectors.neon.models import Endpoint, EndpointPage
from collectors.postgres.evidence import APPLICATION_NAME
from collectors.postgres.session import Visit
from collectors.wake.policy import (
    EndpointFacts,
    WakePolicy,
    WakeState,
    after_visit,
    before_visit,
    bound_seconds,
    decide,
)
from exporter.documents.terminal import table
from exporter.sampling.computes import Compute

SLACK = 2.0
"""Clocks are read in whole seconds, and Neon's monitor looks twice a second."""


class GoneError(NeonmeterError):
    """The compute is not there any more."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One suspend: the last use before it that was not ours, and when it came. ``visits``: ours in that life."""

    last_active: float
    suspended_at: float
    visits: int = 0
    after_last_use: bool = False
    """Whether one of our visits followed the last use: only then it can have held the compute awake."""

    @property
    def seconds(self) -> float:
        """How long it stayed awake after the last use."""
        return self.suspended_at - self.last_active


@dataclass(slots=True)
class Follow:
    """How quickly the API's last_active follows, as far as looks can tell."""

    looks: int = 0
    moves: int = 0
    newest: tuple[float | None, float | None] = (None, None)
    """``started_at`` and ``last_active`` of the look before."""
    shown_after: list[float] = field(default_factory=list)
    """Age of each new value when the API first showed it, in seconds."""

    def saw(self, endpoint: Endpoint, now: float) -> None:
        """Take in one look at an active compute."""
        self.looks += 1
        shown = (endpoint.started_at, endpoint.last_active)
        if endpoint.last_active is not None and shown[0] == self.newest[0] and shown != self.newest:
            self.moves += 1
            self.shown_after.append(now - endpoint.last_active)
        self.newest = shown


@dataclass(slots=True)
class Measured:
    """What is known so far; whoever is interrupted can still tell it."""

    policy: WakePolicy
    suspend_after: float
    """T as the rules take it, which is at least 60."""
    without: Transition | None = None
    with_us: Transition | None = None
    visits: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """By rule, how often a visit was not allowed while the compute was awake."""
    follow: Follow = field(default_factory=Follow)
    began: float = 0.0
    failed: str = ""

    @property
    def bound(self) -> float:
        """The most that one idle transition may take longer because of us."""
        return bound_seconds(self.policy, self.suspend_after)

    @property
    def difference(self) -> float | None:
        """How much longer it stayed awake with us; None while either is missing."""
        if self.without is None or self.with_us is None:
            return None
        return self.with_us.seconds - self.without.seconds


VisitOnce = Callable[[], Awaitable[Visit]]


class Watch:
    """Watches one compute; ``measured`` grows as it goes."""

    def __init__(
        self,
        client: NeonClient,
        compute: Compute,
        policy: WakePolicy,
        visit_once: VisitOnce,
        *,
        every: float = 5.0,
        agent_visited: Callable[[], float] = lambda: 0.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """``agent_visited`` answers when a running agent last visited it, 0 for never (or if there is none)."""
        self._client = client
        self._compute = compute
        self._visit_once = visit_once
        self._every = every
        self._agent_visited = agent_visited
        self._say = say
        self._state: WakeState | None = None
        self._shown = ""
        self.measured = Measured(policy, compute.facts.suspend_after or 0.0)

    async def run(self) -> None:
        """Both phases; end it by cancelling.

        Raises:
            NeonError: the API does not answer as it should.
            GoneError: the compute was deleted.
        """
        self._say("phase 1: without us. Waiting for a suspend that no visit of ours preceded.")
        while self.measured.without is None and not self.measured.failed:
            found = await self._life(visiting=False)
            if found is not None and found.visits:
                self._say("  an agent of ours visited in that time, so it does not count; stop it, or exclude this one")
            elif found is not None:
                self.measured.without = found
                self._say(f"  suspended {found.seconds:.1f} s after its last use")
        self._say("phase 2: with us. Waiting until somebody uses it; then a visit whenever the rules allow one.")
        while not self.measured.failed:
            found = await self._life(visiting=True)
            if found is None or not found.visits:
                self._say("  it was suspended before a visit was allowed; waiting for the next use")
                continue
            self.measured.with_us = found
            self._say(f"  suspended {found.seconds:.1f} s after its last use by others")
            if found.after_last_use:
                return
            self._say("  others used it after our last visit, so that had no effect; waiting for another suspend")

    async def _life(self, *, visiting: bool) -> Transition | None:
        """Watch until it has been awake and sleeps again; None when nothing can be said about that time."""
        own_end, visits, foreign, lived_since = 0.0, 0, None, None
        while True:
            endpoint, now = await self._look()
            if self.measured.began == 0.0:
                self.measured.began = now
            facts = self._facts(endpoint, now)
            decision = decide(self.measured.policy, facts, self._state, now)
            self._state = decision.state
            if endpoint.current_state == "active":
                lived_since = endpoint.started_at if lived_since is None else lived_since
                self.measured.follow.saw(endpoint, now)
                if visiting and decision.allow:
                    # A start is a use, also where last_active does not show it yet.
                    known = [value for value in (endpoint.last_active, endpoint.started_at) if value is not None]
                    foreign, visits = max(known, default=None), visits + 1
                    own_end = await self._visit(facts, decision.state, now)
                    if self.measured.failed:
                        return None
                    continue
                if visiting and decision.rule:
                    self.measured.refused[decision.rule] = self.measured.refused.get(decision.rule, 0) + 1
            elif endpoint.current_state == "idle" and not endpoint.pending_state and lived_since is not None:
                return self._transition(endpoint, lived_since, own_end, visits, foreign)
            await asyncio.sleep(self._every)

    def _transition(
        self, endpoint: Endpoint, started: float, own_end: float, visits: int, foreign: float | None
    ) -> Transition | None:
        last, suspended = endpoint.last_active, endpoint.suspended_at
        if last is None or suspended is None or suspended < started or endpoint.started_at != started:
            return None
        if not visits:
            agents = self.measured.without is None and self._agent_visited() > started
            return Transition(last, suspended, visits=int(agents))
        if last > own_end + SLACK or foreign is None:
            return Transition(last, suspended, visits)
        return Transition(foreign, suspended, visits, after_last_use=True)

    async def _look(self) -> tuple[Endpoint, float]:
        project, wanted = self._compute.place.project_id, self._compute.endpoint.id
        listing = await self._client.pages(f"/projects/{project}/endpoints", {}, EndpointPage)
        found = next((endpoint for endpoint in listing.items if endpoint.id == wanted), None)
        if found is None:
            raise GoneError(f"{wanted} no longer exists in project {project}")
        state = f"{found.current_state}, becoming {found.pending_state}" if found.pending_state else found.current_state
        if state != self._shown:
            self._shown = state
            waiting = ": waiting until somebody uses it; it is not woken" if state == "idle" else ""
            self._say(f"  {time.strftime('%H:%M:%S', time.gmtime(listing.server_now))} UTC  {state}{waiting}")
        return found, listing.server_now

    def _facts(self, endpoint: Endpoint, now: float) -> EndpointFacts:
        return replace(
            self._compute.facts,
            current_state=endpoint.current_state,
            pending_state=endpoint.pending_state,
            disabled=endpoint.disabled,
            last_active=endpoint.last_active,
            started_at=endpoint.started_at,
            suspended_at=endpoint.suspended_at,
            read_at=now,
        )

    async def _visit(self, facts: EndpointFacts, state: WakeState, now: float) -> float:
        """One session by the rules; when it ended."""
        policy = self.measured.policy
        began = time.monotonic()
        state = before_visit(policy, state, now)
        made = await self._visit_once()
        ended = now + time.monotonic() - began
        self._state = after_visit(policy, state, facts, made.evidence, ended)
        self.measured.visits.append(now)
        self._say(f"  {time.strftime('%H:%M:%S', time.gmtime(now))} UTC  visited for {made.seconds * 1000:.0f} ms")
        if made.status is not Status.OK:
            self.measured.failed = f"the visit failed ({made.status.value}): {made.error}"
        elif made.woke_it:
            self.measured.failed = "the visit woke the compute: it was suspended between the reading and the connect"
        return ended


def holds(measured: Measured) -> bool:
    """Whether both were measured and the bound held."""
    difference = measured.difference
    return difference is not None and not measured.failed and difference <= measured.bound + SLACK


def report(measured: Measured) -> str:
    """What was measured, the bound, and what this cannot know."""
    rows = [("without us", *_row(measured.without)), ("with us", *_row(measured.with_us))]
    lines = [table(("", "awake after the last use", "our visits"), rows)]
    difference = measured.difference
    if measured.failed:
        lines.append(f"Not measured: {measured.failed}.\n")
    elif difference is None:
        lines.append(f"Not measured: {_why_not(measured)}\n")
    else:
        verdict = "holds" if holds(measured) else "DOES NOT HOLD"
        lines.append(f"Added by watching: {difference:+.1f} s; the bound is {measured.bound:g} s: it {verdict}.\n")
    return "".join([*lines, _follow(measured), _unknown()])


def _row(found: Transition | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found.seconds:.1f} s", str(found.visits))


def _why_not(measured: Measured) -> str:
    if measured.without is None:
        return "no suspend was seen without a visit of ours: use the compute once, then leave it alone."
    if measured.refused and not measured.visits:
        rules = ", ".join(f"{rule} {count}x" for rule, count in sorted(measured.refused.items()))
        return f"the rules allowed no visit ({rules}), so nothing was added."
    return "no suspend was seen after a visit: use the compute a second time, then leave it alone."


def _follow(measured: Measured) -> str:
    follow = measured.follow
    if not follow.moves:
        return (
            f"last_active did not move in {follow.looks} looks at the awake compute: nobody used it again, or it\n"
            "moves only at the suspend; then only starts are sampled (or set sampling.evidence: database).\n"
        )
    newest = min(follow.shown_after)
    return (f"last_active moved {follow.moves} x in {follow.looks} looks at the awake compute; "
            f"a new value was {max(0.0, newest):.0f} s old at best when it showed.\n")  # fmt: skip


def _unknown() -> str:
    return (
        "What this cannot know: two suspends are two samples, and Neon's own delay differs between them. Neon's\n"
        "monitor looks twice a second, so a short visit is seen by chance: near 0 is usual, the bound is the worst\n"
        f"case. What other programs do (a monitor, another {APPLICATION_NAME} elsewhere) counts as use by others.\n"
        "last_active may lag: then the last use was later, and the time after it shorter, than shown.\n"
    )
