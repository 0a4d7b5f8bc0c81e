"""Tenant isolation: could one tenant's login reach what is another's (P01-P10)."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.base import Unread
from collectors.postgres.domain.security import ServerFacts
from exporter.posture.domain.facts import RegistryFacts, TenantEntry
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import listed
from exporter.posture.domain.rule import (
    Context,
    Needs,
    Part,
    RuleResult,
    absent,
    control,
    database_control,
    failed,
    latent,
    names,
    place,
    unread,
    verdict,
)

_TENANTS = Needs(lambda facts: facts.tenants_told, "no schema or role of this database is a tenant's")

# Another tenant's role, or everybody, has a privilege in a tenant's schema, and gets into the schema.
database_control(
    "P01",
    Part("xtenant_grant", "{other} has {detail}; it is {tenant}'s"),
    latent(
        "xtenant_latent",
        "{other} has {detail} on what is {tenant}'s; to get in, or to read, something is not granted",
        Severity.MEDIUM,
    ),
    otherwise="no tenant's role has a privilege in another's schema",
    needs=_TENANTS,
)
database_control(
    "P02",
    Part("xtenant_member", "role {other} {detail} is, or can become, this role of tenant {tenant}"),
    otherwise="no tenant's role can become another's",
    needs=_TENANTS,
)
database_control(
    "P03",
    Part("xtenant_owner", "belongs to {other}, which is neither {tenant}'s nor a migration role"),
    otherwise="everything belongs to its tenant or to a migration role",
    needs=_TENANTS,
)
# A foreign key, view, function, trigger or child table of one tenant uses another's schema.
database_control(
    "P04",
    Part("xtenant_fk_view", "of tenant {other} reaches tenant {tenant}: {detail}"),
    otherwise="no object uses another tenant's schema",
    needs=_TENANTS,
)
database_control(
    "P07",
    Part("shared_schema_create", "{other} may create objects in it, and so take the place of what others call"),
    otherwise="only owners create in shared schemas",
)
# Where nobody gets into the schema of a table that is granted to PUBLIC, that is half of it.
database_control(
    "P08",
    Part("public_table_grant", "everybody has {detail}"),
    latent("public_table_latent", "everybody has {detail}, once they get into the schema"),
    otherwise="no table is granted to PUBLIC",
)
# What will be created is granted to everybody, or to another tenant, from the first moment.
database_control(
    "P09",
    Part("default_acl_public", "{other} will have {detail} on each new one"),
    otherwise="no default privilege goes to PUBLIC or to another tenant",
)
database_control(
    "P10",
    Part("db_public_connect", "everybody has {detail} on the database"),
    otherwise="PUBLIC may not connect",
)


@control("P05", ServerFacts)
def neon_superuser_member(facts: ServerFacts, context: Context) -> Iterator[RuleResult]:
    """A login role outside the list can act as neon_superuser, which goes round row security and reads all."""
    where = place(facts)
    if facts.platform != "neon":
        yield absent(where, "there is no role neon_superuser here")
    elif isinstance(facts.roles, Unread):
        yield unread(where, facts.roles)
    else:
        yield from verdict(
            where,
            (
                failed(object_id(where, role.name), f"{role.name} can act as neon_superuser", tenant=role.tenant)
                for role in facts.roles
                if role.acts_as_neon_superuser
                and role.login
                and (role.tenant or not listed(role.name, context.policy.privileged_roles))
            ),
            "only roles of the list can act as neon_superuser",
        )


@control("P06", RegistryFacts)
def tenant_complete(facts: RegistryFacts, _context: Context) -> Iterator[RuleResult]:
    """A tenant without its schema, role or key, or a schema, role or key without its tenant."""
    where = object_id(facts.project_id, facts.branch_id)
    for part in (facts.tenants, facts.schemas, facts.roles):
        if isinstance(part, Unread):
            yield unread(where, part)
            return
    if isinstance(facts.tenants, Unread) or not facts.tenants:
        yield absent(where, "the registry names no tenant here")
        return
    yield from verdict(where, [*_missing(facts, facts.tenants), *_orphans(facts, facts.tenants)],
                       f"{len(facts.tenants)} tenants have what they should")  # fmt: skip


def _missing(facts: RegistryFacts, tenants: tuple[TenantEntry, ...]) -> Iterator[RuleResult]:
    where = object_id(facts.project_id, facts.branch_id)
    for tenant in tenants:
        for kind in ("schemas", "roles", "keys"):
            there = getattr(facts, kind)
            if isinstance(there, Unread):
                continue
            gone = [name for name in getattr(tenant, kind) if name not in there]
            if gone:
                text = f"tenant {tenant.tenant} lacks its {kind}: {names(gone)}"
                yield failed(object_id(where, tenant.tenant, kind), text, tenant=tenant.tenant, count=len(gone))


def _orphans(facts: RegistryFacts, tenants: tuple[TenantEntry, ...]) -> Iterator[RuleResult]:
    where = object_id(facts.project_id, facts.branch_id)
    for kind in ("schemas", "roles", "keys"):
        there = getattr(facts, kind)
        if isinstance(there, Unread):
            continue
        known = {name for tenant in tenants for name in getattr(tenant, kind)}
        for name in sorted(set(there) - known):
            yield failed(object_id(where, kind, name), f"{kind[:-1]} {name} belongs to no tenant of the registry")
