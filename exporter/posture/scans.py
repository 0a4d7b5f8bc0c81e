"""From what a scan of a database told to the facts that are judged. What could not be read says why; it is never empty.

A part that was not told this time keeps what it told before: a lock in the way is no news.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collectors.base import Status
from collectors.postgres.database.security import GroupFound, NotRead, RoleFound, SecurityFacts, ServerFound
from exporter.posture.domain.facts import AgentRole, DatabaseFacts, Extension, Group, Role, ServerFacts, Slot
from exporter.posture.domain.finding import Known, Unread
from exporter.sampling.computes import DatabaseRef

_NO_VERSION = Unread(Status.NO_PRIVILEGE, "server_version_num was not among the settings")


def database_facts(key: DatabaseRef, found: SecurityFacts, before: DatabaseFacts | None) -> DatabaseFacts:
    """One database."""
    checks = {name: _groups(row) for name, row in found.checks.items()}
    if before is not None and not isinstance(before.checks, Unread):
        kept = before.checks
        checks = {name: kept.get(name, row) if isinstance(row, Unread) else row for name, row in checks.items()}
    extensions: Known[tuple[Extension, ...]]
    if isinstance(found.extensions, NotRead):
        extensions = before.extensions if before is not None else _unread(found.extensions)
    else:
        extensions = tuple(
            Extension(extension.name, extension.version, extension.newest, extension.schema, extension.open)
            for extension in found.extensions
        )
    return DatabaseFacts(
        project_id=key.project_id,
        branch_id=key.branch_id,
        datname=key.datname,
        checks=checks,
        extensions=extensions,
        tables=found.tables,
        tenant_tables=found.tenant_tables,
        tenants_told=found.tenants_told,
        taken_at=found.taken_at,
        platform=found.server.platform if isinstance(found.server, ServerFound) else _platform(before),
    )


def server_facts(
    key: DatabaseRef, found: SecurityFacts, before: ServerFacts | None, tenant_of: Callable[[str], str]
) -> ServerFacts | None:
    """The server of a database; None when this scan was not asked for it, or could not read it and never did."""
    server = found.server
    if isinstance(server, NotRead):
        return before
    roles: Known[tuple[Role, ...]]
    if isinstance(found.roles, NotRead):
        roles = before.roles if before is not None else _unread(found.roles)
    else:
        roles = tuple(_role(role, tenant_of(role.name)) for role in found.roles)
    return ServerFacts(
        project_id=key.project_id,
        branch_id=key.branch_id,
        version_num=_version(server),
        settings=dict(server.settings),
        roles=roles,
        roles_unnamed=found.roles_unnamed,
        row_security_off=server.row_security_off,
        slots=tuple(_slot(name, told) for name, told in sorted(server.slots.items())),
        agent=AgentRole(server.agent, server.agent_attributes, server.agent_memberships),
        sessions=server.sessions,
        sessions_plain=server.sessions_plain,
        server_clock=found.taken_at,
        platform=server.platform,
    )


def _platform(before: DatabaseFacts | None) -> str:
    return before.platform if before is not None else "postgres"


def _version(server: ServerFound) -> Known[int]:
    told = server.settings.get("server_version_num", "")
    return int(told) if told.isdigit() else _NO_VERSION


def _groups(found: tuple[GroupFound, ...] | NotRead) -> Known[tuple[Group, ...]]:
    if isinstance(found, NotRead):
        return _unread(found)
    return tuple(_group(group_found) for group_found in found)


def _group(found: GroupFound) -> Group:
    return Group(found.tenant, found.other, found.count, found.objects, found.detail)


def _slot(name: str, told: Mapping[str, Any]) -> Slot:
    return Slot(
        name,
        kind=str(told.get("kind") or ""),
        active=bool(told.get("active")),
        wal_status=str(told.get("wal_status") or ""),
        inactive_since=told.get("inactive_since"),
        invalid=str(told.get("invalid") or ""),
    )


def _role(found: RoleFound, tenant: str) -> Role:
    return Role(
        name=found.name,
        login=found.login,
        attributes=found.attributes,
        borrowed=found.borrowed,
        acts_as_neon_superuser=found.acts_as_neon_superuser,
        predefined=found.predefined,
        valid_until=found.valid_until,
        connections=found.connections,
        seen=found.seen,
        tenant=tenant,
    )


def _unread(found: NotRead) -> Unread:
    return Unread(found.status, found.why)
