"""May we connect to this endpoint now? A compute that only we look at must fall asleep, and we must never wake one.

Pure functions over (policy, facts, state, now): no clock, no I/O. The order of a visit is
``decide`` -> persist ``before_visit`` -> visit -> persist ``after_visit``. The state is JSON-able and complete, so a
restart or a crash loop samples nothing idle.

CLOCKS. ``now``, ``own_end`` and all stored times are on one clock, never the server's: the later of the API's (its Date
header) and our own, so that no activity looks younger than it is while one of the two is right. What is compared with
the server's own times (state_change) uses ``server_end``. A new life of a compute is recognised by ``started_at``
*differing*, not by its value. If ``last_active`` was ever in the future, ``now`` and the API's bodies run on different
clocks. A visit measures by how much; before that an age is unknown, and nothing is visited.

BOUND (T: seconds until suspend; G = clamp(T/5, 10, 60); d: session budget; a: the last foreign activity). A visit at
v ends by v + d, so the suspend comes by v + d + 0.5 s + T. Every visit follows something that somebody else did at most
G before: a start that was not ours, what our previous visit saw, or what a believed ``last_active`` shows (see
`collectors.wake.trust`). So v <= a + G, and the suspend is at most G + d + 0.5 s later than without us: 65.5 s
(T = 300) or 17.5 s (T = 60), once per transition, whatever the API shows and however many samplers there are, as long
as ``last_active`` is not believed. Where it is believed, each further sampler may add as much again until a visit finds
that sampler; then none believes it for a day.
Without proof one visit is made per `long_life` of unseen awake time (``api``: only if ``last_active`` claims somebody;
``database``: if it outlasts that): if nobody was there after all, T + d + 0.5 s, a twelfth of that time at most. The
same once for a compute that we first see in the middle of a life. In every case R5 ends it: after a visit that finds
nobody comes a silence of more than 2T, twice as long each time, so that no number of samplers keeps a compute awake.
"""

from __future__ import annotations

from collectors.postgres.evidence import SUBSCRIPTION, WALSENDER, Evidence, OwnUse, foreign
from collectors.wake.cost import LOOK, open_hold, settle, settle_by_visit
from collectors.wake.state import Decision, EndpointFacts, WakePolicy, WakeState, replace
from collectors.wake.trust import (
    CLOCK_GRAIN,
    believed,
    contradicted,
    end_life,
    evidence_proof,
    long_life,
    stand,
    start_proof,
    unknown,
    within_budget,
)

__all__ = [
    "Decision",
    "EndpointFacts",
    "WakePolicy",
    "WakeState",
    "after_user_visits",
    "after_visit",
    "before_visit",
    "bound_seconds",
    "close_breaker",
    "decide",
    "fresh_seconds",
    "may_enter_user_databases",
    "pace_seconds",
    "unproved_bound_seconds",
]

MAX_LAG = 130.0
"""The largest delay of ``last_active`` in the API that was ever observed, in seconds."""
SETTLE = 5.0
"""A younger compute is left alone: our connect could not be distinguished from the one that woke it (R8)."""
MAX_SILENCE = 16
"""R5 doubles its silence up to this many times 2T."""
USER_VISIT_SECONDS = 3600.0


def fresh_seconds(suspend_after: float) -> float:
    """G: an activity older than this does not justify a session any more."""
    return min(60.0, max(10.0, suspend_after / 5))


def pace_seconds(policy: WakePolicy, suspend_after: float) -> float:
    """Seconds from a visit that found somebody to the next one: within G, and clear of our own trace."""
    return min(max(policy.tick, policy.eps), fresh_seconds(suspend_after))


def bound_seconds(policy: WakePolicy, suspend_after: float) -> float:
    """Upper bound of the seconds by which we delay the suspend of an idle compute (see the module)."""
    return fresh_seconds(suspend_after) + policy.session + LOOK


def unproved_bound_seconds(policy: WakePolicy, suspend_after: float) -> float:
    """The same after a visit without proof, of which there is one per `long_life` at most."""
    return suspend_after + policy.session + LOOK


def decide(policy: WakePolicy, facts: EndpointFacts, state: WakeState | None, now: float) -> Decision:
    """Whether SQL may be sent to the endpoint now."""
    first = state is None or _stepped_back(state, now)
    after = _first_sight(policy, facts, state, now) if first or state is None else _remember(policy, facts, state, now)
    after = _wake_without_answer(policy, facts, after, now)
    for rule in (_r1_awake, _r8_breaker, _r7_one_at_a_time):
        refused = rule(policy, facts, after, now)
        if refused is not None:
            return refused
    if facts.suspend_after is None:
        return Decision(True, "R2", "it never suspends, so watching keeps nothing awake", after)
    if first:
        due = after.quiet_until or after.own_end + policy.eps
        return Decision(False, "R6", "seen for the first time: waiting for activity after now", after, due)
    proved = _by_proof(policy, facts, after, now)
    if proved is not None and (proved.allow or proved.rule == "R10"):
        return proved
    if now < after.quiet_until:
        return Decision(False, "R5", "our last sample found nobody else: staying away", after, after.quiet_until)
    shown = (_by_outlasting if policy.evidence == "database" else _by_api)(policy, facts, after, now)
    return shown if shown.allow or proved is None else proved


def before_visit(policy: WakePolicy, state: WakeState, now: float) -> WakeState:
    """The state to persist BEFORE connecting: a crash in mid-visit then still counts as our own session."""
    return open_hold(state, now + policy.session + 1, now)


def after_visit(
    policy: WakePolicy, state: WakeState, facts: EndpointFacts, evidence: Evidence | None, now: float
) -> WakeState:
    """The state after a visit: what it found decides when we may come again (R2 pins, R5, R8).

    ``now`` is the API's time at the *end* of the visit. Without evidence (it failed) nothing is known: the question
    whether the attempt woke the compute stays open (``in_flight``) until the API's ``started_at`` answers it.
    """
    began = state.in_flight or now
    own_end = max(now, began) + 1
    if evidence is None:
        # In api mode R4 still stands between us and an idle compute; in database mode only silence does.
        silence = policy.tick if policy.evidence == "api" else _silence(policy, facts)
        ended = replace(state, own_end=own_end, visited_start=facts.started_at, quiet_until=now + silence)
        return replace(ended, foreign=False, pinned_by="", reasons=())
    previous = Evidence.from_baseline(state.baseline) if state.baseline is not None else None
    verdict = foreign(evidence, previous, state.server_end, OwnUse(state.own_sessions, state.own_seconds))
    ended = replace(
        state,
        own_end=own_end,
        visited_start=facts.started_at,
        in_flight=0.0,
        server_end=evidence.server_clock + max(0.0, now - began) + 1,
        skew=evidence.server_clock - now,
        baseline=evidence.baseline(),
        own_sessions=0,
        own_seconds=0.0,
        pinned_by=evidence.pinned_by,
        proof=max(state.proof, evidence_proof(evidence, began)),
        reasons=verdict.reasons,
        visits=state.visits + 1,
        echo_until=now + policy.breaker_hours * 3600 if evidence.peers else state.echo_until,
    )
    if evidence.woken_by_us:
        return replace(_open_breaker(policy, ended, now), foreign=False)
    # Without a baseline nothing is known; the next sample will have one.
    if verdict or not verdict.baseline:
        return settle_by_visit(facts, ended, began, busy=evidence.busy_now)
    return _nobody(policy, facts, ended, now)


def may_enter_user_databases(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    """R9: whether sessions in user databases may be opened now; they move the counters that keep a compute awake.

    Ask right after `after_visit` of a sample that found somebody else. Once per life of the compute, and hourly.
    """
    if now > state.own_end + policy.session:
        return Decision(False, "R9", "user databases are read at the end of a sample, and none is under way", state)
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
    """The state with the breaker closed, which an operator may ask for once the cause of a wake is understood."""
    return replace(state, breaker_until=0.0)


def _first_sight(policy: WakePolicy, facts: EndpointFacts, state: WakeState | None, now: float) -> WakeState:
    """R6: nothing before now counts as foreign. In ``database`` mode only outlasting a silence of ours does."""
    quiet = 0.0
    if policy.evidence == "database" and facts.suspend_after is not None:
        quiet = now + _silence(policy, facts)
    fresh = WakeState(
        facts.endpoint_id,
        own_end=now,
        quiet_until=quiet,
        visited_start=facts.started_at,
        seen_start=facts.started_at,
        seen_at=now,
        met_start=facts.started_at if facts.current_state == "active" else None,
        counted_start=None if facts.current_state == "active" else facts.started_at,
    )
    if state is not None:
        fresh = replace(
            fresh,
            confirmed=state.confirmed,
            doubt=state.doubt,
            awake_seconds=state.awake_seconds,
            breaker_until=min(state.breaker_until, now + policy.breaker_hours * 3600),
            wakes=state.wakes,
            visits=state.visits,
            added_seconds=state.added_seconds,
        )
    return stand(facts, _lead(facts, fresh, now), now)


def _silence(policy: WakePolicy, facts: EndpointFacts) -> float:
    # More than 2T: two samplers that keep exactly 2T in turn would hold a compute awake for ever.
    return 2 * (facts.suspend_after or 0.0) + 2 * policy.session + policy.eps


def _nobody(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """R5: the sample found nobody. Doubling the silence bounds the visits of any number of samplers, even in turns.

    If ``last_active`` led us here, it is contradicted by the database, and not believed for some suspends.
    """
    silence = _silence(policy, facts) * min(MAX_SILENCE, 2**state.silence)
    state = replace(state, foreign=False, quiet_until=now + silence, silence=state.silence + 1)
    return contradicted(state) if state.claimed and facts.suspend_after is not None else state


def _stepped_back(state: WakeState, now: float) -> bool:
    # The API's clock was set back: the stored times are in a future that may never come.
    return max(state.last_visit, state.seen_at) > now + 60


def _remember(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    after = _lead(facts, state, now)
    if after.anchor is not None:
        after = settle(facts, after, _last_active(facts, after, now), policy.eps, now)
    after = end_life(facts, after, now)
    if facts.started_at != after.seen_start:
        after = replace(after, seen_start=facts.started_at, seen_at=now)
    if after.quiet_until and after.seen_start != after.visited_start:
        # Someone else started it: the silence of R5 was about a life that is over.
        after = replace(after, quiet_until=0.0, silence=0)
    return stand(facts, after, now)


def _lead(facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """Learn how far ``last_active`` runs ahead of the API's own clock; forget it a day after it last did."""
    lead = 0.0 if facts.last_active is None else facts.last_active - now
    if lead > CLOCK_GRAIN:
        return replace(state, lead=max(lead, state.lead), lead_at=now)
    if state.lead and now > state.lead_at + 86400:
        return replace(state, lead=0.0)
    return state


def _wake_without_answer(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """R8 by the API: a visit that brought no evidence (or a crash) around which the compute was started."""
    if not state.in_flight or facts.started_at is None or facts.started_at == state.visited_start:
        return state
    if state.in_flight - CLOCK_GRAIN <= facts.started_at <= state.in_flight + CLOCK_GRAIN + policy.session:
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
        return Decision(False, "R1", f"the API said active {now - facts.read_at:.0f} s ago: read it again first", state)
    return None


def _r8_breaker(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    if now < state.breaker_until:
        return Decision(False, "R8", f"we woke it: no SQL for {policy.breaker_hours:g} h", state, state.breaker_until)
    age = None if facts.started_at is None else now - facts.started_at
    if age is not None and age < SETTLE and now - state.seen_at < SETTLE and state.seen_start == facts.started_at:
        due = min(facts.started_at or now, state.seen_at) + SETTLE
        return Decision(False, "R8", "it has just started: our connect could be taken for its wake", state, due)
    return None


def _r7_one_at_a_time(policy: WakePolicy, _facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    if state.in_flight and now < state.in_flight + policy.session + 1 and state.own_end > now:
        return Decision(False, "R7", "a visit is under way", state, state.own_end)
    return None


def _last_active(facts: EndpointFacts, state: WakeState, now: float) -> float | None:
    """``last_active`` on the clock of ``now``, not older than the compute's start: a start is an activity.

    None when it runs ahead of ``now`` by what no visit has measured: an old activity would look new. And no start is
    later than our first look at it: else each would look new again when a clock that runs behind comes to it.
    """
    if state.lead > CLOCK_GRAIN and not _measured(state):
        return None
    ahead = state.skew if state.lead < state.skew <= state.lead + MAX_LAG else state.lead
    off = ahead if state.lead > CLOCK_GRAIN else 0.0
    known = [value - off for value in (facts.last_active, facts.started_at) if value is not None]
    if facts.started_at is not None and facts.started_at == state.seen_start:
        known[-1] = min(known[-1], state.seen_at)
    usable = [value for value in known if value <= now + CLOCK_GRAIN]
    return min(max(usable), now) if usable else None


def _measured(state: WakeState) -> bool:
    """Whether a visit confirmed that the lead of ``last_active`` is the difference of the clocks."""
    return state.server_end is not None and state.lead - CLOCK_GRAIN <= state.skew <= state.lead + MAX_LAG


def _by_proof(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision | None:
    """Soon after something that somebody else surely did; None when nothing is proved, or it is not due yet."""
    suspend_after = facts.suspend_after or 300.0
    window = fresh_seconds(suspend_after)
    if state.pinned_by in (WALSENDER, SUBSCRIPTION) and now - state.last_visit <= window:
        held = replace(state, candidate=state.last_visit, claimed=False)
        return Decision(True, "R2", f"a {state.pinned_by} held it awake at our last sample", held)
    started = start_proof(facts, state)
    if started is not None and now - started <= window:
        return _affordable(policy, facts, state, now, since=started, why="someone else started it")
    # A round may come a moment late: then the session is that much shorter.
    late = max(0.0, min(CLOCK_GRAIN, policy.session - 1))
    if not state.foreign or now - state.proof > window + late or facts.started_at != state.visited_start:
        return None
    # And it may come a moment early.
    due = state.last_visit + pace_seconds(policy, suspend_after) - CLOCK_GRAIN
    if now >= due:
        return _affordable(policy, facts, state, now, since=state.proof, why="our last sample saw someone else")
    return Decision(False, "R5", "sampled a moment ago", state, due)


def _affordable(
    policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float, *, since: float, why: str
) -> Decision:
    """R10: a proof is not worth every price. What a visit adds at worst is the time since the last activity."""
    active = _last_active(facts, state, now) if believed(state, now) else None
    candidate = since if active is None or active < state.own_end + policy.eps else max(since, active)
    if not within_budget(policy, facts, state, adds=now - candidate, now=now):
        return Decision(False, "R10", f"{why}, but we have used up our share of this compute's awake time", state)
    end_by = since + fresh_seconds(facts.suspend_after or 300.0) + policy.session
    allowed = replace(state, candidate=candidate, claimed=False)
    return Decision(True, "R3", f"{why} {now - since:.0f} s ago", allowed, end_by=max(now + 1, end_by))


def _by_api(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    suspend_after = facts.suspend_after or 300.0
    window = fresh_seconds(suspend_after)
    active = _last_active(facts, state, now)
    if active is None or now - active > window:
        age = "unknown" if active is None else f"{now - active:.0f} s old"
        return Decision(False, "R3", f"its last activity is {age}: a suspend may be near", state)
    # An echo of another sampler reaches at most a window and a session behind ours: want more than that.
    eps = max(policy.eps, window + policy.session + 2) if now < state.echo_until else policy.eps
    if active < state.own_end + eps:
        due = state.own_end + eps
        return Decision(False, "R4", "nobody else was active since our last session", state, due if due > now else None)
    if not believed(state, now) and not (unknown(state) and facts.started_at == state.met_start):
        due = _unseen_since(facts, state) + long_life(suspend_after)
        if now < due:
            why = "last_active has not been confirmed by a suspend yet"
            return Decision(False, "R4", why, state, due)
    if not within_budget(policy, facts, state, adds=now - active, now=now):
        return Decision(False, "R10", "we have used up our share of this compute's awake time", state)
    why = "someone else was active after our last session"
    return Decision(True, "R4", why, replace(state, candidate=active, claimed=True))


def _unseen_since(facts: EndpointFacts, state: WakeState) -> float:
    return max(state.last_visit, facts.started_at or 0.0, state.seen_at)


def _by_outlasting(policy: WakePolicy, facts: EndpointFacts, state: WakeState, now: float) -> Decision:
    suspend_after = facts.suspend_after or 300.0
    met = not state.visits and facts.started_at == state.met_start
    due = _unseen_since(facts, state) + (_silence(policy, facts) if met else long_life(suspend_after))
    if now < due:
        return Decision(False, "R5", "nothing proves that someone else was active a moment ago", state, due)
    if not within_budget(policy, facts, state, adds=0.0, now=now):
        return Decision(False, "R10", "we have used up our share of this compute's awake time", state)
    # The last foreign activity is not older than that: else the compute would sleep by now.
    allowed = replace(state, candidate=max(now - suspend_after, state.last_visit), claimed=False)
    return Decision(True, "R5", "it outlasted our silence, so someone else keeps it awake", allowed)
