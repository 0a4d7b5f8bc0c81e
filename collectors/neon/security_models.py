"""What we read of Neon's answers on security: dates, flags and names; no secret and no person's address is kept.

A role's password, an address of a member and the address that a project is shared with are gone with the parse (of the
last the domain stays: that is what a policy speaks of).
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasPath, BeforeValidator, Field, RootModel

from collectors.neon.errors import one_line
from collectors.neon.models import Id, Instant, Model, Page, Text, Tolerant

_LONGEST_NAME = 200


def _name(value: object) -> object:
    return one_line(value, _LONGEST_NAME) if isinstance(value, str) else "" if value is None else value


def _domain(value: object) -> object:
    return value.rpartition("@")[2].strip().lower() if isinstance(value, str) else value


def _url(value: object) -> object:
    """Without what may be a credential: user, password and query."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        return one_line(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())
    except ValueError:
        return one_line(value)


Name = Annotated[str, BeforeValidator(_name)]
"""What a person called it, on one line; bounded."""
Number = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class ApiKey(Model):
    """``OrgApiKeysListResponseItem``, and ``ApiKeysListResponseItem`` of a person; who made it is not read."""

    id: Number
    name: Name = ""
    created_at: Instant = None
    last_used_at: Instant = None
    last_used_from_addr: Text = ""
    project_id: Text = ""
    """Empty: the key opens every project of its organisation."""


class ApiKeyList(RootModel[tuple[Tolerant[ApiKey], ...]]):
    """GET /organizations/{org_id}/api_keys and GET /api_keys: a bare list, in one piece."""


class Member(Model):
    """``MemberWithUser``: role and factors, by id. The address is not read."""

    id: Id = Field(validation_alias=AliasPath("member", "id"))
    role: Text = Field("", validation_alias=AliasPath("member", "role"))
    has_mfa: bool | None = Field(None, validation_alias=AliasPath("user", "has_mfa"))
    deactivated_at: Instant = Field(None, validation_alias=AliasPath("user", "deactivated_at"))


class MemberPage(Page[Member]):
    """GET /organizations/{org_id}/members."""

    items: tuple[Tolerant[Member], ...] = Field(validation_alias="members")


class Permission(Model):
    """``ProjectPermission``: the domain of the address alone."""

    id: Name
    domain: Annotated[str, BeforeValidator(_domain)] = Field(validation_alias="granted_to_email")
    granted_at: Instant = None
    revoked_at: Instant = None


class PermissionPage(Page[Permission]):
    """GET /projects/{project_id}/permissions."""

    items: tuple[Tolerant[Permission], ...] = Field(validation_alias="project_permissions")


class Jwks(Model):
    """``JWKS``: where the keys are that may sign in."""

    id: Name
    url: Annotated[str, BeforeValidator(_url)] = Field(validation_alias="jwks_url")
    provider: Name = Field("", validation_alias="provider_name")
    branch_id: Text = ""


class JwksPage(Page[Jwks]):
    """GET /projects/{project_id}/jwks."""

    items: tuple[Tolerant[Jwks], ...] = Field(validation_alias="jwks")


class Role(Model):
    """``Role``. ``updated_at`` is the nearest there is to the age of the password."""

    name: Name
    protected: bool | None = None
    authentication_method: Text = ""
    created_at: Instant = None
    updated_at: Instant = None

    @property
    def no_login(self) -> bool:
        """Nobody can log in as it, so it has no password to change."""
        return self.authentication_method == "no_login"


class RolePage(Page[Role]):
    """GET /projects/{project_id}/branches/{branch_id}/roles."""

    items: tuple[Tolerant[Role], ...] = Field(validation_alias="roles")


class Frequency(Model):
    """``BackupScheduleItem``: ``daily``, ``weekly``, ... and how long a snapshot is kept (None: for ever)."""

    frequency: Name
    retention_seconds: int | None = None


class SchedulePage(Page[Frequency]):
    """GET /projects/{project_id}/branches/{branch_id}/backup_schedule."""

    items: tuple[Tolerant[Frequency], ...] = Field(validation_alias="schedule")


class MaskingRun(Model):
    """``AnonymizationRunMetadata``; who ran it is not read."""

    completed_at: Instant = None
    masked_columns: int | None = None


class AnonymizedStatus(Model):
    """GET /projects/{project_id}/branches/{branch_id}/anonymized_status of a branch that is anonymised."""

    state: Text
    updated_at: Instant = None
    last_run: MaskingRun | None = None


class MaskingRule(Model):
    """``MaskingRule``: which column; how it is masked is not read."""

    database_name: Name = ""
    schema_name: Name
    table_name: Name
    column_name: Name

    @property
    def column(self) -> str:
        """``schema.table.column``."""
        return f"{self.schema_name}.{self.table_name}.{self.column_name}"


class MaskingRulePage(Page[MaskingRule]):
    """GET /projects/{project_id}/branches/{branch_id}/masking_rules."""

    items: tuple[Tolerant[MaskingRule], ...] = Field(validation_alias="masking_rules")


class Credential(Model):
    """``CredentialMeta``: a branch's credential for storage, functions or the AI gateway."""

    token_id: Name
    principal_type: Text = ""
    scopes: tuple[Name, ...] = ()
    created_at: Instant = None
    last_used_at: Instant = None
    expires_at: Instant = None
    revoked_at: Instant = None


class CredentialPage(Page[Credential]):
    """GET /projects/{project_id}/branches/{branch_id}/credentials."""

    items: tuple[Tolerant[Credential], ...] = Field(validation_alias="credentials")
