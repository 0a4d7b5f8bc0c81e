"""From the evidence of a visit to those who hold the compute awake, and what a person can do about each.

The reasons are those by which Neon's own monitor decides that a compute is in use, so whoever is named here is someone
who could let it sleep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from collectors.postgres.cluster.activity import is_monitor
from collectors.postgres.evidence import (
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
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder, Sighting

IDLE_POOL = "idle_pool"
OTHER_MONITOR = "other_monitor"
_CLIENTS = frozenset({CLIENT_ACTIVE, IDLE_IN_TRANSACTION, IDLE})

_ADVICE: Mapping[str, str] = {
    CLIENT_ACTIVE: "it works; if it only polls, let it poll less often than every {T}",
    IDLE_IN_TRANSACTION: "end that session, and set idle_in_transaction_session_timeout for its role",
    WALSENDER: "drop the slot if nobody needs it; else accept it: a consumer keeps its compute awake",
    SUBSCRIPTION: "disable the subscription if it may lag; else accept it: it keeps its compute awake",
    AUTOVACUUM: "nothing: it ends by itself",
    IDLE_POOL: "a pool holds connections that nobody uses: in PgBouncer min_pool_size=0, server_idle_timeout under {T}",
    OTHER_MONITOR: "stop the other monitor here, or let it ask less often than every {T}",
    SESSIONS: "short sessions come and go: let that health check, cron job or poller come less often than every {T}",
    NOBODY.reason: "nobody was there, its suspend timeout of {T} ran: a shorter one saves this",
    UNCOVERED.reason: "not guessed: before the first and after the last visit of each time it was awake",
}
_NEVER = "it never suspends, so this changes nothing before it has a suspend timeout"


def advice(reason: str, suspend_after: float | None) -> str:
    """What to do about a reason, for a compute that suspends after so many seconds; None: never."""
    if suspend_after is None:
        return _NEVER
    return _ADVICE.get(reason, "").replace("{T}", f"{suspend_after:g} s")


def sightings(
    evidence: Evidence, *, previous_end: float | None, reasons: Sequence[str], at: int
) -> list[Sighting] | None:
    """Who held the compute at a visit, or since the one before; None when our role may not see that.

    ``previous_end`` is the end of our visit before on the server's clock, ``reasons`` are the verdict's
    (`collectors.postgres.evidence.foreign`), ``at`` is the visit in microseconds of the API's clock.
    """
    if not evidence.privileged:
        return None
    found = list(_held(evidence, previous_end, at))
    if not found and {SESSIONS, ACTIVE_TIME} & set(reasons):
        found.append(Sighting(AwakeHolder(SESSIONS)))
    return found


def _held(evidence: Evidence, previous_end: float | None, at: int) -> Iterator[Sighting]:
    if evidence.peers:
        yield Sighting(AwakeHolder(OTHER_MONITOR, "", APPLICATION_NAME))
    for holder in evidence.holders:
        reason = _reason(holder, evidence.postmaster_start if previous_end is None else previous_end)
        if reason:
            keeping = AwakeHolder(reason, holder.user, holder.application, holder.slot)
            yield Sighting(keeping, _since(holder, reason, evidence.server_clock, at))


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


def who(holder: AwakeHolder) -> str:
    """A holder for a person: role, application and slot, as far as they are known."""
    names: Iterable[str] = (
        holder.user,
        f"({holder.application})" if holder.application not in ("", holder.slot) else "",
        holder.slot and f"slot {holder.slot}",
    )
    return " ".join(name for name in names if name) or "-"
