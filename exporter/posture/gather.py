"""Everything that is known, put together for the controls: the inventory as it is now, and what was read before.

What was never asked stays "not asked", so that its controls are unknown and never pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from collectors.base import NOT_ASKED, Known, Status, Unread
from collectors.neon.domain.security import (
    Access,
    BranchFacts,
    ComputeFacts,
    OrganizationFacts,
    ProjectFacts,
    ProjectSnapshots,
)
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Endpoint, Project
from collectors.platforms.domain.security import BucketFacts, DrillFacts, HandshakeFacts, PoolerFacts, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts, TenantNames
from exporter.posture.domain.facts import Facts, RegistryFacts
from exporter.posture.domain.policy import Policy
from exporter.posture.fact_cache import CachedFacts
from exporter.posture.registry import Names, Registry
from exporter.posture.store import FactKey

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facts, and what a person calls the things in them."""

    facts: Facts
    names: dict[str, str]
    """Names of projects and branches by id."""
    ages: dict[str, float]
    """By source: when its oldest fact was read, unix seconds."""


def gather(inventory: Inventory, cached_facts: CachedFacts, registry: Registry, policy: Policy) -> Gathered:
    """Pure but for the registry's memory."""
    personal = _personal(cached_facts)
    computes = _computes(inventory)
    branches = tuple(
        replace(
            _branch(inventory, branch, computes.get(branch.id, ()), cached_facts),
            personal_columns=personal.get((branch.project_id, branch.id), NOT_ASKED),
        )
        for branch in _sorted(inventory.branches.values())
    )
    there = {(branch.project_id, branch.id) for branch in branches}
    vaults = tuple(_all(cached_facts, "vault", VaultFacts))
    databases = _databases(cached_facts, branches, inventory, policy)
    servers = tuple(
        server for server in _all(cached_facts, "server", ServerFacts) if (server.project_id, server.branch_id) in there
    )
    facts = Facts(
        organizations=tuple(_organizations(inventory, cached_facts)),
        projects=tuple(_project(project, cached_facts) for project in _sorted(inventory.projects.values())),
        branches=branches,
        servers=_known_or_not(servers, branches, inventory),
        databases=databases,
        registries=tuple(_registries(inventory, cached_facts, registry, vaults)),
        poolers=tuple(_all(cached_facts, "pooler", PoolerFacts)),
        vaults=vaults,
        buckets=tuple(_all(cached_facts, "s3", BucketFacts)),
        handshakes=tuple(_all(cached_facts, "tls", HandshakeFacts)),
        drills=tuple(
            drill for drill in _all(cached_facts, "drill", DrillFacts) if drill.project_id in inventory.projects
        ),
    )
    names = {project.id: project.name for project in inventory.projects.values()}
    names |= {branch.id: branch.name for branch in inventory.branches.values()}
    return Gathered(facts, names, _ages(inventory, cached_facts, there))


Identified = TypeVar("Identified", Project, Branch, Endpoint)


def _sorted(found: Iterable[Identified]) -> list[Identified]:
    return sorted(found, key=lambda item: item.id)


def _all(cached_facts: CachedFacts, source: str, kind: type[Kind]) -> Iterator[Kind]:
    for key in sorted(key for key in cached_facts if key.source == source):
        fact = cached_facts[key][1]
        if isinstance(fact, kind):
            yield fact


def _one(cached_facts: CachedFacts, source: str, key: str, kind: type[Kind]) -> Kind | None:
    found = cached_facts.get(FactKey(source, key))
    return found[1] if found is not None and isinstance(found[1], kind) else None


def _organizations(inventory: Inventory, cached_facts: CachedFacts) -> Iterator[OrganizationFacts]:
    for org in inventory.organizations:
        known = _one(cached_facts, "organization", org.id, OrganizationFacts)
        yield replace(known or OrganizationFacts(org.id), name=org.name)


def _project(project: Project, cached_facts: CachedFacts) -> ProjectFacts:
    """The list of projects tells region, window and access; what hangs on it is asked apart."""
    known = _one(cached_facts, "project", project.id, ProjectFacts) or ProjectFacts(project.id)
    window: Known[int] = known.history_seconds
    if project.history_retention_seconds is not None:
        window = project.history_retention_seconds
    access = known.access
    if isinstance(access, Unread) and project.settings is not None:
        settings = project.settings
        ips = settings.allowed_ips
        access = Access(
            allowed_ips=tuple(ips.ips or ()) if ips else (),
            protected_branches_only=bool(ips and ips.protected_branches_only),
            block_public=settings.block_public_connections,
            store_passwords=project.store_passwords,
            audit_log_level=settings.audit_log_level,
            hipaa=settings.hipaa,
        )
    return replace(
        known, name=project.name, org_id=project.org_id, region=project.region_id, history_seconds=window, access=access
    )


def _computes(inventory: Inventory) -> dict[str, list[Endpoint]]:
    """The computes of each branch, by id."""
    found: dict[str, list[Endpoint]] = {}
    for endpoint in _sorted(inventory.endpoints.values()):
        found.setdefault(endpoint.branch_id, []).append(endpoint)
    return found


def _branch(
    inventory: Inventory, branch: Branch, computes: Sequence[Endpoint], cached_facts: CachedFacts
) -> BranchFacts:
    known = _one(cached_facts, "branch", f"{branch.project_id}/{branch.id}", BranchFacts)
    project = inventory.projects.get(branch.project_id)
    active = [compute.last_active for compute in computes if compute.last_active is not None]
    snapshots = _one(cached_facts, "snapshots", branch.project_id, ProjectSnapshots) or ProjectSnapshots()
    return replace(
        known or BranchFacts(branch.project_id, branch.id),
        snapshots=snapshots.of(branch.id),
        computes=tuple(
            ComputeFacts(compute.id, compute.type == "read_only", compute.passwordless_access) for compute in computes
        ),
        name=branch.name,
        project_name=project.name if project else "",
        parent_id=branch.parent_id,
        default=branch.default,
        protected=branch.protected,
        created_at=branch.created_at,
        expires_at=branch.expires_at,
        last_active=max(active, default=None),
        last_reset_at=branch.last_reset_at,
        init_source=branch.init_source,
        logical_size=branch.logical_size,
    )


_TOO_MANY = Unread(Status.NO_DATA, "more columns are named like personal data than the scan names one by one")


def _personal(cached_facts: CachedFacts) -> dict[tuple[str, str], Known[tuple[str, ...]]]:
    """Columns named like personal data, by branch; all of them or nothing, because a part would look like the whole."""
    found: dict[tuple[str, str], Known[tuple[str, ...]]] = {}
    for database in _all(cached_facts, "database", DatabaseFacts):
        where = (database.project_id, database.branch_id)
        groups, before = database.check("personal"), found.get(where, ())
        if isinstance(before, Unread) or isinstance(groups, Unread):
            found[where] = before if isinstance(before, Unread) else groups if isinstance(groups, Unread) else before
        elif any(group.count > len(group.objects) for group in groups):
            found[where] = _TOO_MANY
        else:
            found[where] = tuple(sorted({*before, *(name for group in groups for name in group.objects)}))
    return found


def _nonproduction(policy: Policy, branch: BranchFacts) -> bool:
    """As the profiles say, or the flags of the branch."""
    protected = branch.default or branch.protected
    names = (branch.project_id, branch.project_name), (branch.id, branch.name)
    return not policy.production(*names, protected=protected)


_SILENT = Unread(Status.ASLEEP, "not read yet: it is only read while others use its compute")


def _databases(
    cached_facts: CachedFacts, branches: tuple[BranchFacts, ...], inventory: Inventory, policy: Policy
) -> tuple[DatabaseFacts, ...]:
    """Those that were read; a branch with a compute of which none was is there too: unknown, not silent."""
    by_branch = {(branch.project_id, branch.id): branch for branch in branches}
    found = [
        replace(database, nonproduction=_nonproduction(policy, by_branch[database.project_id, database.branch_id]))
        for database in _all(cached_facts, "database", DatabaseFacts)
        if (database.project_id, database.branch_id) in by_branch
    ]
    silent = _without(branches, inventory, {(database.project_id, database.branch_id) for database in found})
    found += [
        DatabaseFacts(
            branch.project_id, branch.id, "", checks=_SILENT, extensions=_SILENT,
            nonproduction=_nonproduction(policy, branch),
        )
        for branch in silent
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda database: (database.project_id, database.branch_id, database.datname)))


def _known_or_not(
    servers: tuple[ServerFacts, ...], branches: tuple[BranchFacts, ...], inventory: Inventory
) -> tuple[ServerFacts, ...]:
    """The servers that were read, and an unknown one for each branch with a compute of which none was."""
    silent = tuple(
        ServerFacts(
            branch.project_id,
            branch.id,
            version_num=_SILENT,
            settings=_SILENT,
            roles=_SILENT,
            row_security_off=_SILENT,
            slots=_SILENT,
            agent=_SILENT,
            sessions=_SILENT,
        )
        for branch in _without(branches, inventory, {(server.project_id, server.branch_id) for server in servers})
    )
    return tuple(sorted((*servers, *silent), key=lambda server: (server.project_id, server.branch_id)))


def _without(
    branches: tuple[BranchFacts, ...], inventory: Inventory, read: set[tuple[str, str]]
) -> Iterator[BranchFacts]:
    """Branches with a compute that are not among those read."""
    with_compute = {endpoint.branch_id for endpoint in inventory.endpoints.values()}
    return (branch for branch in branches if branch.id in with_compute and (branch.project_id, branch.id) not in read)


def _registries(
    inventory: Inventory, cached_facts: CachedFacts, registry: Registry, vaults: tuple[VaultFacts, ...]
) -> Iterator[RegistryFacts]:
    schemas: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    roles: dict[tuple[str, str], set[str]] = {}
    for key, (_, fact) in cached_facts.items():
        if key.source == "names" and isinstance(fact, TenantNames):
            project_id, branch_id, datname = key.key.split("/", 2)
            schemas.setdefault((project_id, branch_id), {})[datname] = fact.schemas
            roles.setdefault((project_id, branch_id), set()).update(fact.roles)
    tenants: set[str] = set()
    for (project_id, branch_id), found in sorted(schemas.items()):
        project, branch = inventory.projects.get(project_id), inventory.branches.get(branch_id)
        if project is None or branch is None:
            continue
        names = Names(found, tuple(sorted(roles[project_id, branch_id])))
        made = registry.facts(project, branch, names)
        if not isinstance(made.tenants, Unread):
            tenants |= {tenant.tenant for tenant in made.tenants}
        yield made
    if vaults:
        yield registry.keys(_key_names(vaults), tenants)


def _key_names(vaults: tuple[VaultFacts, ...]) -> Known[tuple[str, ...]]:
    found: set[str] = set()
    why: Known[tuple[str, ...]] = NOT_ASKED
    for vault in vaults:
        if isinstance(vault.key_names, Unread):
            why = vault.key_names
        else:
            found |= set(vault.key_names)
    return tuple(sorted(found)) if found or not isinstance(why, Unread) else why


def _ages(inventory: Inventory, cached_facts: CachedFacts, there: set[tuple[str, str]]) -> dict[str, float]:
    oldest = {"inventory": inventory.taken_at}
    for key, (at, _) in cached_facts.items():
        parts = key.key.split("/", 2)
        if key.source in ("database", "server", "branch", "names") and (parts[0], parts[1]) not in there:
            continue
        oldest[key.source] = min(at, oldest.get(key.source, at))
    oldest.pop("names", None)
    return oldest
