"""Tenants against what there is, and all facts together.

What was read is declared where it is read: module `domain.security` of `collectors.neon`, `collectors.platforms` and
`collectors.postgres`. What was not read says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
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
