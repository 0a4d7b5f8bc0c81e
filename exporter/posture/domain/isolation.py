"""Tenant isolation: could one tenant's login reach what is another's (P01-P10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collectors.base import Unread
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts
from exporter.posture.domain.facts import RegistryFacts, TenantEntry
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import listed
from exporter.posture.domain.rule import (
    Context,
    Part,
    RuleResult,
    absent,
    control,
    failed,
    graded,
    names,
    of_groups,
    place,
    sentence,
    unread,
    verdict,
)

_NO_TENANTS = "no schema or role of this database is a tenant's"


@control("P01", DatabaseFacts)
def xtenant_grant(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Another tenant's role, or everybody, has a privilege in a tenant's schema, and gets into the schema."""
    if _nobody(facts, "xtenant_grant"):
        return (absent(place(facts), _NO_TENANTS),)
    return graded(
        facts,
        (
            Part("xtenant_grant", "{other} has {detail}; it is {tenant}'s"),
            Part(
                "xtenant_latent",
                "{other} has {detail} on what is {tenant}'s; to get in, or to read, something is not granted",
                Severity.MEDIUM,
                "latent",
            ),
        ),
        "no tenant's role has a privilege in another's schema",
    )


@control("P02", DatabaseFacts)
def xtenant_member(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A tenant's role is, or can become, another tenant's role."""
    says = "role {other} {detail} is, or can become, this role of tenant {tenant}"
    return _between(facts, "xtenant_member", says, "no tenant's role can become another's")


@control("P03", DatabaseFacts)
def xtenant_owner(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """An object in a tenant's schema belongs to neither the tenant nor a migration role."""
    says = "belongs to {other}, which is neither {tenant}'s nor a migration role"
    return _between(facts, "xtenant_owner", says, "everything belongs to its tenant or to a migration role")


@control("P04", DatabaseFacts)
def xtenant_dependency(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A foreign key, view, function, trigger or child table of one tenant uses another's schema."""
    says = "of tenant {other} reaches tenant {tenant}: {detail}"
    return _between(facts, "xtenant_fk_view", says, "no object uses another tenant's schema")


def _between(facts: DatabaseFacts, check: str, says: str, otherwise: str) -> Iterable[RuleResult]:
    if _nobody(facts, check):
        return (absent(place(facts), _NO_TENANTS),)
    return of_groups(place(facts), facts.check(check), says=sentence(says), otherwise=otherwise)


def _nobody(facts: DatabaseFacts, check: str) -> bool:
    return not facts.tenants_told and not isinstance(facts.check(check), Unread)


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


@control("P07", DatabaseFacts)
def shared_schema_create(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Everybody, or a tenant's role, may create objects in a schema that others search."""
    says = "{other} may create objects in it, and so take the place of what others call"
    found = facts.check("shared_schema_create")
    return of_groups(place(facts), found, says=sentence(says), otherwise="only owners create in shared schemas")


@control("P08", DatabaseFacts)
def public_table_grant(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A table is granted to PUBLIC; where nobody gets into its schema, that is half of it."""
    return graded(
        facts,
        (
            Part("public_table_grant", "everybody has {detail}"),
            Part(
                "public_table_latent", "everybody has {detail}, once they get into the schema", Severity.LOW, "latent"
            ),
        ),
        "no table is granted to PUBLIC",
    )


@control("P09", DatabaseFacts)
def default_acl_public(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """What will be created is granted to everybody, or to another tenant, from the first moment."""
    says = "{other} will have {detail} on each new one"
    found = facts.check("default_acl_public")
    otherwise = "no default privilege goes to PUBLIC or to another tenant"
    return of_groups(place(facts), found, says=sentence(says), otherwise=otherwise)


@control("P10", DatabaseFacts)
def db_public_connect(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Every role of the server may connect to the database, or make temporary tables in it."""
    says = "everybody has {detail} on the database"
    found = facts.check("db_public_connect")
    return of_groups(place(facts), found, says=sentence(says), otherwise="PUBLIC may not connect")
