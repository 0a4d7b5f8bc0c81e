"""What the control plane can ask of a world, whether it is held in memory or computed from its size.

The API answers from a ``View`` and a ``Usage`` alone, so the real, small world and the large one that exists only as
formulas are served by the same code.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.demo.security import TwinSecurity
from exporter.demo.world import (
    Era,
    TwinBranch,
    TwinDatabase,
    TwinEndpoint,
    TwinOperation,
    TwinProject,
    TwinRole,
    TwinSnapshot,
    World,
)

BRANCH_METRICS = (
    "compute_unit_seconds",
    "root_branch_bytes_month",
    "child_branch_bytes_month",
    "instant_restore_bytes_month",
    "public_network_transfer_bytes",
    "private_network_transfer_bytes",
)
"""Consumption v2, per branch and per project."""
PROJECT_METRICS = (*BRANCH_METRICS, "extra_branches_month", "snapshot_storage_bytes_month")
"""Consumption v2, per project."""


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch under one plan; ``start`` and ``end`` in hours since the epoch, ``end`` None while it lasts."""

    id: str
    plan: str
    start: int
    end: int | None


Frame = tuple[int, int]
"""From and to (excluded), in hours since the epoch."""


class Usage(Protocol):
    """Consumption as whole raw units (CU-seconds, byte-hours, branch-hours, bytes); zero metrics are left out."""

    def periods(self) -> Sequence[Period]:
        """Stretches under one plan, oldest first, without gaps."""

    def project(self, project_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """One mapping for each frame: the sum of the branches, and what only projects have."""

    def branch(self, project_id: str, branch_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """One mapping for each frame."""


class View(Protocol):
    """Copies of what there is at one moment; unknown ids give None or an empty list."""

    org_id: str
    org_name: str
    plan: str
    created_at: float
    spending_limit_cents: int | None
    managed_by: str
    recoverable: Sequence[TwinProject]
    security: TwinSecurity
    era: Era

    def now(self) -> float:
        """Unix seconds."""

    def project_ids(self) -> Sequence[str]:
        """All of them, sorted."""

    def project(self, project_id: str) -> TwinProject | None:
        """One project."""

    def branches(self, project_id: str) -> list[TwinBranch]:
        """The branches of a project, sorted by id."""

    def endpoints(self, project_id: str) -> list[TwinEndpoint]:
        """The computes of a project, sorted by id."""

    def operations(self, project_id: str) -> list[TwinOperation]:
        """The history of a project, newest first."""

    def databases(self, branch_id: str) -> list[TwinDatabase]:
        """What the control plane knows; on Neon that needs no compute."""

    def roles(self, branch_id: str) -> list[TwinRole]:
        """What the control plane knows."""

    def snapshots(self, project_id: str) -> list[TwinSnapshot]:
        """The snapshots of a project."""

    def backup_frequency(self, branch_id: str) -> str:
        """daily, weekly, monthly, or empty."""


class LiveView:
    """The view of a world in memory. Each answer is copied under the world's lock, so it is of one moment."""

    def __init__(self, world: World) -> None:
        """Look at ``world``."""
        self._world = world
        self.org_id = world.org_id
        self.org_name = world.org_name
        self.spending_limit_cents = world.spending_limit_cents
        self.managed_by = world.managed_by
        self.recoverable: Sequence[TwinProject] = world.recoverable
        self.security = world.security
        self.era = world.era
        self.created_at = min((project.created_at for project in world.projects.values()), default=world.clock())

    @property
    def plan(self) -> str:
        """The subscription type at this moment."""
        return self._world.plan

    @plan.setter
    def plan(self, plan: str) -> None:
        self._world.plan = plan

    def now(self) -> float:
        """The world's clock."""
        return self._world.clock()

    def project_ids(self) -> Sequence[str]:
        """All of them, sorted."""
        with self._world.lock:
            return sorted(self._world.projects)

    def project(self, project_id: str) -> TwinProject | None:
        """One project."""
        with self._world.lock:
            return copy.copy(self._world.projects.get(project_id))

    def branches(self, project_id: str) -> list[TwinBranch]:
        """The branches of a project, sorted by id."""
        with self._world.lock:
            mine = [copy.copy(branch) for branch in self._world.branches.values() if branch.project_id == project_id]
        return sorted(mine, key=lambda branch: branch.id)

    def endpoints(self, project_id: str) -> list[TwinEndpoint]:
        """The computes of a project, sorted by id."""
        with self._world.lock:
            mine = [
                copy.copy(endpoint) for endpoint in self._world.endpoints.values() if endpoint.project_id == project_id
            ]
        return sorted(mine, key=lambda endpoint: endpoint.id)

    def operations(self, project_id: str) -> list[TwinOperation]:
        """The history of a project, newest first."""
        with self._world.lock:
            return [
                copy.copy(operation)
                for operation in reversed(self._world.operations)
                if operation.project_id == project_id
            ]

    def databases(self, branch_id: str) -> list[TwinDatabase]:
        """What the control plane knows."""
        with self._world.lock:
            return list(self._world.databases.get(branch_id, ()))

    def roles(self, branch_id: str) -> list[TwinRole]:
        """What the control plane knows."""
        with self._world.lock:
            return list(self._world.roles.get(branch_id, ()))

    def snapshots(self, project_id: str) -> list[TwinSnapshot]:
        """The snapshots of a project."""
        with self._world.lock:
            return [snapshot for snapshot in self._world.snapshots.values() if snapshot.project_id == project_id]

    def backup_frequency(self, branch_id: str) -> str:
        """daily, weekly, monthly, or empty."""
        return self._world.backup_frequency.get(branch_id, "")
