"""What the catalogues of a server say that security depends on: plain data, as it is read, stored and evaluated.

Everything has a default of "not asked", so whoever knows only a part fills only that. Instants are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import NOT_ASKED, Known, Unread


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one kind of problem, counted on the server. ``objects`` names up to 20 of the ``count``."""

    tenant: str
    """Whose data is at risk; empty in what is shared."""
    other: str
    """Who could reach it: a role or ``PUBLIC``; empty when it is anybody."""
    count: int
    objects: tuple[str, ...]
    detail: str = ""
    """Privileges, or what else the server says of all of them."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An installed extension."""

    name: str
    version: str
    newest: str
    """pg_available_extensions.default_version; empty when the server no longer has it."""
    schema: str
    open: bool = False
    """Everybody may create objects in its schema."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """One user database, as read inside of it."""

    project_id: str
    branch_id: str
    datname: str
    checks: Known[Mapping[str, Known[tuple[Group, ...]]]] = NOT_ASKED
    """By the names in ``collectors.postgres.database.security.CHECKS``: what was found; an empty tuple is none."""
    extensions: Known[tuple[Extension, ...]] = NOT_ASKED
    tables: int = 0
    """User tables."""
    tenant_tables: int = 0
    """User tables with a tenant column."""
    tenants_told: bool = False
    """The scan was told which schema and which role is whose."""
    taken_at: float = 0.0
    platform: str = "postgres"
    """``neon`` where the server has a role neon_superuser."""
    nonproduction: bool = False

    def check(self, name: str) -> Known[tuple[Group, ...]]:
        """The groups that one check found, or why it was not read."""
        return self.checks if isinstance(self.checks, Unread) else self.checks.get(name, NOT_ASKED)


@dataclass(frozen=True, slots=True)
class Role:
    """One role of the server (pg_roles; those named ``pg_*`` are not among them)."""

    name: str
    login: bool = True
    attributes: tuple[str, ...] = ()
    """Its own of: superuser, createrole, createdb, replication, bypassrls."""
    borrowed: tuple[str, ...] = ()
    """The same of the roles that it can SET ROLE to."""
    acts_as_neon_superuser: bool = False
    predefined: tuple[str, ...] = ()
    """Predefined roles that it can use or become."""
    valid_until: float | None = None
    """None: for ever."""
    connections: int = -1
    """rolconnlimit; -1 is without limit."""
    tenant: str = ""
    seen: bool | None = None
    """Used within ``Policy.role_unused_days``; None: nobody watched that long yet."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot (pg_replication_slots)."""

    name: str
    kind: str = "logical"
    active: bool = False
    wal_status: str = ""
    inactive_since: float | None = None
    invalid: str = ""
    """Why it was invalidated; empty: it was not."""


@dataclass(frozen=True, slots=True)
class AgentRole:
    """The role that neonmeter is logged in as."""

    name: str
    attributes: tuple[str, ...] = ()
    """Its own and those of roles that it can become, and ``neon_superuser``."""
    memberships: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One compute's Postgres, as read in any of its databases."""

    project_id: str
    branch_id: str
    version_num: Known[int] = NOT_ASKED
    settings: Known[Mapping[str, str]] = NOT_ASKED
    """Of pg_settings: what the controls on logging, TLS and passwords read."""
    roles: Known[tuple[Role, ...]] = NOT_ASKED
    roles_unnamed: int = 0
    """Roles beyond the most that are sent."""
    row_security_off: Known[tuple[str, ...]] = NOT_ASKED
    """``role@database`` of pg_db_role_setting where row_security is off."""
    slots: Known[tuple[Slot, ...]] = NOT_ASKED
    agent: Known[AgentRole] = NOT_ASKED
    sessions: Known[int] = NOT_ASKED
    """Sessions from another machine."""
    sessions_plain: int = 0
    """Sessions from another machine without TLS."""
    server_clock: float = 0.0
    platform: str = "postgres"


@dataclass(frozen=True, slots=True)
class TenantNames:
    """The names in one database that tenant rules are asked about."""

    schemas: Mapping[str, str]
    """With the owner of each."""
    roles: tuple[str, ...]
