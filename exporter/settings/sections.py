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
    org_id: str | None = Field(None, description="The organisation; found by itself when the key sees only one.")
    include: list[str] = Field(["*"], description="Globs over project id or name: which projects to watch.")
    exclude: list[str] = Field([], description="Globs over project id or name: which projects to leave out.")
    requests_per_minute: int = Field(600, gt=0, description="Our share of Neon's 700 requests a minute per account.")
    burst: int = Field(30, gt=0, description="Requests that may go out at once.")
    consumption_per_minute: int = Field(40, gt=0, description="Our share of the consumption API's own limit.")
    timeout_seconds: Seconds = Field(30, description="Deadline of one request.")


class PostgresOverride(Secret):
    """Another way to connect for the projects and branches that match."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    dsn: str | None = Field(None, description="Template to use there; empty keeps the general one.")
    enabled: bool = Field(True, description="false: never open SQL there.")


class PostgresSettings(Secret):
    """How to reach the computes. Without a DSN only the control plane is read."""

    dsn: str | None = Field(
        None, description="Template such as postgresql://monitor@{host}/postgres; also {project} {branch} {endpoint}."
    )
    overrides: list[PostgresOverride] = Field([], description="First match wins.")


class CollectorSettings(Section):
    """One collector's switch and pace."""

    enabled: bool = Field(True, description="false: do not run it.")
    interval_seconds: Seconds | None = Field(None, description="Seconds between two readings; empty: its own default.")


class ExpectedSlot(Section):
    """A replication slot that must exist; one that vanished is reported as absent."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    slot: str = Field(description="Name of the slot.")


class SamplingSettings(Section):
    """When and how SQL may be run. The defaults never wake a compute; see docs/architecture.md."""

    evidence: Literal["api", "database"] = Field("api", description="What must prove that others use the compute.")
    tick_seconds: Seconds = Field(60, description="How often each endpoint is considered for a visit.")
    session_seconds: Annotated[float, Field(gt=0, le=30)] = Field(5, description="Hard end of one visit.")
    connect_timeout_seconds: Seconds = Field(5, description="Deadline of the connect.")
    statement_timeout_seconds: Seconds = Field(3, description="Server-side deadline of one statement.")
    lock_timeout_ms: int = Field(300, gt=0, description="Server-side deadline of waiting for a lock.")
    concurrency: int = Field(8, gt=0, le=64, description="Visits in flight at once.")
    top_statements: int = Field(20, ge=0, le=500, description="Statements exported on their own per tenant.")
    expected_slots: list[ExpectedSlot] = Field([], description="Slots that must exist.")
    collectors: dict[str, CollectorSettings] = Field({}, description="Per collector: enabled, interval_seconds.")


class PoolerSettings(Secret):
    """A self-run PgBouncer."""

    name: str = Field(description="What you call it; its label.")
    dsn: str = Field(description="Console address, as postgresql://stats@host:6432/pgbouncer; every address of the "
                                 "name is read as a pooler of its own.")  # fmt: skip
    interval_seconds: Seconds = Field(30, description="Seconds between two readings.")


class TenantRuleSettings(Section):
    """Whose it is: every pattern given must match; the first rule that matches wins."""

    tenant: str | None = Field(None, description="The tenant; empty when a pattern captures (?P<tenant>...).")
    project: str | None = Field(None, description="Pattern over project id or name.")
    branch: str | None = Field(None, description="Pattern over branch id or name.")
    database: str | None = Field(None, description="Pattern over the database name.")
    schema_: str | None = Field(None, alias="schema", description="Pattern over the schema name.")
    role: str | None = Field(None, description="Pattern over the role name.")
    application_name: str | None = Field(None, description="Pattern over application_name.")
    map_: dict[str, str] | None = Field(None, alias="map", description="Captured or matched text to tenant.")


class PriceSettings(Section):
    """Prices."""

    plan: Annotated[str | None, AfterValidator(lambda name: name and plan_named(name))] = Field(
        None, description="Price as this plan (launch, scale, agent or a type as scale_v3), whatever the API says."
    )
    rate_card: Path | None = Field(None, description="Your own rates; the dated list rates ship with neonmeter.")


class StorageSettings(Section):
    """The file that the agent remembers everything in: usage, counters, wake states, drift, posture."""

    path: Path = Field(Path("neonmeter.db"), description="SQLite file; created when missing.")


class LedgerSettings(Secret):
    """Usage as Neon reported it. Neon forgets hourly consumption after 168 h: this does not."""

    url: str | None = Field(
        None, description="Keep usage in PostgreSQL instead, for replicas and SQL: postgresql://neonmeter@host/finops."
    )
    keep_hourly_days: int = Field(
        400, ge=62, description="Then hours become days, whole months at a time; no cost changes by it."
    )


class IntervalSettings(Section):
    """The clocks of the control plane and of publishing."""

    inventory_seconds: Seconds = Field(60, description="Projects, branches, endpoints.")
    consumption_seconds: Seconds = Field(900, description="Consumption and cost; Neon refreshes about every 15 min.")
    operations_seconds: Seconds = Field(300, description="Wake and suspend history.")
    publish_seconds: Seconds = Field(15, description="Longest time between two published generations.")


class HttpSettings(Section):
    """Serving."""

    listen: str = Field("127.0.0.1:9719", description="HOST:PORT; port 0 takes a free one.")
    max_connections: int = Field(64, gt=0, description="Connections served at once.")

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

    otlp_endpoint: str | None = Field(None, description="OTLP/HTTP base address, as http://127.0.0.1:4318.")
    traces: bool = Field(True, description="A span per visit and API call.")
    metrics: bool = Field(False, description="Push the published metrics as well.")
    interval_seconds: Seconds = Field(60, description="Seconds between two metric pushes.")


class LogSettings(Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["text", "json"] = Field("text", description="One line of text, or of JSON, per event.")
