"""Who the tenants are, and what each has: schemas, roles and keys against each other, in both directions.

The tenant rules say whose a schema and a role is; a key is a tenant's by its name. A tenant that only one of them knows
is half there: forgotten at deletion, or never finished.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from collectors.base import NOT_ASKED, Known, Unread
from collectors.neon.models import Branch, Project
from exporter.posture.domain.facts import RegistryFacts, TenantEntry
from exporter.tenancy.domain.rules import SHARED, TenantRules

TenantOf = Callable[[str], str]
ACCOUNT = "__account__"
"""In place of a project: what is of the whole account."""


@dataclass(frozen=True, slots=True)
class Names:
    """What there is in one branch, as read."""

    schemas: Known[Mapping[str, Mapping[str, str]]] = NOT_ASKED
    """By database: the owner of each schema."""
    roles: Known[tuple[str, ...]] = NOT_ASKED


class Registry:
    """The tenant rules asked about names; pure but for the rules' own memory."""

    def __init__(self, rules: TenantRules, *, tenants: Iterable[str] = (), key: str = "tenant-{tenant}") -> None:
        """``tenants``: the expected tenants; empty: those that are found."""
        self._rules = rules
        self._tenants = tuple(sorted(set(tenants)))
        before, _, after = key.partition("{tenant}")
        self._key = re.compile(re.escape(before) + r"(?P<tenant>.+)" + re.escape(after) + r"\Z")

    def of_schema(self, project: Project, branch: Branch, datname: str, schema: str) -> str:
        """The tenant that owns a schema; empty when none does."""
        whole = self._rules.resolve(project=(project.id, project.name), branch=(branch.id, branch.name),
                                    database=datname)  # fmt: skip
        found = self._rules.resolve(project=(project.id, project.name), branch=(branch.id, branch.name),
                                    database=datname, schema=schema)  # fmt: skip
        return "" if found in (whole, SHARED) or found.startswith("__") else found

    def of_role(self, project: Project, branch: Branch, role: str) -> str:
        """The tenant that owns a role; empty when none does."""
        whole = self._rules.resolve(project=(project.id, project.name), branch=(branch.id, branch.name))
        found = self._rules.resolve(project=(project.id, project.name), branch=(branch.id, branch.name), role=role)
        return "" if found in (whole, SHARED) or found.startswith("__") else found

    def of_schemas(self, project: Project, branch: Branch, datname: str, schemas: Mapping[str, str]) -> dict[str, str]:
        """The tenant of each schema that is one's: by the rules, or else because a role that the rules name owns it.

        ``schemas``: each with its owner.
        """
        resolved: dict[str, str] = {}
        for schema, owner in schemas.items():
            tenant = self.of_schema(project, branch, datname, schema) or self.of_role(project, branch, owner)
            if tenant:
                resolved[schema] = tenant
        return resolved

    def of_roles(
        self, project: Project, branch: Branch, roles: Iterable[str], schemas: Mapping[str, Mapping[str, str]]
    ) -> dict[str, str]:
        """The tenant of each role that is one's: by the rules, or else because it owns schemas of one tenant alone.

        ``schemas``: by database, each with its owner. What a role was granted says nothing of whose it is.
        """
        owned: dict[str, set[str]] = {}
        for datname, found in schemas.items():
            for schema, owner in found.items():
                tenant = self.of_schema(project, branch, datname, schema)
                if tenant:
                    owned.setdefault(owner, set()).add(tenant)
        resolved: dict[str, str] = {}
        for role in roles:
            tenant = self.of_role(project, branch, role)
            if tenant:
                resolved[role] = tenant
            elif len(owned.get(role, ())) == 1:
                resolved[role] = next(iter(owned[role]))
        return resolved

    def of_key(self, key: str) -> str:
        """The tenant of a key; empty when its name is no tenant's."""
        found = self._key.match(key)
        return found["tenant"] if found else ""

    def facts(self, project: Project, branch: Branch, names: Names) -> RegistryFacts:
        """One branch: everything that is some tenant's, who has what, and what is wanting.

        What one tenant has of its own, each must have: a schema where tenants have schemas, a role where they have
        roles.
        """
        by_schema: dict[str, str] = {}
        databases: dict[str, set[str]] = {}
        schemas, roles = names.schemas, names.roles
        if not isinstance(schemas, Unread):
            for datname, found in schemas.items():
                resolved = self.of_schemas(project, branch, datname, found)
                by_schema |= resolved
                for tenant in resolved.values():
                    databases.setdefault(tenant, set()).add(datname)
        by_role: dict[str, str] = {}
        if not isinstance(roles, Unread):
            by_role = self.of_roles(project, branch, roles, {} if isinstance(schemas, Unread) else schemas)
        should = self._tenants or tuple(sorted({*by_schema.values(), *by_role.values()}))
        return RegistryFacts(
            project.id,
            branch.id,
            tenants=tuple(
                TenantEntry(
                    tenant,
                    _wanted("schema", by_schema, tenant),
                    _wanted("role", by_role, tenant),
                    databases=tuple(sorted(databases.get(tenant, ()))),
                )
                for tenant in should
            ),
            schemas=schemas if isinstance(schemas, Unread) else tuple(sorted(by_schema)),
            roles=roles if isinstance(roles, Unread) else tuple(sorted(by_role)),
            schema_tenants=by_schema,
        )

    def keys(self, keys: Known[tuple[str, ...]], tenants: Iterable[str]) -> RegistryFacts:
        """The key stores against all tenants that there are: a key without a tenant was forgotten."""
        if isinstance(keys, Unread):
            return RegistryFacts(ACCOUNT, "", tenants=keys, keys=keys)
        by_key = _by(keys, self.of_key)
        entries = tuple(TenantEntry(tenant, keys=_of(by_key, tenant)) for tenant in sorted({*tenants, *self._tenants}))
        return RegistryFacts(ACCOUNT, "", tenants=entries, schemas=(), roles=(), keys=tuple(sorted(by_key)))


def _by(names: Iterable[str], tenant_of: TenantOf) -> dict[str, str]:
    found = {name: tenant_of(name) for name in names}
    return {name: tenant for name, tenant in found.items() if tenant}


def _wanted(kind: str, by_name: Mapping[str, str], tenant: str) -> tuple[str, ...]:
    """The names that a tenant has; where it has none and others have, a word for the one that is missing."""
    found = _of(by_name, tenant)
    return found if found or not by_name else (f"no {kind} of {tenant}",)


def _of(by_name: Mapping[str, str], tenant: str) -> tuple[str, ...]:
    return tuple(sorted(name for name, owner in by_name.items() if owner == tenant))
