"""Input, memory and answers of the wake policy: plain data; what is stored can be written as JSON.

The rules are in ``collectors.wake.policy``. Times are unix seconds on the API's clock unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

__all__ = ["Decision", "EndpointFacts", "WakePolicy", "WakeState", "replace"]

NEVER_ABOVE_CU = 16.0
"""Neon never suspends a compute that may scale above this."""


@dataclass(frozen=True, slots=True)
class WakePolicy:
    """The settings of the policy, in seconds; `collectors.wake.policy` says what they bound."""

    evidence: Literal["api", "database"] = "api"
    eps: float = 15.0
    tick: float = 60.0
    session: float = 5.0
    breaker_hours: float = 24.0
    share: float = 0.02
    """What we may add to the awake time of one compute, as a share of it (beyond ``credit`` seconds)."""
    credit: float = 120.0


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """An endpoint as the control plane shows it. Times are unix seconds of the API.

    ``read_at`` is when the API said so; without it the caller vouches that it is fresh (a state that is a minute old
    may hide a suspend).
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
    suspended_at: float | None = None

    @property
    def suspend_after(self) -> float | None:
        """T in seconds; None: never suspended."""
        if self.suspend_timeout_seconds < 0 or self.max_cu > NEVER_ABOVE_CU:
            return None
        return max(60.0, float(self.suspend_timeout_seconds or 300))


@dataclass(frozen=True)
class WakeState:
    """What is remembered about an endpoint across visits and restarts. Times: unix seconds on the API's clock."""

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
    """How often we woke it; alerts fire on this."""
    pinned_by: str = ""
    last_visit: float = 0.0
    visits: int = 0
    foreign: bool = False
    """Whether the last visit found somebody else."""
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
    """Until then another neonmeter is about, whose sessions ``last_active`` shows as well: only proofs count."""
    proof: float = 0.0
    """The newest instant at which a visit found somebody else active."""
    stood: float = 0.0
    """The newest ``last_active`` that stood still in this life; 0.0: none did, or it moved since."""
    confirmed: int = 0
    """Suspends in a row that confirmed what ``last_active`` had shown."""
    doubt: int = 0
    """How often it was contradicted lately: it is believed again after 2 to the power of this many suspends."""
    met_start: float | None = None
    """The life in the middle of which we first saw it."""
    counted_start: float | None = None
    """The newest life that is over and in ``awake_seconds``."""
    awake_seconds: float = 0.0
    """Seconds awake in the lives that we saw end."""
    baseline: Mapping[str, Any] | None = None
    own_sessions: int = 0
    own_seconds: float = 0.0
    """Our sessions in user databases since the baseline."""
    user_visit_at: float = 0.0
    user_visit_start: float | None = None
    candidate: float | None = None
    """What `decide` took for the last foreign activity when it allowed the visit that follows."""
    claimed: bool = False
    """Whether it allowed that visit because of ``last_active``, and not of a proof."""
    anchor: float | None = None
    """The last foreign activity before our last sessions, while what they added is not settled."""
    held_until: float | None = None
    """``own_end`` before the visit that is under way: what the sessions before it held ended there."""
    added_seconds: float = 0.0
    """Upper bound of the awake time that we added so far (`collectors.wake.cost`)."""

    def as_dict(self) -> dict[str, Any]:
        """A mapping that can be written as JSON; the inverse is `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> WakeState:
        """Read a stored state; unknown keys (of a newer version) are dropped.

        Raises:
            TypeError: what is needed is missing.
        """
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in stored.items() if key in known}
        values["reasons"] = tuple(values.get("reasons") or ())
        return cls(**values)


if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(state: WakeState, **changes: Any) -> WakeState:
        """As dataclasses.replace, and faster: replaying a month of a fleet calls it some million times."""
        changed = object.__new__(WakeState)
        changed.__dict__.update(state.__dict__, **changes)
        return changed


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: ``rule`` is the one that decided, ``why`` one line for a person.

    ``state`` is to be stored also when the answer is no. ``due_again`` is the earliest time that can change it without
    new facts from the API; None: only new facts can. ``end_by``: when the session must be over at the latest.
    """

    allow: bool
    rule: str
    why: str
    state: WakeState
    due_again: float | None = None
    end_by: float | None = None
