"""From the evidence of a visit to those who keep the compute awake, and what a person can do about each.

The reasons are those by which Neon's own monitor decides that a compute is in use, so whoever is named here is someone
who could let it sleep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from collectors.activity import is_monitor
from collectors.evidence import (
    ACTIVE_TIME,
    APPLICATION_NAME,
    AUTOVACUUM,
    CLIENT_ACTIVE,
    IDLE,
    IDLE_IN_TRANSACTION,
    SESSIONS,
    SUBSCRIPTION,
    WALSENDER,
    Evidence,
    Holder,
)
from exporter.compute.awake import NOBODY, UNCOVERED, Keeper, Sighting

IDLE_POOL = "idle_pool"
OTHER_MONITOR = "other_monitor"
_CLIENTS = frozenset({CLIENT_ACTIVE, IDLE_IN_TRANSACTION, IDLE})

ADVICE: Mapping[str, str] = {
    CLIENT_ACTIVE: "It works: nothing to do, unless it polls; then poll less often than the suspend timeout.",
    IDLE_IN_TRANSACTION: "End the session; set idle_in_transaction_session_timeout for this role.",
    WALSENDER: "Drop the slot if nobody reads it; else accept it: a consumer keeps the compute awake.",
    SUBSCRIPTION: "Disable the subscription if it may lag; else accept it: it keeps the compute awake.",
    AUTOVACUUM: "Nothing to do: it ends by itself.",
    IDLE_POOL: "A pool holds connections that nobody uses: PgBouncer min_pool_size=0 and server_idle_timeout below "
    "the suspend timeout, in others a minimum size of 0.",
    OTHER_MONITOR: "Another monitor holds it awake: stop it here, or let it ask less often than the suspend timeout.",
    SESSIONS: "Short sessions come and go: let a health check, cron job or poller ask less often than the suspend "
    "timeout, or not at all.",
    NOBODY.reason: "Nobody was there: the suspend timeout ran; a shorter one saves it.",
    UNCOVERED.reason: "No visit saw it (before the first and after the last of each life): not guessed.",
}
"""What to do, by reason."""


def sightings(
    evidence: Evidence, *, previous_end: float | None, reasons: Sequence[str], at: int
) -> list[Sighting] | None:
    """Who held the compute at a visit, or since the one before; None when our role may not see that.

    ``previous_end`` is the end of our visit before on the server's clock, ``reasons`` are the verdict's
    (`collectors.evidence.foreign`), ``at`` is the visit in microseconds of the API's clock.
    """
    if not evidence.privileged:
        return None
    found = list(_held(evidence, previous_end, at))
    if not found and {SESSIONS, ACTIVE_TIME} & set(reasons):
        found.append(Sighting(Keeper(SESSIONS)))
    return found


def _held(evidence: Evidence, previous_end: float | None, at: int) -> Iterator[Sighting]:
    if evidence.peers:
        yield Sighting(Keeper(OTHER_MONITOR, "", APPLICATION_NAME))
    for holder in evidence.holders:
        reason = _reason(holder, evidence.postmaster_start if previous_end is None else previous_end)
        if reason:
            keeper = Keeper(reason, holder.user, holder.application, holder.slot)
            yield Sighting(keeper, _since(holder, reason, evidence.server_clock, at))


def _reason(holder: Holder, previous_end: float) -> str:
    if holder.kind not in _CLIENTS:
        return holder.kind if holder.kind in (WALSENDER, SUBSCRIPTION, AUTOVACUUM) else ""
    if holder.kind == IDLE and (holder.changed is None or holder.changed <= previous_end):
        return ""  # An old idle connection does not keep a compute awake.
    if is_monitor(holder.application, holder.user):
        return OTHER_MONITOR
    if holder.kind != IDLE:
        return holder.kind
    return IDLE_POOL if holder.unused else CLIENT_ACTIVE


def _since(holder: Holder, reason: str, server_clock: float, at: int) -> int | None:
    """From when on the group was surely there: as long as its state has not changed. The two clocks may differ."""
    standing = holder.kind == IDLE_IN_TRANSACTION or reason == IDLE_POOL
    if not standing or holder.changed is None:
        return None
    return at - max(0, round((server_clock - holder.changed) * 1_000_000))


def who(keeper: Keeper) -> str:
    """A keeper for a person: role, application and slot, as far as they are known."""
    names: Iterable[str] = (
        keeper.user,
        keeper.application and f"({keeper.application})",
        keeper.slot and f"slot {keeper.slot}",
    )
    return " ".join(name for name in names if name) or "-"
