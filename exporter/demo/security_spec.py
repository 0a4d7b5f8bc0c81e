"""The security of a world as its file describes it, and what becomes of that. Ages are days before the world began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from exporter.demo.security import (
    TwinAccess,
    TwinApiKey,
    TwinCredential,
    TwinJwks,
    TwinMasking,
    TwinMember,
    TwinShare,
)

DAY = 86400
_CLOSED = ConfigDict(extra="forbid")
Days = Annotated[float, Field(ge=0, le=3650)]
State = Literal["created", "initialized", "initialization_error", "anonymizing", "anonymized", "error"]


@dataclass(frozen=True, slots=True)
class AccessSpec:
    """A project's settings of access, as the API has them."""

    __pydantic_config__ = _CLOSED
    allowed_ips: list[str] = field(default_factory=list)
    protected_branches_only: bool = False
    block_public: bool = False
    block_vpc: bool = False
    audit_log_level: Literal["base", "extended", "full"] = "base"
    hipaa: bool = False
    store_passwords: bool = True

    def made(self) -> TwinAccess:
        """What the control plane answers from."""
        return TwinAccess(
            list(self.allowed_ips), self.protected_branches_only, self.block_public, self.block_vpc,
            self.audit_log_level, self.hipaa, self.store_passwords,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShareSpec:
    """A share of a project with an address."""

    __pydantic_config__ = _CLOSED
    email: str
    days_ago: Days = 30
    revoked_days_ago: Days | None = None

    def made(self, now: float) -> TwinShare:
        """What the control plane answers from."""
        return TwinShare(self.email, now - self.days_ago * DAY, _before(now, self.revoked_days_ago))


@dataclass(frozen=True, slots=True)
class JwksSpec:
    """A key set of a project."""

    __pydantic_config__ = _CLOSED
    url: str
    provider: str = "Auth0"
    days_ago: Days = 30

    def made(self, now: float) -> TwinJwks:
        """What the control plane answers from."""
        return TwinJwks(self.url, self.provider, now - self.days_ago * DAY)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """An API key of the organisation (of one project when ``project`` names one), or of a person."""

    __pydantic_config__ = _CLOSED
    name: str
    days_ago: Days
    used_days_ago: Days | None = None
    used_from: str = "192.0.2.10"
    project: str | None = None
    personal: bool = False

    def made(self, now: float, project_id: str) -> TwinApiKey:
        """What the control plane answers from."""
        used = _before(now, self.used_days_ago)
        where = self.used_from if used is not None else ""
        return TwinApiKey(self.name, now - self.days_ago * DAY, used, where, project_id, self.personal)


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A member of the organisation."""

    __pydantic_config__ = _CLOSED
    email: str
    role: Literal["admin", "member", "editor", "viewer", "collaborator"] = "member"
    mfa: bool = True
    days_ago: Days = 365
    deactivated_days_ago: Days | None = None

    def made(self, now: float) -> TwinMember:
        """What the control plane answers from."""
        gone = _before(now, self.deactivated_days_ago)
        return TwinMember(self.role, self.email, self.mfa, now - self.days_ago * DAY, gone)


@dataclass(frozen=True, slots=True)
class MaskingSpec:
    """An anonymised branch. ``rules`` are ``schema.table.column: function`` in the branch's database."""

    __pydantic_config__ = _CLOSED
    rules: dict[Annotated[str, Field(pattern=r"^[^.]+\.[^.]+\.[^.]+$")], str]
    state: State = "anonymized"
    masked_columns: int | None = None
    """As many as there are rules, unless said."""
    run_days_ago: Days = 1
    changed_days_ago: Days | None = None
    """When the status was last updated; as the run, unless said."""

    def made(self, now: float, database: str) -> TwinMasking:
        """What the control plane answers from."""
        ran = now - self.run_days_ago * DAY
        changed = _before(now, self.changed_days_ago)
        rules = []
        for column, function in self.rules.items():
            schema, table, name = column.split(".")
            rules.append((database, schema, table, name, function))
        done = self.state in ("anonymized", "error")
        masked = len(rules) if self.masked_columns is None else self.masked_columns
        return TwinMasking(
            self.state, ran - 600, ran if changed is None else changed, rules,
            masked if done else None, ran if done else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SnapshotSpec:
    """A snapshot of a root branch."""

    __pydantic_config__ = _CLOSED
    name: str
    days_ago: Days
    keep_days: Days | None = 14
    manual: bool = False
    full_size: Annotated[int, Field(ge=0)] = 0
    """Bytes; 0 is not charged."""


@dataclass(frozen=True, slots=True)
class CredentialSpec:
    """A credential of a branch for Neon's other services."""

    __pydantic_config__ = _CLOSED
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
    scopes: list[Literal["storage:read", "storage:write", "ai_gateway:invoke", "functions:invoke"]]
    days_ago: Days = 30
    used_days_ago: Days | None = None
    expires_in_days: Days | None = None

    def made(self, now: float) -> TwinCredential:
        """What the control plane answers from."""
        ends = None if self.expires_in_days is None else now + self.expires_in_days * DAY
        began = now - self.days_ago * DAY
        return TwinCredential(f"nak_twin_{self.name}", list(self.scopes), began, _before(now, self.used_days_ago), ends)


def _before(now: float, days: float | None) -> float | None:
    return None if days is None else now - days * DAY
