"""Everything that is known, put together for the controls: the inventory as it is now, and what was read before.

What was never asked stays "not asked", so that its controls are unknown and never pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from collectors.base import Status
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.postgres.database.tenant_names import TenantNames
from exporter.posture.domain.facts import DatabaseFacts, Facts, RegistryFacts, ServerFacts
from exporter.posture.domain.facts_platform import (
    Access,
    BranchFacts,
    BucketFacts,
    DrillFacts,
    HandshakeFacts,
    OrganizationFacts,
    PoolerFacts,
    ProjectFacts,
    VaultFacts,
)
from exporter.posture.domain.facts_platform import Compute as ComputeFacts
from exporter.posture.domain.finding import NOT_ASKED, Known, Unread
from exporter.posture.domain.policy import Policy
from exporter.posture.fact_cache import Shelved
from exporter.posture.platform import Snapshots
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


def gather(inventory: Inventory, shelved: Shelved, registry: Registry, policy: Policy) -> Gathered:
    """Pure but for the registry's memory."""
    personal = _personal(shelved)
    branches = tuple(
        replace(_branch(inventory, each, shelved), personal_columns=personal.get((each.project_id, each.id), NOT_ASKED))
        for each in _sorted(inventory.branches.values())
    )
    there = {(each.project_id, each.id) for each in branches}
    vaults = tuple(_all(shelved, "vault", VaultFacts))
    databases = _databases(shelved, branches, inventory, policy)
    servers = tuple(each for each in _all(shelved, "server", ServerFacts) if (each.project_id, each.branch_id) in there)
    facts = Facts(
        organizations=tuple(_organizations(inventory, shelved)),
        projects=tuple(_project(each, shelved) for each in _sorted(inventory.projects.values())),
        branches=branches,
        servers=_known_or_not(servers, branches, inventory),
        databases=databases,
        registries=tuple(_registries(inventory, shelved, registry, vaults)),
        poolers=tuple(_all(shelved, "pooler", PoolerFacts)),
        vaults=vaults,
        buckets=tuple(_all(shelved, "s3", BucketFacts)),
        handshakes=tuple(_all(shelved, "tls", HandshakeFacts)),
        drills=tuple(each for each in _all(shelved, "drill", DrillFacts) if each.project_id in inventory.projects),
    )
    names = {each.id: each.name for each in inventory.projects.values()}
    names |= {each.id: each.name for each in inventory.branches.values()}
    return Gathered(facts, names, _ages(inventory, shelved, there))


Identified = TypeVar("Identified", Project, Branch)


def _sorted(found: Iterable[Identified]) -> list[Identified]:
    return sorted(found, key=lambda each: each.id)


def _all(shelved: Shelved, source: str, kind: type[Kind]) -> Iterator[Kind]:
    for key in sorted(key for key in shelved if key.source == source):
        fact = shelved[key][1]
        if isinstance(fact, kind):
            yield fact


def _one(shelved: Shelved, source: str, key: str, kind: type[Kind]) -> Kind | None:
    found = shelved.get(FactKey(source, key))
    return found[1] if found is not None and isinstance(found[1], kind) else None


def _organizations(inventory: Inventory, shelved: Shelved) -> Iterator[OrganizationFacts]:
    if inventory.org_id:
        known = _one(shelved, "organization", inventory.org_id, OrganizationFacts)
        yield replace(known or OrganizationFacts(inventory.org_id), name=inventory.org_name)


def _project(project: Project, shelved: Shelved) -> ProjectFacts:
    """The list of projects tells region, window and access; what hangs on it is asked apart."""
    known = _one(shelved, "project", project.id, ProjectFacts) or ProjectFacts(project.id)
    window: Known[int] = known.history_seconds
    if project.history_retention_seconds is not None:
        window = project.history_retention_seconds
    access = known.access
    if isinstance(access, Unread) and project.settings is not None:
        told = project.settings
        ips = told.allowed_ips
        access = Access(
            allowed_ips=tuple(ips.ips or ()) if ips else (),
            protected_branches_only=bool(ips and ips.protected_branches_only),
            block_public=told.block_public_connections,
            store_passwords=project.store_passwords,
            audit_log_level=told.audit_log_level,
            hipaa=told.hipaa,
        )
    return replace(
        known, name=project.name, org_id=project.org_id, region=project.region_id, history_seconds=window, access=access
    )


def _branch(inventory: Inventory, branch: Branch, shelved: Shelved) -> BranchFacts:
    known = _one(shelved, "branch", f"{branch.project_id}/{branch.id}", BranchFacts)
    project = inventory.projects.get(branch.project_id)
    computes = [each for each in inventory.endpoints.values() if each.branch_id == branch.id]
    active = [each.last_active for each in computes if each.last_active is not None]
    snapshots = _one(shelved, "snapshots", branch.project_id, Snapshots) or Snapshots()
    return replace(
        known or BranchFacts(branch.project_id, branch.id),
        snapshots=snapshots.of(branch.id),
        computes=tuple(
            ComputeFacts(each.id, each.type == "read_only", each.passwordless_access)
            for each in sorted(computes, key=lambda each: each.id)
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


def _personal(shelved: Shelved) -> dict[tuple[str, str], Known[tuple[str, ...]]]:
    """Columns named like personal data, by branch; all of them or nothing, because a part would look like the whole."""
    found: dict[tuple[str, str], Known[tuple[str, ...]]] = {}
    for database in _all(shelved, "database", DatabaseFacts):
        where = (database.project_id, database.branch_id)
        groups, before = database.check("personal"), found.get(where, ())
        if isinstance(before, Unread) or isinstance(groups, Unread):
            found[where] = before if isinstance(before, Unread) else groups if isinstance(groups, Unread) else before
        elif any(each.count > len(each.objects) for each in groups):
            found[where] = _TOO_MANY
        else:
            found[where] = tuple(sorted({*before, *(name for each in groups for name in each.objects)}))
    return found


def _nonproduction(policy: Policy, branch: BranchFacts) -> bool:
    """As the profiles say, or the flags of the branch."""
    protected = branch.default or branch.protected
    names = (branch.project_id, branch.project_name), (branch.id, branch.name)
    return not policy.production(*names, protected=protected)


_SILENT = Unread(Status.ASLEEP, "not read yet: it is only read while others use its compute")


def _databases(
    shelved: Shelved, branches: tuple[BranchFacts, ...], inventory: Inventory, policy: Policy
) -> tuple[DatabaseFacts, ...]:
    """Those that were read; a branch with a compute of which none was is there too: unknown, not silent."""
    by_branch = {(each.project_id, each.id): each for each in branches}
    found = [
        replace(each, nonproduction=_nonproduction(policy, by_branch[each.project_id, each.branch_id]))
        for each in _all(shelved, "database", DatabaseFacts)
        if (each.project_id, each.branch_id) in by_branch
    ]
    silent = _without(branches, inventory, {(each.project_id, each.branch_id) for each in found})
    found += [
        DatabaseFacts(
            each.project_id, each.id, "", checks=_SILENT, extensions=_SILENT,
            nonproduction=_nonproduction(policy, each),
        )
        for each in silent
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda each: (each.project_id, each.branch_id, each.datname)))


def _known_or_not(
    servers: tuple[ServerFacts, ...], branches: tuple[BranchFacts, ...], inventory: Inventory
) -> tuple[ServerFacts, ...]:
    """As the databases."""
    silent = tuple(
        ServerFacts(
            each.project_id, each.id, version_num=_SILENT, settings=_SILENT, roles=_SILENT, row_security_off=_SILENT,
            slots=_SILENT, agent=_SILENT, sessions=_SILENT,
        )
        for each in _without(branches, inventory, {(each.project_id, each.branch_id) for each in servers})
    )  # fmt: skip
    return tuple(sorted((*servers, *silent), key=lambda each: (each.project_id, each.branch_id)))


def _without(
    branches: tuple[BranchFacts, ...], inventory: Inventory, read: set[tuple[str, str]]
) -> Iterator[BranchFacts]:
    """Branches with a compute that are not among those read."""
    with_compute = {each.branch_id for each in inventory.endpoints.values()}
    return (each for each in branches if each.id in with_compute and (each.project_id, each.id) not in read)


def _registries(
    inventory: Inventory, shelved: Shelved, registry: Registry, vaults: tuple[VaultFacts, ...]
) -> Iterator[RegistryFacts]:
    schemas: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    roles: dict[tuple[str, str], set[str]] = {}
    for key, (_, fact) in shelved.items():
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
            tenants |= {each.tenant for each in made.tenants}
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


def _ages(inventory: Inventory, shelved: Shelved, there: set[tuple[str, str]]) -> dict[str, float]:
    oldest = {"inventory": inventory.taken_at}
    for key, (at, _) in shelved.items():
        parts = key.key.split("/", 2)
        if key.source in ("database", "server", "branch", "names") and (parts[0], parts[1]) not in there:
            continue
        oldest[key.source] = min(at, oldest.get(key.source, at))
    oldest.pop("names", None)
    return oldest
