"""Row security, and what goes round it: owners, policies, views, definer functions (P11-P23)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collectors.base import Unread
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts
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
    of_groups,
    place,
    sentence,
    unread,
    verdict,
)


@control("P11", DatabaseFacts)
def rls_off(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A shared table with a tenant column has no row security."""
    if not facts.tenant_tables and not isinstance(facts.check("rls_off"), Unread):
        return (absent(place(facts), "no shared table has a tenant column"),)
    return graded(
        facts,
        (
            Part("rls_off", "has {detail} and no row security: whoever may read it reads every tenant's rows"),
            Part(
                "rls_off_latent",
                "has {detail} and no row security; nobody but its owner may read it today",
                Severity.LOW,
                "latent",
            ),
        ),
        "row security is on wherever a shared table has a tenant column",
    )


@control("P12", DatabaseFacts)
def rls_not_forced(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Row security does not bind the owner, and a login uses the owner."""
    if not facts.tenant_tables and not isinstance(facts.check("rls_not_forced"), Unread):
        return (absent(place(facts), "no shared table has a tenant column"),)
    says = "row security does not bind its owner {other}, and a login is, or can act as, that owner"
    found = facts.check("rls_not_forced")
    otherwise = "row security is forced wherever a login uses the owner"
    return of_groups(place(facts), found, says=sentence(says), otherwise=otherwise)


@control("P13", DatabaseFacts)
def rls_no_policy(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Row security without a policy shows nobody anything: an outage, no leak."""
    says = "row security is on and there is no policy: only the owner sees rows"
    found = facts.check("rls_no_policy")
    return of_groups(place(facts), found, says=sentence(says), otherwise="row security comes with policies")


@control("P14", DatabaseFacts)
def policy_rls_off(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Policies are written, and row security is off: they do nothing."""
    return graded(
        facts,
        (
            Part("policy_rls_off", "has policies that do nothing, because row security is off"),
            Part(
                "policy_rls_off_latent",
                "has policies that do nothing; nobody but its owner may read it today",
                Severity.LOW,
                "latent",
            ),
        ),
        "row security is on wherever there are policies",
    )


@control("P15", DatabaseFacts)
def policy_true(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A permissive policy lets everything through; reading what is no tenant's weighs less."""
    return graded(
        facts,
        (
            Part("policy_true", "lets every row through ({detail})"),
            Part(
                "policy_true_read",
                "lets everybody read every row of a table without a tenant column",
                Severity.MEDIUM,
                "latent",
            ),
        ),
        "no policy lets everything through",
    )


@control("P16", DatabaseFacts)
def policy_no_tenant_ref(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A permissive policy of a shared table never names its tenant column."""
    says = "never names the tenant column of its table"
    found = facts.check("policy_no_tenant_ref")
    return of_groups(place(facts), found, says=sentence(says), otherwise="every policy names the tenant column")


@control("P17", DatabaseFacts)
def policy_guc_missing_ok(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Where the setting is missing the policy compares with NULL: rows vanish without an error."""
    says = "reads a setting that may be missing, without saying what then holds"
    found = facts.check("policy_guc_missing_ok")
    return of_groups(place(facts), found, says=sentence(says), otherwise="no policy reads an optional setting bare")


@control("P18", DatabaseFacts)
def view_definer(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A view reads a table with row security as the view's owner, who bypasses it."""
    return graded(
        facts,
        (
            Part("view_definer", "reads {detail} as its owner, whom row security does not bind"),
            Part(
                "view_definer_latent",
                "reads {detail} as its owner; row security holds only as long as it binds the owner",
                Severity.LOW,
                "latent",
            ),
        ),
        "views over row security read as who asks",
    )


@control("P19", DatabaseFacts)
def matview_over_rls(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A materialized view holds the rows of a table with row security, and has none itself."""
    return graded(
        facts,
        (
            Part("matview_over_rls", "holds rows of {detail} without row security, and is granted to others"),
            Part(
                "matview_over_rls_latent",
                "holds rows of {detail} without row security; nobody but its owner may read it today",
                Severity.LOW,
                "latent",
            ),
        ),
        "no materialized view holds rows that row security guards",
    )


@control("P20", DatabaseFacts)
def secdef_search_path(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A SECURITY DEFINER function looks names up where its caller says."""
    says = "{detail} and looks names up where its caller says"
    temp = "{detail} does not end in pg_temp: a caller's temporary table is found first"
    parts = (
        Part("secdef_search_path", says),
        Part("secdef_search_path_latent", says + "; nobody but its owner may call it today", Severity.LOW, "latent"),
        Part("secdef_temp_path", temp, Severity.LOW, "temp"),
    )
    return graded(facts, parts, "every SECURITY DEFINER function has its own search_path")


@control("P21", DatabaseFacts)
def secdef_public_exec(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """Everybody may call a SECURITY DEFINER function (the default, when nothing was granted or revoked)."""
    return graded(
        facts,
        (
            Part("secdef_public_exec", "{detail} and everybody may call it"),
            Part(
                "secdef_public_latent",
                "{detail} and everybody may call it, once they get into the schema",
                Severity.LOW,
                "latent",
            ),
        ),
        "no SECURITY DEFINER function is for everybody",
    )


@control("P22", ServerFacts)
def bypassrls_login(facts: ServerFacts, context: Context) -> Iterator[RuleResult]:
    """A login outside the list goes round row security, itself or after SET ROLE."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread(where, facts.roles)
        return
    allowed = context.policy.privileged_roles
    yield from verdict(
        where,
        (
            failed(
                object_id(where, role.name),
                f"{role.name} logs in and has BYPASSRLS" + ("" if "bypassrls" in role.attributes else " by SET ROLE"),
                tenant=role.tenant,
            )
            for role in facts.roles
            if role.login
            and "bypassrls" in (*role.attributes, *role.borrowed)
            and "superuser" not in role.attributes
            and (role.tenant or not listed(role.name, allowed))
        ),
        "no login outside the list goes round row security",
    )


@control("P23", ServerFacts)
def row_security_off(facts: ServerFacts, _context: Context) -> Iterator[RuleResult]:
    """Row_security is off for a role or a database: queries fail instead of being filtered, and dumps differ."""
    where = place(facts)
    if isinstance(facts.row_security_off, Unread):
        yield unread(where, facts.row_security_off)
        return
    yield from verdict(
        where,
        (failed(object_id(where, name), f"row_security is off for {name}") for name in facts.row_security_off),
        "row_security is on for everybody",
    )
