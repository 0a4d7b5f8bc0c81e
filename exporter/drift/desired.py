"""The file of the desired state of settings (``drift.desired``): YAML, by project and branch, fit for git."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from collectors.errors import UsageError
from collectors.neon.models import Branch, Endpoint, Project
from collectors.postgres.domain.settings import Setting, canonical
from exporter.drift.domain.desired import ENDPOINT, PROJECT, DesiredValue
from exporter.settings.dsn import matches

_CLOSED = ConfigDict(extra="forbid", hide_input_in_errors=True)
Scalar = bool | int | float | str


@dataclass(frozen=True, config=_CLOSED)
class EndpointWanted:
    """Settings of a branch's compute, as the API names them."""

    autoscaling_limit_min_cu: float | None = None
    autoscaling_limit_max_cu: float | None = None
    suspend_timeout_seconds: int | None = None


@dataclass(frozen=True, config=_CLOSED)
class Rule:
    """The desired state of the branches that match; of several rules, the first that names a setting counts."""

    project: str = "*"
    branch: str = "*"
    settings: dict[str, Scalar] = Field(default_factory=dict)
    endpoint: EndpointWanted = Field(default_factory=EndpointWanted)
    history_retention_seconds: int | None = None
    logical_replication: bool | None = None
    extensions: dict[str, str] = Field(default_factory=dict)
    roles: dict[str, str] = Field(default_factory=dict)


_RULES = TypeAdapter(list[Rule])


class DesiredError(UsageError):
    """The file cannot be used: the message says which, where, and why."""


class Desired:
    """The rules of one file."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules

    @classmethod
    def read(cls, path: Path) -> Desired:
        """Read the file.

        Raises:
            DesiredError: it cannot be read or understood.
        """
        try:
            return cls(_RULES.validate_python(yaml.safe_load(path.read_text("utf-8")) or []))
        except OSError as problem:
            raise DesiredError(f"drift.desired: {path}: {problem.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise DesiredError(f"drift.desired: {path}: not YAML") from None
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DesiredError(f"drift.desired: {path}: {where or 'the file'}: {first['msg']}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Every Postgres setting that some rule names: to be read although it was not changed."""
        return tuple(sorted({name for rule in self.rules for name in rule.settings}))

    def of(self, project: Project, branch: Branch, settings: Mapping[str, Setting]) -> DesiredValue:
        """The desired state of one branch; ``settings`` are the server's, for their units.

        Raises:
            DesiredError: a value is not of the kind of its setting.
        """
        mine = [
            rule
            for rule in reversed(self.rules)
            if matches(rule.project, project.id, project.name) and matches(rule.branch, branch.id, branch.name)
        ]
        wanted: dict[str, str] = {}
        platform: dict[tuple[str, str], str] = {}
        extensions: dict[str, str] = {}
        roles: dict[str, str] = {}
        for rule in mine:
            wanted |= {name: _canonical(name, value, settings.get(name)) for name, value in rule.settings.items()}
            platform |= _platform(rule)
            extensions |= rule.extensions
            roles |= rule.roles
        return DesiredValue(wanted, platform, extensions, roles)


def platform_of(project: Project, endpoint: Endpoint | None) -> dict[tuple[str, str], str]:
    """The settings of a branch and its project in Neon's API, by (kind, name) as the file names them."""
    found: dict[tuple[str, str], Any] = {}
    if project.history_retention_seconds is not None:
        found[PROJECT, "history_retention_seconds"] = project.history_retention_seconds
    if project.settings is not None:
        found[PROJECT, "logical_replication"] = project.settings.enable_logical_replication
    if endpoint is not None:
        found[ENDPOINT, "autoscaling_limit_min_cu"] = endpoint.autoscaling_limit_min_cu
        found[ENDPOINT, "autoscaling_limit_max_cu"] = endpoint.autoscaling_limit_max_cu
        found[ENDPOINT, "suspend_timeout_seconds"] = endpoint.suspend_timeout_seconds
    return {key: _text(value) for key, value in found.items()}


def _platform(rule: Rule) -> dict[tuple[str, str], str]:
    values: dict[tuple[str, str], Any] = {
        (PROJECT, "history_retention_seconds"): rule.history_retention_seconds,
        (PROJECT, "logical_replication"): rule.logical_replication,
        (ENDPOINT, "autoscaling_limit_min_cu"): rule.endpoint.autoscaling_limit_min_cu,
        (ENDPOINT, "autoscaling_limit_max_cu"): rule.endpoint.autoscaling_limit_max_cu,
        (ENDPOINT, "suspend_timeout_seconds"): rule.endpoint.suspend_timeout_seconds,
    }
    return {key: _text(value) for key, value in values.items() if value is not None}


def _text(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _canonical(name: str, value: Scalar, setting: Setting | None) -> str:
    if setting is None:
        return str(value)
    try:
        return canonical(value, setting.unit, setting.vartype)
    except ValueError as problem:
        raise DesiredError(f"drift.desired: {name}: {problem}") from None
