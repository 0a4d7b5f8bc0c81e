"""What the catalogues say of security: who reaches whose objects, row security and what goes round it, roles, settings.

Read in one round trip on the back of an allowed visit (rule R9). The server counts, and names up to 20 objects of each
group: a database in order costs a few hundred bytes. Access control lists are exploded once, instead of asking for each
pair of role and object. Nothing here is evaluated: that is done by `exporter.posture.domain`, without a connection.
Source: the system catalogues; works with pg_monitor and no other right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from collectors.base import Epoch, Known, NoDataError, Query, Reading, Result, Server, SqlCollector, Status, Unread
from collectors.metric import Families
from collectors.postgres import query
from collectors.postgres.domain.security import (
    AgentRole,
    DatabaseFacts,
    Extension,
    Group,
    Role,
    ServerFacts,
    Slot,
    TenantNames,
)

NAME, NAMES = "security", "tenant_names"
_PARTS = ("grants", "tables", "code")
"""The queries that answer checks; which ones stands in the head of each SQL file."""
_NO_VERSION = Unread(Status.NO_PRIVILEGE, "server_version_num was not among the settings")
BUSY = Unread(Status.NO_DATA, "a table is, or is about to be, locked exclusively; the last result stays")


@cache
def checks_of(part: str) -> Mapping[str, bool]:
    """The checks of one query, and whether each takes a lock to read.

    Those that do are left out while somebody else wants a table for himself.
    """
    head = query.header(f"security_{part}")
    always, quiet = head["checks"].split(), head.get("checks when quiet", "").split()
    return dict.fromkeys(always, False) | dict.fromkeys(quiet, True)


def every_check() -> frozenset[str]:
    """Every check that a scan of a database answers. ``_latent``: half of what a leak needs is there."""
    return frozenset(check for part in _PARTS for check in checks_of(part))


@dataclass(frozen=True, slots=True)
class TenantMap:
    """Which schema and which role is whose: explicit, because guesses by a name's beginning go wrong."""

    schemas: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SecurityScope:
    """What the scan needs of the policy, because it decides on the server what is worth sending."""

    tenant_columns: tuple[str, ...] = ("tenant_id", "org_id", "organization_id", "account_id")
    owners: tuple[str, ...] = ()
    """Roles (globs with ``*``) that may own what is in a tenant's schema, and whose policies bind nobody."""
    encrypted_columns: tuple[str, ...] = ()
    """``schema.table.column`` globs."""
    personal_columns: str = r"(^|_)(email|phone|iban|ssn|tax_id|birth|first_name|last_name|address)($|_)"


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """What one scan read; ids of project and branch are put in by whoever knows where the visit was.

    The database has an entry for each of `every_check`: groups, or why nothing is known.
    """

    database: DatabaseFacts
    server: Known[ServerFacts]


@dataclass(frozen=True, slots=True)
class SecurityCollector(SqlCollector):
    """Scans one user database. ``tenants`` None: not known yet, so nothing is said of tenants."""

    datname: str
    tenants: TenantMap | None = None
    wanted: SecurityScope = SecurityScope()
    cluster: bool = True
    """Also read what is the same in every database of the server: roles, settings, slots."""

    name = NAME
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """What the scan is told, then its parts; the parts say when they were not told."""
        major = server.version_num // 10000
        parts = ("grants", "tables", "code", "extensions", *(("roles", "server") if self.cluster else ()))
        return (
            Query("prepare", prepare_sql(self.tenants, self.wanted)),
            *(Query(part, query.load(f"security_{part}", major)) for part in parts),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """:class:`SecurityFacts`; a part that failed is a :class:`Unread` in it, never an empty answer.

        Raises:
            NoDataError: nothing at all was answered.
        """
        if not results.keys() - {"prepare"}:
            raise NoDataError("no part of the security scan was answered")
        checks: dict[str, Known[tuple[Group, ...]]] = {}
        counts = {part: _checks(checks, results.get(part), checks_of(part)) for part in _PARTS}
        if self.tenants is None:
            untold = Unread(Status.NO_DATA, "the tenants of schemas and roles are known after the first visit")
            checks.update(dict.fromkeys(("xtenant_grant", "xtenant_latent", "xtenant_member", "xtenant_owner",
                                         "xtenant_fk_view"), untold))  # fmt: skip
        tables, tenant_tables = counts["tables"]
        server = _server(results, epoch, asked=self.cluster)
        database = DatabaseFacts(
            "",
            "",
            self.datname,
            checks=checks,
            extensions=_extensions(results.get("extensions")),
            tables=tables,
            tenant_tables=tenant_tables,
            tenants_told=self.tenants is not None and bool(self.tenants.schemas or self.tenants.roles),
            taken_at=epoch.server_clock,
            platform="postgres" if isinstance(server, Unread) else server.platform,
        )
        rows = sum(len(result.rows) for result in results.values())
        return Reading(Families(), rows, SecurityFacts(database, server))


def prepare_sql(tenants: TenantMap | None, wanted: SecurityScope) -> str:
    """Hands over what the scan reads from a setting of its transaction; search_path is emptied, so names are whole."""
    told = {
        "schemas": dict(tenants.schemas) if tenants else {},
        "roles": dict(tenants.roles) if tenants else {},
        "columns": list(wanted.tenant_columns),
        "owners": list(wanted.owners),
        "encrypted": list(wanted.encrypted_columns),
        "personal": wanted.personal_columns,
    }
    values = {"search_path": "", "neonmeter.posture": json.dumps(told)}
    calls = (f"pg_catalog.set_config('{name}', {literal(value)}, true)" for name, value in values.items())
    return "SELECT " + ", ".join(calls)


def literal(value: str) -> str:
    """A text as a string constant, whatever it contains."""
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in value else "'" + quoted + "'"


def _checks(
    into: dict[str, Known[tuple[Group, ...]]], result: Result | None, names: Mapping[str, bool]
) -> tuple[int, int]:
    """Fill the checks of one query; returns the two counts of its state row."""
    rows = list(query.records(result))
    state = next((row for row in rows if row["chk"] == "state"), None)
    if state is None:
        into.update(dict.fromkeys(names, Unread(Status.TIMEOUT, "this part of the scan failed or was not reached")))
        return 0, 0
    if state["other"] == "unprepared":
        into.update(dict.fromkeys(names, Unread(Status.NO_DATA, "an earlier part failed, and with it the settings")))
        return 0, 0
    for name, when_quiet in names.items():
        if state["other"] == "busy" and when_quiet:
            into[name] = BUSY
        else:
            into[name] = tuple(_group(row) for row in rows if row["chk"] == name)
    return int(state["count"]), int(state["detail"] or 0)


def _group(row: Mapping[str, Any]) -> Group:
    return Group(row["tenant"], row["other"], int(row["count"]), tuple(row["objects"]), row["detail"] or "")


def _extensions(result: Result | None) -> Known[tuple[Extension, ...]]:
    if result is None:
        return Unread(Status.TIMEOUT, "the list of extensions failed or was not reached")
    return tuple(Extension(**row) for row in query.records(result))


def _roles(result: Result | None) -> tuple[Known[tuple[Role, ...]], int]:
    """The roles, and how many there are beyond the most that are sent."""
    if result is None:
        return Unread(Status.TIMEOUT, "the list of roles failed or was not reached"), 0
    rows = list(query.records(result))
    found = tuple(
        Role(
            row["name"], row["login"], tuple(row["attributes"]), tuple(row["borrowed"]), row["acts_as_neon"],
            tuple(row["predefined"]), row["valid_until"], int(row["connections"]), seen=row["seen"] or None,
        )
        for row in rows
    )  # fmt: skip
    return found, (int(rows[0]["roles"]) - len(rows) if rows else 0)


def _server(results: Mapping[str, Result], epoch: Epoch, *, asked: bool) -> Known[ServerFacts]:
    if "server" not in results:
        return (
            Unread(Status.TIMEOUT, "the server's settings failed or were not reached")
            if asked
            else Unread(Status.NO_DATA, "read in another database of this server")
        )
    kinds: dict[str, dict[str, str]] = {}
    for row in query.records(results["server"]):
        kinds.setdefault(row["kind"], {})[row["name"]] = row["value"]
    settings = kinds.get("setting", {})
    version = settings.get("server_version_num", "")
    agent, told = next((name, json.loads(text)) for name, text in kinds["agent"].items())
    sessions = json.loads(kinds["sessions"][""])
    roles, unnamed = _roles(results.get("roles"))
    return ServerFacts(
        "",
        "",
        version_num=int(version) if version.isdigit() else _NO_VERSION,
        settings=settings,
        roles=roles,
        roles_unnamed=unnamed,
        row_security_off=tuple(sorted(kinds.get("row_security_off", ()))),
        slots=tuple(_slot(name, json.loads(text)) for name, text in sorted(kinds.get("slot", {}).items())),
        agent=AgentRole(
            agent,
            tuple(name for name, has in sorted(told["attributes"].items()) if has),
            tuple(told["memberships"] or ()),
        ),
        sessions=int(sessions["all"]),
        sessions_plain=int(sessions["plain"]),
        server_clock=epoch.server_clock,
        platform=kinds["platform"][""],
    )


def _slot(name: str, told: Mapping[str, Any]) -> Slot:
    return Slot(
        name,
        kind=str(told.get("kind") or ""),
        active=bool(told.get("active")),
        wal_status=str(told.get("wal_status") or ""),
        inactive_since=told.get("inactive_since"),
        invalid=str(told.get("invalid") or ""),
    )


_SCHEMA_NAMES = """SELECT n.nspname::text AS name, pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'neon', 'neon_migration') ORDER BY 1"""
_ROLE_NAMES = r"""SELECT r.rolname::text AS name FROM pg_catalog.pg_roles AS r
    WHERE r.rolname !~ '^pg_' ORDER BY 1 LIMIT 20000"""


class TenantNamesCollector(SqlCollector):
    """Reads the names of schemas and roles, so that a scan can be told whose each is: two questions without a lock."""

    name = NAMES
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Two lists."""
        del server
        return (Query("schemas", _SCHEMA_NAMES), Query("roles", _ROLE_NAMES))

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """:class:`TenantNames`.

        Raises:
            NoDataError: one of the lists was not answered.
        """
        del epoch
        if results.keys() != {"schemas", "roles"}:
            raise NoDataError("the names of schemas and roles were not answered")
        schemas = {str(row["name"]): str(row["owner"]) for row in query.records(results["schemas"])}
        roles = tuple(str(row["name"]) for row in query.records(results["roles"]))
        return Reading(Families(), len(schemas) + len(roles), TenantNames(schemas, roles))
