"""The section of security posture: what is wanted, what is allowed, and where keys, copies and handshakes are read."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.posture.domain.finding import SEVERITIES
from exporter.posture.domain.policy import Policy
from exporter.settings.section import Section
from exporter.settings.tree import CoreSettings

_USUAL = Policy()
Days = Annotated[float, Field(gt=0, le=3650)]
Hours = Annotated[float, Field(gt=0, le=87600)]


def _control(text: str) -> str:
    if text not in SEVERITIES:
        raise ValueError(f"there is no control {text}; write one id, P01 to P{len(SEVERITIES):02d} (docs/posture.md)")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text} is no range of addresses; write 203.0.113.0/24 or 2001:db8::/48") from None


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
        raise ValueError(f"{text} is no HOST:PORT, as db.example.com:5432")
    return text


def _domain(text: str) -> str:
    if "@" in text or "." not in text:
        raise ValueError(f"{text} is no domain; write example.com, without @")
    return text.lower()


class ProfileSettings(Section):
    """What the branches that match hold; the first that matches wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    profile: Literal["production", "nonproduction"] = Field(description="production or nonproduction.")


class AllowSettings(Section):
    """What is meant to be there. Names are globs."""

    privileged_roles: list[str] = Field(
        list(_USUAL.privileged_roles), description="Roles that may have attributes, predefined roles, neon_superuser."
    )
    migration_roles: list[str] = Field(
        list(_USUAL.migration_roles), description="Roles that may own objects in a tenant's schema."
    )
    replication_roles: list[str] = Field(list(_USUAL.replication_roles), description="Roles that may have REPLICATION.")
    extensions: list[str] = Field(list(_USUAL.extensions), description="Extensions that may be installed.")
    regions: list[str] = Field(
        list(_USUAL.regions),
        description="Neon regions where data may lie, each by its id: no prefix tells. The EU ones by default "
        "(aws-eu-central-1, azure-gwc); aws-eu-west-2 is London, and not in the EU.",
    )
    storage_regions: list[str] = Field(
        list(_USUAL.storage_regions), description="Regions where buckets, keys and key stores may lie."
    )
    email_domains: list[Annotated[str, AfterValidator(_domain)]] = Field(
        [], description="Domains that projects may be shared to; empty: not judged."
    )
    key_addresses: list[Annotated[str, AfterValidator(_network)]] = Field(
        [], description="CIDR ranges from where API keys may be used; empty: not judged."
    )
    jwks_urls: list[str] = Field([], description="Key sets that may sign in (globs over their address).")


class LimitSettings(Section):
    """How old is too old, and how much is too much."""

    api_key_days: Days = Field(_USUAL.key_age_days, description="An API key should be rotated by then.")
    api_key_unused_days: Days = Field(_USUAL.key_unused_days, description="An API key not used for so long.")
    password_days: Days = Field(_USUAL.password_age_days, description="A role's password should be changed by then.")
    role_expires_days: Days = Field(_USUAL.role_expires_days, description="Warn so long before a password expires.")
    role_unused_days: Days = Field(_USUAL.role_unused_days, description="A role not seen for so long.")
    branch_idle_days: Days = Field(_USUAL.branch_idle_days, description="A non-production branch without an end.")
    transit_key_days: Days = Field(_USUAL.transit_key_age_days, description="A tenant's key should be rotated by then.")
    transit_versions: int = Field(_USUAL.transit_versions, ge=0, description="Versions back that may still decrypt.")
    certificate_days: Days = Field(_USUAL.certificate_days, description="A certificate should live so long yet.")
    ip_prefix: int = Field(_USUAL.ip_widest, ge=1, le=32, description="The widest range of an IPv4 allow entry.")
    replica_lag_seconds: int = Field(_USUAL.replica_lag_seconds, ge=1, description="Lag of a replica.")
    server_minors: dict[int, int] = Field(
        dict(_USUAL.server_minors),
        description="Oldest patched minor by PostgreSQL major; what is not there is at its end.",
    )
    pgbouncer: str = Field(
        _USUAL.pgbouncer_least, pattern=r"^\d+\.\d+\.\d+$", description="Oldest patched PgBouncer; a distribution that "
        "patches an older one is told by its own number."
    )  # fmt: skip


class TargetSettings(Section):
    """What there must be to recover from; RTO and RPO are in ``recovery.targets``."""

    history_seconds: int = Field(_USUAL.history_seconds, gt=0, description="Least restore window of production.")
    snapshot_hours: Hours = Field(_USUAL.snapshot_age_seconds / 3600, description="Oldest newest snapshot.")
    snapshot_keep_days: Days = Field(_USUAL.snapshot_keep_seconds / 86400, description="A snapshot must live so long.")
    drill_days: Days = Field(_USUAL.drill_age_days, description="A restore must have been drilled since.")


class VaultSettings(Section):
    """A Vault or OpenBao; a token with the policy of docs/posture.md reads no secret."""

    name: str = Field("vault", pattern=r"^[A-Za-z0-9_.-]+$", description="What you call it.")
    address: str = Field(description="As https://vault.example.com:8200.")
    token: SecretStr | None = Field(
        None,
        description="The token itself; better by file. Without any way to log in: BAO_TOKEN or VAULT_TOKEN.",
    )
    token_file: Path | None = Field(None, description="A file with the token, read again at every look.")
    approle: str | None = Field(None, description="Role id of an AppRole to log in by; with secret_id_file.")
    secret_id_file: Path | None = Field(None, description="A file with the secret id of the AppRole.")
    kubernetes: str | None = Field(None, description="Role to log in as by the service account of the pod.")
    ca_file: Path | None = Field(None, description="The authority that signed its certificate; empty: the system's.")
    namespace: str | None = Field(None, description="Namespace, where it has them.")
    transit: str | None = Field("transit", description="Mount of the transit engine; null: none.")
    database: str | None = Field("database", description="Mount of the database engine; null: none.")
    key: Annotated[str, AfterValidator(_key_pattern)] = Field(
        _USUAL.transit_key, description="What a tenant's key is called."
    )
    region: str = Field("", description="Where it runs, as eu-central-1; empty: not judged.")

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
    """A bucket with off-site copies; credentials come as AWS tools find them."""

    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field("", description="Only what is under it.")
    project: str = Field("", description="Id or name of the project whose copies these are; empty: of all.")
    region: str | None = Field(None, description="Region to ask in; empty: as AWS tools find it.")
    endpoint_url: str | None = Field(None, description="Another S3 than Amazon's.")
    max_age_hours: Hours = Field(_USUAL.offsite_age_seconds / 3600, description="The newest copy may be so old.")
    kms_key: str = Field("", description="The KMS key (ARN or id) that must have encrypted it; empty: any.")


class WaiverSettings(Section):
    """A failure that somebody answers for, until a day."""

    control: Annotated[str, AfterValidator(_control)] = Field(description="Id of the control, as P10.")
    object_: str = Field(
        alias="object", min_length=1, description="Glob over project/branch/database/object, by ids or names."
    )
    reason: str = Field(min_length=3, description="Why it may be so.")
    approver: str = Field(min_length=2, description="Who answers for it.")
    expires: date = Field(description="The day (UTC) from which it fails again.")

    @property
    def expires_at(self) -> float:
        """Unix seconds."""
        return datetime(*self.expires.timetuple()[:3], tzinfo=UTC).timestamp()


class PaceSettings(Section):
    """How often the sources beside the databases are read."""

    sql_seconds: float = Field(3600, ge=60, description="Least time between two scans of a database (on a visit).")
    api_seconds: float = Field(4 * 3600, ge=60, description="Neon API: roles, keys, members, masking.")
    vault_seconds: float = Field(900, ge=10, description="Vault or OpenBao.")
    s3_seconds: float = Field(3600, ge=60, description="Buckets.")
    pooler_seconds: float = Field(3600, ge=10, description="SHOW CONFIG and VERSION of the PgBouncers.")
    tls_seconds: float = Field(6 * 3600, ge=60, description="TLS handshakes.")


class PostureSettings(Section):
    """Security posture and compliance: docs/posture.md."""

    enabled: bool = Field(True, description="false: read nothing for it and judge nothing.")
    profiles: list[ProfileSettings] = Field(
        [], description="First match wins; otherwise default and protected branches are production."
    )
    tenants: list[str] = Field(
        [], description="Every tenant that there should be; empty: those whose schema, role or key is found."
    )
    tenant_columns: list[str] = Field(
        list(_USUAL.tenant_columns), description="Columns that say whose a row is: such a table needs row security."
    )
    encrypted_columns: list[str] = Field([], description="schema.table.column globs that must be encrypted.")
    classified_columns: Annotated[str, AfterValidator(_pattern)] = Field(
        _USUAL.classified_columns, description="Regular expression over names of columns with personal data."
    )
    allow: AllowSettings = Field(AllowSettings(), description="What is meant to be there.")
    limits: LimitSettings = Field(LimitSettings(), description="Ages and amounts.")
    targets: TargetSettings = Field(TargetSettings(), description="Recovery targets.")
    vaults: list[VaultSettings] = Field([], description="Key stores.")
    s3: list[BucketSettings] = Field([], description="Off-site copies.")
    tls: list[Annotated[str, AfterValidator(_host)]] = Field([], description="HOST:PORT to shake hands with.")
    waivers: list[WaiverSettings] = Field([], description="Failures that somebody answers for.")
    catalogue: Path | None = Field(
        None, description="Folder with a controls.yaml or frameworks/*.yaml of your own; file by file over ours."
    )
    pace: PaceSettings = Field(PaceSettings(), description="How often.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [vault.name for vault in self.vaults]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"vaults: {', '.join(twice)} is there twice; give each a name of its own")
        return self


class PostureTree(CoreSettings):
    """The settings that posture reads: the shared sections and its own."""

    posture: PostureSettings = PostureSettings()
