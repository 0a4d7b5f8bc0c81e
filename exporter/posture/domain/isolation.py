"""Tenant isolation: could one tenant's login reach what is another's (P01-P10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.posture.domain.facts import DatabaseFacts, RegistryFacts, ServerFacts, TenantEntry
from exporter.posture.domain.finding import Finding, Severity, Unread, object_id
from exporter.posture.domain.judging import (
    Context,
    Judges,
    Part,
    absent,
    failed,
    graded,
    names,
    of_groups,
    place,
    told,
    unread,
    verdict,
)
from exporter.posture.domain.policy import listed

_NO_TENANTS = "no schema or role of this database is a tenant's"


def xtenant_grant(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P01: another tenant's role, or everybody, has a privilege in a tenant's schema, and gets into the schema."""
    if _nobody(facts, "xtenant_grant"):
        return (absent("P01", place(facts), _NO_TENANTS),)
    return graded(
        "P01",
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


def xtenant_member(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P02: a tenant's role is, or can become, another tenant's role."""
    says = "role {other} {detail} is, or can become, this role of tenant {tenant}"
    return _between("P02", facts, "xtenant_member", says, "no tenant's role can become another's")


def xtenant_owner(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P03: an object in a tenant's schema belongs to neither the tenant nor a migration role."""
    says = "belongs to {other}, which is neither {tenant}'s nor a migration role"
    return _between("P03", facts, "xtenant_owner", says, "everything belongs to its tenant or to a migration role")


def xtenant_dependency(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P04: a foreign key, view, function, trigger or child table of one tenant uses another's schema."""
    says = "of tenant {other} reaches tenant {tenant}: {detail}"
    return _between("P04", facts, "xtenant_fk_view", says, "no object uses another tenant's schema")


def _between(control: str, facts: DatabaseFacts, check: str, says: str, otherwise: str) -> Iterable[Finding]:
    if _nobody(facts, check):
        return (absent(control, place(facts), _NO_TENANTS),)
    return of_groups(control, place(facts), facts.check(check), says=told(says), otherwise=otherwise)


def _nobody(facts: DatabaseFacts, check: str) -> bool:
    return not facts.tenants_told and not isinstance(facts.check(check), Unread)


def neon_superuser_member(facts: ServerFacts, context: Context) -> Iterator[Finding]:
    """P05: a login role outside the list can act as neon_superuser, which goes round row security and reads all."""
    where = place(facts)
    if facts.platform != "neon":
        yield absent("P05", where, "there is no role neon_superuser here")
    elif isinstance(facts.roles, Unread):
        yield unread("P05", where, facts.roles)
    else:
        yield from verdict(
            "P05",
            where,
            (
                failed("P05", object_id(where, role.name), f"{role.name} can act as neon_superuser", tenant=role.tenant)
                for role in facts.roles
                if role.acts_as_neon_superuser
                and role.login
                and (role.tenant or not listed(role.name, context.policy.privileged_roles))
            ),
            "only roles of the list can act as neon_superuser",
        )


def tenant_complete(facts: RegistryFacts, _context: Context) -> Iterator[Finding]:
    """P06: a tenant without its schema, role or key, or a schema, role or key without its tenant."""
    where = object_id(facts.project_id, facts.branch_id)
    for part in (facts.tenants, facts.schemas, facts.roles):
        if isinstance(part, Unread):
            yield unread("P06", where, part)
            return
    if isinstance(facts.tenants, Unread) or not facts.tenants:
        yield absent("P06", where, "the registry names no tenant here")
        return
    yield from verdict("P06", where, [*_missing(facts, facts.tenants), *_orphans(facts, facts.tenants)],
                       f"{len(facts.tenants)} tenants have what they should")  # fmt: skip


def _missing(facts: RegistryFacts, tenants: tuple[TenantEntry, ...]) -> Iterator[Finding]:
    where = object_id(facts.project_id, facts.branch_id)
    for entry in tenants:
        for kind in ("schemas", "roles", "keys"):
            there = getattr(facts, kind)
            if isinstance(there, Unread):
                continue
            gone = [name for name in getattr(entry, kind) if name not in there]
            if gone:
                text = f"tenant {entry.tenant} lacks its {kind}: {names(gone)}"
                yield failed("P06", object_id(where, entry.tenant, kind), text, tenant=entry.tenant, count=len(gone))


def _orphans(facts: RegistryFacts, tenants: tuple[TenantEntry, ...]) -> Iterator[Finding]:
    where = object_id(facts.project_id, facts.branch_id)
    for kind in ("schemas", "roles", "keys"):
        there = getattr(facts, kind)
        if isinstance(there, Unread):
            continue
        known = {name for entry in tenants for name in getattr(entry, kind)}
        for name in sorted(set(there) - known):
            yield failed(
                "P06", object_id(where, kind, name), f"{kind[:-1]} {name} belongs to no tenant of the registry"
            )


def shared_schema_create(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P07: everybody, or a tenant's role, may create objects in a schema that others search."""
    says = "{other} may create objects in it, and so take the place of what others call"
    found = facts.check("shared_schema_create")
    return of_groups("P07", place(facts), found, says=told(says), otherwise="only owners create in shared schemas")


def public_table_grant(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P08: a table is granted to PUBLIC; where nobody gets into its schema, that is half of it."""
    return graded(
        "P08",
        facts,
        (
            Part("public_table_grant", "everybody has {detail}"),
            Part(
                "public_table_latent", "everybody has {detail}, once they get into the schema", Severity.LOW, "latent"
            ),
        ),
        "no table is granted to PUBLIC",
    )


def default_acl_public(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P09: what will be created is granted to everybody, or to another tenant, from the first moment."""
    says = "{other} will have {detail} on each new one"
    found = facts.check("default_acl_public")
    otherwise = "no default privilege goes to PUBLIC or to another tenant"
    return of_groups("P09", place(facts), found, says=told(says), otherwise=otherwise)


def db_public_connect(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P10: every role of the server may connect to the database, or make temporary tables in it."""
    says = "everybody has {detail} on the database"
    found = facts.check("db_public_connect")
    return of_groups("P10", place(facts), found, says=told(says), otherwise="PUBLIC may not connect")


DATABASE: Judges[DatabaseFacts] = {
    "P01": xtenant_grant,
    "P02": xtenant_member,
    "P03": xtenant_owner,
    "P04": xtenant_dependency,
    "P07": shared_schema_create,
    "P08": public_table_grant,
    "P09": default_acl_public,
    "P10": db_public_connect,
}
SERVER: Judges[ServerFacts] = {"P05": neon_superuser_member}
REGISTRY: Judges[RegistryFacts] = {"P06": tenant_complete}
