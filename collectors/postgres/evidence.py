"""Evidence: who else uses this compute, read in the first statement of a visit; our own sessions must not count.

It looks at what Neon's monitor looks at when it decides whether a compute may be suspended (user databases' session
counters, client backends, walsenders, subscriptions, autovacuum), minus what is ours. Two consumers: the wake policy,
which stays away when nobody else is there, and the gauge that names who keeps a compute awake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

APPLICATION_NAME = "neonmeter"
"""Constant on purpose: sessions of any neonmeter are recognised, so two of them never take each other for a user."""

WAKE_MARGIN = 2.0
"""A postmaster younger than our connect by less than this (seconds) was started by us."""

CLIENT_ACTIVE = "client_active"
IDLE_IN_TRANSACTION = "idle_in_transaction"
IDLE = "idle"
HIDDEN = "hidden"
SESSIONS = "sessions"
ACTIVE_TIME = "active_time"
WALSENDER = "walsender"
SUBSCRIPTION = "subscription"
AUTOVACUUM = "autovacuum"
STARTED = "started"
REASONS = (CLIENT_ACTIVE, IDLE_IN_TRANSACTION, SESSIONS, ACTIVE_TIME, WALSENDER, SUBSCRIPTION, AUTOVACUUM, STARTED)
"""What `foreign` may name; ``started`` is a server that someone else started after our last visit."""
_BUSY = (CLIENT_ACTIVE, IDLE_IN_TRANSACTION, WALSENDER, SUBSCRIPTION, AUTOVACUUM)
"""What Neon's monitor calls active at the very moment."""

# Cost: one pass over pg_stat_activity for clients and one inside pg_stat_replication; ~1 ms with 100 backends.
# Privilege: pg_monitor (pg_read_all_stats) to see the state of other users' backends; without it they count as hidden.
# Upstream: pg_stat_database, pg_stat_activity, pg_stat_replication, pg_stat_subscription; the same text on 14-18.
EVIDENCE_SQL = f"""
WITH backends AS MATERIALIZED (
  SELECT usename, application_name, datname, backend_type,
         CASE WHEN state IS NULL THEN '{HIDDEN}' WHEN state = 'idle' THEN '{IDLE}'
              WHEN state LIKE 'idle in transaction%' THEN '{IDLE_IN_TRANSACTION}' ELSE '{CLIENT_ACTIVE}' END AS kind,
         state_change, coalesce(state = 'idle' AND (query = '' OR query ILIKE 'set %'
           AND state_change < backend_start + interval '1 s'), false) AS unused
    FROM pg_catalog.pg_stat_activity
   WHERE pid <> pg_catalog.pg_backend_pid()
), clients AS (
  SELECT * FROM backends
   WHERE usename IS NOT NULL AND usename <> 'cloud_admin' AND application_name <> '{APPLICATION_NAME}'
     AND (backend_type = 'client backend' OR backend_type IS NULL AND datname IS NOT NULL)
), holders AS (
  SELECT kind, usename::text AS who, application_name AS app, datname::text AS db, count(*) AS n,
         extract(epoch FROM max(state_change))::float8 AS changed, unused, NULL AS slot
    FROM clients GROUP BY 1, 2, 3, 4, unused
  UNION ALL
  SELECT '{WALSENDER}', usename::text, application_name, NULL, count(*), NULL, false, s.slot_name::text
    FROM pg_catalog.pg_stat_replication AS r LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.active_pid = r.pid
   WHERE application_name <> 'walproposer' GROUP BY 2, 3, s.slot_name
  UNION ALL
  SELECT '{SUBSCRIPTION}', NULL, subname::text, NULL, count(*), NULL, false, NULL
    FROM pg_catalog.pg_stat_subscription WHERE pid IS NOT NULL GROUP BY 3
  UNION ALL
  SELECT '{AUTOVACUUM}', NULL, NULL, datname::text, count(*), NULL, false, NULL
    FROM backends WHERE backend_type = 'autovacuum worker' GROUP BY 4
)
SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::float8 AS postmaster_start,
       extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS server_clock,
       (SELECT coalesce(sum(sessions), 0)::int8 FROM pg_catalog.pg_stat_database
         WHERE datname NOT IN ('postgres', 'template0', 'template1')) AS sessions,
       (SELECT coalesce(sum(active_time), 0)::float8 FROM pg_catalog.pg_stat_database
         WHERE datname NOT IN ('postgres', 'template0', 'template1')) AS active_ms,
       (SELECT count(*) FROM backends WHERE application_name = '{APPLICATION_NAME}') AS peers,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS privileged,
       (SELECT extract(epoch FROM stats_reset)::float8 FROM pg_catalog.pg_stat_bgwriter) AS statistics_since,
       (SELECT coalesce(json_agg(json_build_array(kind, who, app, db, n, changed, unused, slot)), '[]')::text
          FROM (SELECT * FROM holders ORDER BY kind = '{IDLE}', n DESC LIMIT 50) AS bounded) AS holders
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A group of backends that are not ours. ``kind`` is a reason of `REASONS`, ``idle``, or ``hidden`` (no privilege).

    ``changed`` is the newest state_change of the group on the server's clock (unix seconds), None where it has none.
    ``unused``: they ran nothing but the SET of a driver, as what a pool opens ahead of need. ``slot`` is what a
    walsender serves.
    """

    kind: str
    user: str
    application: str
    database: str
    count: int
    changed: float | None
    unused: bool = False
    slot: str = ""


@dataclass(frozen=True, slots=True)
class OwnUse:
    """What we did in user databases since the previous evidence: it moves the sums and must not count as foreign."""

    sessions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One look at who uses the compute. All instants are the server's clock in unix seconds.

    ``sessions`` and ``active_seconds`` are sums over the user databases (pg_stat_database). ``connect_clock`` is our
    own connect on the server's clock, or 0.0 when unknown. ``peers`` counts other sessions of any neonmeter.
    ``statistics_since`` is when the cumulative statistics began (pg_stat_bgwriter.stats_reset).
    """

    postmaster_start: float
    server_clock: float
    sessions: int
    active_seconds: float
    holders: tuple[Holder, ...] = ()
    peers: int = 0
    privileged: bool = True
    connect_clock: float = 0.0
    statistics_since: float | None = None

    def count(self, kind: str) -> int:
        """How many backends of one kind there are."""
        return sum(holder.count for holder in self.holders if holder.kind == kind)

    @property
    def walsenders(self) -> int:
        """Walsenders other than Neon's walproposer."""
        return self.count(WALSENDER)

    @property
    def subscriptions(self) -> int:
        """Subscription workers that run."""
        return self.count(SUBSCRIPTION)

    @property
    def autovacuum_workers(self) -> int:
        """Autovacuum workers that run."""
        return self.count(AUTOVACUUM)

    @property
    def woken_by_us(self) -> bool:
        """Whether the server started at our connect or later: then our connect woke it (rule R8)."""
        return self.connect_clock > 0 and self.postmaster_start >= self.connect_clock - WAKE_MARGIN

    @property
    def pinned_by(self) -> str:
        """What holds the compute awake for as long as it is there: ``walsender``, ``subscription`` or nothing."""
        if self.walsenders:
            return WALSENDER
        return SUBSCRIPTION if self.subscriptions else ""

    @property
    def busy_now(self) -> bool:
        """Whether Neon's monitor would call it active at this very moment because of someone else."""
        return any(holder.kind in _BUSY for holder in self.holders)

    def baseline(self) -> dict[str, Any]:
        """What the next evidence is compared with, JSON-able: the sums without the holders."""
        return {
            "postmaster_start": self.postmaster_start,
            "server_clock": self.server_clock,
            "sessions": self.sessions,
            "active_seconds": self.active_seconds,
        }

    @classmethod
    def from_baseline(cls, stored: Mapping[str, Any]) -> Evidence:
        """The inverse of `baseline`.

        Raises:
            KeyError, ValueError, TypeError: the stored form is not one of ours.
        """
        return cls(
            postmaster_start=float(stored["postmaster_start"]),
            server_clock=float(stored["server_clock"]),
            sessions=int(stored["sessions"]),
            active_seconds=float(stored["active_seconds"]),
        )


@dataclass(frozen=True, slots=True)
class ForeignUse:
    """Whether somebody else was there since our last visit, and by which signs.

    Without ``baseline`` there was no earlier visit whose sums could be compared.
    """

    reasons: tuple[str, ...]
    baseline: bool = True
    holders: tuple[Holder, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        """True when there is at least one sign."""
        return bool(self.reasons)


def parse(row: Sequence[object], *, connect_seconds: float | None = None) -> Evidence:
    """Read the one row of `EVIDENCE_SQL`.

    ``connect_seconds`` is how long ago, at the arrival of the row, the connect began: the server's clock minus that is
    our connect in the server's time, whatever our own clock says.

    Raises:
        ValueError: the row is not one of `EVIDENCE_SQL`.
    """
    try:
        start, clock, sessions, active_ms, peers, privileged, since, holders = row
        evidence = Evidence(
            postmaster_start=float(start),  # type: ignore[arg-type]
            server_clock=float(clock),  # type: ignore[arg-type]
            sessions=int(sessions),  # type: ignore[call-overload]
            active_seconds=float(active_ms) / 1000,  # type: ignore[arg-type]
            holders=tuple(_holder(load) for load in json.loads(str(holders))),
            peers=int(peers),  # type: ignore[call-overload]
            privileged=bool(privileged),
            statistics_since=None if since is None else float(since),  # type: ignore[arg-type]
        )
    except (TypeError, KeyError) as problem:
        raise ValueError(f"not a row of evidence: {problem}") from problem
    if connect_seconds is None:
        return evidence
    return replace(evidence, connect_clock=evidence.server_clock - connect_seconds)


def _holder(sequence: Sequence[Any]) -> Holder:
    kind, user, application, database, count, changed, unused, slot = sequence
    return Holder(
        kind=str(kind),
        user=str(user or ""),
        application=str(application or ""),
        database=str(database or ""),
        count=int(count),
        changed=None if changed is None else float(changed),
        unused=bool(unused),
        slot=str(slot or ""),
    )


def foreign(
    evidence: Evidence,
    previous: Evidence | None,
    own_end: float | None,
    own: OwnUse = OwnUse(),
) -> ForeignUse:
    """Whether someone other than us used the compute since our last visit.

    ``own_end`` is the end of our last visit on the *server's* clock, None when there was none: then idle connections
    say nothing. ``previous`` is the evidence of that visit. Hidden backends (no pg_monitor) are no sign: an idle pool
    would look like a user for ever. What we did in user databases ourselves (``own``) is subtracted from the sums.
    """
    reasons: list[str] = []
    kinds = {holder.kind for holder in evidence.holders}
    if own_end is not None and IDLE in kinds:
        recently = (holder.changed for holder in evidence.holders if holder.kind == IDLE and holder.changed is not None)
        if max(recently, default=own_end) > own_end:
            kinds.add(CLIENT_ACTIVE)
    reasons += [kind for kind in _BUSY if kind in kinds]
    if previous is None:
        return ForeignUse(tuple(reasons), baseline=False, holders=evidence.holders)
    if abs(evidence.postmaster_start - previous.postmaster_start) > 1.0:
        # Another life of the server: its sums began anew, but its start after our visit is a sign in itself.
        if not evidence.woken_by_us:
            reasons.append(STARTED)
    else:
        # A statistics reset makes the sums fall: someone did that, too, so any difference counts.
        if evidence.sessions - previous.sessions not in (0, own.sessions):
            reasons.append(SESSIONS)
        moved = evidence.active_seconds - previous.active_seconds
        if moved < 0 or moved > own.seconds:
            reasons.append(ACTIVE_TIME)
    return ForeignUse(tuple(reasons), holders=evidence.holders)
