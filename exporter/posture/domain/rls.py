"""Row security, and what goes round it: owners, policies, views, definer functions (P11-P23)."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.postgres.domain.security import Role, ServerFacts
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import listed
from exporter.posture.domain.rule import (
    Context,
    Needs,
    Part,
    RuleResult,
    control_over,
    database_control,
    failed,
    latent,
    place,
    verdict,
)

_TENANT_TABLES = Needs(lambda facts: facts.tenant_tables, "no shared table has a tenant column")

database_control(
    "P11",
    Part("rls_off", "has {detail} and no row security: whoever may read it reads every tenant's rows"),
    latent("rls_off_latent", "has {detail} and no row security; nobody but its owner may read it today"),
    otherwise="row security is on wherever a shared table has a tenant column",
    needs=_TENANT_TABLES,
)
database_control(
    "P12",
    Part("rls_not_forced", "row security does not bind its owner {other}, and a login is, or can act as, that owner"),
    otherwise="row security is forced wherever a login uses the owner",
    needs=_TENANT_TABLES,
)
# Row security without a policy shows nobody anything: an outage, no leak.
database_control(
    "P13",
    Part("rls_no_policy", "row security is on and there is no policy: only the owner sees rows"),
    otherwise="row security comes with policies",
)
database_control(
    "P14",
    Part("policy_rls_off", "has policies that do nothing, because row security is off"),
    latent("policy_rls_off_latent", "has policies that do nothing; nobody but its owner may read it today"),
    otherwise="row security is on wherever there are policies",
)
# A permissive policy lets everything through; reading what is no tenant's weighs less.
database_control(
    "P15",
    Part("policy_true", "lets every row through ({detail})"),
    latent("policy_true_read", "lets everybody read every row of a table without a tenant column", Severity.MEDIUM),
    otherwise="no policy lets everything through",
)
database_control(
    "P16",
    Part("policy_no_tenant_ref", "never names the tenant column of its table"),
    otherwise="every policy names the tenant column",
)
# Where the setting is missing the policy compares with NULL: rows vanish without an error.
database_control(
    "P17",
    Part("policy_guc_missing_ok", "reads a setting that may be missing, without saying what then holds"),
    otherwise="no policy reads an optional setting bare",
)
database_control(
    "P18",
    Part("view_definer", "reads {detail} as its owner, whom row security does not bind"),
    latent("view_definer_latent", "reads {detail} as its owner; row security holds only as long as it binds the owner"),
    otherwise="views over row security read as who asks",
)
# A materialized view holds the rows of a table with row security, and has none itself.
database_control(
    "P19",
    Part("matview_over_rls", "holds rows of {detail} without row security, and is granted to others"),
    latent(
        "matview_over_rls_latent",
        "holds rows of {detail} without row security; nobody but its owner may read it today",
    ),
    otherwise="no materialized view holds rows that row security guards",
)
database_control(
    "P20",
    Part("secdef_search_path", "{detail} and looks names up where its caller says"),
    latent(
        "secdef_search_path_latent",
        "{detail} and looks names up where its caller says; nobody but its owner may call it today",
    ),
    Part(
        "secdef_temp_path",
        "{detail} does not end in pg_temp: a caller's temporary table is found first",
        Severity.LOW,
        "temp",
    ),
    otherwise="every SECURITY DEFINER function has its own search_path",
)
# Everybody may call a function by default, when nothing was granted or revoked.
database_control(
    "P21",
    Part("secdef_public_exec", "{detail} and everybody may call it"),
    latent("secdef_public_latent", "{detail} and everybody may call it, once they get into the schema"),
    otherwise="no SECURITY DEFINER function is for everybody",
)


@control_over("P22", ServerFacts, lambda facts: facts.roles)
def bypassrls_login(facts: ServerFacts, roles: tuple[Role, ...], context: Context) -> Iterable[RuleResult]:
    """A login outside the list goes round row security, itself or after SET ROLE."""
    where, allowed = place(facts), context.policy.privileged_roles
    found = (
        failed(
            object_id(where, role.name),
            f"{role.name} logs in and has BYPASSRLS" + ("" if "bypassrls" in role.attributes else " by SET ROLE"),
            tenant=role.tenant,
        )
        for role in roles
        if role.login
        and "bypassrls" in (*role.attributes, *role.borrowed)
        and "superuser" not in role.attributes
        and (role.tenant or not listed(role.name, allowed))
    )
    return verdict(where, found, "no login outside the list goes round row security")


@control_over("P23", ServerFacts, lambda facts: facts.row_security_off)
def row_security_off(facts: ServerFacts, off_for: tuple[str, ...], _context: Context) -> Iterable[RuleResult]:
    """Row_security is off for a role or a database: queries fail instead of being filtered, and dumps differ."""
    where = place(facts)
    found = (failed(object_id(where, name), f"row_security is off for {name}") for name in off_for)
    return verdict(where, found, "row_security is on for everybody")
