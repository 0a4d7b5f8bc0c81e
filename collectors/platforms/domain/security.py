"""What key stores, buckets, poolers, TLS handshakes and restore drills say: plain data, read, stored and evaluated.

Instants are unix seconds; what could not be read is an ``Unread``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import NOT_ASKED, Known


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
    """``TLSv1.3``; empty: the server has no TLS, and what is sent to it can be read."""
    verified: Known[bool] = NOT_ASKED
    """The chain ends at an authority that we trust, and the certificate is for this name and of today."""
    expires_at: Known[float] = NOT_ASKED
    """Of the server's own certificate."""
    issuer: str = ""
    subject: str = ""
    """Common name, or else organisation."""
    problem: str = ""
    """Why it does not verify, as OpenSSL says it."""


@dataclass(frozen=True, slots=True)
class TransitKey:
    """``GET transit/keys/{name}``, without key material; ``auto_rotate_seconds`` 0 is never."""

    name: str
    latest_version: int
    rotated_at: float | None
    """When the latest version was made."""
    min_decryption_version: int = 1
    min_encryption_version: int = 0
    """0: always the latest."""
    auto_rotate_seconds: int = 0
    exportable: bool = False
    plaintext_backup: bool = False
    deletion_allowed: bool = False
    imported: bool = False
    soft_deleted: bool = False
    """OpenBao only."""
    type: str = ""


@dataclass(frozen=True, slots=True)
class StaticRole:
    """``GET database/static-roles/{name}``, without the password.

    A rotation that fails leaves ``rotated_at`` as it was: only its age tells. ``schedule`` is Vault's cron text.
    """

    name: str
    username: str
    rotation_seconds: int
    rotated_at: float | None
    schedule: str = ""
    db_name: str = ""


@dataclass(frozen=True, slots=True)
class VaultFacts:
    """OpenBao or Vault. A key or role that could not be read is told with its name in ``why``."""

    name: str
    keys: Known[tuple[Known[TransitKey], ...]] = NOT_ASKED
    key_names: Known[tuple[str, ...]] = NOT_ASKED
    static_roles: Known[tuple[Known[StaticRole], ...]] = NOT_ASKED
    audits: Known[tuple[str, ...]] = NOT_ASKED
    """Paths of the audit devices."""
    sealed: Known[bool] = NOT_ASKED
    standby: bool = False
    region: str = ""
    """Where the settings say that it runs."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A backup in a bucket. ``at`` is when its content was taken as its metadata says, else when it was written."""

    key: str
    at: float
    size: int
    written_at: float = 0.0
    logical: bool = False
    """``at`` is what the metadata says."""
    lsn: str = ""
    """Of the metadata: up to where in the WAL it reaches."""
    encryption: str = ""
    kms_key: str = ""
    lock_mode: str = ""


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """A bucket with off-site copies, as far as S3 tells; project and expected key are those of the settings."""

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
    """What the drills of one project and kind proved. Instants in unix seconds."""

    project_id: str
    kind: str = "pitr"
    last_success_at: Known[float | None] = NOT_ASKED
    """None: there never was one."""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    last_result: str = ""
