"""The section of security posture: allowed exceptions, limits, and where keys, copies and handshakes are read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.posture.domain.policy import Policy
from exporter.settings.secret import SecretError, read_secret
from exporter.settings.section import Section
from exporter.settings.tree import CoreSettings

_USUAL = Policy()
Days = Annotated[float, Field(gt=0, le=3650)]
Hours = Annotated[float, Field(gt=0, le=87600)]


def _control(text: str) -> str:
    from exporter.posture.catalogue import shipped  # noqa: PLC0415 - only settings with a waiver need the file

    ids = shipped().controls.keys()
    if text not in ids:
        raise ValueError(f"no such control: {text}; write one id, {min(ids)} to {max(ids)} (docs/posture.md)")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text} is not an address range; write 203.0.113.0/24 or 2001:db8::/48") from None


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as problem:
        raise ValueError(f"not a regular expression: {problem}") from None
    return text


def _key_pattern(text: str) -> str:
    if text.count("{tenant}") != 1 or re.search(r"[{}]", text.replace("{tenant}", "")):
        raise ValueError("must hold {tenant} once and no other brace, as tenant-{tenant}")
    return text


def _host(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text} is not HOST:PORT, such as db.example.com:5432")
    return text


def _domain(text: str) -> str:
    if "@" in text or "." not in text:
        raise ValueError(f"{text} is not a domain; write example.com, without @")
    return text.lower()


class ProfileSettings(Section):
    """The profile of the branches that match; the first match wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    profile: Literal["production", "nonproduction"] = Field(description="production or nonproduction.")


class AllowSettings(Section):
    """Allowed exceptions. Names are globs."""

    # Every field is also one of `Policy`, by the same name.

    privileged_roles: list[str] = Field(
        list(_USUAL.privileged_roles), description="Roles that may have attributes, predefined roles or neon_superuser."
    )
    migration_roles: list[str] = Field(
        list(_USUAL.migration_roles), description="Roles that may own objects in a tenant's schema."
    )
    replication_roles: list[str] = Field(list(_USUAL.replication_roles), description="Roles that may have REPLICATION.")
    extensions: list[str] = Field(list(_USUAL.extensions), description="Extensions that may be installed.")
    regions: list[str] = Field(
        list(_USUAL.regions),
        description="Allowed Neon regions, by id. Default: those in the EU (aws-eu-central-1, azure-gwc); "
        "aws-eu-west-2 is London and outside the EU.",
    )
    storage_regions: list[str] = Field(
        list(_USUAL.storage_regions), description="Allowed regions of buckets, keys and key stores."
    )
    email_domains: list[Annotated[str, AfterValidator(_domain)]] = Field(
        [], description="Domains that projects may be shared with; empty: not checked."
    )
    key_addresses: list[Annotated[str, AfterValidator(_network)]] = Field(
        [], description="CIDR ranges from which API keys may be used; empty: not checked."
    )
    jwks_urls: list[str] = Field([], description="Globs over the addresses of trusted JWKS key sets.")


class LimitSettings(Section):
    """Maximum ages and amounts."""

    api_key_days: Days = Field(_USUAL.key_age_days, description="Maximum age of an API key, in days.")
    api_key_unused_days: Days = Field(
        _USUAL.key_unused_days, description="An API key is reported as unused after this many days."
    )
    password_days: Days = Field(_USUAL.password_age_days, description="Maximum age of a role's password, in days.")
    role_expires_days: Days = Field(
        _USUAL.role_expires_days, description="Days before its expiry at which a password is reported."
    )
    role_unused_days: Days = Field(
        _USUAL.role_unused_days, description="A role is reported as unused after this many days."
    )
    branch_idle_days: Days = Field(
        _USUAL.branch_idle_days, description="Maximum idle days of a non-production branch without an expiry."
    )
    transit_key_days: Days = Field(
        _USUAL.transit_key_age_days, description="Maximum age of a tenant's encryption key, in days."
    )
    transit_versions: int = Field(
        _USUAL.transit_versions, ge=0, description="Maximum number of older key versions that may still decrypt."
    )
    certificate_days: Days = Field(
        _USUAL.certificate_days, description="Minimum remaining validity of a certificate, in days."
    )
    ip_prefix: int = Field(
        _USUAL.ip_widest, ge=1, le=32, description="Minimum prefix length of an IPv4 allow-list entry."
    )
    replica_lag_seconds: int = Field(
        _USUAL.replica_lag_seconds, ge=1, description="Maximum lag of a replica, in seconds."
    )
    server_minors: dict[int, int] = Field(
        dict(_USUAL.server_minors),
        description="Oldest patched minor version by PostgreSQL major; a major that is not listed is out of support.",
    )
    pgbouncer: str = Field(
        _USUAL.pgbouncer_least, pattern=r"^\d+\.\d+\.\d+$", description="Oldest patched PgBouncer; distributions "
        "that backport fixes are known by their own numbers."
    )  # fmt: skip


class TargetSettings(Section):
    """Minimum recovery provisions; RTO and RPO are in ``recovery.targets``."""

    history_seconds: int = Field(
        _USUAL.history_seconds, gt=0, description="Minimum restore window of production branches, in seconds."
    )
    snapshot_hours: Hours = Field(
        _USUAL.snapshot_age_seconds / 3600, description="Maximum age of the newest snapshot, in hours."
    )
    snapshot_keep_days: Days = Field(
        _USUAL.snapshot_keep_seconds / 86400, description="Minimum retention of a snapshot, in days."
    )
    drill_days: Days = Field(
        _USUAL.drill_age_days, description="Maximum age of the last successful restore drill, in days."
    )


class VaultSettings(Section):
    """A Vault or OpenBao server; a token with the policy of docs/posture.md cannot read secrets."""

    name: str = Field("vault", pattern=r"^[A-Za-z0-9_.-]+$", description="Name of the key store.")
    address: str = Field(description="Address such as https://vault.example.com:8200.")
    token: SecretStr | None = Field(
        None,
        description="The token itself; prefer a file. Without any login: BAO_TOKEN or VAULT_TOKEN.",
    )
    token_file: Path | None = Field(None, description="File with the token, read again every time.")
    approle: str | None = Field(None, description="Role id for an AppRole login; needs secret_id_file.")
    secret_id_file: Path | None = Field(None, description="File with the secret id of the AppRole.")
    kubernetes: str | None = Field(None, description="Role for a login with the pod's Kubernetes service account.")
    ca_file: Path | None = Field(None, description="CA file that verifies its certificate; empty: the system's.")
    namespace: str | None = Field(None, description="Vault namespace, if any.")
    transit: str | None = Field("transit", description="Mount of the transit engine; null: none.")
    database: str | None = Field("database", description="Mount of the database engine; null: none.")
    key: Annotated[str, AfterValidator(_key_pattern)] = Field(
        _USUAL.transit_key, description="Name pattern of a tenant's key."
    )
    region: str = Field("", description="Region of the server, such as eu-central-1; empty: not checked.")

    @model_validator(mode="after")
    def _address_is_one(self) -> Self:
        if not re.match(r"https?://[^/\s]+", self.address):
            raise ValueError("address: write https://HOST:PORT")
        if (self.approle is None) != (self.secret_id_file is None):
            raise ValueError("approle and secret_id_file go together")
        ways = [self.token or self.token_file, self.approle, self.kubernetes]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give one way to log in: token(_file), approle or kubernetes")
        return self


class BucketSettings(Section):
    """A bucket with off-site copies; credentials come from the usual AWS sources."""

    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field("", description="Only objects under this prefix.")
    project: str = Field("", description="Id or name of the project that is copied here; empty: all.")
    region: str | None = Field(None, description="Region of the bucket; empty: from the usual AWS sources.")
    endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible service other than AWS.")
    max_age_hours: Hours = Field(
        _USUAL.offsite_age_seconds / 3600, description="Maximum age of the newest copy, in hours."
    )
    kms_key: str = Field("", description="KMS key (ARN or id) that the copies must be encrypted with; empty: any.")


class WaiverSettings(Section):
    """An accepted failure, until a date."""

    control: Annotated[str, AfterValidator(_control)] = Field(description="Id of the control, such as P10.")
    object_: str = Field(
        alias="object", min_length=1, description="Glob over project/branch/database/object, by ids or names."
    )
    reason: str = Field(min_length=3, description="Reason for accepting it.")
    approver: str = Field(min_length=2, description="Who accepted it.")
    expires: date = Field(description="Date (UTC) from which it fails again.")

    @property
    def expires_at(self) -> float:
        """Unix seconds."""
        return datetime(*self.expires.timetuple()[:3], tzinfo=UTC).timestamp()


class PaceSettings(Section):
    """How often each source is read."""

    sql_seconds: float = Field(
        3600, ge=60, description="Minimum seconds between two scans of a database (during visits)."
    )
    api_seconds: float = Field(
        4 * 3600,
        ge=60,
        description="Seconds between two readings of roles, keys, members and masking from the Neon API.",
    )
    vault_seconds: float = Field(900, ge=10, description="Seconds between two readings of Vault or OpenBao.")
    s3_seconds: float = Field(3600, ge=60, description="Seconds between two readings of buckets.")
    pooler_seconds: float = Field(
        3600, ge=10, description="Seconds between two readings of SHOW CONFIG and VERSION of PgBouncers."
    )
    tls_seconds: float = Field(6 * 3600, ge=60, description="Seconds between two TLS handshakes.")


class PostureSettings(Section):
    """Security posture and compliance: docs/posture.md."""

    enabled: bool = Field(True, description="false: read and evaluate nothing.")
    profiles: list[ProfileSettings] = Field(
        [], description="The first match wins; by default, default and protected branches are production."
    )
    tenants: list[str] = Field([], description="Expected tenants; empty: those whose schema, role or key is found.")
    tenant_columns: list[str] = Field(
        list(_USUAL.tenant_columns),
        description="Columns that identify the tenant of a row; a table with one needs row security.",
    )
    encrypted_columns: list[str] = Field([], description="schema.table.column globs that must be encrypted.")
    classified_columns: Annotated[str, AfterValidator(_pattern)] = Field(
        _USUAL.classified_columns, description="Regular expression over column names that hold personal data."
    )
    allow: AllowSettings = Field(AllowSettings(), description="Allowed exceptions.")
    limits: LimitSettings = Field(LimitSettings(), description="Maximum ages and amounts.")
    targets: TargetSettings = Field(TargetSettings(), description="Recovery targets.")
    vaults: list[VaultSettings] = Field([], description="Key stores.")
    s3: list[BucketSettings] = Field([], description="Off-site copies.")
    tls: list[Annotated[str, AfterValidator(_host)]] = Field([], description="HOST:PORT of TLS servers to check.")
    waivers: list[WaiverSettings] = Field([], description="Accepted failures.")
    catalogue: Path | None = Field(
        None,
        description="Folder with your own controls.yaml or frameworks/*.yaml; each file replaces the built-in one.",
    )
    pace: PaceSettings = Field(PaceSettings(), description="How often each source is read.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [vault.name for vault in self.vaults]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"vaults: {', '.join(twice)} is a duplicate; give each its own name")
        return self


class PostureTree(CoreSettings):
    """The settings that posture reads: the shared sections and its own."""

    posture: PostureSettings = PostureSettings()


_HERE = ("127.0.0.1", "localhost", "::1")


def problems_of_posture(posture: PostureSettings) -> Iterator[str]:
    """What can be known to be wrong with the section before anything is contacted: a line each, with its path."""
    for index, vault in enumerate(posture.vaults):
        yield from _vault(f"posture.vaults[{index}]", vault)
    if posture.s3 and find_spec("boto3") is None:
        yield "posture.s3: boto3 is not installed; install neonmeter[s3]"
    buckets: set[tuple[str, str]] = set()
    for index, bucket in enumerate(posture.s3):
        if (bucket.bucket, bucket.prefix) in buckets:
            yield f"posture.s3[{index}]: {bucket.bucket}/{bucket.prefix} is a duplicate"
        buckets.add((bucket.bucket, bucket.prefix))
    if posture.catalogue is None:
        return
    from exporter.posture.catalogue import CatalogueError, load_catalogue  # noqa: PLC0415 - only who has one of his own

    if not posture.catalogue.is_dir():
        yield f"posture.catalogue: {posture.catalogue} is not a folder; it holds controls.yaml or frameworks/*.yaml"
        return
    try:
        load_catalogue(posture.catalogue)
    except CatalogueError as wrong:
        yield from (f"posture.catalogue: {line}" for line in wrong.problems)


def _vault(path: str, vault: VaultSettings) -> Iterator[str]:
    url = urlsplit(vault.address)
    if url.scheme == "http" and url.hostname not in _HERE:
        yield f"{path}.address: http would send the token in the clear; use https"
    for name, file in (("token_file", vault.token_file), ("secret_id_file", vault.secret_id_file)):
        try:
            read_secret(None, file)
        except SecretError as problem:
            yield f"{path}.{name}: {problem}"
    if vault.ca_file is not None and not vault.ca_file.is_file():
        yield f"{path}.ca_file: {vault.ca_file} is not there"
