"""What is wanted: the plain values that the controls measure by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from exporter.posture.domain.finding import Severity

EU_REGIONS = ("aws-eu-central-1", "azure-gwc")
"""Neon's regions in the European Union. No prefix tells: aws-eu-west-2 is London."""
DAY = 86400
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Policy:
    """Names are globs (``fnmatch``), ages and times seconds unless they say days."""

    tenant_columns: tuple[str, ...] = ("tenant_id", "org_id", "organization_id", "account_id")
    privileged_roles: tuple[str, ...] = ("cloud_admin", "neon_superuser", "neon_service", "neondb_owner", "postgres")
    """Roles that may have attributes, predefined roles or neon_superuser."""
    migration_roles: tuple[str, ...] = ("neondb_owner", "cloud_admin", "migrations", "migrator", "migration*")
    """Roles that may own what is in a tenant's schema."""
    replication_roles: tuple[str, ...] = ("debezium*", "cdc*")
    """Roles that may have REPLICATION."""
    extensions: tuple[str, ...] = (
        "plpgsql", "pg_stat_statements", "pgcrypto", "pgsodium", "anon", "pgaudit", "uuid-ossp", "citext", "pg_trgm",
        "btree_gin", "btree_gist", "hstore", "vector", "postgis*", "pg_session_jwt", "neon", "neon_utils", "unaccent",
        "ltree", "intarray", "pg_partman", "hypopg", "pg_prewarm", "tablefunc", "fuzzystrmatch", "pgrowlocks",
    )  # fmt: skip
    regions: tuple[str, ...] = EU_REGIONS
    """Neon's region ids where data may lie."""
    regions_known: tuple[str, ...] = (
        "aws-us-east-1", "aws-us-east-2", "aws-us-west-2", "aws-eu-central-1", "aws-eu-west-2", "aws-ap-southeast-1",
        "aws-ap-southeast-2", "aws-sa-east-1", "azure-eastus2", "azure-westus3", "azure-gwc",
    )  # fmt: skip
    """Those that we know the place of; any other is not evaluated."""
    storage_regions: tuple[str, ...] = ("eu-central-1", "eu-west-1", "eu-west-3", "eu-north-1", "eu-south-1")
    """Regions of S3 and of KMS where backups may lie."""
    production_branches: tuple[str, ...] = ()
    """Globs over ``project/branch``, by id or name; empty: default and protected branches."""
    ip_widest: int = 24
    """The shortest prefix that an allowed IPv4 range may have (an IPv6 range: 48)."""
    email_domains: tuple[str, ...] = ()
    """Domains that a project may be shared to; empty: not evaluated."""
    key_addresses: tuple[str, ...] = ()
    """CIDR ranges from where API keys may be used; empty: not evaluated."""
    jwks_urls: tuple[str, ...] = ()
    """Globs over the key sets that may sign in."""
    key_age_days: int = 90
    key_unused_days: int = 30
    password_age_days: int = 90
    role_expires_days: int = 14
    role_unused_days: int = 90
    branch_idle_days: int = 14
    replica_lag_seconds: int = 300
    transit_key_age_days: int = 90
    transit_versions: int = 3
    """How many versions back a key may still decrypt."""
    transit_key: str = "tenant-{tenant}"
    """Name of a tenant's key, with {tenant} in it."""
    history_seconds: int = 7 * DAY
    snapshot_age_seconds: int = 36 * 3600
    snapshot_keep_seconds: int = 7 * DAY
    offsite_age_seconds: int = 26 * 3600
    drill_age_days: int = 90
    rto_seconds: int = 3600
    rpo_seconds: int = 300
    certificate_days: int = 14
    encrypted_columns: tuple[str, ...] = ()
    """``schema.table.column`` globs that must be bytea or be labelled by an encrypting extension."""
    classified_columns: str = r"(^|_)(email|phone|iban|ssn|tax_id|birth|first_name|last_name|address)($|_)"
    """A regular expression over the names of columns that hold personal data."""
    expected_slots: tuple[str, ...] = ()
    slot_inactive_seconds: int = DAY
    server_minors: Mapping[int, int] = field(
        default_factory=lambda: {14: 24, 15: 19, 16: 15, 17: 11, 18: 5}, hash=False
    )
    """By major version: the oldest minor that is patched. A major that is not there is at its end."""
    pgbouncer_least: str = "1.25.2"
    severities: Mapping[str, Severity] = field(default_factory=dict, hash=False)
    """By control: the severity of a failure (``controls.yaml``); every control that has a rule must be there."""

    def production(self, project: tuple[str, ...], branch: tuple[str, ...], *, protected: bool) -> bool:
        """Whether a branch, by ids or names, holds production data; ``protected``: it is that or the default."""
        if not self.production_branches:
            return protected
        exact, globs = self._production
        paths = [f"{one}/{other}" for one in project for other in branch]
        return any(path in exact or listed(path, globs) for path in paths)

    @cached_property
    def _production(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The production branches without a wildcard, of which there may be as many as branches, and the globs."""
        exact = frozenset(path for path in self.production_branches if not _WILDCARDS & set(path))
        return exact, tuple(path for path in self.production_branches if path not in exact)


def listed(name: str, globs: tuple[str, ...]) -> bool:
    """Whether a name is allowed by one of the globs."""
    return any(fnmatchcase(name, glob) for glob in globs)
