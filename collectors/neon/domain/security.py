"""What Neon's API says that security depends on: plain data, as it is read, stored and evaluated.

A field says itself where it is read when that is not its own name: `read` the path of a value within an item, `listed`
the list that a fact holds. `collectors.neon.security` reads by that, so a new fact of an item that is read already is
one field here. Nothing secret has a field: a password, a person's address and who made a key are gone with the parse.

Instants are unix seconds, None is "never" or "not set" as Neon says it; what could not be read is an ``Unread``.
"""

# ruff: noqa: RUF009 - `read` and `listed` make a dataclasses.field, as `field` itself does

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from collectors.base import NOT_ASKED, Known, Status, Unread


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list of the API: where it is below the thing that it hangs on, and what a 404 means."""

    route: str
    key: str
    """Name of the list in the answer."""
    absent: Status = Status.NO_PRIVILEGE
    """``NO_PRIVILEGE``: the key may not see it; ``UNSUPPORTED``: this thing has none."""
    limit: int | None = None
    """Items a page, where Neon's default is small."""


def read(*path: str, default: Any = MISSING, clean: Callable[[str], object] | None = None) -> Any:
    """A field that stands under another name, or deeper; ``clean`` makes its value of the text."""
    return field(default=default, metadata={"path": path, "clean": clean})


def listed(route: str, key: str, absent: Status = Status.NO_PRIVILEGE, *, limit: int | None = None) -> Any:
    """A field that is a list of its own in the API."""
    return field(default=NOT_ASKED, metadata={"list": ListSource(route, key, absent, limit)})


def sources_of(kind: type) -> dict[str, ListSource]:
    """The lists that a kind of facts is read from, by field."""
    return {entry.name: entry.metadata["list"] for entry in dataclasses.fields(kind) if "list" in entry.metadata}


_NEVER = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


def instant(value: object) -> float | None:
    """Unix seconds of an RFC 3339 text. None for what cannot be read or means "never".

    That is Go's zero time, and the first second of 2000, which Neon has for a compute that was never used.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.year < 1971 or moment.year > 9998:
        return None
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None if at == _NEVER else at


def _domain(address: str) -> str:
    return address.rpartition("@")[2].strip().lower()


def _url(text: str) -> str:
    """Without what may be a credential: user, password and query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a person or of an organisation; never the key itself."""

    id: str
    name: str = ""
    created_at: float | None = None
    last_used_at: float | None = None
    last_used_from: str = read("last_used_from_addr", default="")
    project_id: str = ""
    """Empty: it works in every project of the organisation."""
    personal: bool = False
    """Of the person whose key we use: the list that it stands in tells."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an organisation, by id: no address of a person is kept."""

    id: str = read("member", "id")
    role: str = read("member", "role", default="")
    has_mfa: bool | None = read("user", "has_mfa", default=None)
    deactivated: bool = read("user", "deactivated_at", default=False, clean=lambda text: instant(text) is not None)


@dataclass(frozen=True, slots=True)
class OrganizationFacts:
    """API keys and members of an organisation."""

    id: str
    name: str = ""
    keys: Known[tuple[ApiKey, ...]] = NOT_ASKED
    """Its own, and those of the person whose key we use, where it is one."""
    members: Known[tuple[Member, ...]] = listed("members", "members", limit=500)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect to a project's computes, and what Neon records of it (project settings)."""

    allowed_ips: tuple[str, ...] = ()
    protected_branches_only: bool = False
    block_public: bool = False
    store_passwords: bool | None = None
    audit_log_level: str = ""
    hipaa: bool = False


@dataclass(frozen=True, slots=True)
class Permission:
    """A project shared with somebody: the domain of the address only."""

    id: str
    domain: str = read("granted_to_email", clean=_domain)
    granted_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class ProjectMember:
    """A member of the organisation in a project (`ProjectMember` of the API): of the address only its domain."""

    id: str = read("member_id")
    domain: str = read("email", default="", clean=_domain)
    permission: str = read("effective_project_permission", default="")
    """``VIEWER``, ``EDITOR`` or ``ADMIN``; empty where there is none, or the organisation has none by project."""


@dataclass(frozen=True, slots=True)
class Jwks:
    """A key set that may sign in to a project."""

    id: str
    url: str = read("jwks_url", clean=_url)
    provider: str = read("provider_name", default="")


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """What hangs on a project; name, region, window and access come from the list of projects."""

    id: str
    name: str = ""
    org_id: str = ""
    region: str = ""
    access: Known[Access] = NOT_ASKED
    history_seconds: Known[int] = NOT_ASKED
    permissions: Known[tuple[Permission, ...]] = listed("permissions", "project_permissions")
    members: Known[tuple[ProjectMember, ...]] = listed("members", "project_members", Status.UNSUPPORTED)
    jwks: Known[tuple[Jwks, ...]] = listed("jwks", "jwks")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a root branch."""

    id: str
    created_at: float | None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class ProjectSnapshots:
    """The snapshots of a project, by the branch that they are of."""

    by_branch: Known[Mapping[str, tuple[Snapshot, ...]]] = NOT_ASKED

    def of(self, branch_id: str) -> Known[tuple[Snapshot, ...]]:
        """The snapshots of one branch."""
        return self.by_branch if isinstance(self.by_branch, Unread) else self.by_branch.get(branch_id, ())


@dataclass(frozen=True, slots=True)
class ApiRole:
    """A role as Neon's API lists it; ``updated_at`` is the nearest there is to the age of its password."""

    name: str
    updated_at: float | None = None
    protected: bool = False
    no_login: bool = read("authentication_method", default=False, clean=lambda text: text == "no_login")
    """Nobody can log in as it, so it has no password to change."""


@dataclass(frozen=True, slots=True)
class Masking:
    """An anonymised branch: its state, and how far its last run came."""

    state: str
    rules: int | None = None
    masked_columns: int | None = None
    completed_at: float | None = None
    rules_changed_at: float | None = None
    covered: tuple[str, ...] | None = None
    """``schema.table.column`` of the masking rules; None: not told."""


@dataclass(frozen=True, slots=True)
class ComputeFacts:
    """An endpoint."""

    id: str
    read_only: bool = False
    passwordless: bool = False
    replay_lag: float | None = None
    """Seconds, of a replica."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential of a branch for storage, functions or the AI gateway."""

    id: str = read("token_id")
    kind: str = read("principal_type", default="")
    expires_at: float | None = None
    last_used_at: float | None = None
    scopes: tuple[str, ...] = ()
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class BranchFacts:
    """What hangs on a branch; what the inventory tells is put in at every evaluation."""

    project_id: str
    id: str
    name: str = ""
    project_name: str = ""
    parent_id: str = ""
    default: bool = False
    protected: bool = False
    created_at: float | None = None
    expires_at: float | None = None
    last_active: float | None = None
    last_reset_at: float | None = None
    init_source: str = ""
    logical_size: int | None = None
    roles: Known[tuple[ApiRole, ...]] = listed("roles", "roles")
    snapshots: Known[tuple[Snapshot, ...]] = NOT_ASKED
    schedule: Known[tuple[str, ...]] = NOT_ASKED
    """The frequencies of GET .../backup_schedule (``daily``), of root branches."""
    masking: Known[Masking | None] = NOT_ASKED
    """None: a plain branch (404 of .../anonymized_status): its rows are as they were copied."""
    computes: Known[tuple[ComputeFacts, ...]] = NOT_ASKED
    credentials: Known[tuple[Credential, ...]] = listed("credentials", "credentials", Status.UNSUPPORTED)
    personal_columns: Known[tuple[str, ...]] = NOT_ASKED
    """``schema.table.column`` that hold personal data, by name or registry."""


UNMETERED_SERVICES: Mapping[str, str] = {
    "storage": "object storage",
    "functions": "functions",
    "ai_gateway": "the AI gateway",
}
"""By the first part of a credential's scope, a service that the consumption API has no metric for."""


def services_in_use(branches: Iterable[BranchFacts]) -> dict[str, int]:
    """Services without a metric that somebody has used: by name, on how many branches.

    A credential that may use a service, and was used, is the evidence: Neon has no list of what an account uses. One
    for more than one service counts for each, and what was never used for none.
    """
    found: dict[str, int] = {}
    for facts in branches:
        credentials = () if isinstance(facts.credentials, Unread) else facts.credentials
        used = [credential for credential in credentials if credential.last_used_at is not None]
        scopes = {scope.partition(":")[0] for credential in used for scope in credential.scopes}
        for scope, service in UNMETERED_SERVICES.items():
            if scope in scopes or "*" in scopes:
                found[service] = found.get(service, 0) + 1
    return found
