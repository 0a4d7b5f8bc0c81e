"""What the catalogues say of security: who reaches whose objects, row security and what goes round it, roles, settings.

Read in one round trip on the back of an allowed visit (rule R9). The server counts, and names up to 20 objects of each
group: a database in order costs a few hundred bytes. Access control lists are exploded once, instead of asking for each
pair of role and object. Nothing here is judged: that is done by `exporter.posture.domain`, without a connection.
Source: the system catalogues; works with pg_monitor and no other right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector, Status
from collectors.metric import Families
from collectors.postgres import query

NAME = "security"
GRANTS = (
    "xtenant_grant", "xtenant_latent", "xtenant_member", "xtenant_owner", "shared_schema_create", "public_table_grant",
    "public_table_latent", "default_acl_public", "db_public_connect",
)  # fmt: skip
TABLES = (
    "rls_off", "rls_off_latent", "rls_not_forced", "rls_no_policy", "policy_rls_off", "policy_rls_off_latent",
    "view_definer", "view_definer_latent", "matview_over_rls", "matview_over_rls_latent", "agent_reads",
)  # fmt: skip
POLICIES = ("policy_true", "policy_true_read", "policy_no_tenant_ref", "policy_guc_missing_ok")
CODE = (
    "xtenant_fk_view", "secdef_search_path", "secdef_search_path_latent", "secdef_temp_path", "secdef_public_exec",
    "secdef_public_latent", "definers", "publication_all", "publications", "personal", "unmasked", "sealed", "unsealed",
)  # fmt: skip
PUBLISHED = ("cdc_no_pk", "publication_crossing", "published")
CHECKS = (*GRANTS, *TABLES, *POLICIES, *CODE, *PUBLISHED)
"""Every check that a scan of a database answers. ``_latent``: half of what a leak needs is there."""
_WHEN_QUIET = frozenset({*POLICIES, *PUBLISHED})
"""What takes a lock to read, and so is left out while somebody else wants a table for himself."""
BUSY = (Status.NO_DATA, "a table is, or is about to be, locked exclusively; what was known stays")


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
class GroupFound:
    """Objects of one check, counted; ``objects`` names up to 20 of the ``count``."""

    tenant: str
    other: str
    count: int
    objects: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why a part is not there."""

    status: Status
    why: str


@dataclass(frozen=True, slots=True)
class ExtensionFound:
    """An installed extension; ``newest`` is empty when the server no longer has its files."""

    name: str
    version: str
    newest: str
    schema: str
    open: bool
    """Everybody may create objects in its schema."""


@dataclass(frozen=True, slots=True)
class RoleFound:
    """A login role, or one with an attribute. ``valid_until`` in unix seconds, None: for ever."""

    name: str
    login: bool
    attributes: tuple[str, ...]
    borrowed: tuple[str, ...]
    """Attributes of the roles that it can become."""
    acts_as_neon_superuser: bool
    predefined: tuple[str, ...]
    valid_until: float | None
    connections: int
    seen: bool | None
    """True: has a session now. That it has none now says nothing, so it is None and never False."""


@dataclass(frozen=True, slots=True)
class ServerFound:
    """The same for every database of a server."""

    settings: Mapping[str, str]
    row_security_off: tuple[str, ...]
    slots: Mapping[str, Mapping[str, Any]]
    sessions: int
    sessions_plain: int
    agent: str
    agent_attributes: tuple[str, ...]
    agent_memberships: tuple[str, ...]
    platform: str


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """What one scan told. ``checks`` has an entry for each of :data:`CHECKS`: groups, or why nothing is known."""

    datname: str
    taken_at: float
    checks: Mapping[str, tuple[GroupFound, ...] | NotRead]
    tables: int
    tenant_tables: int
    tenants_told: bool
    extensions: tuple[ExtensionFound, ...] | NotRead
    roles: tuple[RoleFound, ...] | NotRead
    roles_unnamed: int
    server: ServerFound | NotRead


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
        """:class:`SecurityFacts`; a part that failed is a :class:`NotRead` in it, never an empty answer.

        Raises:
            NoDataError: nothing at all was answered.
        """
        if not results.keys() - {"prepare"}:
            raise NoDataError("no part of the security scan was answered")
        checks: dict[str, tuple[GroupFound, ...] | NotRead] = {}
        counts = {part: _checks(checks, results.get(part), names) for part, names in _PARTS.items()}
        if self.tenants is None:
            untold = NotRead(Status.NO_DATA, "which schema and role is whose is learnt on the first visit")
            checks.update(dict.fromkeys(("xtenant_grant", "xtenant_latent", "xtenant_member", "xtenant_owner",
                                         "xtenant_fk_view"), untold))  # fmt: skip
        tables, tenant_tables = counts["tables"]
        roles, unnamed = _roles(results.get("roles"), asked=self.cluster)
        facts = SecurityFacts(
            datname=self.datname,
            taken_at=epoch.server_clock,
            checks=checks,
            tables=tables,
            tenant_tables=tenant_tables,
            tenants_told=self.tenants is not None and bool(self.tenants.schemas or self.tenants.roles),
            extensions=_extensions(results.get("extensions")),
            roles=roles,
            roles_unnamed=unnamed,
            server=_server(results.get("server"), asked=self.cluster),
        )
        return Reading(Families(), sum(len(result.rows) for result in results.values()), facts)


_PARTS = {"grants": GRANTS, "tables": (*TABLES, *POLICIES), "code": (*CODE, *PUBLISHED)}


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
    into: dict[str, tuple[GroupFound, ...] | NotRead], result: Result | None, names: Sequence[str]
) -> tuple[int, int]:
    """Fill the checks of one query; returns the two counts of its state row."""
    rows = list(query.records(result))
    state = next((row for row in rows if row["chk"] == "state"), None)
    if state is None:
        into.update(dict.fromkeys(names, NotRead(Status.TIMEOUT, "this part of the scan failed or was not reached")))
        return 0, 0
    if state["other"] == "unprepared":
        into.update(
            dict.fromkeys(names, NotRead(Status.NO_DATA, "an earlier part failed, and took the settings along"))
        )
        return 0, 0
    for name in names:
        if state["other"] == "busy" and name in _WHEN_QUIET:
            into[name] = NotRead(*BUSY)
        else:
            into[name] = tuple(_group(row) for row in rows if row["chk"] == name)
    return int(state["count"]), int(state["detail"] or 0)


def _group(row: Mapping[str, Any]) -> GroupFound:
    return GroupFound(row["tenant"], row["other"], int(row["count"]), tuple(row["objects"]), row["detail"] or "")


def _extensions(result: Result | None) -> tuple[ExtensionFound, ...] | NotRead:
    if result is None:
        return NotRead(Status.TIMEOUT, "the list of extensions failed or was not reached")
    return tuple(ExtensionFound(**row) for row in query.records(result))


def _roles(result: Result | None, *, asked: bool) -> tuple[tuple[RoleFound, ...] | NotRead, int]:
    if result is None:
        return _missing("the list of roles", asked=asked), 0
    rows = list(query.records(result))
    found = tuple(
        RoleFound(
            row["name"], row["login"], tuple(row["attributes"]), tuple(row["borrowed"]), row["acts_as_neon"],
            tuple(row["predefined"]), row["valid_until"], int(row["connections"]), row["seen"] or None,
        )
        for row in rows
    )  # fmt: skip
    return found, (int(rows[0]["roles"]) - len(rows) if rows else 0)


def _server(result: Result | None, *, asked: bool) -> ServerFound | NotRead:
    if result is None:
        return _missing("the server's settings", asked=asked)
    kinds: dict[str, dict[str, str]] = {}
    for row in query.records(result):
        kinds.setdefault(row["kind"], {})[row["name"]] = row["value"]
    agent, told = next((name, json.loads(text)) for name, text in kinds["agent"].items())
    sessions = json.loads(kinds["sessions"][""])
    return ServerFound(
        settings=kinds.get("setting", {}),
        row_security_off=tuple(sorted(kinds.get("row_security_off", ()))),
        slots={name: json.loads(text) for name, text in kinds.get("slot", {}).items()},
        sessions=int(sessions["all"]),
        sessions_plain=int(sessions["plain"]),
        agent=agent,
        agent_attributes=tuple(name for name, has in sorted(told["attributes"].items()) if has),
        agent_memberships=tuple(told["memberships"] or ()),
        platform=kinds["platform"][""],
    )


def _missing(what: str, *, asked: bool) -> NotRead:
    return (
        NotRead(Status.TIMEOUT, f"{what} failed or was not reached")
        if asked
        else NotRead(Status.NO_DATA, "read in another database of this server")
    )
