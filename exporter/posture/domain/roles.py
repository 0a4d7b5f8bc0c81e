"""Roles and their passwords (P24-P31)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from exporter.posture.domain.facts import Role, ServerFacts
from exporter.posture.domain.facts_platform import BranchFacts, ProjectFacts
from exporter.posture.domain.finding import Finding, Unread, object_id
from exporter.posture.domain.judging import (
    Context,
    Judges,
    absent,
    days,
    failed,
    passed,
    place,
    unclear,
    unread,
    verdict,
)
from exporter.posture.domain.policy import DAY, listed

_ATTRIBUTES = ("superuser", "createrole", "createdb", "replication")


def _of_roles(control: str, facts: ServerFacts, says: Callable[[Role], str], otherwise: str) -> Iterator[Finding]:
    """A failure for each role of which there is something to say."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread(control, where, facts.roles)
        return
    found = (
        failed(control, object_id(where, role.name), f"{role.name} {text}", tenant=role.tenant)
        for role in facts.roles
        if (text := says(role))
    )
    yield from verdict(control, where, found, otherwise)
    if facts.roles_unnamed:
        yield unclear(control, object_id(where, "more"), f"{facts.roles_unnamed} more roles were not sent")


def privileged_roles(facts: ServerFacts, context: Context) -> Iterable[Finding]:
    """P24: a role outside the list is superuser or has CREATEROLE, CREATEDB or REPLICATION, or can SET ROLE to it."""

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

    return _of_roles("P24", facts, says, "attributes are with the roles of the list")


def predefined_roles(facts: ServerFacts, context: Context) -> Iterable[Finding]:
    """P25: a role outside the list reads or writes all data, or reaches files, programs or other sessions."""

    def says(role: Role) -> str:
        allowed = listed(role.name, context.policy.privileged_roles) and not role.tenant
        return "" if allowed or not role.predefined else f"can act as {', '.join(role.predefined)}"

    return _of_roles("P25", facts, says, "predefined roles are with the roles of the list")


def no_expiry(facts: ServerFacts, _context: Context) -> Iterable[Finding]:
    """P26: a login's password is valid for ever."""
    says: Callable[[Role], str] = lambda role: (  # noqa: E731 - a sentence
        "logs in with a password that never expires" if role.login and role.valid_until is None else ""
    )
    return _of_roles("P26", facts, says, "every password has its day")


def expires_soon(facts: ServerFacts, context: Context) -> Iterable[Finding]:
    """P27: a password has expired, or will within days."""
    soon = context.policy.role_expires_days * DAY

    def says(role: Role) -> str:
        if not role.login or role.valid_until is None or role.valid_until - context.now >= soon:
            return ""
        left = role.valid_until - context.now
        return (
            f"has a password that ends in {days(left)}" if left > 0 else f"has a password that ended {days(-left)} ago"
        )

    return _of_roles("P27", facts, says, f"no password ends within {context.policy.role_expires_days} d")


def no_conn_limit(facts: ServerFacts, context: Context) -> Iterable[Finding]:
    """P28: a login may take all connections of the server."""

    def says(role: Role) -> str:
        allowed = listed(role.name, context.policy.privileged_roles)
        return "" if not role.login or role.connections >= 0 or allowed else "has no connection limit"

    return _of_roles("P28", facts, says, "every login has a connection limit")


def password_age(facts: BranchFacts, context: Context) -> Iterator[Finding]:
    """P29: Neon says that a role was last changed long ago: the nearest there is to the age of its password."""
    where = object_id(facts.project_id, facts.id)
    if isinstance(facts.roles, Unread):
        yield unread("P29", where, facts.roles)
        return
    most = context.policy.password_age_days * DAY
    judged = [role for role in facts.roles if not role.protected and not role.no_login]
    if not judged:
        yield absent("P29", where, "no role of this branch logs in with a password")
        return
    dated = [role for role in judged if role.updated_at is not None]
    for role in judged:
        if role.updated_at is None:
            yield unclear("P29", object_id(where, role.name), f"Neon does not say when {role.name} was changed")
    found = (
        failed("P29", object_id(where, role.name), f"{role.name} was last changed {days(context.now - at)} ago")
        for role in dated
        if (at := role.updated_at) is not None and context.now - at > most
    )
    if dated:
        yield from verdict("P29", where, found, f"every role was changed within {context.policy.password_age_days} d")


def role_unused(facts: ServerFacts, context: Context) -> Iterator[Finding]:
    """P30: a tenant's login was not seen for long. One look never says so: who watched that long has to tell it."""
    where = place(facts)
    if isinstance(facts.roles, Unread):
        yield unread("P30", where, facts.roles)
        return
    tenants = [role for role in facts.roles if role.tenant and role.login]
    if not tenants:
        yield absent("P30", where, "no role here is a tenant's")
        return
    text = f"was not seen for {context.policy.role_unused_days} d"
    for role in tenants:
        path = object_id(where, role.name)
        if role.seen is False:
            yield failed("P30", path, f"{role.name} {text}", tenant=role.tenant)
        elif role.seen:
            yield passed("P30", path, f"{role.name} is used", role.tenant)
        else:
            yield unclear("P30", path, f"{role.name} was not watched for {context.policy.role_unused_days} d yet")


def passwordless(facts: BranchFacts, _context: Context) -> Iterator[Finding]:
    """P31: a compute lets people in without a password."""
    where = object_id(facts.project_id, facts.id)
    if isinstance(facts.computes, Unread):
        yield unread("P31", where, facts.computes)
    elif not facts.computes:
        yield absent("P31", where, "no compute")
    else:
        open_ = [compute.id for compute in facts.computes if compute.passwordless]
        found = (failed("P31", object_id(where, name), f"{name} allows access without a password") for name in open_)
        yield from verdict("P31", where, found, "every compute asks for a password")


def store_passwords(facts: ProjectFacts, _context: Context) -> Iterator[Finding]:
    """P31: Neon keeps the passwords of the project's roles in a form that it can show."""
    if isinstance(facts.access, Unread):
        yield unread("P31", facts.id, facts.access)
    elif facts.access.store_passwords is None:
        yield unclear("P31", facts.id, "Neon does not say whether it stores passwords")
    else:
        found = [failed("P31", facts.id, "Neon stores the passwords of this project")] * facts.access.store_passwords
        yield from verdict("P31", facts.id, found, "Neon does not store passwords")


SERVER: Judges[ServerFacts] = {
    "P24": privileged_roles,
    "P25": predefined_roles,
    "P26": no_expiry,
    "P27": expires_soon,
    "P28": no_conn_limit,
    "P30": role_unused,
}
BRANCH: Judges[BranchFacts] = {"P29": password_age, "P31": passwordless}
PROJECT: Judges[ProjectFacts] = {"P31": store_passwords}
