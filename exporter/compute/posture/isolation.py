"""Tenant isolation: could one tenant's login reach what is another's (P01-P10)."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.compute.posture.facts import DatabaseFacts, RegistryFacts, ServerFacts, TenantEntry
from exporter.compute.posture.finding import Finding, Severity, Unread, object_id
from exporter.compute.posture.judging import (
    Context,
    Judges,
    absent,
    failed,
    names,
    of_groups,
    place,
    unread,
    verdict,
)
from exporter.compute.posture.policy import listed

_NO_TENANTS = "no schema or role of this database is a tenant's"


def xtenant_grant(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P01: another tenant's role, or everybody, has a privilege in a tenant's schema, and gets into the schema."""
    return _between_tenants("P01", facts, "xtenant_grant", "xtenant_latent")


def xtenant_member(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P02: a tenant's role is, or can become, another tenant's role."""
    return _between_tenants("P02", facts, "xtenant_member")


def xtenant_owner(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P03: an object in a tenant's schema belongs to neither the tenant nor a migration role."""
    return _between_tenants("P03", facts, "xtenant_owner")


def xtenant_dependency(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P04: a foreign key, view, function, trigger or child table of one tenant uses another's schema."""
    return _between_tenants("P04", facts, "xtenant_fk_view")


_SAYS = {
    "xtenant_grant": "{other} has {detail} on what is {tenant}'s",
    "xtenant_latent": "{other} has {detail} on what is {tenant}'s; the other half, to get in or to read, is not granted",
    "xtenant_member": "role {other} {detail} is, or can become, this role of tenant {tenant}",
    "xtenant_owner": "belongs to {other}, which is neither {tenant}'s nor a migration role",
    "xtenant_fk_view": "of tenant {other} reaches tenant {tenant}: {detail}",
}


def _between_tenants(control: str, facts: DatabaseFacts, check: str, latent: str = "") -> Iterator[Finding]:
    where = place(facts)
    groups = facts.check(check)
    if not isinstance(groups, Unread) and not facts.tenants_told:
        yield absent(control, where, _NO_TENANTS)
        return
    half = facts.check(latent) if latent else ()
    found = of_groups(
        control, where, groups, says=lambda group: _SAYS[check].format(**_parts(group)), otherwise="nothing found"
    )
    if not half or isinstance(half, Unread):
        yield from found
        return
    if groups:
        yield from found
    yield from of_groups(
        control,
        object_id(where, "latent"),
        half,
        says=lambda group: _SAYS[latent].format(**_parts(group)),
        otherwise="nothing found",
        severity=Severity.MEDIUM,
    )


def _parts(group: object) -> dict[str, str]:
    return {name: str(getattr(group, name)) for name in ("tenant", "other", "detail")}


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


def tenant_complete(facts: RegistryFacts, context: Context) -> Iterator[Finding]:
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
            yield failed("P06", object_id(where, kind, name), f"{kind[:-1]} {name} belongs to no tenant of the registry")


def shared_schema_create(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P07: everybody, or a tenant's role, may create objects in a schema that others search."""
    return of_groups(
        "P07",
        place(facts),
        facts.check("shared_schema_create"),
        says=lambda group: f"{group.other} may create objects in it, and so take the place of what others call",
        otherwise="nobody but owners creates objects in shared schemas",
    )


def public_table_grant(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P08: a table is granted to PUBLIC; where nobody gets into its schema, that is half of it."""
    live = of_groups(
        "P08",
        place(facts),
        facts.check("public_table_grant"),
        says=lambda group: f"everybody has {group.detail}",
        otherwise="no table is granted to PUBLIC",
    )
    return _with_latent(
        "P08", facts, live, check="public_table_latent", says="everybody has {detail}, once they get into the schema"
    )


def default_acl_public(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P09: what will be created is granted to everybody, or to another tenant, from the first moment."""
    return of_groups(
        "P09",
        place(facts),
        facts.check("default_acl_public"),
        says=lambda group: f"{group.other} will have {group.detail} on each new one",
        otherwise="no default privilege goes to PUBLIC or to another tenant",
    )


def db_public_connect(facts: DatabaseFacts, context: Context) -> Iterator[Finding]:
    """P10: every role of the server may connect to the database, or make temporary tables in it."""
    return of_groups(
        "P10",
        place(facts),
        facts.check("db_public_connect"),
        says=lambda group: f"everybody has {group.detail} on the database",
        otherwise="PUBLIC may not connect",
    )


def _with_latent(
    control: str, facts: DatabaseFacts, live: Iterator[Finding], *, check: str, says: str
) -> Iterator[Finding]:
    """A pass is only a pass when the half-open ones are none either."""
    half = facts.check(check)
    found = list(live)
    if isinstance(half, Unread) or not half:
        yield from found
        return
    if facts_fail(found):
        yield from found
    yield from of_groups(
        control,
        object_id(place(facts), "latent"),
        half,
        says=lambda group: says.format(**_parts(group)),
        otherwise="",
        severity=Severity.LOW,
    )


def facts_fail(found: list[Finding]) -> bool:
    """Whether there is anything but a pass."""
    return any(each.outcome != "pass" for each in found)


with_latent = _with_latent
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
