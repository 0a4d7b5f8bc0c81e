"""How much awake time our sessions added to a compute: the price of monitoring, as a figure and not as a promise.

A session keeps a compute awake until T after it ended. Without us it would have slept T after the last foreign
activity. The time between is ours, unless a user came back before. Every estimate here errs upwards.
"""

from __future__ import annotations

from collectors.wake.state import EndpointFacts, WakeState, replace
from collectors.wake.trust import believed

LOOK = 0.5
"""Neon's monitor looks this often (seconds), so it may notice our last statement this much later."""


def added_awake_seconds(
    suspend_after: float | None, last_foreign: float, own_end: float, next_foreign: float | None = None
) -> float:
    """An upper bound of the awake seconds that our sessions after ``last_foreign`` added, until ``own_end``.

    ``suspend_after`` is T, None for a compute that never suspends: nothing can be added there. ``next_foreign`` is the
    next foreign activity, None when the compute was suspended first. All on one clock, in unix seconds.
    """
    if suspend_after is None:
        return 0.0
    held = own_end + LOOK - last_foreign
    if next_foreign is not None:
        # Someone came back: ours is only what lay between the suspend that did not happen and that return.
        held = min(held, next_foreign - last_foreign - suspend_after)
    return max(0.0, held)


def settle(facts: EndpointFacts, state: WakeState, active: float | None, eps: float, now: float) -> WakeState:
    """Account for the time that our sessions held the compute awake, once it is no longer in that life.

    ``active`` is the last activity the API shows: after our last session and a margin it was someone else, if the API
    is believed.
    """
    if state.anchor is None or (state.in_flight and now < state.own_end):
        return state
    if facts.current_state == "active" and facts.started_at == state.visited_start:
        return state
    known = believed(state, now) and facts.started_at == state.visited_start
    after = active if known and active is not None and active >= state.own_end + eps else None
    return _settled(facts, state, after)


def open_hold(state: WakeState, own_end: float, now: float) -> WakeState:
    """Before a visit: the time that it holds begins at the last foreign activity, unless an older hold is open."""
    anchor = state.anchor if state.anchor is not None else state.candidate
    return replace(state, anchor=anchor, held_until=state.own_end, own_end=own_end, in_flight=now, last_visit=now)


def settle_by_visit(facts: EndpointFacts, state: WakeState, began: float, *, busy: bool) -> WakeState:
    """After a visit that found somebody else: account for the hold before it, and begin a new one.

    (A visit that finds nobody only prolongs the hold that is open: the last foreign activity is still the old one.)
    """
    candidate = began if state.candidate is None else min(state.candidate, began)
    # The hold before it ended with the session before it, however long ago that was: a busy compute is not held by us.
    own_end = state.own_end if state.held_until is None else state.held_until
    return replace(
        state,
        held_until=None,
        anchor=began if busy else candidate,
        added_seconds=state.added_seconds + _held(facts, state.anchor, own_end, candidate),
        foreign=True,
        silence=0,
        quiet_until=0.0,
    )


def _settled(facts: EndpointFacts, state: WakeState, next_foreign: float | None) -> WakeState:
    added = _held(facts, state.anchor, state.own_end, next_foreign)
    return replace(state, anchor=None, added_seconds=state.added_seconds + added)


def _held(facts: EndpointFacts, anchor: float | None, own_end: float, next_foreign: float | None) -> float:
    if anchor is None:
        return 0.0
    return added_awake_seconds(facts.suspend_after, anchor, own_end - 1, next_foreign)
