"""Roles and their passwords (P24-P31), and what neonmeter's own role may do (P50): more than needed is a way in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from collectors.neon.domain.security import Access, ApiRole, BranchFacts, ComputeFacts, ProjectFacts
from collectors.postgres.domain.security import AgentRole, Role, ServerFacts
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.policy import DAY, listed
from exporter.posture.domain.rule import (
    Context,
    Part,
    RuleResult,
    absent,
    control_over,
    database_control,
    days,
    failed,
    passed,
    place,
    unclear,
    verdict,
)

_ATTRIBUTES = ("superuser", "createrole", "createdb", "replication")
RoleCheck = Callable[[Role, Context], str]


def _role_control(id_: str, otherwise: str) -> Callable[[RoleCheck], RoleCheck]:
    """Register a rule over every role of a server that says what is wrong with one, or nothing.

    ``otherwise`` is the evidence where it says nothing of any; ``{policy}`` in it is the `Policy`.
    """

    def register(says: RoleCheck) -> RoleCheck:
        @control_over(id_, ServerFacts, lambda facts: facts.roles)
        def check(facts: ServerFacts, roles: tuple[Role, ...], context: Context) -> Iterator[RuleResult]:
            where = place(facts)
            found = (
                failed(object_id(where, role.name), f"{role.name} {text}", tenant=role.tenant)
                for role in roles
                if (text := says(role, context))
            )
            yield from verdict(where, found, otherwise.format(policy=context.policy))
            if facts.roles_unnamed:
                yield unclear(object_id(where, "more"), f"{facts.roles_unnamed} more roles were not sent")

        return says

    return register


@_role_control("P24", "attributes are with the roles of the list")
def privileged_roles(role: Role, context: Context) -> str:
    """A role outside the list is superuser or has CREATEROLE, CREATEDB or REPLICATION, or can SET ROLE to it."""
    if listed(role.name, context.policy.privileged_roles) and not role.tenant:
        return ""
    allowed = {"replication"} if listed(role.name, context.policy.replication_roles) else set()
    own = [attribute for attribute in _ATTRIBUTES if attribute in role.attributes and attribute not in allowed]
    borrowed = [
        attribute for attribute in _ATTRIBUTES if attribute in role.borrowed and attribute not in (*own, *allowed)
    ]
    parts = [f"has {', '.join(own)}"] if own else []
    parts += [f"has {', '.join(borrowed)} by SET ROLE"] if borrowed and role.login else []
    return " and ".join(parts)


@_role_control("P25", "predefined roles are with the roles of the list")
def predefined_roles(role: Role, context: Context) -> str:
    """A role outside the list reads or writes all data, or reaches files, programs or other sessions."""
    allowed = listed(role.name, context.policy.privileged_roles) and not role.tenant
    return "" if allowed or not role.predefined else f"can act as {', '.join(role.predefined)}"


@_role_control("P26", "every password has its day")
def no_expiry(role: Role, _context: Context) -> str:
    """A login's password is valid for ever."""
    return "logs in with a password that never expires" if role.login and role.valid_until is None else ""


@_role_control("P27", "no password ends within {policy.role_expires_days} d")
def expires_soon(role: Role, context: Context) -> str:
    """A password has expired, or will within days."""
    soon = context.policy.role_expires_days * DAY
    if not role.login or role.valid_until is None or role.valid_until - context.now >= soon:
        return ""
    left = role.valid_until - context.now
    return f"has a password that ends in {days(left)}" if left > 0 else f"has a password that ended {days(-left)} ago"


@_role_control("P28", "every login has a connection limit")
def no_conn_limit(role: Role, context: Context) -> str:
    """A login may take all connections of the server."""
    allowed = listed(role.name, context.policy.privileged_roles)
    return "" if not role.login or role.connections >= 0 or allowed else "has no connection limit"


@control_over("P29", BranchFacts, lambda facts: facts.roles)
def password_age(facts: BranchFacts, roles: tuple[ApiRole, ...], context: Context) -> Iterator[RuleResult]:
    """Neon says that a role was last changed long ago: the nearest there is to the age of its password."""
    where = object_id(facts.project_id, facts.id)
    most = context.policy.password_age_days * DAY
    logins = [role for role in roles if not role.protected and not role.no_login]
    if not logins:
        yield absent(where, "no role of this branch logs in with a password")
        return
    dated = [role for role in logins if role.updated_at is not None]
    for role in logins:
        if role.updated_at is None:
            yield unclear(object_id(where, role.name), f"Neon does not say when {role.name} was changed")
    found = (
        failed(object_id(where, role.name), f"{role.name} was last changed {days(context.now - at)} ago")
        for role in dated
        if (at := role.updated_at) is not None and context.now - at > most
    )
    if dated:
        yield from verdict(where, found, f"every role was changed within {context.policy.password_age_days} d")


@control_over("P30", ServerFacts, lambda facts: facts.roles)
def role_unused(facts: ServerFacts, roles: tuple[Role, ...], context: Context) -> Iterator[RuleResult]:
    """A tenant's login was not seen for long. One look never says so: who watched that long has to tell it."""
    where = place(facts)
    tenants = [role for role in roles if role.tenant and role.login]
    if not tenants:
        yield absent(where, "no role here is a tenant's")
        return
    text = f"was not seen for {context.policy.role_unused_days} d"
    for role in tenants:
        path = object_id(where, role.name)
        if role.seen is False:
            yield failed(path, f"{role.name} {text}", tenant=role.tenant)
        elif role.seen:
            yield passed(path, f"{role.name} is used", role.tenant)
        else:
            yield unclear(path, f"{role.name} was not watched for {context.policy.role_unused_days} d yet")


@control_over("P31", BranchFacts, lambda facts: facts.computes)
def passwordless(facts: BranchFacts, computes: tuple[ComputeFacts, ...], _context: Context) -> Iterator[RuleResult]:
    """A compute lets people in without a password."""
    where = object_id(facts.project_id, facts.id)
    if not computes:
        yield absent(where, "no compute")
    else:
        open_ = [compute.id for compute in computes if compute.passwordless]
        found = (failed(object_id(where, name), f"{name} allows access without a password") for name in open_)
        yield from verdict(where, found, "every compute asks for a password")


@control_over("P31", ProjectFacts, lambda facts: facts.access)
def store_passwords(facts: ProjectFacts, access: Access, _context: Context) -> Iterator[RuleResult]:
    """Neon keeps the passwords of the project's roles in a form that it can show."""
    if access.store_passwords is None:
        yield unclear(facts.id, "Neon does not say whether it stores passwords")
    else:
        found = [failed(facts.id, "Neon stores the passwords of this project")] * access.store_passwords
        yield from verdict(facts.id, found, "Neon does not store passwords")


NEEDED = frozenset({"pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"})
"""pg_monitor and what it brings."""


@control_over("P50", ServerFacts, lambda facts: facts.agent)
def agent_role(facts: ServerFacts, agent: AgentRole, _context: Context) -> Iterator[RuleResult]:
    """Our role is superuser, goes round row security, or is a member of more than pg_monitor."""
    where = place(facts)
    path = object_id(where, agent.name)
    found = [
        failed(path, f"neonmeter logs in as {agent.name}, which has {attribute}") for attribute in agent.attributes
    ]
    more = [name for name in agent.memberships if name not in NEEDED]
    found += [failed(object_id(path, name), f"{agent.name} is a member of {name}") for name in more]
    yield from verdict(where, found, f"{agent.name} has no more than pg_monitor")


# Our role may read rows of a tenant's tables.
database_control(
    "P50",
    Part("agent_reads", "neonmeter's own role may read it"),
    otherwise="neonmeter may not read a tenant's rows",
)
