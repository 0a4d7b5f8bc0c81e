"""The twin's world: what its control plane knows, as plain data that the API reads and the computes change.

One lock guards it. Everything is in unix seconds; the API turns them into RFC 3339. Nothing here knows HTTP or
Postgres: ``api`` serves it, ``compute`` moves it, ``meter`` counts what it used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.demo.security import TwinSecurity

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Era:
    """How Neon answers at a time, where that has changed; what is known of it is in tests/evidence."""

    byte_months: bool = True
    """Stored bytes are counted in byte-months, each figure rounded; before, in byte-hours."""
    short_plans: bool = True
    """The plan of a period is ``launch``; before, ``launch_v3``."""
    whole_buckets: bool = True
    """Both ends of a question are rounded down to buckets, and refused when they are then equal."""
    never: str = "2000-01-01T00:00:00Z"
    """``last_active`` of a compute that was never used; empty: left out."""

    def period_plan(self, plan: str) -> str:
        """The word of the consumption API for a subscription type."""
        return plan.removesuffix("_v3") if self.short_plans else plan


TODAY = Era()
ERAS: Mapping[str, Era] = {
    "2026-02": Era(byte_months=False, short_plans=False, whole_buckets=False, never=""),
    "2026-10": TODAY,
}
"""By the month of which it is known."""


@dataclass(slots=True)
class TwinProject:
    """A project, named and placed; ``plan`` is the subscription type of its organisation's account."""

    id: str
    name: str
    region_id: str
    pg_version: int = 18
    history_retention_seconds: int = 86400
    created_at: float = 0.0
    updated_at: float = 0.0
    enable_logical_replication: bool = False
    quota: dict[str, int] = field(default_factory=dict)
    """Limits of the project by their names in ``settings.quota``; what is not here is unlimited."""
    deleted_at: float | None = None
    recoverable_until: float | None = None


@dataclass(slots=True)
class TwinBranch:
    """A branch; ``parent_id`` empty marks the root. Sizes are real where a real cluster is behind it."""

    id: str
    project_id: str
    name: str
    parent_id: str = ""
    default: bool = False
    protected: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0
    expires_at: float | None = None
    last_reset_at: float | None = None
    current_state: str = "ready"
    pending_state: str = ""
    schema_only: bool = False
    """Made of its parent's schema alone: the API shows it as a root."""
    logical_size: int = 0
    """Bytes of all databases."""
    wal_bytes: int = 0
    """WAL written since creation: what instant restore is billed on, times the history window."""


@dataclass(slots=True)
class TwinEndpoint:
    """A compute. ``host`` is ``127.0.0.1:PORT``, so a template ``postgresql://user@{host}/db`` reaches its front."""

    id: str
    project_id: str
    branch_id: str
    host: str = ""
    type: str = "read_write"
    min_cu: float = 0.25
    max_cu: float = 2.0
    suspend_timeout_seconds: int = 0
    """As in the API: 0 means 300, -1 never."""
    current_state: str = "idle"
    pending_state: str = ""
    disabled: bool = False
    passwordless_access: bool = True
    created_at: float = 0.0
    updated_at: float = 0.0
    last_active: float | None = None
    started_at: float | None = None
    suspended_at: float | None = None

    @property
    def suspend_after(self) -> float | None:
        """Seconds of inactivity before the suspend; None when it never comes."""
        if self.suspend_timeout_seconds < 0 or self.max_cu > 16:
            return None
        return float(self.suspend_timeout_seconds or 300)


@dataclass(slots=True)
class TwinOperation:
    """One entry of the operations history: start_compute, suspend_compute, ..."""

    id: str
    project_id: str
    branch_id: str
    endpoint_id: str
    action: str
    created_at: float
    duration_seconds: float = 0.0
    status: str = "finished"


@dataclass(slots=True)
class TwinDatabase:
    """A database that the control plane knows of (made through it; what SQL made is not among them)."""

    name: str
    owner: str
    created_at: float = 0.0


@dataclass(slots=True)
class TwinRole:
    """A role that the control plane knows of; on Neon such a role is a member of neon_superuser."""

    name: str
    protected: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0
    authentication_method: str = "password"


@dataclass(slots=True)
class TwinSnapshot:
    """A snapshot of a branch; ``full_size`` in bytes."""

    id: str
    project_id: str
    branch_id: str
    name: str
    created_at: float
    full_size: int
    expires_at: float | None = None
    manual: bool = True


@dataclass(slots=True)
class World:
    """All of it, under one lock (hold ``lock`` for anything that reads or writes more than one field)."""

    org_id: str
    org_name: str
    plan: str = "launch_v3"
    clock: Clock = time.time
    era: Era = TODAY
    spending_limit_cents: int | None = None
    managed_by: str = "console"
    recoverable: list[TwinProject] = field(default_factory=list)
    """Deleted projects that can be brought back."""
    projects: dict[str, TwinProject] = field(default_factory=dict)
    branches: dict[str, TwinBranch] = field(default_factory=dict)
    endpoints: dict[str, TwinEndpoint] = field(default_factory=dict)
    operations: list[TwinOperation] = field(default_factory=list)
    databases: dict[str, list[TwinDatabase]] = field(default_factory=dict)
    """By branch id."""
    roles: dict[str, list[TwinRole]] = field(default_factory=dict)
    """By branch id."""
    snapshots: dict[str, TwinSnapshot] = field(default_factory=dict)
    backup_frequency: dict[str, str] = field(default_factory=dict)
    """By branch id: daily, weekly, monthly. A branch that is not here has no schedule."""
    security: TwinSecurity = field(default_factory=TwinSecurity)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def record(self, endpoint: TwinEndpoint, action: str, at: float, duration_seconds: float) -> None:
        """Append to the operations history."""
        with self.lock:
            number = len(self.operations) + 1
            self.operations.append(
                TwinOperation(
                    id=f"{number:08x}-0000-4000-8000-{number:012x}",
                    project_id=endpoint.project_id,
                    branch_id=endpoint.branch_id,
                    endpoint_id=endpoint.id,
                    action=action,
                    created_at=at,
                    duration_seconds=duration_seconds,
                )
            )
