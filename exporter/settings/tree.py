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
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from collectors.errors import USAGE, NeonmeterError
from exporter.settings.recovery import RecoverySettings
from exporter.settings.report import ReportSettings
from exporter.settings.sections import (
    CollectorSettings,
    HttpSettings,
    IntervalSettings,
    LedgerSettings,
    LogSettings,
    NeonSettings,
    PoolerSettings,
    PostgresSettings,
    PriceSettings,
    SamplingSettings,
    ShardingSettings,
    StorageSettings,
    TelemetrySettings,
    TenantRuleSettings,
)

CREDENTIALS = re.compile(r"(://[^:/@\s]+:)[^@\s]+@|(password=)('[^']*'|\S+)")
PREFIX = "NEONMETER_"


MOVED = {("ledger", "path"): ("storage", "path")}
"""Keys that got a better name, old to new; the old one still works and is warned about."""


class SettingsError(NeonmeterError):
    """The settings cannot be used; ``problems`` has one line each: where, what, what to do."""

    exit_code = USAGE

    def __init__(self, problems: list[str], path: Path | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.heading = f"neonmeter cannot start with the settings{f' in {path}' if path else ''}:"

    @property
    def lines(self) -> tuple[str, ...]:
        """Every problem."""
        return tuple(self.problems)


class CoreSettings(BaseSettings):
    """The sections that more than one room reads. A feature adds its own sections in a subclass."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    neon: NeonSettings = NeonSettings()
    sharding: ShardingSettings = ShardingSettings()
    postgres: PostgresSettings = PostgresSettings()
    sampling: SamplingSettings = SamplingSettings()
    pgbouncer: list[PoolerSettings] = []
    tenants: list[TenantRuleSettings] = []
    cost: PriceSettings = PriceSettings()
    storage: StorageSettings = StorageSettings()
    ledger: LedgerSettings = LedgerSettings()
    report: ReportSettings = ReportSettings()
    recovery: RecoverySettings = RecoverySettings()
    intervals: IntervalSettings = IntervalSettings()
    http: HttpSettings = HttpSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()

    _warnings: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each key that was written under its old name."""
        return self._warnings

    @model_validator(mode="wrap")
    @classmethod
    def _take_old_names(cls, tree: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        warnings = tuple(_renamed(tree)) if isinstance(tree, dict) else ()
        settings = handler(tree)
        settings._warnings = warnings
        return settings

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


def _renamed(tree: dict[str, Any]) -> Iterator[str]:
    """Move what stands under an old name to its new one, in place; yields a warning for each.

    Raises:
        ValueError: both names are given.
    """
    for (old_section, old_key), (section, key) in MOVED.items():
        old = tree.get(old_section)
        if not isinstance(old, dict) or old_key not in old:
            continue
        new = tree.get(section) or {}
        if not isinstance(new, dict) or key in new:
            raise ValueError(f"{old_section}.{old_key}: its new name {section}.{key} is given, too; remove one")
        tree[old_section] = {name: value for name, value in old.items() if name != old_key}
        tree[section] = {**new, key: old[old_key]}
        yield f"{old_section}.{old_key}: renamed to {section}.{key}; the old name still works in this version"


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_mask(entry) for entry in value]
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


Tree = TypeVar("Tree", bound=CoreSettings)


def load(kind: type[Tree], path: Path | None) -> Tree:
    """Read the file (if any) and the environment into a tree of that kind.

    Raises:
        SettingsError: with all problems at once.
    """
    tree = {} if path is None else _read(path)
    problems = list(_unknown_variables(kind, os.environ))
    _plain_key_variables(tree)
    try:
        settings = kind(**tree)
    except ValidationError as error:
        raise SettingsError(problems + [_line(kind, found) for found in error.errors()], path) from None
    except ValueError as error:  # a NEONMETER_ variable whose JSON cannot be read
        raise SettingsError([*problems, f"environment: {error}"], path) from None
    if problems:
        raise SettingsError(problems, path)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_bytes(), Loader=_UniqueKeys)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise SettingsError(
            [f"{path}: cannot be read ({error.strerror}); name another file with --config"], path
        ) from None
    except yaml.YAMLError as error:
        raise SettingsError([f"{path}: not YAML: {' '.join(str(error).split())}"], path) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError([f"{path}: the top level must be keys such as neon:, not a {type(tree).__name__}"], path)
    return tree


def _plain_key_variables(tree: dict[str, Any]) -> None:
    # NEON_API_KEY is the name that Neon's own tools use; ours wins over it, and it wins over the file.
    neon = tree.get("neon")
    for plain, key in (("NEON_API_KEY", "api_key"), ("NEON_API_KEY_FILE", "api_key_file")):
        if os.environ.get(plain) and (neon is None or isinstance(neon, dict)):
            neon = tree["neon"] = {**(neon or {}), key: os.environ[plain]}


def _unknown_variables(kind: type[CoreSettings], environ: Mapping[str, str]) -> Iterator[str]:
    known = {*kind.model_fields, "config", "drill_key"}
    for name in sorted(environ):
        if name.startswith(PREFIX) and (section := name.removeprefix(PREFIX).lower().split("__")[0]) not in known:
            yield f"{name}: unknown variable{_suggest(section, known)}"


def _suggest(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"


def _line(kind: type[CoreSettings], error: Any) -> str:
    where = ""
    for part in error["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_suggest(str(error['loc'][-1]), _keys_at(kind, error['loc'][:-1]))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}"


def _keys_at(kind: type[CoreSettings], loc: tuple[Any, ...]) -> set[str]:
    """The keys that the tree has at a path, to suggest the one that was meant."""
    model: Any = kind
    for part in loc:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = _model_in(field.annotation) if field is not None else CollectorSettings
    return {field.alias or name for name, field in getattr(model, "model_fields", {}).items()}


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for entry in getattr(annotation, "__args__", ()) if (found := _model_in(entry))), None)
