"""From the settings to the tenant rules."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict

from exporter.settings.sections import TenantRuleSettings
from exporter.settings.tree import CoreSettings
from exporter.tenancy.domain.rules import TenantRule, TenantRules


def tenant_rules(rules: list[TenantRuleSettings]) -> tuple[TenantRule, ...]:
    """The rules as `TenantRules` takes them."""
    return tuple(
        TenantRule(
            tenant=rule.tenant,
            project=rule.project,
            branch=rule.branch,
            database=rule.database,
            schema=rule.schema_,
            role=rule.role,
            application_name=rule.application_name,
            map=rule.map_,
        )
        for rule in rules
    )


def rules_of(settings: CoreSettings) -> TenantRules:
    """The tenant rules of the settings; the roles of our own DSNs are the agent itself.

    Raises:
        TenantRulesError: a tenant rule cannot work.
    """
    templates = [settings.postgres.dsn, *(override.dsn for override in settings.postgres.overrides)]
    own = {str(conninfo_to_dict(template).get("user") or "") for template in templates if template}
    return TenantRules(tenant_rules(settings.tenants), own_roles=own - {""})
