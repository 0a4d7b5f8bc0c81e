"""Tenants against what there is, and all facts together.

What was read is declared where it is read: module `domain.security` of `collectors.neon`, `collectors.platforms` and
`collectors.postgres`. What was not read says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from collectors.base import NOT_ASKED, Known
from collectors.neon.domain.security import BranchFacts, OrganizationFacts, ProjectFacts
from collectors.platforms.domain.security import BucketFacts, DrillFacts, HandshakeFacts, PoolerFacts, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """One tenant of the registry, in one branch: what it should have."""

    tenant: str
    schemas: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """The tenants that there should be against what there is; both directions."""

    project_id: str
    branch_id: str
    tenants: Known[tuple[TenantEntry, ...]] = NOT_ASKED
    schemas: Known[tuple[str, ...]] = NOT_ASKED
    """All schemas that the rules take for a tenant's."""
    roles: Known[tuple[str, ...]] = NOT_ASKED
    keys: Known[tuple[str, ...]] = NOT_ASKED
    schema_tenants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Everything that is known; each part is evaluated on its own, and looks at the others where it has to."""

    organizations: tuple[OrganizationFacts, ...] = ()
    projects: tuple[ProjectFacts, ...] = ()
    branches: tuple[BranchFacts, ...] = ()
    servers: tuple[ServerFacts, ...] = ()
    databases: tuple[DatabaseFacts, ...] = ()
    registries: tuple[RegistryFacts, ...] = ()
    poolers: tuple[PoolerFacts, ...] = ()
    vaults: tuple[VaultFacts, ...] = ()
    buckets: tuple[BucketFacts, ...] = ()
    handshakes: tuple[HandshakeFacts, ...] = ()
    drills: tuple[DrillFacts, ...] = ()

    @cached_property
    def project_by_id(self) -> Mapping[str, ProjectFacts]:
        """Every project."""
        return {project.id: project for project in self.projects}

    @cached_property
    def branch_by_id(self) -> Mapping[tuple[str, str], BranchFacts]:
        """Every branch, by the ids of its project and its own."""
        return {(branch.project_id, branch.id): branch for branch in self.branches}

    @cached_property
    def branches_by_project(self) -> Mapping[str, tuple[BranchFacts, ...]]:
        """The branches of each project that has some."""
        found: dict[str, list[BranchFacts]] = {}
        for branch in self.branches:
            found.setdefault(branch.project_id, []).append(branch)
        return {project_id: tuple(branches) for project_id, branches in found.items()}
