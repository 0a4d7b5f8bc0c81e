"""The facts from beside the database: Neon's API, the key store, the off-site copies, poolers, handshakes, drills.

Instants are unix seconds, None is "never" or "not set" as Neon says it; what could not be read is an ``Unread``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.posture.domain.finding import NOT_ASKED, Known


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a person or of an organisation; never the key itself."""

    id: str
    name: str
    created_at: float | None
    last_used_at: float | None = None
    last_used_from: str = ""
    project_id: str = ""
    """Empty: it works in every project of the organisation."""
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an organisation, by id: no address of a person is kept."""

    id: str
    role: str = ""
    has_mfa: bool | None = None
    deactivated: bool = False


@dataclass(frozen=True, slots=True)
class OrganizationFacts:
    """GET /organizations/{id}/members and .../api_keys."""

    id: str
    name: str = ""
    keys: Known[tuple[ApiKey, ...]] = NOT_ASKED
    members: Known[tuple[Member, ...]] = NOT_ASKED


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
    domain: str
    granted_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Jwks:
    """A key set that may sign in to a project."""

    id: str
    url: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """GET /projects/{id} and what hangs on it."""

    id: str
    name: str = ""
    org_id: str = ""
    region: str = ""
    access: Known[Access] = NOT_ASKED
    history_seconds: Known[int] = NOT_ASKED
    permissions: Known[tuple[Permission, ...]] = NOT_ASKED
    jwks: Known[tuple[Jwks, ...]] = NOT_ASKED


@dataclass(frozen=True, slots=True)
class ApiRole:
    """A role as Neon's API lists it; ``updated_at`` is the nearest there is to the age of its password."""

    name: str
    updated_at: float | None
    protected: bool = False
    no_login: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a root branch."""

    id: str
    created_at: float | None
    expires_at: float | None = None


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
    """A credential of a branch for Neon's other services."""

    id: str
    kind: str = ""
    expires_at: float | None = None
    last_used_at: float | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BranchFacts:
    """A branch and what hangs on it."""

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
    roles: Known[tuple[ApiRole, ...]] = NOT_ASKED
    snapshots: Known[tuple[Snapshot, ...]] = NOT_ASKED
    schedule: Known[tuple[str, ...]] = NOT_ASKED
    """The frequencies of GET .../backup_schedule (``daily``)."""
    masking: Known[Masking | None] = NOT_ASKED
    """None: a plain branch (404 of .../anonymized_status)."""
    computes: Known[tuple[ComputeFacts, ...]] = NOT_ASKED
    credentials: Known[tuple[Credential, ...]] = NOT_ASKED
    personal_columns: Known[tuple[str, ...]] = NOT_ASKED
    """``schema.table.column`` that hold personal data, by name or registry."""


@dataclass(frozen=True, slots=True)
class PoolerFacts:
    """A PgBouncer of our own: SHOW VERSION and SHOW CONFIG."""

    name: str
    version: Known[str] = NOT_ASKED
    config: Known[Mapping[str, str]] = NOT_ASKED


@dataclass(frozen=True, slots=True)
class HandshakeFacts:
    """A TLS handshake as our own connections make it."""

    name: str
    """``project/branch/endpoint``, or what the settings call it."""
    sslmode: str = ""
    protocol: Known[str] = NOT_ASKED
    """``TLSv1.3``."""
    verified: Known[bool] = NOT_ASKED
    """The chain and the name hold."""
    expires_at: Known[float] = NOT_ASKED
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class TransitKey:
    """A key of the transit engine; never its material."""

    name: str
    latest_version: int
    rotated_at: float | None
    """When the latest version was made."""
    min_decryption_version: int = 1
    min_encryption_version: int = 0
    auto_rotate_seconds: int = 0
    exportable: bool = False
    plaintext_backup: bool = False
    deletion_allowed: bool = False
    imported: bool = False
    soft_deleted: bool = False


@dataclass(frozen=True, slots=True)
class StaticRole:
    """A database role whose password the key store rotates."""

    name: str
    username: str
    rotation_seconds: int
    rotated_at: float | None
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class VaultFacts:
    """OpenBao or Vault."""

    name: str
    keys: Known[tuple[Known[TransitKey], ...]] = NOT_ASKED
    key_names: Known[tuple[str, ...]] = NOT_ASKED
    static_roles: Known[tuple[Known[StaticRole], ...]] = NOT_ASKED
    audits: Known[tuple[str, ...]] = NOT_ASKED
    sealed: Known[bool] = NOT_ASKED
    standby: bool = False
    region: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A backup in a bucket."""

    key: str
    at: float
    size: int


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """A bucket with off-site copies, as far as S3 tells."""

    name: str
    prefix: str = ""
    project_id: str = ""
    region: Known[str] = NOT_ASKED
    newest: Known[tuple[StoredObject, ...]] = NOT_ASKED
    """Newest first, at most 8."""
    encryption: Known[str] = NOT_ASKED
    """Of the newest object: ``aws:kms``, ``AES256`` or empty."""
    kms_key: str = ""
    expected_kms_key: str = ""
    lock_mode: Known[str] = NOT_ASKED
    """``COMPLIANCE``, ``GOVERNANCE`` or empty."""
    versioning: Known[bool] = NOT_ASKED
    public_blocked: Known[bool] = NOT_ASKED
    """All four blocks are on; a bucket without the configuration is False."""


@dataclass(frozen=True, slots=True)
class DrillFacts:
    """The drill ledger for one project and kind."""

    project_id: str
    kind: str = "pitr"
    last_success_at: Known[float | None] = NOT_ASKED
    """None: there never was one."""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    last_result: str = ""
