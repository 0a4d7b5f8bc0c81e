"""Roles and their passwords (P24-P31), and what neonmeter's own role may do (P50): more than needed is a way in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from collectors.base import Unread
from collectors.neon.domain.security import BranchFacts, ProjectFacts
from collectors.postgres.domain.security import DatabaseFacts, Role, ServerFacts
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.policy import DAY, listed
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    days,
    failed,
    of_groups,
    passed,
    place,
    sentence,
    unclear,
    unread,
    verdict,
)

_ATTRIBUTES = ("superuser", "createrole", "createdb", "replication")


def _of_roles(facts: ServerFacts, says: Callable[[Role], str], otherwise: str) -> Iterator[RuleResult]:
    """A failure for each role of which there is something to say."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread(where, facts.roles)
        return
    found = (
        failed(object_id(where, role.name), f"{role.name} {text}", tenant=role.tenant)
        for role in facts.roles
        if (text := says(role))
    )
    yield from verdict(where, found, otherwise)
    if facts.roles_unnamed:
        yield unclear(object_id(where, "more"), f"{facts.roles_unnamed} more roles were not sent")


@control("P24", ServerFacts)
def privileged_roles(facts: ServerFacts, context: Context) -> Iterable[RuleResult]:
    """A role outside the list is superuser or has CREATEROLE, CREATEDB or REPLICATION, or can SET ROLE to it."""

    def says(role: Role) -> str:
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

    return _of_roles(facts, says, "attributes are with the roles of the list")


@control("P25", ServerFacts)
def predefined_roles(facts: ServerFacts, context: Context) -> Iterable[RuleResult]:
    """A role outside the list reads or writes all data, or reaches files, programs or other sessions."""

    def says(role: Role) -> str:
        allowed = listed(role.name, context.policy.privileged_roles) and not role.tenant
        return "" if allowed or not role.predefined else f"can act as {', '.join(role.predefined)}"

    return _of_roles(facts, says, "predefined roles are with the roles of the list")


@control("P26", ServerFacts)
def no_expiry(facts: ServerFacts, _context: Context) -> Iterable[RuleResult]:
    """A login's password is valid for ever."""
    says: Callable[[Role], str] = lambda role: (  # noqa: E731 - a sentence
        "logs in with a password that never expires" if role.login and role.valid_until is None else ""
    )
    return _of_roles(facts, says, "every password has its day")


@control("P27", ServerFacts)
def expires_soon(facts: ServerFacts, context: Context) -> Iterable[RuleResult]:
    """A password has expired, or will within days."""
    soon = context.policy.role_expires_days * DAY

    def says(role: Role) -> str:
        if not role.login or role.valid_until is None or role.valid_until - context.now >= soon:
            return ""
        left = role.valid_until - context.now
        return (
            f"has a password that ends in {days(left)}" if left > 0 else f"has a password that ended {days(-left)} ago"
        )

    return _of_roles(facts, says, f"no password ends within {context.policy.role_expires_days} d")


@control("P28", ServerFacts)
def no_conn_limit(facts: ServerFacts, context: Context) -> Iterable[RuleResult]:
    """A login may take all connections of the server."""

    def says(role: Role) -> str:
        allowed = listed(role.name, context.policy.privileged_roles)
        return "" if not role.login or role.connections >= 0 or allowed else "has no connection limit"

    return _of_roles(facts, says, "every login has a connection limit")


@control("P29", BranchFacts)
def password_age(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """Neon says that a role was last changed long ago: the nearest there is to the age of its password."""
    where = object_id(facts.project_id, facts.id)
    if isinstance(facts.roles, Unread):
        yield unread(where, facts.roles)
        return
    most = context.policy.password_age_days * DAY
    logins = [role for role in facts.roles if not role.protected and not role.no_login]
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


@control("P30", ServerFacts)
def role_unused(facts: ServerFacts, context: Context) -> Iterator[RuleResult]:
    """A tenant's login was not seen for long. One look never says so: who watched that long has to tell it."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread(where, facts.roles)
        return
    tenants = [role for role in facts.roles if role.tenant and role.login]
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


@control("P31", BranchFacts)
def passwordless(facts: BranchFacts, _context: Context) -> Iterator[RuleResult]:
    """A compute lets people in without a password."""
    where = object_id(facts.project_id, facts.id)
    if isinstance(facts.computes, Unread):
        yield unread(where, facts.computes)
    elif not facts.computes:
        yield absent(where, "no compute")
    else:
        open_ = [compute.id for compute in facts.computes if compute.passwordless]
        found = (failed(object_id(where, name), f"{name} allows access without a password") for name in open_)
        yield from verdict(where, found, "every compute asks for a password")


@control("P31", ProjectFacts)
def store_passwords(facts: ProjectFacts, _context: Context) -> Iterator[RuleResult]:
    """Neon keeps the passwords of the project's roles in a form that it can show."""
    if isinstance(facts.access, Unread):
        yield unread(facts.id, facts.access)
    elif facts.access.store_passwords is None:
        yield unclear(facts.id, "Neon does not say whether it stores passwords")
    else:
        found = [failed(facts.id, "Neon stores the passwords of this project")] * facts.access.store_passwords
        yield from verdict(facts.id, found, "Neon does not store passwords")


NEEDED = frozenset({"pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"})
"""pg_monitor and what it brings."""


@control("P50", ServerFacts)
def agent_role(facts: ServerFacts, _context: Context) -> Iterator[RuleResult]:
    """Our role is superuser, goes round row security, or is a member of more than pg_monitor."""
    where = place(facts)
    if isinstance(facts.agent, Unread):
        yield unread(where, facts.agent)
        return
    agent = facts.agent
    path = object_id(where, agent.name)
    found = [
        failed(path, f"neonmeter logs in as {agent.name}, which has {attribute}") for attribute in agent.attributes
    ]
    more = [name for name in agent.memberships if name not in NEEDED]
    found += [failed(object_id(path, name), f"{agent.name} is a member of {name}") for name in more]
    yield from verdict(where, found, f"{agent.name} has no more than pg_monitor")


@control("P50", DatabaseFacts)
def agent_reads(facts: DatabaseFacts, _context: Context) -> Iterator[RuleResult]:
    """Our role may read rows of a tenant's tables."""
    return of_groups(
        place(facts),
        facts.check("agent_reads"),
        says=sentence("neonmeter's own role may read it"),
        otherwise="neonmeter may not read a tenant's rows",
    )
