"""The sections that more than one room reads: what to watch, how often, prices, storage, and how to serve it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from exporter.pricing.domain.rates import plan_named
from exporter.settings.section import Seconds, Secret, Section


class NeonSettings(Section):
    """The control plane."""

    api_url: str = Field("https://console.neon.tech/api/v2", description="Base address of the Neon API.")
    api_key: SecretStr | None = Field(None, description="A Neon API key; NEON_API_KEY sets it too.")
    api_key_file: Path | None = Field(None, description="A file with the API key, read again at every request.")
    org_id: str | None = Field(
        None, description="Id of the only organisation to watch; by default every one that the key can see."
    )
    include: list[str] = Field(["*"], description="Globs over project id or name: the projects to watch.")
    exclude: list[str] = Field([], description="Globs over project id or name: the projects to leave out.")
    requests_per_minute: int = Field(600, gt=0, description="Maximum requests a minute; Neon allows 700 per account.")
    burst: int = Field(30, gt=0, description="Maximum requests sent at once.")
    consumption_per_minute: int = Field(
        30, gt=0, description="Maximum requests a minute to the consumption API; Neon documents 30 to 50 per account."
    )
    timeout_seconds: Seconds = Field(30, description="Timeout of one request.")


class PostgresOverride(Secret):
    """A different connection for the projects and branches that match."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    dsn: str | None = Field(None, description="Template for these; empty: postgres.dsn.")
    enabled: bool = Field(True, description="false: never connect to these.")


class PostgresSettings(Secret):
    """How to connect to the computes. Without a DSN only the control plane is read."""

    dsn: str | None = Field(
        None, description="Template such as postgresql://monitor@{host}/postgres; also {project} {branch} {endpoint}."
    )
    overrides: list[PostgresOverride] = Field([], description="The first match wins.")


class CollectorSettings(Section):
    """Whether and how often one collector runs."""

    enabled: bool = Field(True, description="false: do not run this collector.")
    interval_seconds: Seconds | None = Field(
        None, description="Seconds between two readings; empty: the collector's default."
    )


class ExpectedSlot(Section):
    """A replication slot that must exist; a missing one is reported as absent."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    slot: str = Field(description="Name of the slot.")


class SamplingSettings(Section):
    """When and how SQL may be run. The defaults never wake a compute; see docs/architecture.md."""

    evidence: Literal["api", "database"] = Field(
        "api", description="Where proof that others use the compute comes from: the API, or the database itself."
    )
    tick_seconds: Seconds = Field(60, description="Seconds between two decisions whether to visit an endpoint.")
    session_seconds: Annotated[float, Field(gt=0, le=30)] = Field(5, description="Maximum length of one visit.")
    connect_timeout_seconds: Seconds = Field(5, description="Timeout of connecting.")
    statement_timeout_seconds: Seconds = Field(3, description="statement_timeout of a visit.")
    lock_timeout_ms: int = Field(300, gt=0, description="lock_timeout of a visit.")
    concurrency: int = Field(8, gt=0, le=64, description="Maximum concurrent visits.")
    top_statements: int = Field(
        20, ge=0, le=500, description="Number of statements per tenant with series of their own; the rest is summed."
    )
    expected_slots: list[ExpectedSlot] = Field([], description="Slots that must exist.")
    collectors: dict[str, CollectorSettings] = Field({}, description="Collector name to its settings.")


class PoolerSettings(Secret):
    """A self-run PgBouncer."""

    name: str = Field(description="Name of the pooler, used as its label.")
    dsn: str = Field(description="Console address, such as postgresql://stats@host:6432/pgbouncer; each address "
                                 "behind the host name is read as a separate pooler.")  # fmt: skip
    interval_seconds: Seconds = Field(30, description="Seconds between two readings.")


class TenantRuleSettings(Section):
    """A rule that assigns work and data to a tenant. All given patterns must match; the first matching rule wins."""

    tenant: str | None = Field(None, description="Name of the tenant; empty when a pattern captures (?P<tenant>...).")
    project: str | None = Field(None, description="Pattern over project id or name.")
    branch: str | None = Field(None, description="Pattern over branch id or name.")
    database: str | None = Field(None, description="Pattern over the database name.")
    schema_: str | None = Field(None, alias="schema", description="Pattern over the schema name.")
    role: str | None = Field(None, description="Pattern over the role name.")
    application_name: str | None = Field(None, description="Pattern over application_name.")
    map_: dict[str, str] | None = Field(None, alias="map", description="Map from captured or matched text to a tenant.")


class PriceSettings(Section):
    """Prices."""

    plan: Annotated[str | None, AfterValidator(lambda name: name and plan_named(name))] = Field(
        None,
        description="Price as this plan (launch, scale, agent, or a type such as scale_v3), whatever the API says.",
    )
    storage_unit: Literal["auto", "byte-hour", "byte-month"] = Field(
        "auto",
        description="What the API counts stored bytes in; auto finds it out from the account's own figures.",
    )
    rate_card: Path | None = Field(None, description="File with your own rates; dated list rates ship with neonmeter.")

    @property
    def said_unit(self) -> str:
        """The unit of stored bytes that the settings name; empty: found out."""
        return "" if self.storage_unit == "auto" else self.storage_unit


class StorageSettings(Section):
    """The file that the agent remembers everything in: usage, counters, wake states, drift, posture."""

    path: Path = Field(Path("neonmeter.db"), description="SQLite file; created if it does not exist.")


class ShardingSettings(Section):
    """Several agents that share the projects of one account; see docs/fleet.md."""

    shard: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        0, description="Number of this agent, from 0; auto: the ordinal at the end of the host name (StatefulSet)."
    )
    total: int = Field(1, ge=1, le=256, description="Number of agents; each project is read by exactly one of them.")


class StandbySettings(Section):
    """Two agents with one PostgreSQL ledger: one works, the other takes over; see docs/fleet.md."""

    enabled: bool = Field(False, description="Work only while this agent holds the lease in ledger.url.")
    group: str = Field("neonmeter", min_length=1, description="Agents of one group and shard stand by for each other.")
    lease_seconds: Annotated[float, Field(ge=1, le=25)] = Field(
        15, description="Seconds without a renewal after which the other agent takes over."
    )


class LedgerSettings(Secret):
    """Usage as Neon reported it. Neon forgets hourly consumption after 168 h: this does not."""

    url: str | None = Field(
        None,
        description="PostgreSQL database that stores usage instead of the SQLite file, for replicas and SQL: postgresql://neonmeter@host/finops.",
    )
    keep_hourly_days: int = Field(
        400,
        ge=62,
        description="After this many days hourly usage is folded into days, a month at a time; no cost changes.",
    )
    standby: StandbySettings = StandbySettings()


class IntervalSettings(Section):
    """How often the control plane is read and results are published."""

    inventory_seconds: Seconds = Field(
        60, description="Seconds between two readings of projects, branches and endpoints."
    )
    consumption_seconds: Seconds = Field(
        900, description="Seconds between two readings of consumption; Neon refreshes it about every 15 minutes."
    )
    operations_seconds: Seconds = Field(
        300, description="Seconds between two readings of the start and suspend history."
    )
    publish_seconds: Seconds = Field(15, description="Maximum seconds between two published snapshots.")


class HttpSettings(Section):
    """The HTTP server."""

    listen: str = Field("127.0.0.1:9719", description="HOST:PORT to listen on; port 0 takes a free one.")
    max_connections: int = Field(64, gt=0, description="Maximum concurrent connections.")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of ``listen``."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "127.0.0.1", int(port)

    @model_validator(mode="after")
    def _listen_is_an_address(self) -> Self:
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:]*):\d{1,5}", self.listen):
            raise ValueError("listen: write HOST:PORT, as 127.0.0.1:9719")
        return self


class TelemetrySettings(Section):
    """OpenTelemetry; needs the extra neonmeter[otlp]."""

    otlp_endpoint: str | None = Field(
        None, description="Address of the OTLP/HTTP receiver, such as http://127.0.0.1:4318."
    )
    traces: bool = Field(True, description="Send a span for each visit and API call.")
    metrics: bool = Field(False, description="Also push the published metrics.")
    interval_seconds: Seconds = Field(60, description="Seconds between two metric pushes.")


class LogSettings(Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level that is logged.")
    format: Literal["text", "json"] = Field("text", description="Format of a log line.")
