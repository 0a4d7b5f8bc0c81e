"""The settings tree: one YAML file, environment variables over it, secrets by file. Unknown keys are refused.

``NEONMETER_SECTION__KEY`` sets any key; ``NEON_API_KEY`` alone is enough to start. A secret may be given inline, by
environment or by file; a file is read again at every use, so a rotation needs no restart.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]
CREDENTIALS = re.compile(r"(://[^:/@\s]+:)[^@\s]+@|(password=)('[^']*'|\S+)")
PREFIX = "NEONMETER_"


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` has one line each: where, what, what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class _Secret(_Section):
    password: SecretStr | None = Field(None, description="The password itself; better by file or environment.")
    password_file: Path | None = Field(None, description="A file with the password, read again at every connect.")


class NeonSettings(_Section):
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


class PostgresOverride(_Secret):
    """Another way to connect for the projects and branches that match."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    dsn: str | None = Field(None, description="Template to use there; empty keeps the general one.")
    enabled: bool = Field(True, description="false: never open SQL there.")


class PostgresSettings(_Secret):
    """How to reach the computes. Without a DSN only the control plane is read."""

    dsn: str | None = Field(
        None, description="Template such as postgresql://monitor@{host}/postgres; also {project} {branch} {endpoint}."
    )
    overrides: list[PostgresOverride] = Field([], description="First match wins.")


class CollectorSettings(_Section):
    """One collector's switch and pace."""

    enabled: bool = Field(True, description="false: do not run it.")
    interval_seconds: Seconds | None = Field(None, description="Seconds between two readings; empty: its own default.")


class ExpectedSlot(_Section):
    """A replication slot that must exist; one that vanished is reported as absent."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name.")
    slot: str = Field(description="Name of the slot.")


class SamplingSettings(_Section):
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


class PoolerSettings(_Secret):
    """A self-run PgBouncer."""

    name: str = Field(description="What you call it; its label.")
    dsn: str = Field(description="Console address, as postgresql://stats@host:6432/pgbouncer; every address of the "
                                 "name is read as a pooler of its own.")  # fmt: skip
    interval_seconds: Seconds = Field(30, description="Seconds between two readings.")


class TenantRuleSettings(_Section):
    """Whose it is: every pattern given must match; the first rule that matches wins."""

    tenant: str | None = Field(None, description="The tenant; empty when a pattern captures (?P<tenant>...).")
    project: str | None = Field(None, description="Pattern over project id or name.")
    branch: str | None = Field(None, description="Pattern over branch id or name.")
    database: str | None = Field(None, description="Pattern over the database name.")
    schema_: str | None = Field(None, alias="schema", description="Pattern over the schema name.")
    role: str | None = Field(None, description="Pattern over the role name.")
    application_name: str | None = Field(None, description="Pattern over application_name.")
    map_: dict[str, str] | None = Field(None, alias="map", description="Captured or matched text to tenant.")


class CostSettings(_Section):
    """Prices."""

    plan: str | None = Field(None, description="Price as this plan (launch, scale, agent) whatever the API says.")
    rate_card: Path | None = Field(None, description="Your own rates; the dated list rates ship with neonmeter.")


class LedgerSettings(_Section):
    """Where facts are kept. Neon forgets hourly consumption after 168 h: this file does not."""

    path: Path = Field(Path("neonmeter.db"), description="SQLite file; created when missing.")


class IntervalSettings(_Section):
    """The clocks of the control plane and of publishing."""

    inventory_seconds: Seconds = Field(60, description="Projects, branches, endpoints.")
    consumption_seconds: Seconds = Field(900, description="Consumption and cost; Neon refreshes about every 15 min.")
    operations_seconds: Seconds = Field(300, description="Wake and suspend history.")
    publish_seconds: Seconds = Field(15, description="Longest time between two published generations.")


class HttpSettings(_Section):
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


class TelemetrySettings(_Section):
    """OpenTelemetry; needs the extra neonmeter[otlp]."""

    otlp_endpoint: str | None = Field(None, description="OTLP/HTTP base address, as http://127.0.0.1:4318.")
    traces: bool = Field(True, description="A span per visit and API call.")
    metrics: bool = Field(False, description="Push the published metrics as well.")
    interval_seconds: Seconds = Field(60, description="Seconds between two metric pushes.")


class LogSettings(_Section):
    """Logging to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["text", "json"] = Field("text", description="One line of text, or of JSON, per event.")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    neon: NeonSettings = NeonSettings()
    postgres: PostgresSettings = PostgresSettings()
    sampling: SamplingSettings = SamplingSettings()
    pgbouncer: list[PoolerSettings] = []
    tenants: list[TenantRuleSettings] = []
    cost: CostSettings = CostSettings()
    ledger: LedgerSettings = LedgerSettings()
    intervals: IntervalSettings = IntervalSettings()
    http: HttpSettings = HttpSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; no dotenv, no secrets folder."""
        del env_settings, dotenv_settings, file_secret_settings
        return EnvSettingsSource(settings_cls), init_settings

    def masked(self) -> dict[str, Any]:
        """The tree as plain data with every secret masked, also inside connection strings."""
        plain: dict[str, Any] = _mask(self.model_dump(mode="json", by_alias=True))
        return plain


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_mask(each) for each in value]
    return CREDENTIALS.sub(_hide, value) if isinstance(value, str) else value


def _hide(found: re.Match[str]) -> str:
    return f"{found[1]}***@" if found[1] else f"{found[2]}***"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error, not a silent last-one-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path | None) -> Settings:
    """Read the file (if any) and the environment.

    Raises:
        SettingsError: with all problems at once.
    """
    tree = {} if path is None else _read(path)
    problems = list(_unknown_variables(os.environ))
    _plain_key_variables(tree)
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise SettingsError(problems + [_line(each) for each in error.errors()]) from None
    except ValueError as error:  # a NEONMETER_ variable whose JSON cannot be read
        raise SettingsError([*problems, f"environment: {error}"]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_bytes(), Loader=_UniqueKeys)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read ({error.strerror}); name another file with --config"]) from None
    except yaml.YAMLError as error:
        raise SettingsError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError([f"{path}: the top level must be keys such as neon:, not a {type(tree).__name__}"])
    return tree


def _plain_key_variables(tree: dict[str, Any]) -> None:
    # NEON_API_KEY is the name that Neon's own tools use; ours wins over it, and it wins over the file.
    neon = tree.get("neon")
    for plain, key in (("NEON_API_KEY", "api_key"), ("NEON_API_KEY_FILE", "api_key_file")):
        if os.environ.get(plain) and (neon is None or isinstance(neon, dict)):
            neon = tree["neon"] = {**(neon or {}), key: os.environ[plain]}


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = {*Settings.model_fields, "config"}
    for name in sorted(environ):
        if name.startswith(PREFIX) and (section := name.removeprefix(PREFIX).lower().split("__")[0]) not in known:
            yield f"{name}: unknown variable{_suggest(section, known)}"


def _suggest(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"


def _line(error: Any) -> str:
    where = ""
    for part in error["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_suggest(str(error['loc'][-1]), _keys_at(error['loc'][:-1]))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}"


def _keys_at(loc: tuple[Any, ...]) -> set[str]:
    """The keys that the tree has at a path, to suggest the one that was meant."""
    model: Any = Settings
    for part in loc:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = _model_in(field.annotation) if field is not None else CollectorSettings
    return {field.alias or name for name, field in getattr(model, "model_fields", {}).items()}


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in getattr(annotation, "__args__", ()) if (found := _model_in(each))), None)
