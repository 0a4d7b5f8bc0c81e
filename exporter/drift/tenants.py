"""Which schemas of a database are whose: the tenant rules asked for each schema."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.neon.models import Branch, Project
from exporter.cost.domain.allocate import SHARED
from exporter.tenancy.domain.rules import TenantRules


def tenant_schemas(
    rules: TenantRules, project: Project, branch: Branch, datname: str, schemas: Iterable[str]
) -> dict[str, str]:
    """Schema by tenant. A tenant with several schemas is there once for each, as ``tenant/schema``.

    Only rules that speak of the schema count: where a whole database is one tenant's, its schemas are not alike.
    """
    whole = rules.resolve(project=(project.id, project.name), branch=(branch.id, branch.name), database=datname)
    by_tenant: dict[str, list[str]] = {}
    for schema in schemas:
        tenant = rules.resolve(
            project=(project.id, project.name), branch=(branch.id, branch.name), database=datname, schema=schema
        )
        if tenant not in (whole, SHARED) and not tenant.startswith("__"):
            by_tenant.setdefault(tenant, []).append(schema)
    return {
        tenant if len(names) == 1 else f"{tenant}/{name}": name
        for tenant, names in sorted(by_tenant.items())
        for name in sorted(names)
    }
