"""What to believe about the presence of somebody else: what is proved, and what the API merely shows.

A visit adds at most the time since the last foreign activity. So it is harmless soon after something that is *proved*:
a start that was not ours, or what an earlier visit found. Beyond that there is only the API's ``last_active``, and a
wrong value cannot be distinguished from a right one without a visit, except by a suspend: it comes T after the last
activity. A value that had stood still before it and was not later than that is confirmed; one that claims to be later
was wrong. So ``last_active`` is believed only after suspends that confirmed it, and after each contradiction only after
twice as many. Pure functions.
"""

from __future__ import annotations

from collectors.postgres.evidence import IDLE, Evidence
from collectors.wake.state import EndpointFacts, WakePolicy, WakeState, replace

CLOCK_GRAIN = 2.0
"""The Date header has whole seconds: differences below this say nothing."""
STOOD = 10.0
"""Seconds after which a ``last_active`` that did not move counts as standing."""
CHEAP = 3.0
"""A visit that adds no more than so many seconds is not counted against our share."""
MOST_DOUBT = 5
"""After that many contradictions it takes 2^5 suspends in a row to be believed again."""


def long_life(suspend_after: float) -> float:
    """Awake time in seconds after which a visit may be made without proof: it adds T to that at most."""
    return max(12 * suspend_after, 3600.0)


def believed(state: WakeState, now: float) -> bool:
    """Whether the API's ``last_active`` may lead to a visit: confirmed often enough, and no other sampler is active."""
    return state.confirmed >= 1 << state.doubt and now >= state.echo_until


def unknown(state: WakeState) -> bool:
    """Whether no suspend has confirmed or contradicted ``last_active`` yet."""
    return not state.confirmed and not state.doubt


def contradicted(state: WakeState) -> WakeState:
    """The state after a ``last_active`` that proved wrong."""
    return replace(state, confirmed=0, doubt=min(MOST_DOUBT, state.doubt + 1))


def stand(facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """Note whether ``last_active`` stands still.

    The state changes only when that changes, because every change is a write to the disk.
    """
    if facts.current_state != "active":
        return state
    shown = facts.last_active
    stood = shown if shown is not None and now - shown >= STOOD else 0.0
    return state if stood == state.stood else replace(state, stood=stood)


def end_life(facts: EndpointFacts, state: WakeState, now: float) -> WakeState:
    """Count a life that the API shows to be over, and what its suspend says about ``last_active``."""
    began = state.seen_start
    if began is None or state.counted_start == began:
        return state
    if facts.current_state != "idle" and facts.started_at == began:
        return state
    ended = facts.suspended_at if facts.suspended_at is not None and facts.suspended_at >= began else None
    if ended is not None and state.stood:
        state = _weigh_suspend(facts, state, ended)
    lived = max(0.0, (ended or facts.started_at or now) - began)
    return replace(state, counted_start=began, stood=0.0, awake_seconds=state.awake_seconds + lived)


def _weigh_suspend(facts: EndpointFacts, state: WakeState, ended: float) -> WakeState:
    if facts.suspend_timeout_seconds < 0:
        return state
    # Not the rules' T, which is at least 60: what the control plane really went by.
    earliest = ended - float(facts.suspend_timeout_seconds or 300) + CLOCK_GRAIN
    if state.proof > earliest:
        return state  # Somebody was there later than that: it was suspended by hand, and proves nothing.
    if state.stood > earliest:
        return contradicted(state)
    confirmed = min(64, state.confirmed + 1)
    if state.doubt and confirmed >= 2 << state.doubt:
        return replace(state, confirmed=confirmed, doubt=state.doubt - 1)
    return replace(state, confirmed=confirmed)


def start_proof(facts: EndpointFacts, state: WakeState) -> float | None:
    """When somebody else started this life of the compute; None when that is not known."""
    started = facts.started_at
    if started is None or started == state.visited_start or started != state.seen_start:
        return None
    if started > state.seen_at + CLOCK_GRAIN or started < state.own_end - 1:
        return None
    return started


def evidence_proof(evidence: Evidence, began: float) -> float:
    """The newest instant at which somebody else was active, by a visit that ``began`` then (policy clock)."""
    if evidence.busy_now:
        return began
    changed = [holder.changed for holder in evidence.holders if holder.kind == IDLE and holder.changed is not None]
    if not changed:
        return 0.0
    return began - max(0.0, evidence.server_clock - max(changed))


def within_budget(policy: WakePolicy, facts: EndpointFacts, state: WakeState, *, adds: float, now: float) -> bool:
    """Whether what we add to this compute stays below our share of its awake time if a visit ``adds`` so much."""
    if adds <= CHEAP:
        return True  # Somebody is there right now: that is what visits are for.
    started = facts.started_at
    lives = state.awake_seconds + (max(0.0, now - started) if started is not None else 0.0)
    return state.added_seconds + adds <= policy.credit + policy.share * lives
