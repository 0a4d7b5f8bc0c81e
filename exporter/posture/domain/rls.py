"""Row security, and what goes round it: owners, policies, views, definer functions (P11-P23)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.posture.domain.facts import DatabaseFacts, ServerFacts
from exporter.posture.domain.finding import Finding, Severity, Unread, object_id
from exporter.posture.domain.judging import (
    Context,
    Judges,
    Part,
    absent,
    failed,
    graded,
    of_groups,
    place,
    told,
    unread,
    verdict,
)
from exporter.posture.domain.policy import listed


def rls_off(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P11: a shared table with a tenant column has no row security."""
    if not facts.tenant_tables and not isinstance(facts.check("rls_off"), Unread):
        return (absent("P11", place(facts), "no shared table has a tenant column"),)
    return graded(
        "P11",
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


def rls_not_forced(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P12: row security does not bind the owner, and a login uses the owner."""
    if not facts.tenant_tables and not isinstance(facts.check("rls_not_forced"), Unread):
        return (absent("P12", place(facts), "no shared table has a tenant column"),)
    says = "row security does not bind its owner {other}, and a login is, or can act as, that owner"
    found = facts.check("rls_not_forced")
    otherwise = "row security is forced wherever a login uses the owner"
    return of_groups("P12", place(facts), found, says=told(says), otherwise=otherwise)


def rls_no_policy(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P13: row security without a policy shows nobody anything: an outage, no leak."""
    says = "row security is on and there is no policy: only the owner sees rows"
    found = facts.check("rls_no_policy")
    return of_groups("P13", place(facts), found, says=told(says), otherwise="row security comes with policies")


def policy_rls_off(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P14: policies are written, and row security is off: they do nothing."""
    return graded(
        "P14",
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


def policy_true(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P15: a permissive policy lets everything through; reading what is no tenant's weighs less."""
    return graded(
        "P15",
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


def policy_no_tenant_ref(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P16: a permissive policy of a shared table never names its tenant column."""
    says = "never names the tenant column of its table"
    found = facts.check("policy_no_tenant_ref")
    return of_groups("P16", place(facts), found, says=told(says), otherwise="every policy names the tenant column")


def policy_guc_missing_ok(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P17: where the setting is missing the policy compares with NULL: rows vanish without an error."""
    says = "reads a setting that may be missing, without saying what then holds"
    found = facts.check("policy_guc_missing_ok")
    return of_groups("P17", place(facts), found, says=told(says), otherwise="no policy reads an optional setting bare")


def view_definer(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P18: a view reads a table with row security as its owner, whom that does not bind."""
    return graded(
        "P18",
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


def matview_over_rls(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P19: a materialized view holds the rows of a table with row security, and has none itself."""
    return graded(
        "P19",
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


def secdef_search_path(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P20: a SECURITY DEFINER function looks names up where its caller says."""
    says = "{detail} and looks names up where its caller says"
    temp = "{detail} does not end in pg_temp: a caller's temporary table is found first"
    parts = (
        Part("secdef_search_path", says),
        Part("secdef_search_path_latent", says + "; nobody but its owner may call it today", Severity.LOW, "latent"),
        Part("secdef_temp_path", temp, Severity.LOW, "temp"),
    )
    return graded("P20", facts, parts, "every SECURITY DEFINER function has its own search_path")


def secdef_public_exec(facts: DatabaseFacts, _context: Context) -> Iterable[Finding]:
    """P21: everybody may call a SECURITY DEFINER function (the default, when nothing was granted or revoked)."""
    return graded(
        "P21",
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


def bypassrls_login(facts: ServerFacts, context: Context) -> Iterator[Finding]:
    """P22: a login outside the list goes round row security, itself or after SET ROLE."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread("P22", where, facts.roles)
        return
    allowed = context.policy.privileged_roles
    yield from verdict(
        "P22",
        where,
        (
            failed(
                "P22",
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


def row_security_off(facts: ServerFacts, _context: Context) -> Iterator[Finding]:
    """P23: row_security is off for a role or a database: queries fail instead of being filtered, and dumps differ."""
    where = place(facts)
    if isinstance(facts.row_security_off, Unread):
        yield unread("P23", where, facts.row_security_off)
        return
    yield from verdict(
        "P23",
        where,
        (failed("P23", object_id(where, name), f"row_security is off for {name}") for name in facts.row_security_off),
        "row_security is on for everybody",
    )


DATABASE: Judges[DatabaseFacts] = {
    "P11": rls_off,
    "P12": rls_not_forced,
    "P13": rls_no_policy,
    "P14": policy_rls_off,
    "P15": policy_true,
    "P16": policy_no_tenant_ref,
    "P17": policy_guc_missing_ok,
    "P18": view_definer,
    "P19": matview_over_rls,
    "P20": secdef_search_path,
    "P21": secdef_public_exec,
}
SERVER: Judges[ServerFacts] = {"P22": bypassrls_login, "P23": row_security_off}
