"""May we connect to this endpoint now? A compute that only we look at must fall asleep, and we must never wake one.

Pure functions over (policy, facts, state, now): no clock, no I/O. The order of a visit is
``decide`` -> persist ``before_visit`` -> visit -> persist ``after_visit``. The state is JSON-able and complete, so a
restart or a crash loop samples nothing idle.

CLOCKS. ``now``, ``own_end`` and everything else that is kept are the API's clock (its Date header), never the server's:
the two may be minutes apart, and ``last_active`` is compared with them. What is compared with the server's own times
(state_change) uses ``server_end``. A new life of a compute is told by ``started_at`` *differing*, not by its value.
If ``last_active`` was ever in the future, the API's header and its bodies run on different clocks: the largest lead
seen, or the skew measured at a visit if that is larger, is then taken off it.

BOUND (T: seconds until suspend; G = clamp(T/5, 10, 60); d: session budget; a: the last foreign activity).
``api``: one sample follows a at most, by a + G, so the suspend comes by a + G + d + 0.5 s + T: 65.5 s (T = 300) or
17.5 s (T = 60) later than without us, once per transition. Each further sampler of the same endpoint adds as much,
and once, before rule R5 has recognised it, twice that. If ``last_active`` lies, R5 bounds it: one sample, then silence
of 2T and more, twice as long after each that finds nobody: the compute suspends in between.
``database``: by a + max(2P, T + P) + 2d, with P the pace: the second case only when a fell into a silence of R5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from collectors.evidence import SUBSCRIPTION, WALSENDER, Evidence, Own, foreign

NEVER_ABOVE_CU = 16.0
"""Neon never suspends a compute that may scale above this."""
LOOK = 0.5
"""Neon's monitor looks this often (seconds), so our last statement may be seen this much later."""
CLOCK_GRAIN = 2.0
"""The Date header has whole seconds: differences below this say nothing."""
SETTLE = 5.0
"""A younger compute is left alone: our connect could not be told from the one that woke it (R8)."""
MAX_SILENCE = 16
"""R5 doubles its silence up to this many times 2T."""
USER_VISIT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class WakePolicy:
    """The settings of the policy, in seconds; see the module for what they bound."""

    evidence: Literal["api", "database"] = "api"
    eps: float = 15.0
    tick: float = 60.0
    session: float = 5.0
    breaker_hours: float = 24.0


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the control plane says of an endpoint. Times are unix seconds of the API.

    ``read_at`` is when the API said so; without it the caller vouches that it is fresh (a state that is a minute old
    can hide a suspend).
    """

    endpoint_id: str
    current_state: str
    pending_state: str
    disabled: bool
    last_active: float | None
    started_at: float | None
    suspend_timeout_seconds: int
    max_cu: float
    read_at: float | None = None

    @property
    def suspend_after(self) -> float | None:
        """T in seconds; None: never suspended."""
        if self.suspend_timeout_seconds < 0 or self.max_cu > NEVER_ABOVE_CU:
            return None
        return max(60.0, float(self.suspend_timeout_seconds or 300))


@dataclass(frozen=True, slots=True)
class WakeState:
    """What we remember of an endpoint between visits and restarts. Times: unix seconds on the API's clock."""

    endpoint_id: str
    own_end: float
    """End of our last session, or when we first saw the endpoint (R6)."""
    server_end: float | None = None
    """End of our last session on the server's clock."""
    quiet_until: float = 0.0
    silence: int = 0
    """How many visits in a row found nobody else: the exponent of R5."""
    breaker_until: float = 0.0
    wakes: int = 0
    """How often we woke it: a counter to alert on."""
    pinned_by: str = ""
    last_visit: float = 0.0
    previous_visit: float = 0.0
    foreign: bool = False
    """Whether the last visit found someone else."""
    reasons: tuple[str, ...] = ()
    in_flight: float = 0.0
    """When a visit began that has not been accounted for; survives a crash in mid-visit."""
    visited_start: float | None = None
    """``started_at`` at our last visit or at first sight: another value is another life of the compute."""
    seen_start: float | None = None
    seen_at: float = 0.0
    """The newest ``started_at``, and when we first saw it."""
    lead: float = 0.0
    lead_at: float = 0.0
    """How far ``last_active`` was ahead of the API's own clock, and when that was last seen."""
    skew: float = 0.0
    """Server clock minus API clock, measured at the last visit."""
    echo_until: float = 0.0
    """Until then something that leaves no evidence moves ``last_active`` (another sampler): R4 wants more."""
    baseline: Mapping[str, Any] | None = None
    own_sessions: int = 0
    own_seconds: float = 0.0
    """Our sessions in user databases since the baseline."""
    user_visit_at: float = 0.0
    user_visit_start: float | None = None
    anchor: float | None = None
    """The last foreign activity known at our last visit, while its cost is not settled; see `collectors.wake_cost`."""
    added_seconds: float = 0.0
    """Awake time we added so far, an upper bound."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; the inverse is `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> WakeState:
        """Read a stored state; unknown keys (of a newer version) are dropped.

        Raises:
            TypeError: what is needed is missing.
        """
        known = {each.name for each in fields(cls)}
        values = {key: value for key, value in stored.items() if key in known}
        values["reasons"] = tuple(values.get("reasons") or ())
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: ``rule`` is the one that decided, ``why`` one line for a person.

    ``state`` is to be kept also when the answer is no. ``due_again`` is the earliest time that can change it without
    new facts from the API; None: only new facts can.
    """

    allow: bool
    rule: str
    why: str
    state: WakeState
    due_again: float | None = None


def fresh_seconds(suspend_after: float) -> float:
    """G: an activity older than this does not justify a session any more."""
    return min(60.0, max(10.0, suspend_after / 5))


def pace_seconds(policy: WakePolicy, suspend_after: float) -> float:
    """P in ``database`` mode: under T/2, so that between two samples with evidence no suspend can come."""
    return min(policy.tick, suspend_after / 2 - policy.session)


def decide(policy: WakePolicy, facts: EndpointFacts, state: WakeState | None, now: float) -> Decision:
    """Whether SQL may be sent to the endpoint now."""
    first = state is None or _stepped_back(state, now)
    kept = _first_sight(policy, facts, state, now) if first or state is None else _remember(facts, state, now)
    kept = _wake_without_answer(policy, facts, kept, now)
    for rule in (_r1_awake, _r8_breaker, _r7_one_at_a_time):
        refused = rule(policy, facts, kept, now)
        if refused is not None:
            return refused
    if facts.suspend_after is None:
        return Decision(True, "R2", "it never suspends, so watching keeps nothing awake", kept)
    if first and policy.evidence == "api":
        due = kept.own_end + policy.eps
        return Decision(False, "R6", "seen for the first time: waiting for activity after now", kept, due)
    if policy.evidence == "database":
        return _by_database(policy, facts, kept, now)
    return _by_api(policy, facts, kept, now)


def before_visit(policy: WakePolicy, state: WakeState, now: float) -> WakeState:
    """The state to persist BEFORE connecting: a crash in mid-visit then still counts as our own session."""
    return replace(
        state,
        own_end=now + policy.session + 1,
        in_flight=now,
        previous_visit=state.last_visit,
        last_visit=now,
    )


def after_visit(
    policy: WakePolicy, state: WakeState, facts: EndpointFacts, evidence: Evidence | None, now: float
) -> WakeState:
    """The state after a visit: what it found decides when we may come again (R2 pins, R5, R8).

    ``now`` is the API's time at the *end* of the visit. Without evidence (it failed) nothing is known: the question
    whether the attempt woke the compute stays open (``in_flight``) until the API's ``started_at`` answers it.
    """
    began = state.in_flight or now
    ended = replace(state, own_end=max(now, began) + 1, visited_start=facts.started_at)
    suspend_after = facts.suspend_after or 0.0
    if evidence is None:
        silence = policy.tick if policy.evidence == "api" else 2 * suspend_after + 2 * policy.session + policy.eps
        return replace(ended, quiet_until=now + silence, foreign=False, pinned_by="", reasons=())
    previous = Evidence.from_baseline(state.baseline) if state.baseline is not None else None
    own = Own(state.own_sessions, state.own_seconds)
    verdict = foreign(evidence, previous, state.server_end, own)
    ended = replace(
        ended,
        in_flight=0.0,
        server_end=evidence.server_clock + max(0.0, now - began) + 1,
        skew=evidence.server_clock - now,
        baseline=evidence.baseline(),
        own_sessions=0,
        own_seconds=0.0,
        pinned_by=evidence.pinned_by,
        reasons=verdict.reasons,
        anchor=_anchor(facts, state, began, busy=evidence.busy_now),
    )
    if evidence.woken_by_us:
        return replace(_open_breaker(policy, ended, now), foreign=False)
    if verdict or not verdict.baseline:
        # Without a baseline nothing can be said; the next sample will have one.
        return replace(ended, foreign=True, silence=0, quiet_until=0.0)
    # More than 2T: two samplers that keep exactly 2T in turn would hold a compute awake for ever. Doubling does the
    # same for any number of them.
    silence = (2 * suspend_after + 2 * policy.session + policy.eps) * min(MAX_SILENCE, 2**state.silence)
    hold = max(state.echo_until, now + policy.breaker_hours * 3600)
    return replace(ended, foreign=False, quiet_until=now + silence, silence=state.silence + 1, echo_until=hold)


def may_enter_user_databases(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    """R9: sessions in user databases move the counters that keep a compute awake, so they ride on a sample.

    Ask right after `after_visit`, in the same visit. Once per life of the compute, and once an hour in a long one.
    """
    if now > state.own_end + policy.session:
        return Decision(False, "R9", "work in user databases rides on a sample, and none is under way", state)
    if facts.suspend_after is not None and not state.foreign:
        return Decision(False, "R9", "the sample found nobody else", state)
    due = state.user_visit_at + USER_VISIT_SECONDS
    if state.user_visit_at and state.user_visit_start == facts.started_at and now < due:
        return Decision(False, "R9", f"user databases were read {now - state.user_visit_at:.0f} s ago", state, due)
    return Decision(True, "R9", "the sample found someone else, and user databases are due", state)


def after_user_visits(
    state: WakeState, facts: EndpointFacts, *, sessions: int, seconds: float, now: float
) -> WakeState:
    """Account for our own sessions in user databases, so that the next evidence does not take them for a user's."""
    server_end = None if state.server_end is None else state.server_end + max(0.0, now + 1 - state.own_end)
    return replace(
        state,
        own_end=max(state.own_end, now + 1),
        server_end=server_end,
        own_sessions=state.own_sessions + sessions,
        own_seconds=state.own_seconds + seconds,
        user_visit_at=now,
        user_visit_start=facts.started_at,
    )


def close_breaker(state: WakeState) -> WakeState:
    """What an operator may ask for once the cause of a wake of ours is understood."""
    return replace(state, breaker_until=0.0)


def _first_sight(policy: WakePolicy, facts: EndpointFacts, state: WakeState | None, now: float) -> WakeState:
    """R6: nothing before now counts as foreign. In ``database`` mode only outlasting a silence of ours does."""
    quiet = 0.0
    if policy.evidence == "database" and facts.suspend_after is not None:
        quiet = now + 2 * facts.suspend_after + 2 * policy.session + policy.eps
    counts = {} if state is None else {"wakes": state.wakes, "added_seconds": state.added_seconds}
    fresh = WakeState(
        facts.endpoint_id,
        own_end=now,
        quiet_until=quiet,
        visited_start=facts.started_at,
        seen_start=facts.started_at,
        seen_at=now,
        **counts,  # type: ignore[arg-type]
    )
    return _lead(facts, fresh, now)


def _stepped_back(state: WakeState, now: float) -> bool:
    # The API's clock was set back: what we kept is in a future that may never come.
    return max(state.last_visit, state.seen_at) > now + 60


def _remember(facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    kept = _lead(facts, state, now)
    if facts.started_at != kept.seen_start:
        kept = replace(kept, seen_start=facts.started_at, seen_at=now)
    if kept.quiet_until and kept.seen_start != kept.visited_start:
        # Someone else started it: the silence of R5 was about a life that is over.
        kept = replace(kept, quiet_until=0.0, silence=0)
    return kept


def _lead(facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    lead = 0.0 if facts.last_active is None else facts.last_active - now
    if now > state.lead_at + 86400:
        state = replace(state, lead=0.0, lead_at=now)
    if lead > CLOCK_GRAIN and lead >= state.lead:
        return replace(state, lead=lead, lead_at=now)
    return state


def _wake_without_answer(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """R8 by the API: a visit that brought no evidence (or a crash) around which the compute was started."""
    if not state.in_flight or facts.started_at is None or facts.started_at == state.visited_start:
        return state
    margin = CLOCK_GRAIN + policy.session
    if state.in_flight - CLOCK_GRAIN <= facts.started_at <= state.in_flight + margin:
        return replace(_open_breaker(policy, state, now), in_flight=0.0, visited_start=facts.started_at)
    return replace(state, in_flight=0.0) if now > state.own_end else state


def _open_breaker(policy: WakePolicy, state: WakeState, now: float) -> WakeState:
    return replace(state, breaker_until=now + policy.breaker_hours * 3600, wakes=state.wakes + 1)


def _r1_awake(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    if facts.disabled:
        return Decision(False, "R1", "the endpoint is disabled", state)
    if facts.current_state != "active" or facts.pending_state:
        pending = f", becoming {facts.pending_state}" if facts.pending_state else ""
        return Decision(False, "R1", f"it is {facts.current_state}{pending}: asleep, not down", state)
    if facts.read_at is not None and now - facts.read_at > policy.eps and facts.suspend_after is not None:
        return Decision(False, "R1", f"the API said active {now - facts.read_at:.0f} s ago: ask again first", state)
    return None


def _r8_breaker(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    if now < state.breaker_until:
        return Decision(False, "R8", f"we woke it: no SQL for {policy.breaker_hours:g} h", state, state.breaker_until)
    age = None if facts.started_at is None else now - facts.started_at
    if age is not None and age < SETTLE and now - state.seen_at < SETTLE and state.seen_start == facts.started_at:
        due = min(facts.started_at or now, state.seen_at) + SETTLE
        return Decision(False, "R8", "it has just started: our connect could not be told from its wake", state, due)
    return None


def _r7_one_at_a_time(policy: WakePolicy, _facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    if state.in_flight and now < state.in_flight + policy.session + 1 and state.own_end > now:
        return Decision(False, "R7", "a visit is under way", state, state.own_end)
    return None


def _last_active(facts: EndpointFacts, state: WakeState, now: float) -> float | None:
    """``last_active`` on the clock of ``now``, not older than the compute's start: a start is an activity."""
    known = [each for each in (facts.last_active, facts.started_at) if each is not None]
    off = max(state.lead, state.skew) if state.lead > CLOCK_GRAIN else 0.0
    usable = [each - off for each in known if each - off <= now + CLOCK_GRAIN]
    return min(max(usable), now) if usable else None


def _by_api(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    suspend_after = facts.suspend_after or 300.0
    window = fresh_seconds(suspend_after)
    if state.pinned_by in (WALSENDER, SUBSCRIPTION) and now - state.last_visit <= window:
        return Decision(True, "R2", f"a {state.pinned_by} held it awake at our last sample", state)
    if now < state.quiet_until:
        return Decision(False, "R5", "our last sample found nobody else: staying away", state, state.quiet_until)
    active = _last_active(facts, state, now)
    if active is None or now - active > window:
        age = "unknown" if active is None else f"{now - active:.0f} s old"
        return Decision(False, "R3", f"its last activity is {age}: a suspend may be near", state)
    # An echo of another sampler reaches at most a window and a session behind ours: want more than that.
    eps = max(policy.eps, window + policy.session + 2) if now < state.echo_until else policy.eps
    if active < state.own_end + eps:
        return Decision(False, "R4", "nobody else was active since our last session", state, state.own_end + eps)
    return Decision(True, "R4", "someone else was active after our last session", state)


def _by_database(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    suspend_after = facts.suspend_after or 300.0
    if facts.started_at != state.visited_start and facts.started_at is not None:
        age = now - facts.started_at
        if suspend_after - 10 < age < suspend_after + 5:
            due = facts.started_at + suspend_after + 5
            return Decision(False, "R3", "one activity at its start would suspend it about now", state, due)
        return Decision(True, "R5", "someone else started it since our last session", state)
    if now < state.quiet_until:
        return Decision(False, "R5", "our last sample found nobody else: staying away", state, state.quiet_until)
    if not state.foreign:
        return Decision(True, "R5", "it outlasted our silence, so someone else keeps it awake", state)
    due = state.last_visit + pace_seconds(policy, suspend_after)
    if now < due:
        return Decision(False, "R5", "sampled a moment ago", state, due)
    return Decision(True, "R5", "our last sample found someone else", state)


def _anchor(facts: EndpointFacts, state: WakeState, began: float, *, busy: bool) -> float | None:
    """The last foreign activity we know of at a visit; an unsettled one of before stays, it is the older."""
    if busy:
        return began
    active = _last_active(facts, state, began)
    if active is None or active < state.own_end:
        return state.anchor if state.anchor is not None else active
    return active
